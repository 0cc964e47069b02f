"""Random programs and random operators: cancel, kill, pause, resume, restart, purge, at any moment, with crashes.

Objects interpret random programs (`operated`) while operators, and other handlers, do to any invocation whatever they
like, few objects and handlers stay in memory, and the process crashes at any commit. In the end everything paused is
resumed, everything waited for arrives, all time passes. Then:

* every invocation has an outcome, no key is held: a fresh message to each is answered;
* single writer, in order; each attempt began with the state the one before had left, or the first attempt had found;
* a step ran at least once until it was recorded and never after, none before it was on disk or after the end;
* what failed in an atomic handler left no state; what succeeded left all of it, once;
* a cancelled handler was told, at most once in each attempt, or ended without; nobody else was touched: sends are spared;
* an acknowledged operation was not lost: killed means ended, on disk; paused means that no code ran until somebody
  resumed, cancelled or killed; restarted and sent means kept; purged means gone;
* a restart that keeps some of the journal took the place of the one it continues: all of the above holds for it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from actors import Limits, RetryPolicy, TerminalError
from actors.errors import AppNotRunning, CannotKeep, UnknownInvocation, WrongStatus
from actors.journal.entries import Kind
from actors.storage import Flag, Status, StorageError
from tests.property import operated_objects
from tests.property.operated_objects import KEYS, ONCE, Operated
from tests.property.simulated_machine import Machine

pytestmark = pytest.mark.may_log(
    "failed, next in", "the app starts again. Paused after", "failed for good after", "which was cut short"
)

CRASHED = (StorageError, AppNotRunning, asyncio.CancelledError)  # the last one is what app.close() does to operations


class Row(NamedTuple):
    id: str
    key: str
    handler: str
    status: int
    position: int
    args: str
    parent: int | None
    outcome: Any
    flags: int
    restart_of: int | None
    entries: list[tuple[int, int, int | None, str | None, Any]]  # idx, kind, ref, name, value

    @property
    def error(self) -> str | None:
        return self.outcome.get("error", "terminal_error") if self.status == Status.FAILED else None


ANSWERS = (Kind.COMPLETED, Kind.FAILED)


class Run:
    """One example."""

    def __init__(self, limits: Limits, seed: int) -> None:
        policy = RetryPolicy(initial_interval=0.002, max_interval=0.002, max_attempts=None)
        self.world = Machine(Operated, retry=policy, limits=limits)
        self.world.rng = Random(seed) if seed else None
        self.world.disk.before_purge = self._keep
        self.outside = operated_objects.renew()
        self.outside.look = self._status
        self.tasks: list[asyncio.Task[None]] = []
        self.operating = self.operations = 0  # under way; begun
        self.attempted: dict[str, set[str]] = {name: set() for name in ("cancel", "kill", "purge")}
        self.cancelled: set[str] = set()  # acknowledged, as are the following
        self.kept: set[str] = set()
        self.results: dict[str, Any] = {}
        self.completions: dict[str, str] = {}
        self.keyed: dict[tuple[str, str], tuple[str, int]] = {}
        self.gone: dict[int, Row] = {}
        self.continued: set[str] = set()  # by a restart that keeps some of their journals, if it came that far

    async def play(self, actions: list[tuple[Any, ...]]) -> None:
        await self.world.start()
        self.ids = self.world.app._running().ids
        try:
            for action, *parameters in actions:
                await getattr(self, "_" + action.replace(" ", "_"))(*parameters)
                self._check_paused()
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

    async def _message(self, key: str, message: tuple[str, list[Any]], delay: int, wait: bool) -> None:
        self._begin(self._send(key, message, delay, wait))

    async def _send(self, key: str, message: tuple[str, list[Any]], delay: int, wait: bool) -> None:
        try:
            handle = await self.world.app.send("Operated", key, message[0], *message[1], delay=delay / 1000)
        except CRASHED:
            return
        self._accepted(handle.id)
        if wait:
            await self._result(handle.id)

    async def _keyed_message(self, key: str, name: str) -> None:
        self._begin(self._send_keyed(key, name))

    async def _send_keyed(self, key: str, name: str) -> None:
        purges = len(self.attempted["purge"])
        try:
            target = self.world.app.object(Operated, key).plain.options(idempotency_key=name)
            handle = await target.send(ONCE[name])
        except CRASHED:
            return
        self._accepted(handle.id)
        earlier = self.keyed.get((key, name))
        if earlier is not None and earlier[0] != handle.id and earlier[1] == len(self.attempted["purge"]):
            self.outside.problems.append(f"the key {name} of {key} stands for {handle.id} and {earlier[0]}")
        self.keyed[key, name] = handle.id, purges

    def _accepted(self, id: str) -> None:
        self.outside.know(id)
        self.kept.add(id)
        if self._status(id) is None and id not in self.attempted["purge"]:
            self.outside.problems.append(f"{id} was acknowledged before it was on disk")

    async def _result(self, id: str) -> None:
        result: Any
        try:
            result = await self.world.app.invocation(id).result()
        except UnknownInvocation:
            return
        except TerminalError as error:
            result = error.error
        except CRASHED:
            return
        if self.results.setdefault(id, result) != result:
            self.outside.problems.append(f"{id} had two outcomes")

    async def _operate(self, operation: str, among: str, place: int) -> None:
        chosen = {"open": "status < 6", "stopped": "status IN (0, 1, 4, 5)", "ended": "status >= 6"}.get(among, "1")
        seqs = [seq for (seq,) in self.world.disk.query(f"SELECT seq FROM invocation WHERE {chosen} ORDER BY seq")]
        if seqs:
            seq = seqs[-1 - place % len(seqs)]
            event(f"{operation} of one that is {Status.NAMES[self._status(self.ids.invocation(seq)) or 0]}")
            self._begin(self._do(operation, self.ids.invocation(seq), place))

    async def _operate_and_crash(self, operation: str, among: str, place: int, turns: int) -> None:
        await self._operate(operation, among, place)
        await self._turns(turns)
        await self._crash()

    async def _do(self, operation: str, id: str, keep: int = 0) -> None:
        if operation in self.attempted:
            self.attempted[operation].add(id)
        if operation in ("cancel", "kill", "resume"):
            self._disturb(self.ids.read_invocation(id))
        self.operations += 1
        self.operating += 1
        alone, begun, picked = self.operating == 1, self.operations, len(self.outside.picked)
        try:
            if operation == "restart keep":
                done = await self._restart_keep(id, keep)
            else:
                done = await getattr(self.world.app, operation)(id)
        except (WrongStatus, UnknownInvocation, CannotKeep, *CRASHED):
            return
        finally:
            self.operating -= 1
        alone = alone and self.operations == begun and picked == len(self.outside.picked)
        self._done(operation, id, alone, done)

    async def _restart_keep(self, id: str, place: int) -> Any:
        """Keep some of its journal: all of it, or the more of it is left out the greater `place` is."""
        ((size,),) = self.world.disk.query(
            "SELECT count(*) FROM journal_entry WHERE invocation = ?", self.ids.read_invocation(id)
        )
        self.continued.add(id)
        try:
            return await self.world.app.restart(id, keep=max(0, size - place))
        except CannotKeep as error:
            highest = int(str(error).partition("position that works is ")[2].partition(".")[0])
            event("restart keep is refused, and works further up")
            return await self.world.app.restart(id, keep=highest)

    def _disturb(self, seq: int) -> None:
        """This one, and what it has called, need not stay paused."""
        callers = dict(self.world.disk.query("SELECT seq, parent FROM invocation WHERE parent IS NOT NULL"))
        for id in list(self.outside.paused):
            one: int | None = self.ids.read_invocation(id)
            while one is not None and one != seq:
                one = callers.get(one)
            if one == seq:
                self.outside.paused.discard(id)

    def _done(self, operation: str, id: str, alone: bool, done: Any) -> None:
        """It is acknowledged."""
        status = self._status(id)
        if operation == "cancel":
            self.cancelled.add(id)
        elif operation == "kill" and status is not None and status < 6:
            self.outside.problems.append(f"{id} was killed, and is {status}")
        elif operation == "pause" and alone:
            self.outside.paused.add(id)
            for picked in self.outside.picked:  # a handler may be about to cancel it, however long ago it chose
                self._disturb(self.ids.read_invocation(picked))
            if id in self.outside.paused and status != Status.PAUSED:
                self.outside.problems.append(f"{id} was paused, and is {status}")
        elif operation in ("restart", "restart keep"):
            self._accepted(done.id)
        elif operation == "purge" and status is not None:
            self.outside.problems.append(f"{id} was purged, and is {status}")

    async def _complete_awakeable(self, place: int, value: str) -> None:
        if self.outside.awakeables:
            self._begin(self._complete(self.outside.awakeables[-1 - place % len(self.outside.awakeables)], value))

    async def _complete(self, id: str, value: str) -> None:
        try:
            await self.world.app.resolve_awakeable(id, value)
        except (TerminalError, *CRASHED):
            return
        if self.completions.setdefault(id, value) != value:
            self.outside.problems.append(f"two different completions of {id} were acknowledged")

    # --- the machine ------------------------------------------------------------------------------------------------------

    async def _turns_only(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def _turns(self, turns: int) -> None:
        await self._turns_only(turns)
        if self.world.store.crashed:
            await self._crash()

    async def _time(self, ms: int) -> None:
        self.world.clock.advance(ms / 1000)
        await self._turns(20)

    async def _crash_at_a_commit(self, number: int, written: bool) -> None:
        self.world.store.crash_at_commit(number, written=written)

    async def _crash(self) -> None:
        await self._reincarnate(self.world.crash())

    async def _restart_app(self) -> None:
        await self._reincarnate(self.world.app.close())

    async def _reincarnate(self, ending: Any) -> None:
        with contextlib.suppress(StorageError):
            await ending
        await self._turns_only(200)
        waiting = [task for task in self.tasks if not task.done()]
        assert not waiting, f"the app has ended, and left callers waiting: {waiting}"
        await asyncio.gather(*self.tasks)
        self.tasks.clear()
        self.outside.incarnation += 1
        await self.world.start()

    async def _come_to_rest(self) -> None:
        self.world.store.crash_at_commit(10**9, written=True)
        if self.outside.paused:  # they stay so when the app starts again and their objects are used
            await self._restart_app()
            for key in KEYS:
                await self._message(key, ("watch", [[]]), 0, False)
            await self._turns(100)
            self._check_paused()
        quiet = rounds = 0
        while quiet < 3 and rounds < 400:
            rounds += 1
            await self._turns(100)
            if self.world.clock.skip():
                quiet = 0
                continue
            if rounds > 5:
                self.outside.paused.clear()
            waiting = await self.world.app.awakeables()
            for info in waiting:
                await self._complete(info.id, "rest")
            paused = await self.world.app.invocations(status="paused") if rounds > 5 else []
            for one in paused:
                with contextlib.suppress(WrongStatus, UnknownInvocation):
                    await self.world.app.resume(one.id)
            quiet = 0 if waiting or paused or rounds <= 5 else quiet + 1
        self.unanswered = [task for task in self.tasks if not task.done()]
        self.fresh = [asyncio.create_task(self._fresh(key)) for key in KEYS]
        self.tasks += self.fresh
        await self._turns(200)

    async def _fresh(self, key: str) -> None:
        await self.world.app.object(Operated, key).fresh()

    # --- what is stored ---------------------------------------------------------------------------------------------------

    def _status(self, id: str) -> int | None:
        found = self.world.disk.query("SELECT status FROM invocation WHERE seq = ?", self.ids.read_invocation(id))
        return found[0][0] if found else None

    def _rows(self) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for seq, key, method, status, position, args, parent, outcome, flags, restart_of in self.world.disk.query(
            "SELECT seq, key, handler, status, position, args, parent, outcome, flags, restart_of FROM invocation"
        ):
            entries = self.world.disk.query(
                "SELECT idx, kind, ref, name, value FROM journal_entry WHERE invocation = ? ORDER BY idx", seq
            )
            value = json.loads(outcome) if outcome is not None else None
            id = self.ids.invocation(seq)
            found[seq] = Row(id, key, method, status, position, args, parent, value, flags, restart_of, entries)
        return found

    def _keep(self, seqs: list[int]) -> None:
        rows = self._rows()
        self.gone |= {seq: rows[seq] for seq in seqs if seq in rows}

    # --- what must hold ---------------------------------------------------------------------------------------------------

    def _check_paused(self) -> None:
        for id in self.outside.paused:
            if self._status(id) != Status.PAUSED and not self.world.store.crashed:
                self.outside.problems.append(f"{id} was paused by an operator, and nobody resumed it")

    def _check(self) -> None:
        rows = self._rows()
        unfinished = [row for row in rows.values() if row.status < Status.SUCCEEDED]
        assert not unfinished, "\n".join(map(str, unfinished))
        assert not self.outside.problems, self.outside.problems
        assert not self.unanswered, "a caller never got its answer"
        assert all(task.done() and task.exception() is None for task in self.fresh), "a key is held by nobody"
        left = self.world.disk.query("SELECT * FROM timers")
        assert not left and self.world.disk.query("SELECT count(*) FROM timer") == [(0,)], left
        assert self.world.disk.query("SELECT count(*) FROM attachment") == [(0,)]
        assert all(row.status >= Status.SUCCEEDED for row in self.gone.values()), "purged before its end"
        all_rows = {**self.gone, **rows}
        by_id = {row.id: row for row in all_rows.values()}
        lost = {id for id in self.kept if id not in by_id}
        assert not lost, f"acknowledged and lost: {lost}"
        for id, result in self.results.items():
            found = by_id[id]
            assert (found.error or found.outcome) == (result or found.outcome), "an acknowledged result has changed"
        self._check_state(all_rows)
        self._check_lines()
        self._check_collateral(all_rows)
        for row in all_rows.values():
            self._check_steps(row)
            self._check_items(row)
        for id in self.cancelled:
            self._check_cancelled(by_id[id])

    def _check_state(self, rows: dict[int, Row]) -> None:
        state: dict[tuple[str, str], Any] = {
            (key, name): json.loads(value)
            for key, name, value in self.world.disk.query("SELECT key, name, value FROM state")
        }
        for key in KEYS:
            ran = sorted(
                (row for row in rows.values() if row.key == key and row.handler not in ("watch", "fresh")),
                key=lambda row: row.position,
            )
            log = state.get((key, "log"), [])
            notes = state.get((key, "notes"), {})
            assert log == [row.id for row in ran if row.id in log], "not once each, or not in order of acceptance"
            assert state.get((key, "count"), 0) == len(log)
            before: list[str] = []
            for row in ran:
                lives = [found for found in self.outside.began_with if found[1] == row.id]
                began = self.outside.began_with[max(lives)] if lives else None  # as its last process found it
                # One that was ended from outside need not have run in the process that recorded it.
                vanished = row.error in ("cancelled", "killed") and row.id not in log
                assert began is None or began == before or vanished, f"{row.id} began with {began} instead of {before}"
                if row.id in log:
                    before.append(row.id)
                told = any(id == row.id for id, _ in self.outside.told)
                if row.handler == "atomic" and row.status == Status.FAILED:
                    assert row.id not in log and row.id not in notes, f"{row.id} failed, and left state"
                elif row.id in self.continued:
                    pass  # the one that continues it has its place in the state
                elif row.status == Status.SUCCEEDED or row.error == "terminal_error" or told:
                    assert row.id in log, f"{row.id} left no state"

    def _check_lines(self) -> None:
        current: dict[tuple[int, str], str] = {}
        over: set[tuple[int, str]] = set()
        for incarnation, key, id in self.outside.lines:
            running = current.get((incarnation, key))
            if running != id:
                assert (incarnation, id) not in over, f"{id} ran again after another invocation of {key}"
                if running is not None:
                    over.add((incarnation, running))
                current[incarnation, key] = id

    def _check_steps(self, row: Row) -> None:
        steps = {idx for idx, kind, _, name, _ in row.entries if kind == Kind.RUN and name in ("execute", "publish")}
        steps |= {idx for idx, kind, _, name, _ in row.entries if kind == Kind.RUN and str(name).endswith(".execute")}
        for _, kind, ref, _, value in row.entries:
            if kind == Kind.COMPLETED and ref in steps:
                place, number = json.loads(value)
                if row.flags & Flag.CONTINUES and not self.outside.executions[row.id, place]:
                    continue  # it was kept
                assert self.outside.executions[row.id, place] == number, f"step {place} of {row.id} ran once more"

    def _check_items(self, row: Row) -> None:
        for item in row.outcome if isinstance(row.outcome, list) else []:
            if isinstance(item, list) and len(item) == 2 and str(item[0]) in self.completions:
                assert item[1] == self.completions[item[0]], "an acknowledged completion was lost"

    def _check_collateral(self, rows: dict[int, Row]) -> None:
        """Only whom somebody has asked to cancel or kill, and whom those had called, is cancelled or killed."""
        callers: dict[int, int] = {}
        for seq, row in rows.items():
            placed = {ref: int(value) for _, kind, ref, _, value in row.entries if kind == Kind.PLACED}
            for idx, kind, ref, _, _ in row.entries:
                called = placed.get(idx, ref) if kind == Kind.CALL else None
                if row.flags & Flag.CONTINUES and called is not None and called < seq:
                    continue  # the one it continues has called it
                if called is not None:
                    callers.setdefault(called, seq)
                if kind == Kind.SEND and ref is not None:
                    assert ref in rows, "a message that was sent is lost"
        picked = set(self.outside.picked)
        for _, row in sorted(rows.items()):  # one that had picked itself picks itself when it goes on as another
            if row.flags & Flag.CONTINUES and self.ids.invocation(row.restart_of or 0) in picked:
                picked.add(row.id)
        asked = {"killed": self.attempted["kill"], "cancelled": self.attempted["cancel"] | picked}
        for seq, row in rows.items():
            self._check_told(row)
            for error, ids in asked.items():
                told = error == "cancelled" and any(id == row.id for id, _ in self.outside.told)
                if row.error == error or told:
                    chain = [seq]
                    while (caller := rows[chain[-1]].parent or callers.get(chain[-1])) is not None and caller in rows:
                        chain.append(caller)
                    assert any(rows[one].id in ids for one in chain), f"{row.id} was {error}, and nobody had asked"

    def _check_told(self, row: Row) -> None:
        """Whoever asked for it, a cancellation comes right before the answer of the last of the calls made by then."""
        told_at = next((idx for idx, kind, *_ in row.entries if kind == Kind.CANCELLED), None)
        if told_at is not None:
            calls = {idx for idx, kind, *_ in row.entries if kind == Kind.CALL and idx < told_at}
            late = [idx for idx, kind, ref, *_ in row.entries if idx > told_at and ref in calls and kind in ANSWERS]
            assert len(late) <= 1, f"{row.id} was told of its cancellation before its calls were over: {row}"

    def _check_cancelled(self, row: Row) -> None:
        assert row.flags & Flag.CANCELLED, f"the cancellation of {row.id} was acknowledged and lost"
        told_at = next((idx for idx, kind, *_ in row.entries if kind == Kind.CANCELLED), None)
        answers = [(idx, ref) for idx, kind, ref, *_ in row.entries if kind in ANSWERS]
        if row.error in ("cancelled", "killed") or any(id == row.id for id, _ in self.outside.told):
            return
        if told_at is None:  # it ended before the calls it had made
            assert row.error == "retries_exhausted", f"{row.id} was not told that it is cancelled: {row}"
            return
        # What its code left behind unawaited, before it ended, is completed after that: nobody is there to be told.
        left = {idx for idx, kind, *_ in row.entries if kind in (Kind.SEND, Kind.RESOLVE, Kind.REJECT, Kind.CANCEL)}
        later = [idx for idx, ref in answers if idx > told_at and ref not in left]
        assert not later, f"{row.id} went on awaiting, and was not told that it is cancelled: {row}"


KEY = st.sampled_from(KEYS)
OPERATIONS = st.sampled_from(["cancel", "cancel", "kill", "pause", "resume", "restart", "purge"])
AMONG = st.sampled_from(["open", "open", "stopped", "ended", "all"])
MESSAGES = st.integers(0, len(KEYS) - 1).flatmap(
    lambda key: st.tuples(
        st.just("message"),
        st.just(KEYS[key]),
        operated_objects.messages(key, 2),
        st.sampled_from([0, 0, 0, 5]),
        st.booleans(),
    )
)
CHAINS = st.tuples(st.just("message"), st.just(KEYS[0]), operated_objects.chains(), st.just(0), st.booleans())
OPERATES = st.tuples(st.just("operate"), OPERATIONS, AMONG, st.integers(0, 9))
CRASHING = st.tuples(st.just("operate and crash"), OPERATIONS, AMONG, st.integers(0, 9), st.integers(5, 40))
KEEPING = st.tuples(st.just("operate"), st.just("restart keep"), st.just("ended"), st.integers(0, 9))
CRASHING_KEEPING = st.tuples(
    st.just("operate and crash"), st.just("restart keep"), st.just("ended"), st.integers(0, 9), st.integers(5, 40)
)
TURNS = st.tuples(st.just("turns"), st.integers(1, 30))
ACTIONS = st.one_of(
    MESSAGES,
    CHAINS,
    OPERATES,
    OPERATES,
    OPERATES,
    CRASHING,
    KEEPING,
    CRASHING_KEEPING,
    TURNS,
    TURNS,
    st.tuples(st.just("keyed message"), KEY, st.sampled_from("xy")),
    st.tuples(st.just("time"), st.integers(1, 15)),
    st.tuples(st.just("complete awakeable"), st.integers(0, 3), st.sampled_from("xy")),
    st.tuples(st.just("crash at a commit"), st.integers(1, 5), st.booleans()),
    st.sampled_from([("crash",), ("restart app",)]),
)
# Something to operate on is there from the start.
SCENARIOS = st.tuples(MESSAGES, CHAINS, TURNS, st.lists(ACTIONS, min_size=4, max_size=25)).map(
    lambda parts: [*parts[:3], *parts[3]]
)
LIMITS = st.builds(
    lambda objects, waiting, ms: Limits(
        max_objects=objects,
        max_waiting=waiting,
        suspend_after=ms / 1000,
        retention=None,
        idempotency_retention=None,
    ),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([1, 2, 1000]),
    st.sampled_from([2, 1000]),
)

# `SIMULATIONS=5000 pytest tests/property` looks further. Shrinking a failure takes minutes: SHRINK=1 asks for it.
EXAMPLES = 3 * int(os.environ["SIMULATIONS"])
PHASES = [Phase.explicit, Phase.reuse, Phase.generate] + [Phase.shrink] * ("SHRINK" in os.environ)


# The coroutine of an asynchronous step that is killed before it began.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(limits=LIMITS, seed=st.integers(0, 2**16), actions=SCENARIOS)
def test_whatever_operators_do_the_guarantees_hold(limits: Limits, seed: int, actions: list[tuple[Any, ...]]) -> None:
    asyncio.run(Run(limits, seed).play(actions))
