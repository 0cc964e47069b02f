"""Actors for a world with operators: handlers that catch cancellation and clean up, atomic ones, ones that give up.

Everything is known by the id of its invocation, because a restarted one has the same arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from actors import Context, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.errors import InvocationCancelled
from actors.model.futures import DurableFuture

KEYS = ["a", "b", "c"]  # a program calls only later keys, so that no call waits for its caller
PAUSES = RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=2)
FAILS = RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=2, on_exhausted="fail")


class Outside:
    """Side effects and observations. It survives the crashes of the simulated processes."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.attempts: Counter[str] = Counter()
        self.ids: list[str] = []  # of invocations whose code has run, or that were sent
        self.awakeables: list[str] = []
        self.lines: list[tuple[int, str, str]] = []  # (incarnation, key, id): code of that invocation ran
        self.executions: Counter[tuple[str, int]] = Counter()
        self.failures: Counter[tuple[str, int]] = Counter()
        self.told: Counter[tuple[str, int]] = Counter()  # (id, attempt)
        self.began_with: dict[tuple[int, str], list[str]] = {}  # id: the log as each of its attempts found it
        self.picked: set[str] = set()  # whose cancellation a handler has asked for
        self.look: Callable[[str], int | None] = lambda id: None  # the stored status
        self.paused: set[str] = set()  # nobody may run these
        self.problems: list[str] = []

    def begin(self, id: str) -> None:
        self.know(id)
        self.attempts[id] += 1

    def attempt(self, key: str, id: str, log: list[str]) -> None:
        self.begin(id)
        self.line(key, id)
        # Within one process: what ran ahead of the disk before a crash may well begin from something else after it.
        began_with = self.began_with.setdefault((self.incarnation, id), list(log))
        if began_with != log:
            self.problems.append(f"{id} began with {began_with}, and then with {log}")

    def know(self, id: str) -> None:
        if id not in self.ids:
            self.ids.append(id)

    def line(self, key: str, id: str) -> None:
        self.lines.append((self.incarnation, key, id))
        status = self.look(id)
        if status is not None and status >= 6:
            self.problems.append(f"code of {id} ran after its outcome was on disk")
        if id in self.paused:
            self.problems.append(f"code of {id} ran while an operator had paused it")

    def execute(self, id: str, place: int) -> list[int]:
        status = self.look(id)
        if status is None or status >= 6:
            self.problems.append(f"step {place} of {id} started before it was on disk, or after its end: {status}")
        self.executions[id, place] += 1
        return [place, self.executions[id, place]]

    def publish(self, id: str, place: int, awakeable: str) -> list[int]:
        if awakeable not in self.awakeables:
            self.awakeables.append(awakeable)
        return self.execute(id, place)

    def cancelled(self, id: str) -> None:
        self.told[id, self.attempts[id]] += 1
        if self.told[id, self.attempts[id]] > 1:
            self.problems.append(f"{id} was told twice in one attempt that it is cancelled")

    def pick(self, place: int) -> str:
        self.paused.clear()  # it may be the one
        id = self.ids[-1 - place % len(self.ids)]
        self.picked.add(id)
        return id


outside = Outside()


def renew() -> Outside:
    global outside
    outside = Outside()
    return outside


class Transient(Exception):
    """Another attempt helps."""


