"""The clean-up of a closed handler: its `finally` blocks and context managers, and the asyncio work that they await.

Promise: they run to their end, within CLEAN_UP_S seconds, in the same task as the handler; no request through the context has
any effect.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

from actors.attempt.recorder import STUBBORN, Recorder
from actors.errors import AttemptEnded
from actors.model.raised import interrupted

log = logging.getLogger("actors")

CLEAN_UP_S = 10.0
_stubborn: list[Any] = []  # kept alive: the garbage collector would close them again, with the same result


class CleanUp:
    """The clean-up of one handler. Life: `run` until it is `done`, which is at once unless it awaits something."""

    __slots__ = (
        "_attempt",
        "_cancelled",
        "_coroutine",
        "_deadline",
        "_refused",
        "_variables",
        "awaited",
        "done",
        "waiter",
    )

    def __init__(self, attempt: Recorder, coroutine: Any, variables: contextvars.Context) -> None:
        self._attempt = attempt
        self._coroutine = coroutine
        self._variables = variables
        self.awaited: asyncio.Future[Any] | None = None
        self._cancelled: BaseException | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._refused = 0
        self.done = False
        self.waiter: asyncio.Future[None] | None = None  # completed with the clean-up, for the code that ends the loop

    def begin(self) -> None:
        if self._attempt.stepping:  # closed by its own code, which must reach an await first
            self._attempt.host.call_soon(self.begin)
            self._hold()
            return
        self._go_on(AttemptEnded())

    def _go_on(self, error: BaseException | None) -> None:
        attempt, coroutine = self._attempt, self._coroutine
        while not self.done:
            try:
                yielded = attempt.entered(self._variables, coroutine, error)
            except (StopIteration, AttemptEnded, asyncio.CancelledError, GeneratorExit) as ended:
                if error is not None:
                    error.__traceback__ = None  # the traceback refers to the frames that hold the error: the collector would find them late
                ended.__traceback__ = None
                self._end()
                return
            except BaseException as raised:
                self._end()
                if interrupted(raised):
                    raise
                if not _only_ended(raised):
                    log.exception("A handler raised while it was closed; the error has no effect on its invocation")
                return
            error, self._cancelled = self._cancelled, None
            if yielded is None:
                if error is None:
                    self._hold()
                    attempt.host.call_soon(self._resume)
                    return
            elif getattr(yielded, "_asyncio_future_blocking", None):
                yielded._asyncio_future_blocking = False
                if error is None:
                    self._hold()
                    self.awaited = yielded
                    yielded.add_done_callback(self._resume, context=attempt.host.variables)
                    return
            else:
                self._refused += 1
                if self._refused > STUBBORN:
                    log.error(
                        "%s cannot be closed: its code catches BaseException in a loop. Its coroutine was abandoned.",
                        attempt.host.label(attempt.invocation),
                    )
                    self._abandon()
                    return
                error = AttemptEnded()

    def _resume(self, _: object = None) -> None:
        self.awaited = None
        error, self._cancelled = self._cancelled, None
        self._go_on(error)

    def cancel(self, message: Any) -> bool:
        """Cancelled by a timeout or task group in the clean-up itself."""
        if self.done:
            return False
        if self.awaited is None or not self.awaited.cancel(message):
            self._cancelled = asyncio.CancelledError() if message is None else asyncio.CancelledError(message)
        return True

    def _hold(self) -> None:
        """The clean-up takes time: register it with the engine, and limit it."""
        if self._deadline is None:
            host = self._attempt.host
            self.waiter = host.loop.create_future()
            host.leaving.add(self.waiter)
            self._deadline = host.loop.call_later(CLEAN_UP_S, self._too_long)

    def _too_long(self) -> None:
        log.warning(
            "%s was closed, and its clean-up did not end within %g s. It was abandoned. Set a time limit for "
            "what `finally` blocks and context managers await.",
            self._attempt.host.label(self._attempt.invocation),
            CLEAN_UP_S,
        )
        if self.awaited is not None:
            self.awaited.remove_done_callback(self._resume)
        self._abandon()

    def _abandon(self) -> None:
        self._end()
        try:
            self._coroutine.close()
        except BaseException:
            _stubborn.append(self._coroutine)

    def _end(self) -> None:
        self.done = True
        self._attempt.cleaned_up()
        if self._deadline is not None:
            self._deadline.cancel()
        if self.waiter is not None and not self.waiter.done():
            self._attempt.host.leaving.discard(self.waiter)
            self.waiter.set_result(None)


async def all_ended(leaving: set[asyncio.Future[None]]) -> None:
    """Return when these clean-ups have ended, and the branches of closed attempts. It takes bounded time."""
    if leaving:
        await asyncio.wait(leaving, timeout=CLEAN_UP_S)


def _only_ended(error: BaseException) -> bool:
    """Whether this is the exception that closed the handler, perhaps wrapped by task groups on its way."""
    if isinstance(error, BaseExceptionGroup):
        return all(_only_ended(one) for one in error.exceptions)
    return isinstance(error, (AttemptEnded, asyncio.CancelledError))
