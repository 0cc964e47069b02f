"""Watchers of running invocations, such as tracing; and the trace context that travels with messages in any case."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation

# W3C trace context and baggage: an invocation passes these headers on to the invocations it calls and sends to.
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")


class Counts:
    """Counters since the app has started."""

    __slots__ = ("failed", "failed_attempts", "failed_steps", "paused", "succeeded")

    def __init__(self) -> None:
        self.succeeded = self.failed = self.failed_attempts = self.failed_steps = self.paused = 0


class Watcher(Protocol):
    """Is notified of an invocation's life in this process. A watcher must not raise, and must be quick."""

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        """An attempt begins; the handler will run in these variables. With a journal, it replays an earlier attempt."""
        ...

    def ended(self, invocation: Invocation) -> None:
        """The invocation has its outcome, which is about to be written."""
        ...

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """A step is about to be executed. Returns the function to execute instead, async if `function` is.

        `index` is the position of its command in the journal: a step that is executed again has the same index.
        """
        ...

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        """Trace headers for a message of this handler, or of this process."""
        ...


class Watchers:
    """Several watchers as one. They are notified in their order; the first wraps a step outermost, and its headers count."""

    __slots__ = ("_watchers",)

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        for watcher in self._watchers:
            watcher.begins(invocation, variables)

    def ended(self, invocation: Invocation) -> None:
        for watcher in self._watchers:
            watcher.ended(invocation)

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        for watcher in reversed(self._watchers):
            function = watcher.step(invocation, index, name, function)
        return function

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        headers: dict[str, str] = {}
        for watcher in reversed(self._watchers):
            headers.update(watcher.headers(caller) or {})
        return headers or None


def as_one(watchers: Watcher | Sequence[Watcher] | None) -> Watcher | None:
    """The only watcher, or one that stands for several; None for none."""
    if not isinstance(watchers, Sequence):
        return watchers
    return watchers[0] if len(watchers) == 1 else Watchers(watchers) if watchers else None


_decode = msgspec.json.Decoder(dict[str, str]).decode


def trace_headers(caller: Invocation) -> dict[str, str] | None:
    """The trace headers that the caller itself has received."""
    extras = caller.extras
    if extras is None or not extras.headers or "traceparent" not in extras.headers:
        return None
    given = _decode(extras.headers)
    return {name: given[name] for name in TRACE_HEADERS if name in given} or None
