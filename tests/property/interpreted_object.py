"""An object that interprets random programs, and the world outside it, which remembers what really happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from actors import Context, TerminalError, VirtualObject, handler, shared

KEYS = ["a", "b", "c"]  # a program calls only later keys, so that no call waits for its caller


class Outside:
    """Side effects and observations. It survives the crashes of the simulated processes."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.lines: list[tuple[int, str, str]] = []  # (incarnation, key, name): code of that invocation ran
        self.executions: Counter[tuple[str, int]] = Counter()  # of the step at that place of that program
        self.ids: list[tuple[str, str]] = []  # (name, awakeable id) that left through a step
        self.is_stored: Callable[[str], bool] = lambda name: True
        self.problems: list[str] = []

    def line(self, key: str, name: str) -> None:
        self.lines.append((self.incarnation, key, name))

    def execute(self, name: str, place: int) -> int:
        if not self.is_stored(name):
            self.problems.append(f"step {place} of {name} started before its invocation was on disk")
        self.executions[name, place] += 1
        return self.executions[name, place]

    def publish(self, name: str, place: int, id: str) -> int:
        self.ids.append((name, id))
        return self.execute(name, place)

    def newest_id(self) -> str | None:
        return self.ids[-1][1] if self.ids else None


outside = Outside()


def renew() -> Outside:
    global outside
    outside = Outside()
    return outside


class Flaky(Exception):
    """A transient error."""


class Actor(VirtualObject):
    """`log` holds the name of each invocation once, in order of execution; `notes` what each observed."""

    count: int = 0
    log: list[str] = []
    notes: dict[str, list[Any]] = {}

    @handler
    async def do(self, ctx: Context, name: str, program: list[Any]) -> list[Any]:
        outside.line(ctx.key, name)
        self.count += 1
        self.log.append(name)
        seen: list[Any] = []
        for place, (op, *parameters) in enumerate(program):
            seen.append(await getattr(self, f"_{op}")(ctx, name, place, *parameters))
            outside.line(ctx.key, name)
            self.notes[name] = seen
        if seen and seen[-1] == "terminal":
            raise TerminalError(f"{name} fails", metadata={"seen": str(len(seen))})
        return seen

    @shared
    async def peek(self) -> list[Any]:
        return [self.count, self.log]

    async def _run(self, ctx: Context, name: str, place: int) -> Any:
        return ["ran", place, await ctx.run(outside.execute, name, place)]

    async def _run_async(self, ctx: Context, name: str, place: int) -> Any:
        async def execute() -> int:
            return outside.execute(name, place)

        return ["ran", place, await ctx.run(execute)]

    async def _flaky(self, ctx: Context, name: str, place: int, failures: int) -> Any:
        def execute() -> int:
            if outside.execute(name, place) <= failures:
                raise Flaky(name)
            return outside.executions[name, place]

        return ["ran", place, await ctx.run(execute)]

    async def _refused(self, ctx: Context, name: str, place: int) -> Any:
        def execute() -> int:
            raise TerminalError(f"refused {outside.execute(name, place)}")

        try:
            await ctx.run(execute)
        except TerminalError as error:
            return ["ran", place, int(error.message.split()[1])]
        return "not refused"

    async def _unstable(self, ctx: Context, name: str, place: int, failures: int) -> Any:
        if outside.executions[name, -place - 1] < failures:
            outside.executions[name, -place - 1] += 1
            raise Flaky(name)
        return "stable"

    async def _sleep(self, ctx: Context, name: str, place: int, ms: int) -> Any:
        before = ctx.now()
        await ctx.sleep(ms / 1000)
        return (ctx.now() - before).total_seconds() * 1000 >= ms

    async def _promise(self, ctx: Context, name: str, place: int, ms: int) -> Any:
        promise = ctx.awakeable(str)
        executions = await ctx.run(outside.publish, name, place, promise.id)
        if ms:
            await ctx.sleep(ms / 1000)
        try:
            value = await promise
        except TerminalError as error:
            value = error.message
        return ["ran", place, executions, promise.id, value]

    async def _race(self, ctx: Context, name: str, place: int, ms: int) -> Any:
        promise = ctx.awakeable(str)
        executions = await ctx.run(outside.publish, name, place, promise.id)
        alarm = ctx.sleep(ms / 1000)
        await ctx.first(promise, alarm)
        winner = "promise" if promise.done() else "alarm"
        self.notes[f"{name}.{place}"] = [winner, promise.done(), alarm.done()]
        await ctx.sleep(0.001)  # a command whose place in the journal depends on nothing but the replayed order
        return ["ran", place, executions, winner, promise.done(), alarm.done()]

    async def _order(self, ctx: Context, name: str, place: int, delays: list[int]) -> Any:
        alarms = [ctx.sleep(ms / 1000) for ms in delays]
        step = ctx.run(outside.execute, name, place)
        order = []
        async for done in ctx.as_completed(*alarms, step):
            position = ([*alarms, step]).index(done)
            order.append(position)
            self.notes[f"{name}.{place}"] = list(order)
        return ["ran", place, await step, order]

    async def _call(self, ctx: Context, name: str, place: int, key: str, program: list[Any]) -> Any:
        try:
            return await ctx.object(Actor, key).do(f"{name}.{place}", program)
        except TerminalError as error:
            return error.metadata

    async def _send(self, ctx: Context, name: str, place: int, key: str, program: list[Any], ms: int) -> Any:
        ctx.object(Actor, key).do.options(delay=ms / 1000).send(f"{name}.{place}", program)
        return "sent"

    async def _named(self, ctx: Context, name: str, place: int) -> Any:
        ctx.set("undeclared", [name, ctx.get("undeclared", default=None)][:1])
        return ctx.get("undeclared")

    async def _complete(self, ctx: Context, name: str, place: int, awaited: bool) -> Any:
        id = await ctx.run(outside.newest_id)
        if id is None:
            return "nobody waits"
        completion = ctx.resolve_awakeable(id, name)
        if not awaited:
            return "completes"
        try:
            await completion
        except TerminalError:
            return "too late"
        return ["completed", id, name]

    async def _terminal(self, ctx: Context, name: str, place: int) -> Any:
        return "terminal"


