"""Several workers of one server on one file: the second one says what is wrong, and what to do."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.storage.errors import DatabaseInUse
from tests.serving.server import APP, LIFELINE, ROOT

pytest.importorskip("uvicorn")


@pytest.mark.timeout(60)
def test_two_workers_of_one_server_are_told_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "shop:app", "--workers", "2", "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdin=LIFELINE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "is in use by process" in line)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert "this looks like several workers of one server (uvicorn --workers" in said
    assert "start the server with one worker" in said


def test_two_programs_are_not_taken_for_workers() -> None:
    assert "worker" not in str(DatabaseInUse("app.db", os.getppid()))
    assert "worker" not in str(DatabaseInUse("app.db", None))


def _message_about(pid: int, answer: multiprocessing.SimpleQueue[str]) -> None:
    answer.put(str(DatabaseInUse("app.db", pid)))


@pytest.mark.parametrize("same_parent", [True, False])
def test_only_processes_of_one_parent_are_taken_for_workers(same_parent: bool) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        child = context.Process(target=_message_about, args=(other.pid if same_parent else os.getpid(), answer))
        child.start()
        said = answer.get()
        child.join()
    finally:
        other.communicate(b"\n")
    assert ("several workers of one server" in said) == same_parent
