"""Whether asyncio cancels because a time is up: a moment that no replay finds again."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


def waited_too_long() -> bool:
    """Whether asyncio.wait_for is about to cancel because its time is up: on Python 3.11 it does so in the task itself."""
    frame: Any = sys._getframe(1)
    for _ in range(12):
        if frame is None:
            return False
        if frame.f_code is _CANCEL_AND_WAIT:
            waiter = frame.f_back.f_locals.get("waiter") if frame.f_back is not None else None
            return waiter is None or not waiter.cancelled()
        frame = frame.f_back
    return False


_CANCEL_AND_WAIT: Any = asyncio.tasks._cancel_and_wait.__code__  # type: ignore[attr-defined]
