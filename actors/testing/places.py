"""The line of the user's code at which a coroutine waits."""

from __future__ import annotations

import os
import sysconfig
from types import FrameType
from typing import Any

import actors

_HERE = tuple(
    {
        os.path.dirname(os.path.abspath(actors.__file__)) + os.sep,
        *(
            os.path.realpath(os.path.join(os.path.dirname(actors.__file__), name)) + os.sep
            for name in ("storage", "transport")
        ),
    }
)
_LIBRARY = (sysconfig.get_path("stdlib") + os.sep, "<frozen")


def place_of(coroutine: Any) -> str | None:
    """`order.py:17`: the line at which the user's code in a coroutine waits. None if none of it waits."""
    found = None
    while coroutine is not None:
        frame: FrameType | None = (
            getattr(coroutine, "cr_frame", None)
            or getattr(coroutine, "gi_frame", None)
            or getattr(coroutine, "ag_frame", None)
        )
        if frame is not None and is_users(frame.f_code.co_filename):
            found = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


def is_users(filename: str) -> bool:
    """Whether a file is neither of this package nor of Python's library."""
    return not filename.startswith(_HERE) and not filename.startswith(_LIBRARY)
