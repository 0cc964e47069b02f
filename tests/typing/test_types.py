"""Type checkers infer what a call, a send or a step gives, and report what is wrong: mypy and pyright alike."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


def mypy(path: Path) -> dict[int, str]:
    """Line: message, of each error mypy reports in this file."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(.+?):(\d+):(?:\d+:)? error: (.*)$", done.stdout, re.MULTILINE)
    return {int(line): message for name, line, message in found if (ROOT / name) == path}


def pyright(path: Path) -> dict[int, str]:
    """The same for pyright. It gets a project of its own, because ours leaves out the file of mistakes."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"extraPaths": [str(ROOT)], "typeCheckingMode": "standard", "pythonVersion": "3.11"}
        (Path(folder) / "pyrightconfig.json").write_text(json.dumps(settings))
        shutil.copy(path, folder)
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["summary"]["filesAnalyzed"] == 1
    found = [entry for entry in report["generalDiagnostics"] if entry["severity"] == "error"]
    return {entry["range"]["start"]["line"] + 1: entry["message"] for entry in found}


Checker = Callable[[Path], dict[int, str]]
CHECKERS: list[Checker] = [mypy, pyright]


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_usage_is_understood_to_the_last_type(checker: Checker) -> None:
    assert checker(FOLDER / "good_usage.py") == {}


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_mistake_is_reported_on_its_line(checker: Checker) -> None:
    path = FOLDER / "bad_usage.py"
    lines = path.read_text().splitlines()
    wanted = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert len(wanted) > 50
    reported = checker(path)
    assert sorted(wanted - reported.keys()) == [], "mistakes nobody reported"
    assert {line: reported[line] for line in sorted(reported.keys() - wanted)} == {}, "reported, but right"
