"""What the world of a test serves at its beginning, said above the test."""

from __future__ import annotations

from typing import Any

import pytest

from actors.model.virtual_object import Served


def serves(*classes: type[Served], **options: Any) -> pytest.MarkDecorator:
    """`@serves(Order)` above a test, or `pytestmark = serves(Order)` for a module: `world.serve(Order)` before the test begins."""
    # Not pytest.mark.serves(Order): pytest takes a mark with one class for a decorator of that class.
    return pytest.mark.serves.with_args(*classes, **options)
