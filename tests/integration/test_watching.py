"""Tracing and logs: what an invocation tells of itself while it runs."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actors import Context, TerminalError, VirtualObject, handler
from actors.attempt.invocation import Invocation
from actors.logs import InvocationFilter, JsonFormatter
from actors.tracing import Tracing
from tests.world import World

log = logging.getLogger("tests.watching")
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def plain() -> str:
    log.info("in a step")
    return "done"


async def asynchronous() -> str:
    log.info("in an async step")
    return "done"


class Leaf(VirtualObject):
    @handler
    async def work(self, ctx: Context) -> dict[str, str]:
        await ctx.run(plain)
        return dict(ctx.headers)

    @handler
    async def fail(self) -> None:
        raise TerminalError("no")


class Front(VirtualObject):
    @handler
    async def call(self, ctx: Context) -> dict[str, str]:
        log.info("in a handler")
        await ctx.run(asynchronous)
        return await ctx.object(Leaf, ctx.key).work()

    @handler
    async def send(self, ctx: Context) -> None:
        ctx.object(Leaf, ctx.key).work.send()
        await ctx.object(Leaf, ctx.key).work.options(idempotency_key="k").send()

    @handler
    async def wait(self, ctx: Context) -> str:
        await ctx.run(plain)
        return await ctx.awakeable(str)


class Traced:
    def __init__(self, max_open: int = 100) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.watcher = Tracing(provider.get_tracer("tests"), max_open)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        found = self._exporter.get_finished_spans()
        assert len({span.name for span in found}) == len(found), [span.name for span in found]
        return {span.name: span for span in found}


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent is not None else None


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


async def test_spans_of_calls_and_steps_hang_together_below_the_trace_that_came_in() -> None:
    traced = Traced()
    async with World(Front, Leaf, watcher=traced.watcher) as world:
        call = world.app.object(Front, "a").call.options(headers={"traceparent": INCOMING})
        seen = await call()
        spans = traced.spans
        assert set(spans) == {"Front/call", "Leaf/work", "step asynchronous", "step plain"}
        assert parent_of(spans["Front/call"]) == "b7ad6b7169203331"
        assert parent_of(spans["Leaf/work"]) == id_of(spans["Front/call"])
        assert parent_of(spans["step asynchronous"]) == id_of(spans["Front/call"])
        assert parent_of(spans["step plain"]) == id_of(spans["Leaf/work"])
        assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {INCOMING[3:35]}
        assert seen["traceparent"].split("-")[2] == id_of(spans["Front/call"])


async def test_a_span_names_its_object_and_handler() -> None:
    traced = Traced()
    async with World(Front, Leaf, watcher=traced.watcher) as world:
        await world.app.object(Leaf, "a").work()
        step, whole = (dict(traced.spans[name].attributes or {}) for name in ("step plain", "Leaf/work"))
    assert step == {"actors.service": "Leaf", "actors.key": "a"}
    assert whole.items() >= {**step, "actors.handler": "work"}.items()


async def test_a_trace_of_the_caller_in_this_process_goes_in() -> None:
    traced = Traced()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("caller")
    async with World(Front, Leaf, watcher=traced.watcher) as world:
        with tracer.start_as_current_span("outside") as outside:
            await world.app.object(Leaf, "a").work()
        assert parent_of(traced.spans["Leaf/work"]) == f"{outside.get_span_context().span_id:016x}"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_an_invocation_has_one_span_however_often_it_is_replayed_and_a_step_one_for_each_execution() -> None:
    traced = Traced()
    async with World(Front, Leaf, watcher=traced.watcher) as world:
        handle = world.app.object(Front, "a").wait.options(headers={"traceparent": INCOMING}).send()
        await world.settle()
        assert set(traced.spans) == {"step plain"}
        for _ in range(2):
            await world.restart()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "!")
        assert await world.app.invocation(handle.id).result() == "!"
        assert set(traced.spans) == {"step plain", "Front/wait"}


@pytest.mark.parametrize("max_open", [1, 100])
async def test_a_span_that_was_not_opened_here_is_made_at_the_end(max_open: int) -> None:
    before, after = Traced(max_open), Traced(max_open)
    async with World(Front, Leaf, watcher=before.watcher) as world:
        handle = world.app.object(Front, "a").wait.options(headers={"traceparent": INCOMING}).send()
        await world.settle()
        await world.pass_time(7)
        world.options = {"watcher": after.watcher}
        await world.restart()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, "!")
        await world.app.invocation(handle.id).result()
        span = after.spans["Front/wait"]
        assert span.end_time is not None and span.start_time is not None
        assert span.end_time - span.start_time == 7_000_000_000
        assert parent_of(span) == "b7ad6b7169203331"


class Noting:
    """A watcher that writes down what it is told."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name, self._told = name, told

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        self._told.append(f"{self._name} begins")

    def ended(self, invocation: Invocation) -> None:
        self._told.append(f"{self._name} ended")

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        def noted() -> Any:
            self._told.append(f"{self._name} step {index} {name}")
            return function()

        return noted

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        return {"x-who": self._name, f"x-{self._name}": "told"}


