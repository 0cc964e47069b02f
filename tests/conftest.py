"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.log_guard import LogGuard, expect_log

__all__ = ["expect_log"]

LONG_S = 140  # tests that may take so long are begun first

os.environ.setdefault(
    "SIMULATIONS", "25"
)  # how far random programs are explored; CONTRIBUTING.md says when to look further

# A run in the background of a shell ignores it, and so would all processes that tests start in order to interrupt them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LogGuard(), "log_guard")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: a worker that begins one in the end would work on it alone."""
    items.sort(key=lambda item: max((mark.args[0] for mark in item.iter_markers("timeout")), default=0) < LONG_S)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """A storage URL of its own for each test."""
    return f"sqlite:///{tmp_path / 'app.db'}"
