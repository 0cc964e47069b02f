"""What is left pending fires when it is due, and its lateness is that of the handler."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import cli, timers
from benchmarks.measure import run
from benchmarks.options import Result
from benchmarks.timers import KINDS, SENDS, SLEEPS, Lateness, leave_pending, reopen


def pending(path: str) -> list[tuple[str, str, float]]:
    """(key, purpose, due in seconds since the epoch), in the order in which they are due."""
    with contextlib.closing(sqlite3.connect(path)) as shell:
        return shell.execute(
            "SELECT key, purpose, (julianday(due) - 2440587.5) * 86400 FROM timers ORDER BY due"
        ).fetchall()


@pytest.mark.parametrize(("kind", "purpose"), [(SLEEPS, "sleep or deadline"), (SENDS, "delayed send")])
async def test_a_few_timers_are_due_within_a_second_and_the_rest_a_month_later(
    kind: str, purpose: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "timers.db")
    first_due_ms, found = await leave_pending(path, count=30, due=10, kind=kind)
    left = pending(path)
    assert len({key for key, _, _ in left}) == len(left) == 30
    assert {found_purpose for _, found_purpose, _ in left} == {purpose}
    assert all(key.startswith("due-") and 0 <= due - first_due_ms / 1000 < 1.05 for key, _, due in left[:10])
    assert all(key.startswith("far-") and due - time.time() > 29 * 86_400 for key, _, due in left[10:])
    assert {"left_per_s", "rss_growth_mb", "peak_rss_mb"} <= set(found)


@pytest.mark.parametrize("kind", KINDS)
async def test_those_that_are_due_fire_once_and_never_early_and_the_rest_stay(kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "timers.db")
    first_due_ms, _ = await leave_pending(path, count=30, due=10, kind=kind, lead_s=0.5)
    found = await reopen(path, 10, first_due_ms, created=time.time())
    assert found["due_within_a_second"] == 10
    assert -2 < found["earliest_ms"] <= found["lateness_p50_ms"] <= found["lateness_p99_ms"] <= found["lateness_max_ms"]
    assert [key for key, _, _ in pending(path) if key.startswith("due-")] == []
    assert len(pending(path)) == 20


async def test_a_file_that_is_opened_too_late_gives_no_figure(tmp_path: Path) -> None:
    path = str(tmp_path / "timers.db")
    first_due_ms, _ = await leave_pending(path, count=2, due=2, lead_s=0)
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="too slow"):
        await reopen(path, 2, first_due_ms, created=time.time())


async def test_lateness_is_what_has_passed_since_a_timer_was_due() -> None:
    lateness = Lateness()
    lateness.add(round(time.time() * 1000) - 500)
    waiting = asyncio.create_task(lateness.of(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    lateness.add(round(time.time() * 1000) + 500)
    await waiting
    late, early = lateness.found
    assert 499 <= late < 5000 and -501 <= early < 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_measures_two_processes_and_leaves_no_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(timers, "_leave", leave_soon)
    out = tmp_path / "out.json"
    words = ["timers", "--count", "30", "--due", "10", "--kind", kind, "--json", str(out)]
    assert CliRunner().invoke(cli.main, words, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert (found["scenario"], found["kind"], found["pending"], found["due_within_a_second"]) == (
        "timers",
        kind,
        30,
        10,
    )
    assert list(tmp_path.iterdir()) == [out]


def leave_soon(path: str, count: int, due: int, kind: str) -> tuple[int, Result]:
    """As the command does, but due soon after: ten seconds are for a million timers."""
    return run(lambda: leave_pending(path, count, due, kind, lead_s=3.0))


def test_a_kind_of_timers_that_does_not_exist_is_refused() -> None:
    result = CliRunner().invoke(cli.main, ["timers", "--kind", "naps"])
    assert result.exit_code == 2 and "'sleeps', 'sends'" in result.output
