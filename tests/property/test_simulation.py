"""Random programs, random senders, random crashes: the guarantees hold in the end and all along.

A simulated machine runs Actors. Hypothesis sends them programs, moves time, completes awakeables early, late and twice,
and kills the process at any commit, before or after the disk has it. Then everything is brought to rest and checked:

* single writer: within one process, the lines of two invocations of a key never interleave;
* FIFO: invocations of a key took effect in order of acceptance, each exactly once;
* a step ran at least once until it was recorded and never after;
* no step started and no reply left before what it depends on was on disk;
* nothing acknowledged is lost, and no acknowledged result ever changes;
* a completed invocation never runs again; no invocation is stuck or finds a journal that does not fit.
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
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors import RetryPolicy, TerminalError
from actors.errors import AppNotRunning, AwakeableCompleted, UnknownAwakeable
from actors.storage import StorageError
from tests.property import interpreted_object as programs
from tests.property.interpreted_object import KEYS, Actor
from tests.world import World

pytestmark = pytest.mark.may_log("failed, next in")

CRASHED = (StorageError, AppNotRunning)


class Simulation(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.outside = programs.renew()
        self.world = World(Actor, retry=RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=None))
        self.world.rng = Random(seed)
        self.outside.is_stored = self._is_stored
        self.names = 0
        self.sent: set[str] = set()  # acknowledged sends
        self.results: dict[str, Any] = {}  # acknowledged outcomes
        self.completions: dict[str, str] = {}  # awakeable id: value whose completion was acknowledged
        self.completed_in: dict[str, int] = {}  # name: incarnation at whose end its outcome was on disk
        self.tasks: list[asyncio.Task[None]] = []
        self._run(self.world.start())

    def _run(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    # --- what people do -------------------------------------------------------------------------------------------------

    @rule(data=st.data(), key=st.integers(0, len(KEYS) - 1), wait=st.booleans())
    def message(self, data: st.DataObject, key: int, wait: bool) -> None:
        program = data.draw(programs.programs(key))
        self.names += 1
        name = f"m{self.names}"
        task = self._call(KEYS[key], name, program) if wait else self._send(KEYS[key], name, program)
        self.tasks.append(self.loop.create_task(task))

    @rule(turns=st.integers(1, 40))
    def run(self, turns: int) -> None:
        self._run(self._turns(turns))

    @rule(ms=st.integers(1, 20))
    def move_time(self, ms: int) -> None:
        self._run(self.world.pass_time(ms / 1000))

    @precondition(lambda self: self.outside.ids)
    @rule(data=st.data(), value=st.sampled_from(["x", "y"]), reject=st.booleans())
    def complete_awakeable(self, data: st.DataObject, value: str, reject: bool) -> None:
        _, id = data.draw(st.sampled_from(self.outside.ids))
        self.tasks.append(self.loop.create_task(self._complete(id, value, reject)))

    @rule(commits=st.integers(1, 6), written=st.booleans())
    def crash_at_a_commit(self, commits: int, written: bool) -> None:
        self.world.store.crash_at_commit(commits, written=written)

    @rule()
    def crash_now(self) -> None:
        self._run(self._reincarnate(self.world.crash()))

    @rule()
    def restart_in_good_order(self) -> None:
        self._run(self._reincarnate(self.world.app.close()))

    # --- how they do it ---------------------------------------------------------------------------------------------------

    async def _turns(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        if self.world.store.crashed:
            await self._reincarnate(self.world.crash())

    async def _reincarnate(self, ending: Any) -> None:
        with contextlib.suppress(StorageError):  # a crash that was due at a commit may meet the orderly end
            await ending
        await asyncio.gather(*self.tasks)
        self.tasks.clear()
        for name, status, _ in self._stored():
            if status >= 6:
                self.completed_in.setdefault(name, self.outside.incarnation)
        self.outside.incarnation += 1
        await self.world.start()

    async def _call(self, key: str, name: str, program: list[Any]) -> None:
        result: Any
        try:
            result = await self.world.app.object(Actor, key).do(name, program)
        except TerminalError as error:
            result = error.metadata
        except CRASHED:
            return
        if not self._is_stored(name, ended=True):
            self.outside.problems.append(f"{name} was answered before its outcome was on disk")
        self.results[name] = result

    async def _send(self, key: str, name: str, program: list[Any]) -> None:
        try:
            await self.world.app.object(Actor, key).do.send(name, program)
        except CRASHED:
            return
        if not self._is_stored(name):
            self.outside.problems.append(f"{name} was acknowledged before it was on disk")
        self.sent.add(name)

    async def _complete(self, id: str, value: str, reject: bool) -> None:
        try:
            if reject:
                await self.world.app.reject_awakeable(id, value)
            else:
                await self.world.app.resolve_awakeable(id, value)
        except (AwakeableCompleted, UnknownAwakeable, *CRASHED):
            return
        if self.completions.setdefault(id, value) != value:
            self.outside.problems.append(f"two different completions of {id} were acknowledged")

    def _stored(self) -> list[tuple[str, int, str | None]]:
        """(name, status, outcome) of each stored invocation, by key in order of execution."""
        rows = self.world.disk.query("SELECT args, status, outcome FROM invocation ORDER BY key, position")
        return [(json.loads(args)[0], status, outcome) for args, status, outcome in rows]

    def _is_stored(self, name: str, ended: bool = False) -> bool:
        return any(found == name and (status >= 6 or not ended) for found, status, _ in self._stored())

    # --- what must hold ---------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self._run(self._come_to_rest())
            self._check()
        finally:
            self._run(self.world.app.close())
            self.world.disk.close()
            self.loop.close()

    async def _come_to_rest(self) -> None:
        self.world.store.crash_at_commit(10**9, written=True)
        quiet = rounds = 0
        while quiet < 3 and rounds < 500:
            rounds += 1
            await self._turns(100)
            pending = await self.world.app.awakeables()
            for info in pending:
                await self._complete(info.id, "rest", False)
            quiet = 0 if self.world.clock.skip() or pending else quiet + 1
        unanswered = [task for task in self.tasks if not task.done()]
        for task in unanswered:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=bool(unanswered))
        self.unanswered = len(unanswered)

    def _check(self) -> None:
        stored = self._stored()
        unfinished = [(name, status) for name, status, _ in stored if status < 6]
        assert not unfinished, self.world.disk.query("SELECT * FROM invocations WHERE ended_at IS NULL")
        assert not self.outside.problems
        assert not self.unanswered, "a caller never got its answer"
        self._check_state()
        self._check_lines()
        outcomes = {name: json.loads(outcome or "null") for name, _, outcome in stored}
        assert self.sent <= set(outcomes)
        for name, result in self.results.items():
            found = outcomes[name]
            assert (found.get("metadata") if isinstance(found, dict) else found) == result
        items = [(name, item) for name, outcome in outcomes.items() if isinstance(outcome, list) for item in outcome]
        for name, item in items:
            self._check_item(name, item)
        lists = [item for _, item in items if isinstance(item, list) and item]
        seen = {item[3]: item[4] for item in lists if item[0] == "ran" and len(item) == 5}
        for item in lists:
            if item[0] == "completed":
                assert seen.get(item[1], item[2]) == item[2], "a handler's completion was acknowledged and lost"

    def _check_item(self, name: str, item: Any) -> None:
        if isinstance(item, list) and item and item[0] == "ran":
            assert self.outside.executions[name, item[1]] == item[2], (
                f"step {item[1]} of {name} ran after it was recorded"
            )
            if len(item) == 5 and item[3] in self.completions:
                assert item[4] == self.completions[item[3]], "an acknowledged completion was lost"
        elif item is False:
            raise AssertionError(f"a sleep of {name} was too short")

    def _check_state(self) -> None:
        state: dict[str, dict[str, Any]] = defaultdict(dict)
        for key, field, value in self.world.disk.query("SELECT key, name, value FROM state"):
            state[key][field] = json.loads(value)
        for key in KEYS:
            rows = self.world.disk.query("SELECT args FROM invocation WHERE key = ? ORDER BY position", key)
            accepted = [json.loads(args)[0] for (args,) in rows]
            assert state[key].get("log", []) == accepted, "not exactly once, or not in order of acceptance"
            assert state[key].get("count", 0) == len(accepted)
        assert self.world.disk.query("SELECT count(*) FROM timer") == [(0,)]

    def _check_lines(self) -> None:
        current: dict[tuple[int, str], str] = {}
        over: set[tuple[int, str]] = set()
        for incarnation, key, name in self.outside.lines:
            running = current.get((incarnation, key))
            if running != name:
                assert (incarnation, name) not in over, f"{name} ran again after another invocation of {key}"
                if running is not None:
                    over.add((incarnation, running))
                current[incarnation, key] = name
            completed = self.completed_in.get(name)
            assert completed is None or incarnation <= completed, f"{name} ran again after it was completed"


# `SIMULATIONS=5000 pytest tests/property` looks further. Shrinking a failure takes minutes: SHRINK=1 asks for it.
EXAMPLES = int(os.environ["SIMULATIONS"])
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)
TestSimulation = Simulation.TestCase
TestSimulation.settings = settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
