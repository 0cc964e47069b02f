"""Closes the disks that tests in this folder have used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.engine.parts import disks


@pytest.fixture(autouse=True)
def _closed_disks() -> Iterator[None]:
    yield
    while disks:
        disks.pop().close()
