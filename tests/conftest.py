"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """A storage URL of its own for each test."""
    return f"sqlite:///{tmp_path / 'app.db'}"
