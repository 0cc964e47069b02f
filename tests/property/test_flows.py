"""Random workflows and services, random completions, operators and crashes: every run runs once, every promise is
completed once, nobody waits for ever.

Few objects and handlers stay in memory, and the process dies at any commit. In the end all promises are completed and
all time passes. Then:

* every invocation has an outcome, every caller its answer, and nothing is left in memory or among the timers;
* of a key whose run nobody has purged or restarted there is one run, however many asked for it, and its state is its own;
* whoever got a promise got the same completion: in an outcome, in a step, or acknowledged to whom completed it;
* a step ran at least once until it was recorded, never after, and not before its invocation was on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from actors import Limits, RetryPolicy, TerminalError
from actors.errors import AppNotRunning, StorageError
from tests.property import interpreted_flows as flows
from tests.property.interpreted_flows import FLOW, HELP, KEYS, MS, NAME, NAMES, Flow, Helper
from tests.property.simulated_machine import Machine

pytestmark = pytest.mark.may_log("failed, next in")

CRASHED = (StorageError, AppNotRunning, asyncio.CancelledError)


class Run:
    """One example."""

    def __init__(self, limits: Limits, seed: int) -> None:
        policy = RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=None)
        self.world = Machine(Flow, Helper, retry=policy, limits=limits)
        self.world.rng = Random(seed) if seed else None
        self.outside = flows.renew()
        self.outside.is_stored = self._is_stored
        self.tasks: list[asyncio.Task[Any]] = []
        self.completed: dict[tuple[str, str], str] = {}  # acknowledged

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        await self.world.start()
        self.ids = self.world.app._running().ids
        try:
            for action, *parameters in actions:
                await getattr(self, "_" + action.replace(" ", "_"))(*parameters)
            await self._come_to_rest()
            self._check()
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.world.app.close()
            self.world.disk.close()

    # --- what people do -------------------------------------------------------------------------------------------------

    def _begin(self, what: Any) -> None:
        self.tasks.append(asyncio.create_task(what))

    async def _run(self, key: str, program: list[Any], delay: int) -> None:
        self._begin(self._answer("Flow", key, "run", [program], delay))

    async def _watch(self, key: str, name: str) -> None:
        self._begin(self._answer("Flow", key, "watch", [name], 0))

    async def _help(self, program: list[Any], key: str, flow: list[Any], delay: int) -> None:
        self._begin(self._answer("Helper", "", "do", [[*program, ["start", key, flow]]], delay))

    async def _answer(self, service: str, key: str, method: str, args: list[Any], delay: int) -> None:
        with contextlib.suppress(TerminalError, *CRASHED):
            if not delay:
                await self.world.app.call(service, key, method, *args)
                return
            await self.world.app.send(service, key, method, *args, delay=delay / 1000).result()

    async def _complete(self, key: str, name: str, value: str, reject: bool) -> None:
        self._begin(self._completion(key, name, value, reject))

    async def _completion(self, key: str, name: str, value: str, reject: bool) -> None:
        try:
            answer = await self.world.app.object(Flow, key).complete(name, value, reject)
        except CRASHED:
            return
        if answer == "promise_already_completed" or key in self.outside.reset:
            return
        if self.completed.setdefault((key, name), answer) != answer:
            self.outside.problems.append(f"two different completions of {key}/{name} were acknowledged")

    async def _finish(self, key: str) -> None:
        """Complete all its promises, so that a run ends, if it is there and waits for no time to pass."""
        for name in NAMES:
            self._begin(self._completion(key, name, "finished", False))
        await self._turns(100)

    async def _life(self, key: str, program: list[Any], operation: str) -> None:
        await self._run(key, program, 0)
        await self._turns(100)
        await self._finish(key)
        await self._operate(operation, key)

    async def _operate(self, operation: str, key: str) -> None:
        self.outside.reset.add(key)
        found = self.world.disk.query("SELECT max(seq) FROM invocation WHERE key = ? AND handler = 'run'", key)
        if found[0][0] is not None:
            self._begin(self._do(operation, self.ids.invocation(found[0][0])))

    async def _do(self, operation: str, id: str) -> None:
        with contextlib.suppress(TerminalError, *CRASHED):
            await getattr(self.world.app, operation)(id)
            event(f"{operation} succeeded")

    async def _kill(self, place: int) -> None:
        """Any invocation, of the service too. It is no reset: the run stays what it was."""
        seqs = [seq for (seq,) in self.world.disk.query("SELECT seq FROM invocation WHERE status < 6")]
        if seqs:
            self._begin(self._do("kill", self.ids.invocation(seqs[place % len(seqs)])))

    # --- the machine ------------------------------------------------------------------------------------------------------

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
        with contextlib.suppress(StorageError):
            await self.world.crash()
        for _ in range(200):
            await asyncio.sleep(0)
        waiting = [task for task in self.tasks if not task.done()]
        assert not waiting, f"the app has ended, and left callers waiting: {waiting}"
        await asyncio.gather(*self.tasks)
        self.tasks.clear()
        await self.world.start()

    async def _come_to_rest(self) -> None:
        self.world.store.crash_at_commit(10**9, written=True)
        quiet = rounds = 0
        while quiet < 3 and rounds < 400:
            rounds += 1
            await self._turns(100)
            if self.world.clock.skip():
                quiet = 0
                continue
            if rounds > 3:
                for key in KEYS:
                    for name in NAMES:
                        await asyncio.wait_for(self._completion(key, name, "rest", False), 10)
            quiet = 0 if rounds <= 3 else quiet + 1
        self.unanswered = [task for task in self.tasks if not task.done()]

    def _is_stored(self, id: str) -> bool:
        return bool(self.world.disk.query("SELECT 1 FROM invocation WHERE seq = ?", self.ids.read_invocation(id)))

    # --- what must hold ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        query = self.world.disk.query
        assert query("SELECT * FROM invocations WHERE ended_at IS NULL") == []
        assert not self.outside.problems, self.outside.problems
        assert not self.unanswered, "a caller never got its answer"
        assert query("SELECT count(*) FROM timer") == [(0,)]
        assert query("SELECT count(*) FROM attachment") == [(0,)]
        partition = self.world.app._running()
        assert not partition.residents.open
        assert not partition.residents.objects["Helper"], "the mailbox of a service has outlived its invocation"
        many = query("SELECT count(*) FROM invocation WHERE status >= 6 AND idempotency_key IS NULL")
        assert [(partition.retention.count,)] == many
        promises = {
            (key, name): value or failure
            for key, name, value, failure in query("SELECT key, name, value, failure FROM promises")
        }
        said = {address: _said(text) for address, text in promises.items()}
        for address, value in [*self.completed.items(), *self.outside.published.items()]:
            if address[0] not in self.outside.reset:
                assert said[address] == value, f"{address}: {said[address]} was {value}"
        for key, method, outcome in query("SELECT key, handler, result FROM invocations WHERE result IS NOT NULL"):
            for word, *item in _items(json.loads(outcome)):
                if word == "got" and key not in self.outside.reset:
                    assert said[key, item[0]] == item[1], f"{method} of {key} got {item}"
                if word == "step":
                    executed = self.outside.executions[item[0], item[1]]
                    assert executed == item[2], f"step {item[1]} of {item[0]} ran after it was recorded"
        for key in KEYS:
            self._check_runs(key)

    def _check_runs(self, key: str) -> None:
        query = self.world.disk.query
        kept = query("SELECT status FROM invocation WHERE key = ? AND idempotency_key = ''", key)
        assert len(kept) <= 1
        state = dict(query("SELECT name, value FROM state WHERE key = ?", key))
        if kept == [(6,)]:
            assert state["runs"] == "1", "a run began with the state of another one"
        elif not kept:
            assert state == {}, "the run is gone, and its state is not"
        if key not in self.outside.reset:
            assert len(query("SELECT 1 FROM invocation WHERE key = ? AND handler = 'run'", key)) == len(kept)


def _said(text: str) -> str:
    value = json.loads(text)
    return "rejected " + value["message"] if isinstance(value, dict) else str(value)


def _items(outcome: Any) -> list[list[Any]]:
    """All lists in it that begin with a word."""
    if not isinstance(outcome, list):
        return []
    own = [outcome] if outcome and isinstance(outcome[0], str) else []
    return own + [item for part in outcome for item in _items(part)]


KEY = st.sampled_from(KEYS)
PROGRAMS = st.shared(
    st.tuples(FLOW, FLOW), key="programs"
)  # two for each example: runs with equal arguments, and others
PROGRAM = st.tuples(PROGRAMS, st.sampled_from([0, 0, 0, 1])).map(lambda pair: pair[0][pair[1]])
DELAY = st.sampled_from([0, 0, 5])
OPERATIONS = st.sampled_from(["purge", "restart", "restart"])
RESETS = st.tuples(st.just("operate"), OPERATIONS, KEY) | st.tuples(st.just("life"), KEY, PROGRAM, OPERATIONS)
ACTIONS = st.one_of(
    st.tuples(st.just("run"), KEY, PROGRAM, DELAY),
    st.tuples(st.just("run"), KEY, PROGRAM, DELAY),
    st.tuples(st.just("watch"), KEY, NAME),
    st.tuples(st.just("help"), HELP, KEY, PROGRAM, DELAY),
    st.tuples(st.just("complete"), KEY, NAME, st.sampled_from(["1", "2"]), st.booleans()),
    st.tuples(st.just("kill"), st.integers(0, 5)),
    st.tuples(st.just("turns"), st.integers(1, 60)),
    st.tuples(st.just("turns"), st.integers(1, 60)),
    st.tuples(st.just("time"), MS),
    st.tuples(st.just("crash at a commit"), st.integers(1, 6), st.booleans()),
    st.tuples(st.just("crash")),
)
SCENARIOS = st.lists(ACTIONS, min_size=3, max_size=25) | st.lists(ACTIONS | RESETS, min_size=5, max_size=25)
LIMITS = st.builds(
    lambda ms, waiting, objects: Limits(
        max_waiting=waiting, max_objects=objects, suspend_after=ms / 1000, retention=None, idempotency_retention=None
    ),
    st.sampled_from([1, 1000]),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([1, 2, 1000]),
)

# `SIMULATIONS=5000 pytest tests/property` looks further. Shrinking a failure takes minutes: SHRINK=1 asks for it.
EXAMPLES = 2 * int(os.environ["SIMULATIONS"])
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)


# A step that is killed before it began.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(limits=LIMITS, seed=st.integers(0, 2**16), actions=SCENARIOS)
def test_every_run_runs_once_every_promise_is_completed_once_and_nobody_waits_for_ever(
    limits: Limits, seed: int, actions: list[tuple[Any, ...]]
) -> None:
    asyncio.run(Run(limits, seed).play(actions))
