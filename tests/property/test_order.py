"""What one sender sends to one target key arrives in that order, whatever it is sent as and whatever happens meanwhile.

Senders run random programs of calls, sends, sends under idempotency keys, delays, steps and sleeps, to objects, a service
and workflows. Meanwhile they leave memory, are replayed, fail, are cancelled and killed, and the process is killed at any
commit. Then everything is brought to rest and checked, for each sender, target key and delay:

* messages were accepted in the order in which they were sent, and took effect in that order;
* each took effect at most once, and exactly once if the sender has come to its end;
* nothing that was sent is left out, also if the sender then failed, or was cancelled or killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from actors import Context, Limits, RetryPolicy, Service, VirtualObject, Workflow, handler, shared
from actors.errors import ActorsError, AppNotRunning, StorageError
from tests.property.simulated_machine import Machine

pytestmark = pytest.mark.may_log("failed, next in", "failed for good after")

CRASHED = (StorageError, AppNotRunning, asyncio.CancelledError)

Action = tuple[Any, ...]
SENDS = ("send", "call", "fork")


class Log(VirtualObject):
    seen: list[str] = []

    @handler
    async def push(self, who: str, n: int, delay: int) -> int:
        self.seen.append(f"{who} {n} {delay}")
        return n

    @handler
    async def push_slowly(self, ctx: Context, who: str, n: int, delay: int) -> int:
        await ctx.sleep(0.003)
        self.seen.append(f"{who} {n} {delay}")
        return n


class Sink(Service):
    @handler
    async def take(self, who: str, n: int, delay: int) -> int:
        return n


class Once(Workflow):
    @handler
    async def run(self, who: str, n: int, delay: int) -> int:
        return n

    @shared
    async def note(self, who: str, n: int, delay: int) -> int:
        return n


class Sender(VirtualObject):
    @handler(retry=RetryPolicy(initial_interval=0.001, max_interval=0.001, max_attempts=6, on_exhausted="fail"))
    async def go(self, ctx: Context, who: str, program: list[Action]) -> int:
        calls: list[Any] = []
        handles: list[Any] = []
        with contextlib.ExitStack() as stack:
            stack.callback(calls.clear)
            for n, (op, target, keyed, delay) in enumerate(program):
                key = f"{who}-{n}" if keyed else None
                if op in SENDS:
                    bound = _bound(ctx, target, who, n == _run_of(program))
                    if op == "send":
                        handles.append(bound.options(idempotency_key=key, delay=delay / 1000).send(who, n, delay))
                    elif op == "call":
                        await bound.options(idempotency_key=key)(who, n, 0)
                    else:
                        calls.append(bound.options(idempotency_key=key)(who, n, 0))
                elif op == "sleep":
                    await ctx.sleep(delay / 1000)
                elif op == "step":
                    await ctx.run(FAILURES[target])
                elif op == "fail":
                    raise OSError("again and again")
                elif handles:
                    await handles[-1]
            for call in calls:
                await call
        return len(program)


def _run_of(program: list[Action]) -> int | None:
    """The first message to the workflow: its run, which the others may meet."""
    return next((n for n, action in enumerate(program) if action[0] in SENDS and action[1] == 4), None)


def _bound(ctx: Context, target: int, who: str, run: bool) -> Any:
    if target == 0:
        return ctx.object(Log, "a").push
    if target == 1:
        return ctx.object(Log, "a").push_slowly
    if target == 2:
        return ctx.object(Log, "b").push
    if target == 3:
        return ctx.service(Sink).take
    return ctx.object(Once, who).run if run else ctx.object(Once, who).note


class Failures:
    """Steps that fail at random, and then do not."""

    def __init__(self) -> None:
        self.rng = Random(0)

    def __getitem__(self, target: int) -> Any:
        def step() -> None:
            if self.rng.random() < 0.4:
                raise OSError("not now")

        return step


FAILURES = Failures()


class Run:
    def __init__(self, limits: Limits, seed: int) -> None:
        FAILURES.rng = Random(seed)
        self.machine = Machine(Log, Sink, Once, Sender, limits=limits, retry=RetryPolicy(initial_interval=0.001))
        self.machine.rng = Random(seed)
        self.sent: dict[str, str] = {}  # by sender: id
        self.programs: dict[str, list[Action]] = {}
        self.ended_early: set[str] = set()

    async def play(self, programs: list[list[Action]], actions: list[Action]) -> None:
        await self.machine.start()
        try:
            for number, program in enumerate(programs):
                who = f"s{number}"
                self.programs[who] = program
                self.sent[who] = (await self.machine.app.object(Sender, who).go.send(who, program)).id
            for action in actions:
                await self.act(*action)
                if self.machine.store.crashed:
                    await self.restart()
            await self.come_to_rest()
            self.check()
        finally:
            await self.machine.app.close()
            self.machine.disk.close()

    async def act(self, what: str, number: int, flag: bool = False) -> None:
        machine = self.machine
        if what == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        elif what == "time":
            machine.clock.advance(number / 1000)
        elif what == "crash":
            machine.store.crash_at_commit(number, written=flag)
        elif what in ("cancel", "kill"):
            who = f"s{number % len(self.programs)}"
            with contextlib.suppress(ActorsError, *CRASHED):
                await getattr(machine.app, what)(self.sent[who])
            self.ended_early.add(who)

    async def restart(self) -> None:
        with contextlib.suppress(StorageError):
            await self.machine.crash()
        await self.machine.start()

    async def come_to_rest(self) -> None:
        self.machine.store.crash_at_commit(10**9, written=True)
        quiet = 0
        for _ in range(400):
            for _ in range(40):
                await asyncio.sleep(0)
            if self.machine.store.crashed:
                await self.restart()
                self.machine.store.crash_at_commit(10**9, written=True)
            quiet = 0 if self.machine.clock.skip() else quiet + 1
            if quiet == 3:
                return
        raise AssertionError("it does not come to rest")

    def check(self) -> None:
        query = self.machine.disk.query
        assert not query("SELECT * FROM invocations WHERE ended_at IS NULL")
        arrived: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
        for service, key, args in query(
            "SELECT service, CASE shared WHEN 2 THEN '' ELSE key END, args FROM invocation WHERE service != 'Sender' "
            "ORDER BY position"
        ):
            who, n, delay = json.loads(args)
            arrived[service, key, who, delay].append(n)
        effects: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
        for key, text in query("SELECT key, value FROM object_state WHERE service = 'Log' AND name = 'seen'"):
            for entry in json.loads(text):
                who, n, delay = entry.split()
                effects["Log", key, who, int(delay)].append(int(n))
        statuses = dict(query("SELECT key, status FROM invocations WHERE service = 'Sender'"))
        for lane, numbers in (*arrived.items(), *effects.items()):
            assert numbers == sorted(set(numbers)), (lane, numbers)
        assert {lane: set(numbers) for lane, numbers in arrived.items() if lane[0] == "Log"} == {
            lane: set(numbers) for lane, numbers in effects.items()
        } or self.ended_early
        for who, program in self.programs.items():
            asked = self._asked(who, program)
            came = {lane: numbers for lane, numbers in arrived.items() if lane[2] == who}
            if statuses[who] == "succeeded":
                assert came == asked, (who, came, asked)
            sends = {n for n, action in enumerate(program) if action[0] == "send"}
            came_sends = {n for numbers in came.values() for n in numbers} & sends
            assert came_sends == {n for n in self._recorded(who) if n in sends}, (who, came)

    def _recorded(self, who: str) -> set[int]:
        """The messages that the journal of a sender holds."""
        rows = self.machine.disk.query(
            "SELECT j.value FROM journal_entry j JOIN invocation i ON i.seq = j.invocation WHERE i.service = 'Sender' "
            "AND i.key = ? AND j.kind IN (6, 7)",
            who,
        )
        return {json.loads(value)[1] for (value,) in rows}

    def _asked(self, who: str, program: list[Action]) -> dict[tuple[str, str, str, int], list[int]]:
        asked: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
        for n, (op, target, _, delay) in enumerate(program):
            if op in SENDS:
                service, key = [("Log", "a"), ("Log", "a"), ("Log", "b"), ("Sink", ""), ("Once", who)][target]
                asked[service, key, who, delay if op == "send" else 0].append(n)
        return asked


TARGET = st.sampled_from([0, 0, 1, 1, 2, 3, 4])
DELAY = st.sampled_from([0, 0, 0, 4])
STATEMENT = st.one_of(
    st.tuples(st.just("send"), TARGET, st.booleans(), DELAY),
    st.tuples(st.just("send"), TARGET, st.booleans(), DELAY),
    st.tuples(st.just("fork"), TARGET, st.booleans(), st.just(0)),
    st.tuples(st.just("call"), TARGET, st.booleans(), st.just(0)),
    st.tuples(st.sampled_from(["sleep", "step", "handle"]), st.just(0), st.just(False), st.just(3)),
)
PROGRAM = st.lists(STATEMENT, min_size=2, max_size=12)
FAILING = PROGRAM.map(lambda program: [*program, ("fail", 0, False, 0)])
ACTIONS = st.one_of(
    st.tuples(st.just("turns"), st.integers(1, 30)),
    st.tuples(st.just("turns"), st.integers(1, 30)),
    st.tuples(st.just("time"), st.integers(1, 8)),
    st.tuples(st.just("crash"), st.integers(1, 5), st.booleans()),
    st.tuples(st.sampled_from(["cancel", "kill"]), st.integers(0, 2)),
)
LIMITS = st.builds(
    lambda ms, waiting, objects: Limits(
        max_waiting=waiting, max_objects=objects, suspend_after=ms / 1000, retention=None, idempotency_retention=None
    ),
    st.sampled_from([1, 1000]),
    st.sampled_from([1, 1000]),
    st.sampled_from([1, 1000]),
)

EXAMPLES = 2 * int(os.environ["SIMULATIONS"])
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(
    limits=LIMITS,
    seed=st.integers(0, 2**16),
    programs=st.lists(PROGRAM | PROGRAM | FAILING, min_size=1, max_size=2),
    actions=st.lists(ACTIONS, max_size=12),
)
def test_what_one_handler_sends_to_one_target_arrives_in_order(
    limits: Limits, seed: int, programs: list[list[Action]], actions: list[Action]
) -> None:
    asyncio.run(Run(limits, seed).play(programs, actions))


@settings(max_examples=EXAMPLES, phases=PHASES, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    messages=st.lists(
        st.tuples(TARGET.filter(lambda target: target < 3), st.booleans(), DELAY), min_size=2, max_size=12
    ),
    crashes=st.lists(st.integers(1, 8), max_size=2),
)
def test_what_one_client_sends_waiting_for_each_acknowledgement_arrives_in_order(
    seed: int, messages: list[tuple[int, bool, int]], crashes: list[int]
) -> None:
    asyncio.run(_client(seed, messages, crashes))


async def _client(seed: int, messages: list[tuple[int, bool, int]], crashes: list[int]) -> None:
    run = Run(Limits(max_objects=1, retention=None, idempotency_retention=None), seed)
    await run.machine.start()
    try:
        for n, (target, keyed, delay) in enumerate(messages):
            if n in crashes:
                await run.restart()
            app: Any = run.machine.app
            options = {"idempotency_key": f"k{n}" if keyed else None, "delay": delay / 1000}
            await _bound(app, target, "", False).options(**options).send("client", n, delay)
        await run.come_to_rest()
        run.check()
        (count,) = run.machine.disk.query("SELECT count(*) FROM invocations")[0]
        assert count == len(messages)
    finally:
        await run.machine.app.close()
        run.machine.disk.close()
