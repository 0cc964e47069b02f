"""Where an app may be called from: on its own event loop, and from outside of its own handlers.

Promise: a call from anywhere else is refused before anything happens. To another thread or loop, the answer could not be
delivered. Inside a handler, the call would not be part of the invocation: each replay would repeat it, and a call of the
handler's own object would never return, which ctx.object refuses.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from actors.errors import MisusedApp
from actors.model.inside import inside

if TYPE_CHECKING:
    from actors.engine.partition import Partition


def check_entry(partition: Partition) -> None:
    """Raises MisusedApp unless this is the app's loop, and no handler or step of the app."""
    if inside.get() is partition:
        raise MisusedApp(
            "The app was used inside one of its own handlers or steps. Such a call is not part of the invocation: each replay "
            "would repeat it, and a call of the handler's own object would wait for ever. Use ctx.object(...), "
            "ctx.service(...), ctx.call or ctx.send in the handler. If the call should not be part of the invocation: "
            "with app.outside(): ..."
        )
    check_loop(partition.loop)


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises MisusedApp unless this is the app's loop."""
    running = asyncio._get_running_loop()
    if running is loop:
        return
    where = "outside of an event loop" if running is None else "on another event loop"
    raise MisusedApp(
        f"The app was used {where}, in the thread {threading.current_thread().name!r}. Nothing was done. An app belongs to the "
        "event loop it was started on: use it there, for example with asyncio.run_coroutine_threadsafe(coroutine, loop), or call it "
        "over HTTP: actors.transport.client.SyncClient."
    )


class Outside:
    """`with app.outside():` in a handler or step: calls of the app are allowed, and are not part of the invocation."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = inside.set(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        inside.reset(self._token)
