"""A waiting invocation that was loaded, replayed until it has requested a command: then the type that it waits for is known."""

from __future__ import annotations

import asyncio

from actors.attempt.invocation import Invocation
from actors.engine.progress import Progress
from actors.engine.turns import Turns
from actors.storage.records import Status

TURNS_TO_REPLAY = 20  # turns of the loop, for a handler that is replayed to its current wait


async def replayed(invocation: Invocation, index: int, progress: Progress, turns: Turns) -> None:
    """Return once the handler, whose invocation the caller holds in memory, has requested the command with this index.

    Has no effect on an invocation that backs off or is paused: the type stays unknown.
    """
    if invocation.attempt is None and invocation.status == Status.BLOCKED:
        progress.start(invocation)
        if invocation.attempt is not None:
            turns.hold_back(invocation.attempt)
    attempt = invocation.attempt
    try:
        left = TURNS_TO_REPLAY
        while left:
            if invocation.attempt is None or invocation.attempt.future(index) is not None:
                return
            if not invocation.attempt.settling:
                left -= 1
            await turns.turn_taken()
            await asyncio.sleep(0)  # the handler may let the loop go first on its way
    finally:
        if attempt is not None:
            turns.replayed(attempt)
