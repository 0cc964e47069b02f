"""`python -m tests.seeds`: it reports what fails, goes on where it was killed, and refuses bad input."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.seeds.__main__ import BATCH, ROOT, code, main
from tests.seeds.progress import Failure, Progress


class LongRun:
    """Runs of the programs for tests, one after the other with one file of progress."""

    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = tmp_path / "seeds.json"
        self._capsys = capsys

    def __call__(self, *options: str) -> tuple[int, str]:
        """The exit code and the output."""
        try:
            status = main(["--programs", "tests.seeds.buggy", "--progress", str(self.file), *options])
        except SystemExit as ended:
            status = int(ended.code or 0)
        output = self._capsys.readouterr()
        return status, output.out + output.err


@pytest.fixture
def long_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> LongRun:
    return LongRun(tmp_path, capsys)


def test_a_program_with_a_bug_is_reported_and_the_others_go_on(long_run: LongRun) -> None:
    status, output = long_run("sound", "with a bug", "--seeds", "150", "--processes", "2")
    assert status == 1, output
    assert re.search(r"! with a bug, seed \d+: AssertionError\(.money is not conserved", output), output
    assert "LOST" in output or "begins" in output, "no story"
    assert "150 seeds of 2 programs: 1 failed" in output, output
    again = re.search(r"Again: python -m tests.seeds (.*)", output)
    assert again is not None
    status, output = long_run(*shlex.split(again[1]))
    assert status == 1 and output.splitlines()[-1].startswith(("AssertionError('money", 'AssertionError("money')), (
        output
    )
    done = Progress.read(long_run.file)
    assert done is not None and done.done["sound"] == [3] and [one.program for one in done.failures] == ["with a bug"]
    status, output = long_run("sound", "with a bug", "--seeds", "150")  # not one of them is run again
    assert status == 1 and "runs are done" in output and output.count("! with a bug") == 1
    assert Progress.read(long_run.file) == done


def test_a_run_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, long_run: LongRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIARY", str(tmp_path / "diary"))
    options = [
        "--programs",
        "tests.seeds.buggy",
        "--progress",
        str(long_run.file),
        "--seeds",
        "100",
        "--processes",
        "1",
    ]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.seeds", "killing", *options], cwd=ROOT, timeout=100, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    status, output = long_run("killing", "--seeds", "100", "--processes", "1")
    assert status == 0 and "Goes on where the last run was: 50 runs are done." in output, output
    seeds = [int(line) for line in (tmp_path / "diary").read_text().splitlines()]
    assert set(seeds) == set(range(100))
    assert {seed for seed in seeds if seeds.count(seed) > 1} <= set(range(50, 75))


def test_a_worker_that_dies_is_reported_and_the_others_go_on(long_run: LongRun) -> None:
    status, output = long_run("deadly", "sound", "--seeds", "100", "--processes", "1")
    assert status == 1 and "! deadly, seed 0: the worker has died, or hung, in one of the seeds 0 to 24" in output
    assert "Again: python -m tests.seeds 'deadly' --seed 0" in output and "2 programs: 1 failed" in output
    progress = Progress.read(long_run.file)
    assert progress is not None and progress.done["sound"] == [2]


def test_other_code_begins_anew_unless_progress_is_kept(long_run: LongRun) -> None:
    def put_down() -> None:
        Progress("of other code", BATCH, {"sound": [2]}).write(long_run.file)

    put_down()
    _, output = long_run("sound", "--seeds", "25", "--keep")
    assert "Goes on where the last run was: 50 runs are done." in output
    put_down()
    _, output = long_run("sound", "--seeds", "25")
    assert "The code has changed since the last run: all begins anew." in output
    assert json.loads(long_run.file.read_text())["code"] == code()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0"], "'0' is not a valid number. Use a whole number from 1 on."),
        (["--seeds", "many"], "'many' is not a valid number"),
        (["--processes", "-1"], "'-1' is not a valid number"),
        (["nothing of the kind"], "no program has a name with one of these words: nothing of the kind"),
        (["--choices", "usual"], "--choices and --seed require one program, and these are 4"),
        (["sound", "--choices", "=0"], "'=0' is not a valid choice"),
        (["sound", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_bad_input_is_refused_with_what_to_write(long_run: LongRun, options: list[str], said: str) -> None:
    status, output = long_run(*options)
    assert status == 2 and said in output, output
    assert not long_run.file.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"code": 1, "failures": [{}]}'])
def test_a_file_that_is_not_a_progress_is_refused_and_left(long_run: LongRun, text: str) -> None:
    long_run.file.write_text(text)
    status, output = long_run("sound", "--seeds", "25")
    assert status == 2 and "is not the progress of a long run" in output
    assert long_run.file.read_text() == text


def test_batches_are_done_in_any_order_and_read_as_they_were_written(tmp_path: Path) -> None:
    for order in itertools.permutations(range(4)):
        progress = Progress("code", BATCH)
        for place, number in enumerate(order):
            assert not progress.is_done("p", number)
            progress.add("p", number)
            assert [progress.is_done("p", one) for one in range(4)] == [one in order[: place + 1] for one in range(4)]
        assert progress.done == {"p": [4]}
        progress.failures.append(Failure("q", 7, "no", "usual", ["a line"]))
        progress.write(tmp_path / "seeds.json")
        assert Progress.read(tmp_path / "seeds.json") == progress and progress.is_done("q", 0)
