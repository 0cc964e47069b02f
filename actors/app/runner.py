"""The launcher: the fastest event loop that the machine offers."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Coroutine
from typing import Any, TypeVar

uvloop: Any
try:
    import uvloop
except ImportError:  # Windows
    uvloop = None

T = TypeVar("T")


_DEFAULT_COLLECTOR = (700, 2000)  # the first threshold of CPython, to 3.11 and from 3.12


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run(main)`, on uvloop where it is installed.

    Meanwhile the garbage collector runs less often, unless its thresholds were changed before: many messages are under way at
    once, and searching them again and again costs an eighth of the time. Messages leave no cycles. Raises RuntimeError where a
    loop is running already: in Jupyter write `await main()`.
    """
    if not inspect.iscoroutine(main) and not isinstance(main, Coroutine):
        called = f"{main.__name__}()" if inspect.iscoroutinefunction(main) else "main(), of an 'async def main()'"
        raise TypeError(f"run() requires a coroutine, got {main!r}. Write run({called}).")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        name = getattr(getattr(main, "cr_code", None), "co_name", "main")
        main.close()  # otherwise Python warns that the coroutine was never awaited
        raise RuntimeError(
            f"run() starts an event loop, and one is running here already, as in Jupyter. Write `await {name}()` instead."
        )
    collector = gc.get_threshold()
    if collector[0] in _DEFAULT_COLLECTOR:
        gc.set_threshold(20_000, *collector[1:])
    try:
        if uvloop is None:
            return asyncio.run(main)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main)
    finally:
        gc.set_threshold(*collector)
