"""Random call graphs: what would wait for ever is refused, what would not is not, and nothing waits for ever.

Objects of two classes interpret random programs: calls one by one and several at once, to exclusive and shared
handlers, which call on; sends, at once and delayed; attachments to whatever id is known; sleeps. Few handlers and
objects stay in memory, and the process crashes at any commit. `waits` draws the graph of waits by brute force, says how,
and checks each refusal at its moment:

* no false alarm: each refused call or attachment closes a cycle, and the printed cycle is there, stop by stop;
* none missed: when all time has passed, every invocation has an outcome, and no caller is without its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from actors import Context, Limits, TerminalError, VirtualObject, handler, shared
from actors.errors import AppNotRunning
from actors.storage import StorageError
from tests.property.waits import Record, WatchedMachine, new_record

CRASHED = (StorageError, AppNotRunning)
KEYS = ["a", "b"]
known: list[str] = []  # ids that were told


def tell(id: str) -> None:
    if id not in known:
        known.append(id)


class Node(VirtualObject):
    """Interprets programs. Whatever fails is noted, and the program goes on."""

    @handler
    async def work(self, ctx: Context, program: list[Any]) -> list[Any]:
        return await self._interpret(ctx, program)

    @shared
    async def read(self, ctx: Context, program: list[Any]) -> list[Any]:
        return await self._interpret(ctx, program)

    async def _interpret(self, ctx: Context, program: list[Any]) -> list[Any]:
        tell(ctx.invocation_id)
        seen: list[Any] = []
        for op, *parameters in program:
            try:
                seen.append(await getattr(self, f"_{op}")(ctx, *parameters))
            except TerminalError as error:
                seen.append(error.error)
        return seen

    async def _call(self, ctx: Context, service: str, key: str, method: str, program: list[Any]) -> Any:
        return await ctx.call(service, key, method, program)

    async def _keyed(self, ctx: Context, service: str, key: str, once: str) -> Any:
        cls = {cls.__name__: cls for cls in CLASSES}[service]
        return await ctx.object(cls, key).work.options(idempotency_key=once).__call__(ONCE[once])

    async def _together(self, ctx: Context, calls: list[Any], how: str) -> Any:
        made = [ctx.call(service, key, method, program) for service, key, method, program in calls]
        if how == "all":
            return list(await ctx.all(*made))
        return [result.error if isinstance(result, TerminalError) else result for result in await ctx.settle(*made)]

    async def _send(self, ctx: Context, service: str, key: str, method: str, program: list[Any], ms: int) -> Any:
        tell(ctx.send(service, key, method, program, delay=ms / 1000).id)
        return "sent"

    async def _attach(self, ctx: Context, place: int) -> Any:
        id = await ctx.run(pick, place)
        return await ctx.attach(id)

    async def _sleep(self, ctx: Context, ms: int) -> None:
        await ctx.sleep(ms / 1000)


def pick(place: int) -> str:
    return known[-1 - place % len(known)]


class Left(Node):
    pass


class Right(Node):
    pass


CLASSES: list[type[Node]] = [Left, Right]
# What idempotency keys stand for: an object, waits included, that any handler may ask for.
ONCE: dict[str, list[Any]] = {
    "x": [["sleep", 2], ["call", "Left", "b", "work", []]],
    "y": [["call", "Right", "a", "read", [["call", "Left", "a", "work", []]]]],
}

SERVICES = st.sampled_from(["Left", "Right"])
METHODS = st.sampled_from(["work", "work", "read"])
MS = st.sampled_from([1, 3, 8])


def programs(depth: int) -> st.SearchStrategy[list[Any]]:
    ops: list[st.SearchStrategy[Any]] = [
        st.builds(lambda ms: ["sleep", ms], MS),
        st.builds(lambda place: ["attach", place], st.integers(0, 5)),
        st.builds(lambda s, k, once: ["keyed", s, k, once], SERVICES, st.sampled_from(KEYS), st.sampled_from("xy")),
    ]
    if depth:
        target = st.tuples(SERVICES, st.sampled_from(KEYS), METHODS, programs(depth - 1)).map(list)
        call = target.map(lambda t: ["call", *t])
        ops += [
            call,
            call,
            call,
            st.builds(
                lambda targets, how: ["together", targets, how],
                st.lists(target, min_size=2, max_size=3),
                st.sampled_from(["all", "settle"]),
            ),
            st.builds(lambda t, ms: ["send", *t, ms], target, st.sampled_from([0, 0, 4])),
        ]
    return st.lists(st.one_of(ops), max_size=3)


ACTIONS = st.one_of(
    st.tuples(st.just("message"), SERVICES, st.sampled_from(KEYS), METHODS, programs(3), st.booleans()),
    st.tuples(st.just("message"), SERVICES, st.sampled_from(KEYS), METHODS, programs(3), st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 30)),
    st.tuples(st.just("time"), st.integers(1, 10)),
    st.tuples(st.just("crash at a commit"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("crash")),
    st.tuples(st.just("restart")),
)
LIMITS = st.builds(
    lambda objects, waiting, ms: Limits(
        max_objects=objects,
        max_waiting=waiting,
        suspend_after=ms / 1000,
        retention=None,
        idempotency_retention=None,
    ),
    st.sampled_from([1, 2, 3, 1000]),
    st.integers(1, 3),
    st.sampled_from([2, 1000]),
)


class Run:
    """One example."""

    def __init__(self, limits: Limits, seed: int, seen: Record) -> None:
        self.world = WatchedMachine(*CLASSES, limits=limits)
        self.world.rng = Random(seed) if seed else None
        self.seen = seen
        self.callers: list[asyncio.Task[None]] = []
        known.clear()

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        await self.world.start()
        try:
            for action, *parameters in actions:
                await getattr(self, "_" + action.replace(" ", "_"))(*parameters)
            await self._come_to_rest()
            self._check()
        finally:
            await self.world.app.close()
            self.world.disk.close()

    async def _message(self, service: str, key: str, method: str, program: list[Any], wait: bool) -> None:
        self.callers.append(asyncio.create_task(self._ask(service, key, method, program, wait)))

    async def _ask(self, service: str, key: str, method: str, program: list[Any], wait: bool) -> None:
        app = self.world.app
        with contextlib.suppress(*CRASHED):
            if wait:
                await app.call(service, key, method, program)
            else:
                tell((await app.send(service, key, method, program)).id)

    async def _turns(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if self.world.store.crashed:
            await self._crash()

    async def _time(self, ms: int) -> None:
        self.world.clock.advance(ms / 1000)
        await self._turns(20)

    async def _crash_at_a_commit(self, number: int, written: bool) -> None:
        self.world.store.crash_at_commit(number, written=written)

    async def _crash(self) -> None:
        await self._reincarnate(self.world.crash())

    async def _restart(self) -> None:
        await self._reincarnate(self.world.app.close())

    async def _reincarnate(self, ending: Any) -> None:
        with contextlib.suppress(StorageError):
            await ending
        await asyncio.gather(*self.callers)
        self.callers.clear()
        self.seen.crashed(self.world.disk)
        await self.world.start()

    async def _come_to_rest(self) -> None:
        self.world.store.crash_at_commit(10**9, written=True)
        quiet = rounds = 0
        while quiet < 3 and rounds < 500:
            rounds += 1
            await self._turns(100)
            quiet = 0 if self.world.clock.skip() else quiet + 1

    def _check(self) -> None:
        waiting = [caller for caller in self.callers if not caller.done()]
        for caller in self.callers:
            caller.cancel()
        assert not self.seen.problems, self.seen.problems
        stuck = self.world.disk.query(
            "SELECT i.invocation, i.service, i.key, i.handler, i.status, i.called_by, j.entry, j.called FROM invocations i "
            "LEFT JOIN journal j ON j.invocation = i.invocation WHERE i.ended_at IS NULL"
        )
        assert not stuck, "\n".join(map(str, stuck))
        assert not waiting, "a caller never got its answer"
        assert self.world.disk.query("SELECT count(*) FROM attachment") == [(0,)]


# `SIMULATIONS=5000 pytest tests/property` looks further. Shrinking a failure takes minutes: SHRINK=1 asks for it.
EXAMPLES = 6 * int(os.environ["SIMULATIONS"])  # they are small
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)


@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(limits=LIMITS, seed=st.integers(0, 2**16), actions=st.lists(ACTIONS, min_size=2, max_size=14))
def test_every_cycle_of_waits_is_refused_and_nothing_else(
    limits: Limits, seed: int, actions: list[tuple[Any, ...]]
) -> None:
    seen = new_record()
    asyncio.run(Run(limits, seed, seen).play(actions))
    for what in seen.counts:
        event(what)
