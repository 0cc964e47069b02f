"""A polite end for commands that hold temporary files.

Promise: SIGTERM ends such a command as Ctrl-C does, so `timeout 60 actors check ...` leaves no copy of a database behind.
"""

from __future__ import annotations

import signal


def end_on_sigterm() -> None:
    """From now on SIGTERM interrupts this process as Ctrl-C does. For the main thread of a command, at its start."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