class Operated(VirtualObject):
    """`log` holds the id of each invocation once, in order of execution."""

    count: int = 0
    log: list[str] = []
    notes: dict[str, list[Any]] = {}

    @handler(retry=PAUSES)
    async def plain(self, ctx: Context, program: list[Any]) -> list[Any]:
        return await self._interpret(ctx, program)

    @handler
    async def careful(self, ctx: Context, program: list[Any], swallow: bool) -> list[Any]:
        try:
            return await self._interpret(ctx, program)
        except InvocationCancelled:
            outside.line(ctx.key, ctx.invocation_id)
            await self._awaited(ctx, ctx.sleep(0.002))
            await self._awaited(ctx, ctx.run(outside.execute, ctx.invocation_id, 100))
            self.notes[ctx.invocation_id] = ["cleaned up"]
            outside.line(ctx.key, ctx.invocation_id)
            if not swallow:
                raise
            return ["swallowed"]

    @handler(atomic=True, retry=FAILS)
    async def atomic(self, ctx: Context, program: list[Any]) -> list[Any]:
        return await self._interpret(ctx, program)

    @handler(retry=FAILS)
    async def gives_up(self, ctx: Context, program: list[Any]) -> list[Any]:
        return await self._interpret(ctx, program)

    @handler
    async def fresh(self) -> str:
        return "fresh"

    @shared
    async def watch(self, ctx: Context, program: list[Any]) -> list[Any]:
        outside.begin(ctx.invocation_id)
        seen = []
        for place, (op, *parameters) in enumerate(program):
            seen.append(await self._do(ctx, place, op, parameters))
        return seen

    async def _interpret(self, ctx: Context, program: list[Any]) -> list[Any]:
        me = ctx.invocation_id
        outside.attempt(ctx.key, me, self.log)
        self.count += 1
        self.log.append(me)
        seen: list[Any] = []
        for place, (op, *parameters) in enumerate(program):
            seen.append(await self._do(ctx, place, op, parameters))
            outside.line(ctx.key, me)
            self.notes[me] = [op for op, *_ in program[: place + 1]]
        await self._awaited(ctx, ctx.sleep(0.001))
        outside.line(ctx.key, me)
        if ["terminal"] in program:
            raise TerminalError("the program says so")
        return seen

    async def _do(self, ctx: Context, place: int, op: str, parameters: list[Any]) -> Any:
        return await getattr(self, f"_{op}")(ctx, place, *parameters)

    async def _awaited(self, ctx: Context, future: DurableFuture[Any]) -> Any:
        try:
            return await future
        except InvocationCancelled:
            if not future.done():  # else it was the one that is called that was cancelled
                outside.cancelled(ctx.invocation_id)
            raise

    async def _run(self, ctx: Context, place: int) -> Any:
        return await self._awaited(ctx, ctx.run(outside.execute, ctx.invocation_id, place))

    async def _run_async(self, ctx: Context, place: int) -> Any:
        async def execute() -> list[int]:
            return outside.execute(ctx_id, place)

        ctx_id = ctx.invocation_id
        return await self._awaited(ctx, ctx.run(execute))

    async def _flaky(self, ctx: Context, place: int, failures: int) -> Any:
        me = ctx.invocation_id

        def execute() -> list[int]:
            result = outside.execute(me, place)
            if result[1] <= failures:
                raise Transient(me)
            return result

        return await self._awaited(ctx, ctx.run(execute))

    async def _unstable(self, ctx: Context, place: int, failures: int) -> Any:
        if outside.failures[ctx.invocation_id, place] < failures:
            outside.failures[ctx.invocation_id, place] += 1
            raise Transient(ctx.invocation_id)
        return "stable"

    async def _sleep(self, ctx: Context, place: int, ms: int) -> Any:
        return await self._awaited(ctx, ctx.sleep(ms / 1000))

    async def _promise(self, ctx: Context, place: int) -> Any:
        promise = ctx.awakeable(str)
        await self._awaited(ctx, ctx.run(outside.publish, ctx.invocation_id, place, promise.id))
        return [promise.id, await self._awaited(ctx, promise)]

    async def _race(self, ctx: Context, place: int, ms: int) -> Any:
        promise = ctx.awakeable(str)
        await self._awaited(ctx, ctx.run(outside.publish, ctx.invocation_id, place, promise.id))
        await self._awaited(ctx, ctx.first(promise, ctx.sleep(ms / 1000)))
        return promise.done()

    async def _call(self, ctx: Context, place: int, key: str, method: str, args: list[Any]) -> Any:
        future: Any = ctx.call("Operated", key, method, *args)
        try:
            return await self._awaited(ctx, future)
        except TerminalError as error:
            if not future.done():
                raise
            return error.error

    async def _both(self, ctx: Context, place: int, calls: list[list[Any]]) -> Any:
        made: list[Any] = [ctx.call("Operated", key, method, *args) for key, method, args in calls]
        together: Any = ctx.settle(*made)
        results = await self._awaited(ctx, together)
        return [result.error if isinstance(result, TerminalError) else result for result in results]

    async def _send(self, ctx: Context, place: int, key: str, method: str, args: list[Any], ms: int) -> Any:
        sent = ctx.send("Operated", key, method, *args, delay=ms / 1000)
        return await self._awaited(ctx, ctx.run(outside.know, sent.id))

    async def _once(self, ctx: Context, place: int, key: str, name: str) -> Any:
        target = ctx.object(Operated, key).plain.options(idempotency_key=name)
        future: Any = target(ONCE[name])
        try:
            return await self._awaited(ctx, future)
        except TerminalError as error:
            if not future.done():
                raise
            return error.error

    async def _cancel(self, ctx: Context, place: int, which: int, awaited: bool) -> Any:
        id = await self._awaited(ctx, ctx.run(outside.pick, which))
        future = ctx.cancel(id)
        if not awaited:
            return "cancels"
        try:
            await self._awaited(ctx, future)
        except TerminalError as error:
            if not future.done():
                raise
            return error.error
        return "cancelled"

    async def _terminal(self, ctx: Context, place: int) -> Any:
        return "terminal"


