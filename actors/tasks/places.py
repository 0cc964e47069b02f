"""The line of the user's code at which a coroutine waits, or a thread is."""

from __future__ import annotations

import os
from types import FrameType
from typing import Any

from actors.tasks.origins import Origin, origin_of


def place_of(coroutine: Any) -> str | None:
    """`order.py:17`: the line at which the user's code in a coroutine waits. None if none of it waits."""
    found = None
    while coroutine is not None:
        frame: FrameType | None = (
            getattr(coroutine, "cr_frame", None)
            or getattr(coroutine, "gi_frame", None)
            or getattr(coroutine, "ag_frame", None)
        )
        if frame is not None and origin_of(frame.f_code.co_filename) is Origin.USERS:
            found = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


def place_in(frame: FrameType | None) -> str | None:
    """`order.py:17`: the innermost line of the user's code among this frame and its callers. None if none of it is theirs."""
    while frame is not None:
        if origin_of(frame.f_code.co_filename) is Origin.USERS:
            return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return None
