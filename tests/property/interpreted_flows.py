"""Workflows and a service that interpret random programs: wait for promises, complete them, call each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from actors import Context, Service, TerminalError, Workflow, handler, shared
from actors.errors import PromiseRejected

KEYS = ["a", "b"]
NAMES = ["x", "y"]


class Outside:
    """Side effects, which survive the crashes of the simulated processes."""

    def __init__(self) -> None:
        self.executions: Counter[tuple[str, int]] = Counter()
        self.published: dict[tuple[str, str], str] = {}  # (key, promise): the value a step was given
        self.ran: dict[str, set[str]] = {}  # key: ids of the runs whose steps were executed
        self.reset: set[str] = set()  # keys whose run somebody has purged or restarted, or tried to
        self.is_stored: Callable[[str], bool] = lambda id: True
        self.problems: list[str] = []

    def execute(self, id: str, place: int) -> list[Any]:
        if not self.is_stored(id):
            self.problems.append(f"step {place} of {id} started before its invocation was on disk")
        self.executions[id, place] += 1
        return ["step", id, place, self.executions[id, place]]

    def run(self, key: str, id: str) -> None:
        self.ran.setdefault(key, set()).add(id)
        if len(self.ran[key]) > 1 and key not in self.reset:
            self.problems.append(f"the workflow {key} ran as {self.ran[key]}")

    def publish(self, key: str, name: str, value: str) -> None:
        """What a step is given is on disk: nobody may ever get another value of the same promise."""
        if key not in self.reset and self.published.setdefault((key, name), value) != value:
            self.problems.append(f"{key}/{name} was {self.published[key, name]}, and then {value}")


outside = Outside()


def renew() -> Outside:
    global outside
    outside = Outside()
    return outside


class Transient(Exception):
    """Another attempt helps."""


async def _value(promise: Any) -> str | None:
    try:
        value: str | None = await promise
    except PromiseRejected as error:
        return "rejected " + error.message
    return value


class Flow(Workflow):
    """`seen` holds each promise its run has got, with the value."""

    seen: dict[str, str] = {}
    runs: int = 0

    @handler
    async def run(self, ctx: Context, program: list[Any]) -> list[Any]:
        self.runs += 1
        await ctx.run(outside.run, ctx.key, ctx.invocation_id)
        results = []
        for place, (op, *parameters) in enumerate(program):
            results.append(await getattr(self, f"_{op}")(ctx, place, *parameters))
        return results

    async def _wait(self, ctx: Context, place: int, name: str) -> Any:
        value = await _value(ctx.promise(name, str))
        self.seen[name] = str(value)
        await ctx.run(outside.publish, ctx.key, name, str(value))
        return ["got", name, value]

    async def _both(self, ctx: Context, place: int) -> Any:
        promises = [ctx.promise(name, str) for name in NAMES]
        await ctx.settle(*promises)
        return [["got", name, await _value(one)] for name, one in zip(NAMES, promises, strict=True)]

    async def _race(self, ctx: Context, place: int, name: str, ms: int) -> Any:
        promise = ctx.promise(name, str)
        await ctx.settle(ctx.timeout(promise, ms / 1000))
        await ctx.sleep(0.001)
        return ["got", name, await _value(promise)] if promise.done() else None

    async def _peek(self, ctx: Context, place: int, name: str) -> Any:
        value = await _value(ctx.promise(name, str).peek())
        await ctx.sleep(0.001)
        return ["got", name, value] if value is not None else None

    async def _complete(self, ctx: Context, place: int, name: str) -> Any:
        try:
            await ctx.promise(name, str).resolve("from within")
        except TerminalError as error:
            return error.error
        return ["got", name, "from within"]

    async def _step(self, ctx: Context, place: int) -> Any:
        return await ctx.run(outside.execute, ctx.invocation_id, place)

    async def _unstable(self, ctx: Context, place: int) -> Any:
        if outside.executions[ctx.invocation_id, -place - 1] < 2:
            outside.executions[ctx.invocation_id, -place - 1] += 1
            raise Transient(ctx.invocation_id)
        return "stable"

    async def _help(self, ctx: Context, place: int, program: list[Any]) -> Any:
        return await ctx.service(Helper).do(program)

    async def _hand_over(self, ctx: Context, place: int, program: list[Any]) -> Any:
        ctx.service(Helper).do.send(program)
        return "sent"

    @shared
    async def complete(self, ctx: Context, name: str, value: str, reject: bool) -> str:
        promise = ctx.promise(name, str)
        try:
            await (promise.reject(value) if reject else promise.resolve(value))
        except TerminalError as error:
            return error.error
        return "rejected " + value if reject else value

    @shared
    async def watch(self, ctx: Context, name: str) -> Any:
        value = await _value(ctx.promise(name, str))
        await ctx.run(outside.publish, ctx.key, name, str(value))
        return [["got", name, value]]

    @shared
    async def look(self) -> list[Any]:
        return [self.runs, self.seen]


class Helper(Service):
    @handler
    async def do(self, ctx: Context, program: list[Any]) -> list[Any]:
        results: list[Any] = []
        for place, (op, *parameters) in enumerate(program):
            match op:
                case "step":
                    results.append(await ctx.run(outside.execute, ctx.invocation_id, place))
                case "sleep":
                    await ctx.sleep(parameters[0] / 1000)
                case "complete":
                    key, name = parameters
                    await ctx.object(Flow, key).complete(name, "helper", False)
                case "start":  # whoever calls it gets the outcome of the one run, or is refused
                    results.append(await _started(ctx, *parameters))
        return results


async def _started(ctx: Context, key: str, program: list[Any]) -> Any:
    try:
        await ctx.object(Flow, key).run(program)
    except TerminalError as error:
        return error.error
    return "ran"


MS = st.integers(1, 20)
NAME = st.sampled_from(NAMES)
SIMPLE: list[st.SearchStrategy[Any]] = [
    st.just(["step"]),
    st.builds(lambda ms: ["sleep", ms], MS),
    st.builds(lambda key, name: ["complete", key, name], st.sampled_from(KEYS), NAME),
]
HELP = st.lists(st.one_of(SIMPLE), max_size=3)
FLOW = st.lists(
    st.one_of(
        st.builds(lambda name: ["wait", name], NAME),
        st.just(["both"]),
        st.builds(lambda name, ms: ["race", name, ms], NAME, MS),
        st.builds(lambda name: ["peek", name], NAME),
        st.builds(lambda name: ["complete", name], NAME),
        st.just(["step"]),
        st.just(["unstable"]),
        st.builds(lambda program: ["help", program], HELP),
        st.builds(lambda program: ["hand_over", program], HELP),
    ),
    max_size=4,
)
