"""What a coroutine awaits and what asyncio starts together with it, seen from outside."""

from __future__ import annotations

import asyncio
import gc
import sys
from types import AsyncGeneratorType
from typing import Any

from actors.errors import MisusedFuture


def innermost(coroutine: Any) -> Any:
    """The coroutine or asynchronous generator that a coroutine waits in."""
    while True:
        inner = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
        while type(inner).__name__ in _OF_GENERATORS:
            inner = next(filter(_leads_on, gc.get_referents(inner)), None)
        if not hasattr(inner, "cr_code") and not hasattr(inner, "ag_code"):
            return coroutine
        coroutine = inner


# What `async for` and `anext` await. Only the collector tells which generator that belongs to.
_OF_GENERATORS = ("async_generator_asend", "async_generator_athrow", "anext_awaitable")


def _leads_on(one: Any) -> bool:
    return isinstance(one, AsyncGeneratorType) or type(one).__name__ in _OF_GENERATORS


_AS_COMPLETED: set[Any] = {asyncio.as_completed.__code__}
_ITERATOR: Any = getattr(asyncio.tasks, "_AsCompletedIterator", None)  # from Python 3.13 on
if _ITERATOR is not None:
    _AS_COMPLETED.add(_ITERATOR.__init__.__code__)


def started_together(coroutine: Any) -> list[Any]:
    """What is started together with this coroutine, in order.

    asyncio.as_completed puts the awaitables into a set and starts them in the order of memory addresses, which no
    replay repeats. So with the first of them all are started, as they stand in the list.
    """
    frame: Any = sys._getframe(3)
    for _ in range(5):
        if frame is None:
            break
        if frame.f_code in _AS_COMPLETED:
            together = frame.f_locals.get("fs", frame.f_locals.get("aws"))
            if not isinstance(together, (list, tuple)):
                coroutine.close()
                raise MisusedFuture(
                    "asyncio.as_completed starts coroutines of a set in no fixed order, which a replay cannot repeat. Pass it a "
                    "list, or tasks, or use ctx.as_completed."
                )
            if any(one is coroutine for one in together):
                return [one for one in together if asyncio.iscoroutine(one)]
            break
        frame = frame.f_back
    return [coroutine]
