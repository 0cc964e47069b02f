"""kill -9, again and again, on a real process; a checker outside of it compares the diary with the database.

`KILLS=2000 pytest tests/crash` makes it a long run; the default is 48 kills in all, over four databases.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERIES = 4
LIFELINE, _held = os.pipe()  # a child ends when this process does, however that ends
KILLS = int(os.environ.get("KILLS", "48")) // SERIES


def _start(folder: Path, incarnation: int, mode: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.crash.child", str(folder / "app.db"), str(folder / "diary")]
    return subprocess.Popen([*command, str(incarnation), mode], cwd=ROOT, stdin=LIFELINE, stderr=subprocess.PIPE)


def _wait_for(process: subprocess.Popen[bytes], diary: Path, since: int, lines: int) -> None:
    """Until the process has written `ready` and so many more lines: its own progress, not time, so load does not matter."""
    deadline = time.monotonic() + 60
    with diary.open("rb") as written:
        written.seek(since)
        while lines >= 0:
            if (line := written.read().count(b"\n")) == 0:
                assert process.poll() is None, process.communicate()[1].decode()
                assert time.monotonic() < deadline, "the process does not work"
                time.sleep(0.0005)  # waits for a real process, the only thing here that cannot be told to hurry
            lines -= line


@pytest.mark.timeout(600 + KILLS * 2)
@pytest.mark.parametrize("series", range(SERIES))
def test_a_process_killed_at_random_moments_loses_nothing_and_repeats_nothing(series: int, tmp_path: Path) -> None:
    rng = random.Random(series)
    diary = tmp_path / "diary"
    diary.touch()
    for incarnation in range(KILLS):
        since = diary.stat().st_size
        process = _start(tmp_path, incarnation, "load")
        _wait_for(process, diary, since, rng.randint(0, 60))
        time.sleep(rng.uniform(0, 0.002))  # also in the middle of a commit
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors.decode()
    last = _start(tmp_path, KILLS, "drain")
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors.decode()
    _check(tmp_path / "app.db", diary.read_text().splitlines())


def _check(database: Path, diary: list[str]) -> None:
    connection = sqlite3.connect(database)
    ops = {
        key: json.loads(value)
        for key, value in connection.execute("SELECT key, value FROM state WHERE service = 'Account' AND name = 'ops'")
    }
    outcomes = dict(connection.execute("SELECT key, result FROM invocations WHERE service = 'Flow'"))
    unfinished = connection.execute("SELECT * FROM invocations WHERE status != 'succeeded'").fetchall()
    connection.close()
    assert not unfinished
    applied = Counter(op for account in ops.values() for op in account)
    assert max(applied.values()) == 1, "an operation took effect twice"

    effects: dict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for line in diary:
        what, *words = line.split()
        counts[what] += 1
        if what == "called":
            op, result = words
            account = ops[".".join((op.split(".")[0], str(int(op.split(".")[1]) % 3)))]
            assert account[int(result) - 1] == op, "an answered call is not where its answer said"
        elif what == "sent":
            assert applied[words[0]] == 1, "an acknowledged message was lost"
        elif what == "effect":
            effects[words[0]].append(words[1])
        elif what == "finished":
            assert json.loads(outcomes[words[0]]).split()[0] == words[1], "an answered result has changed"
    for op, outcome in outcomes.items():
        token, answer = json.loads(outcome).split()
        assert effects[op][-1] == token, "a step was executed again after it was recorded"
        assert answer == "yes"
        assert applied[f"{op}-called"] == applied[f"{op}-sent"] == 1
    for account in ops.values():
        _check_order(account)
    assert min(counts["called"], counts["sent"], counts["effect"], counts["resolved"]) > KILLS, counts


def _check_order(account: list[str]) -> None:
    """What one client sent, waiting for each acknowledgement, took effect in that order."""
    latest: dict[str, int] = defaultdict(lambda: -1)
    for op in account:
        incarnation, client, n = op.split("-")[0].split(".")
        if "-" not in op:
            assert latest[incarnation + client] < int(n)
            latest[incarnation + client] = int(n)