ONCE: dict[str, list[Any]] = {"x": [["sleep", 3]], "y": [["run"], ["promise"]]}
MS = st.integers(1, 20)
METHODS = st.sampled_from(["plain", "careful", "atomic", "gives_up", "watch"])


def messages(first_key: int, depth: int) -> st.SearchStrategy[tuple[str, list[Any]]]:
    """A handler of KEYS[first_key] and its arguments."""

    def with_arguments(method: str) -> st.SearchStrategy[tuple[str, list[Any]]]:
        program = programs(first_key, depth, shared=method == "watch")
        if method == "careful":
            return st.tuples(program, st.booleans()).map(lambda pair: (method, list(pair)))
        return program.map(lambda program: (method, [program]))

    return METHODS.flatmap(with_arguments)


def _call_to(depth: int) -> Callable[[str], st.SearchStrategy[list[Any]]]:
    return lambda key: messages(KEYS.index(key), depth).map(lambda message: ["call", key, *message])


def programs(first_key: int, depth: int, shared: bool = False) -> st.SearchStrategy[list[Any]]:
    simple: list[st.SearchStrategy[Any]] = [
        st.just(["run"]),
        st.just(["run_async"]),
        st.builds(lambda n: ["flaky", n], st.integers(1, 3)),
        st.builds(lambda n: ["unstable", n], st.integers(1, 3)),
        st.builds(lambda ms: ["sleep", ms], MS),
        st.just(["promise"]),
        st.builds(lambda ms: ["race", ms], MS),
        st.builds(lambda which, awaited: ["cancel", which, awaited], st.integers(0, 6), st.booleans()),
    ]
    for later in range(first_key + 1, len(KEYS)):
        simple.append(st.builds(lambda name, key=KEYS[later]: ["once", key, name], st.sampled_from("xy")))
        if depth:
            inner = messages(later, depth - 1)
            call = st.builds(lambda m, key=KEYS[later]: ["call", key, *m], inner)
            send = st.builds(lambda m, ms, key=KEYS[later]: ["send", key, *m, ms], inner, st.sampled_from([0, 4]))
            simple += [call, call, send]
            both = st.tuples(st.sampled_from(KEYS[first_key + 1 :]).flatmap(_call_to(depth - 1)), call).map(
                lambda pair: ["both", [pair[0][1:], pair[1][1:]]]
            )
            simple.append(both)
    body = st.lists(st.one_of(simple), max_size=4)
    if shared:
        return body
    return st.builds(
        lambda ops, fails: [*ops, ["terminal"]] if fails else ops, body, st.sampled_from([False] * 4 + [True])
    )


def chains() -> st.SearchStrategy[tuple[str, list[Any]]]:
    """A handler of the first key that waits for one of the second, which waits for one of the last, which waits."""
    waits = st.sampled_from([[["promise"]], [["sleep", 20]], [["run"], ["promise"]], [["promise"], ["unstable", 1]]])
    methods = st.sampled_from(["plain", "atomic", "gives_up", "watch"])
    return st.builds(
        lambda first, second, ops, swallow: (
            first,
            [[["call", KEYS[1], second, [[["call", KEYS[2], "careful", [ops, swallow]]]]]]],
        ),
        methods,
        methods,
        waits,
        st.booleans(),
    )
