"""`python -m actors demo`, as a newcomer starts it, and what it says when it cannot do its work."""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from actors.cli.demo.demo import DemoFailed, check
from actors.cli.demo.story import Story

TIMEOUT = 60


def run(*arguments: str, temporary: Path, limit_file_size: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        import resource

        if limit_file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_size, limit_file_size))

    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        env={**os.environ, "TMPDIR": str(temporary), "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        preexec_fn=limit if sys.platform != "win32" else None,
        check=False,
    )


def demo(*arguments: str, temporary: Path, limit_file_size: int | None = None) -> subprocess.CompletedProcess[str]:
    command = ("-m", "actors", "demo", "--seconds", "0.5", *arguments)
    return run(*command, temporary=temporary, limit_file_size=limit_file_size)


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = demo(temporary=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout
    killed = re.search(r"Process (\d+) is killed with SIGKILL", told)
    started = re.search(r"Process (\d+) starts on the same file", told)
    assert killed and started and killed[1] != started[1]
    assert re.search(rf"first line of checkout +twice +in process {killed[1]} and {started[1]}", told)
    assert re.search(rf"e-mail to the boss +once +in process {killed[1]}\s", told)
    assert re.search(rf"e-mail to the customer +once +in process {started[1]}\s", told)
    assert "Nothing was lost, and nothing happened twice." in told
    assert re.search(r"[\d,]+ durable calls/s, p50 [\d.]+ ms", told)
    assert list(tmp_path.iterdir()) == []


def test_the_timeline_is_the_journal_in_order_with_the_kill_between_recording_and_answer(tmp_path: Path) -> None:
    told = demo(temporary=tmp_path).stdout
    expected = [
        "accepts checkout(3)",
        "awakeable(str) is created",
        "run email starts",
        'run email gave "queued"',
        'status = "waiting"',
        "kill -9",
        'awakeable is resolved: "approved by Ada"',
        "calls Stock/books/reserve(3)",
        "accepts reserve(3)",
        "returns 7",
        "call Stock/books/reserve gave 7",
        'sends Mailer/ann/deliver("o-1001 ships")',
        'returns "complete, 7 books left"',
    ]
    places = [told.find(entry) for entry in expected]
    assert -1 not in places
    assert places == sorted(places)


def test_keep_leaves_databases_to_look_at_and_the_checks_notice_a_second_mail(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = demo("--keep", str(kept), temporary=tmp_path)
    assert done.returncode == 0
    assert f"sqlite3 {kept / 'shop.db'}" in done.stdout
    pids = [int(pid) for pid in (kept / "starts.txt").read_text().split()]
    now = datetime.datetime.now(datetime.UTC)
    story = Story(kept, pids[0], pids[1], now, now)
    check(story)
    with (kept / "outbox.txt").open("a", encoding="utf-8") as outbox:
        outbox.write(f"{pids[1]}\tboss\tagain\n")
    with pytest.raises(DemoFailed, match="processes that mailed the boss: expected"):
        check(story)
    with pytest.raises(DemoFailed, match="first line of checkout"):
        check(dataclasses.replace(story, second=0))


def test_keep_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    done = demo("--keep", str(tmp_path), temporary=tmp_path)
    assert done.returncode == 2
    assert "is not empty" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_demo_that_cannot_write_fails_with_a_message_and_cleans_up(tmp_path: Path) -> None:
    done = demo(temporary=tmp_path, limit_file_size=4096)
    assert done.returncode == 1
    assert "The demo failed: process" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_line_says_what_to_install_and_the_core_works(
    missing: str, tmp_path: Path
) -> None:
    hidden = f"import sys; sys.modules[{missing!r}] = None; import actors; from actors.__main__ import main; main()"
    done = run("-c", hidden, temporary=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"The command line requires {missing}. Install it: pip install 'virtual-actors[cli]'\n"
