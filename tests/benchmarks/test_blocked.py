"""What is left blocked is found again, and what is counted as resumed has its outcome on disk."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from actors import App
from benchmarks import cli
from benchmarks.blocked import OutcomeStore, Waiter, leave_blocked, read_handed_out, reopen


def statuses(path: str) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(path)) as shell:
        return dict(shell.execute("SELECT status, count(*) FROM invocations WHERE handler = 'wait' GROUP BY status"))


async def test_every_invocation_is_left_blocked_and_the_ids_of_those_drawn_are_handed_out(tmp_path: Path) -> None:
    path = str(tmp_path / "blocked.db")
    found = await leave_blocked(path, count=40, resume=7)
    assert statuses(path) == {"blocked": 40}
    handed = read_handed_out(path)
    assert sorted(number for number, _, _ in handed) == sorted(Random(1).sample(range(40), 7))
    assert len({awakeable for _, _, awakeable in handed}) == 7
    assert {"blocked_per_s", "empty_rss_mb", "rss_growth_mb", "peak_rss_growth_mb", "peak_rss_mb"} <= set(found)
    assert Waiter.hand_out is None


@pytest.mark.parametrize("resume", [1, 2, 40])
async def test_those_that_are_resumed_have_ended_in_the_file_and_the_others_still_wait(
    resume: int, tmp_path: Path
) -> None:
    path = str(tmp_path / "blocked.db")
    await leave_blocked(path, count=40, resume=resume)
    found = await reopen(path, created=time.time())
    assert found["resumed"] == resume and (found["resumed_per_s"] is None) == (resume == 1)
    assert statuses(path) == {"succeeded": resume} | ({"blocked": 40 - resume} if resume < 40 else {})
    assert found["open_ms"] <= found["first_new_call_ms"] <= found["first_new_call_of_process_ms"]


async def test_an_outcome_is_counted_when_it_is_in_the_file_and_not_before(tmp_path: Path) -> None:
    path = str(tmp_path / "blocked.db")
    await leave_blocked(path, count=3, resume=3)
    store = OutcomeStore(path)
    async with App(Waiter, store=store) as app:
        enough = store.outcomes(2)
        (_, _, first), (_, _, second), _ = read_handed_out(path)
        await app.resolve_awakeable(first, 1)
        assert await app.object(Waiter, "other").wait.send(9)  # accepted, blocked: no outcome
        assert not enough.done()
        await app.resolve_awakeable(second, 2)
        await enough
        assert statuses(path)["succeeded"] == 2


def test_the_command_measures_two_processes_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = tmp_path / "out.json"
    words = ["blocked", "--count", "30", "--resume", "50", "--json", str(out)]
    assert CliRunner().invoke(cli.main, words, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert (found["scenario"], found["blocked"], found["resumed"]) == ("blocked", 30, 30)
    assert list(tmp_path.iterdir()) == [out]
