"""The scenario `log`: its figures come from a log that a reader has made long, and from starts after a kill."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import cli
from benchmarks.log import starts


def test_the_command_measures_load_and_starts_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = tmp_path / "out.json"
    words = ["log", "--callers", "4", "--seconds", "2", "--held", "1", "--megabytes", "2", "--json", str(out)]
    assert CliRunner().invoke(cli.main, words, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert found["scenario"] == "log" and found["calls_per_s_beside_the_reader"] > 0
    assert found["log_mb_then"] < 64 and found["s_until_below_64_mb"] < 30
    assert list(tmp_path.iterdir()) == [out]


def test_a_start_finds_the_log_that_a_killed_process_has_left(tmp_path: Path) -> None:
    found = starts(tmp_path, 3)
    assert 3 <= found["log_mb_at_the_start"] < 6
    assert 0 < found["start_ms"] <= found["first_answer_ms"]
    assert os.path.exists(tmp_path / "killed.db-wal")
