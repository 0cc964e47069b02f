"""OpenTelemetry spans: one for each invocation, one for each execution of a step. Requires the extra `tracing`.

An invocation has one span, however often it is replayed, suspended or continued by another process: the span is opened when
the first attempt begins, and closed with the outcome. If the process that opened the span is gone, or had too many open spans,
the span is created with the outcome, starting at the time of acceptance. Only a crash breaks this: it can leave steps whose
parent was never exported, and a crash during the commit can export an invocation's span twice.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from actors.engine.watching import trace_headers
from actors.errors import short_reason
from actors.model.result_types import is_async
from actors.storage.records import Status as Stored

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation

MAX_OPEN = 10_000


class Tracing:
    """`App(..., watcher=Tracing())`. Trace context arrives in the headers of a message and is passed on to its messages."""

    def __init__(self, tracer: trace.Tracer | None = None, max_open: int = MAX_OPEN) -> None:
        self._tracer = tracer or trace.get_tracer("actors")
        self._max_open = max_open
        self._open: dict[int, trace.Span] = {}

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        span = self._open.get(invocation.seq)
        if span is None and invocation.journal is None and not invocation.attempts:
            span = self._open[invocation.seq] = self._span(invocation)
            if len(self._open) > self._max_open:
                del self._open[next(iter(self._open))]
        inside = trace.set_span_in_context(span, context.Context()) if span is not None else self._parent(invocation)
        variables.run(context.attach, inside)

    def ended(self, invocation: Invocation) -> None:
        span = self._open.pop(invocation.seq, None) or self._span(invocation)
        span.set_attribute("actors.failed_attempts", invocation.attempts)
        if invocation.status == Stored.FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=(invocation.ended_ms or invocation.accepted_ms) * 1_000_000)

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        if is_async(function):

            async def traced_async() -> Any:
                with self._step_span(invocation, name) as span:
                    return await _watched_async(span, function)

            return traced_async

        def traced() -> Any:
            with self._step_span(invocation, name) as span:
                return _watched(span, function)

        return traced

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        carrier: dict[str, str] = {}
        if caller is None:
            propagate.inject(carrier)
        elif (span := self._open.get(caller.seq)) is not None:
            propagate.inject(carrier, trace.set_span_in_context(span, self._parent(caller)))
        else:
            return trace_headers(caller)
        return carrier or None

    def _parent(self, invocation: Invocation) -> context.Context:
        return propagate.extract(trace_headers(invocation) or {}, context.Context())

    def _span(self, invocation: Invocation) -> trace.Span:
        return self._tracer.start_span(
            f"{invocation.service}/{invocation.handler_name}",
            self._parent(invocation),
            SpanKind.SERVER,
            {
                "actors.service": invocation.service,
                "actors.key": invocation.shown_key,
                "actors.handler": invocation.handler_name,
            },
            start_time=invocation.accepted_ms * 1_000_000,
        )

    def _step_span(self, invocation: Invocation, name: str) -> Any:
        return self._tracer.start_as_current_span(
            f"step {name}",
            attributes={"actors.service": invocation.service, "actors.key": invocation.shown_key},
            record_exception=False,
            set_status_on_exception=False,
        )


def _watched(span: trace.Span, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, short_reason(error)))
        raise


async def _watched_async(span: trace.Span, function: Callable[[], Any]) -> Any:
    try:
        return await function()
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, short_reason(error)))
        raise
