"""The coroutine of a handler whose changes of state are recorded before it waits for something durable.

Promise: no durable wait begins before the changes are recorded, so an attempt that ends there loses none. A cancellation reaches the
handler once, as InvocationCancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from actors.errors import AttemptEnded, InvocationCancelled, TerminalError
from actors.model.futures import Bridge
from actors.transport.restate.commands import Commands

log = logging.getLogger("actors")

stubborn: list[Any] = []  # kept alive: the garbage collector would close them again, with the same result


class RecordedLine(Coroutine[Any, Any, Any]):
    """Around `coroutine`, for its task. `ended` is called as it ends."""

    __slots__ = ("_commands", "_coroutine", "_ended")

    def __init__(self, coroutine: Any, commands: Commands, ended: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._commands = commands
        self._ended = ended

    def send(self, value: Any) -> Any:
        try:
            return self._recorded(self._coroutine.send(value))
        except BaseException:
            self._ended()
            raise

    def throw(self, *error: Any) -> Any:
        try:
            return self._recorded(self._thrown(*error))
        except BaseException:
            self._ended()
            raise

    def _thrown(self, *error: Any) -> Any:
        if self._commands.notified and isinstance(error[0], asyncio.CancelledError):
            self._commands.notified = False
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            return self._coroutine.throw(InvocationCancelled())
        return self._coroutine.throw(*error)

    def _recorded(self, awaited: Any) -> Any:
        while isinstance(awaited, Bridge) and not self._commands.refuses:
            try:
                self._commands.record()
            except TerminalError as error:
                awaited = self._coroutine.throw(error)
            except AttemptEnded:
                break  # the attempt ends while the handler waits here
            else:
                break
        return awaited

    def close(self) -> None:
        try:
            self._coroutine.close()
        except RuntimeError:  # it has swallowed GeneratorExit, and would do so again when it is collected
            stubborn.append(self._coroutine)
            log.error(
                "%s cannot be closed: its code catches BaseException in a loop. Its coroutine was abandoned.",
                self._commands.label,
            )
            raise

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Debuggers and the texts of tasks look at `cr_code` and the like."""
        return getattr(self._coroutine, name)