MS = st.integers(1, 30)


def programs(first_key: int = 0, depth: int = 2) -> st.SearchStrategy[list[Any]]:
    """Programs for the object KEYS[first_key]."""
    simple: list[st.SearchStrategy[Any]] = [
        st.just(["run"]),
        st.just(["run_async"]),
        st.builds(lambda n: ["flaky", n], st.integers(1, 2)),
        st.just(["refused"]),
        st.builds(lambda n: ["unstable", n], st.integers(1, 2)),
        st.builds(lambda ms: ["sleep", ms], MS),
        st.builds(lambda ms: ["promise", ms], st.sampled_from([0, 5])),
        st.builds(lambda ms: ["race", ms], MS),
        st.builds(lambda delays: ["order", delays], st.lists(st.sampled_from([3, 5, 7]), max_size=3)),
        st.just(["named"]),
        st.builds(lambda awaited: ["complete", awaited], st.booleans()),
    ]
    if depth:
        for later in range(first_key + 1, len(KEYS)):
            inner = programs(later, depth - 1)
            simple.append(st.builds(lambda p, key=KEYS[later]: ["call", key, p], inner))
            simple.append(
                st.builds(lambda p, ms, key=KEYS[later]: ["send", key, p, ms], inner, st.sampled_from([0, 4]))
            )
    body = st.lists(st.one_of(simple), max_size=4)
    return st.builds(
        lambda ops, fails: [*ops, ["terminal"]] if fails else ops, body, st.sampled_from([False] * 4 + [True])
    )