async def test_each_of_several_watchers_is_told_in_their_order() -> None:
    told: list[str] = []
    async with World(Leaf, watcher=[Noting("first", told), Noting("second", told)]) as world:
        headers = await world.app.object(Leaf, "a").work()
    assert told == [
        "first begins",
        "second begins",
        "first step 1 plain",
        "second step 1 plain",
        "first ended",
        "second ended",
    ]
    assert headers == {"x-who": "first", "x-first": "told", "x-second": "told"}


class Twice(VirtualObject):
    @handler
    async def work(self, ctx: Context) -> None:
        await ctx.run(plain)
        await ctx.run(plain)


async def test_a_watcher_can_tell_a_step_from_another_of_its_name() -> None:
    told: list[str] = []
    async with World(Twice, watcher=Noting("w", told)) as world:
        await world.app.object(Twice, "a").work()
    assert told == ["w begins", "w step 1 plain", "w step 3 plain", "w ended"]


async def test_an_empty_list_of_watchers_watches_nothing() -> None:
    async with World(Leaf, watcher=[]) as world:
        assert await world.app.object(Leaf, "a").work() == {}


async def test_a_failure_shows_in_its_span() -> None:
    traced = Traced()
    async with World(Leaf, watcher=traced.watcher) as world:
        with pytest.raises(TerminalError):
            await world.app.object(Leaf, "a").fail()
        assert traced.spans["Leaf/fail"].status.status_code == trace.StatusCode.ERROR


async def test_trace_headers_go_through_calls_and_sends_without_any_tracing() -> None:
    headers = {"traceparent": INCOMING, "tracestate": "a=1", "x-other": "stays"}
    async with World(Front, Leaf) as world:
        assert await world.app.object(Front, "a").call.options(headers=headers)() == {
            "traceparent": INCOMING,
            "tracestate": "a=1",
        }
        await world.app.object(Front, "b").send.options(headers=headers)()
        await world.settle()
        given = world.disk.query("SELECT headers FROM invocations WHERE key = 'b' AND service = 'Leaf'")
        assert [json.loads(text) for (text,) in given] == [{"traceparent": INCOMING, "tracestate": "a=1"}] * 2


@pytest.mark.expects_log("failed with 7")
async def test_log_lines_name_the_invocation_they_come_from() -> None:
    stream = io.StringIO()
    target = logging.StreamHandler(stream)
    target.addFilter(InvocationFilter())
    target.setFormatter(JsonFormatter())
    log.addHandler(target)
    log.setLevel(logging.INFO)
    try:
        async with World(Front, Leaf) as world:
            handle = world.app.object(Front, "ä").call.send()
            await handle
            await handle.result()
            log.info("outside")
            try:
                raise ValueError("seen")
            except ValueError:
                log.exception("failed with %s", 7)
    finally:
        log.removeHandler(target)
    lines: list[dict[str, Any]] = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["message"], line.get("service"), line.get("key"), line.get("handler")) for line in lines]
    assert told == [
        ("in a handler", "Front", "ä", "call"),
        ("in an async step", "Front", "ä", "call"),
        ("in a step", "Leaf", "ä", "work"),
        ("outside", None, None, None),
        ("failed with 7", None, None, None),
    ]
    assert lines[0]["invocation_id"] == lines[1]["invocation_id"] == handle.id
    assert "ValueError: seen" in lines[-1]["error"] and lines[0]["time"].endswith("+00:00")


async def test_outside_of_a_loop_nothing_is_named() -> None:
    def record() -> logging.LogRecord:
        return logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None)

    found = await asyncio.to_thread(lambda: (one := record(), InvocationFilter().filter(one)) and one)
    assert found.__dict__["invocation_id"] is None
