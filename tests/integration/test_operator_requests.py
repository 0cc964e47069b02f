"""Requests of a command line, through the table of the file: done once, in order, at the start before anything goes on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from actors import App, Context, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import AppNotRunning, BadArguments, DefinitionError
from actors.model.calls import InvocationHandle
from actors.serde import codec as serde
from actors.storage import StorageError
from actors.testing import Disk, SimulatedStore
from tests.world import World

happened: list[str] = []
hold: list[asyncio.Event] = []
POLL = 0.25


@pytest.fixture(autouse=True)
def _forget() -> None:
    happened.clear()
    hold[:] = [asyncio.Event()]


@dataclasses.dataclass
class Answer:
    yes: bool


class Job(VirtualObject):
    runs: int = 0

    @handler
    async def wait(self, ctx: Context) -> str:
        happened.append("begins")
        answer = await ctx.awakeable(str)
        happened.append("goes on")
        return answer

    @handler
    async def decide(self, ctx: Context) -> bool:
        return (await ctx.awakeable(Answer)).yes

    @handler
    async def work(self, ctx: Context) -> str:
        """Busy with a step: a process that dies meanwhile leaves it running."""
        happened.append("begins")
        await ctx.run(hold[-1].wait)
        happened.append("goes on")
        return "done"

    @handler
    async def add(self) -> int:
        self.runs += 1
        return self.runs


def world(**options: Any) -> World:
    return World(Job, poll=POLL, **options)


def ask(w: World, operation: Any, target: Any, argument: Any = None) -> int:
    """What a command line writes."""
    ((number,),) = w.disk.query(
        "INSERT INTO request (operation, target, argument, asked_ms) VALUES (?, ?, ?, 0) RETURNING number",
        *(operation, target, argument),
    )
    return int(number)


def answer(w: World, number: int) -> Any:
    found = w.disk.query("SELECT answer FROM request WHERE number = ?", number)
    return json.loads(found[0][0]) if found and found[0][0] is not None else None


async def _look(w: World) -> None:
    await w.settle()
    await w.pass_time(POLL)


async def _status(w: World, handle: InvocationHandle[Any]) -> str:
    return (await w.app.describe(handle.id)).status


async def test_a_running_app_does_what_is_asked_for_and_answers() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        await _look(w)
        paused = ask(w, "pause", handle.id)
        await _look(w)
        assert answer(w, paused) == {"ok": True} and await _status(w, handle) == "paused"
        resumed, killed = ask(w, "resume", handle.id), ask(w, "kill", handle.id)
        await _look(w)
        assert answer(w, resumed) == answer(w, killed) == {"ok": True} and await _status(w, handle) == "failed"
        restarted = ask(w, "restart", handle.id)
        await _look(w)
        again = w.app.invocation(answer(w, restarted)["invocation"])
        assert await _status(w, again) == "blocked"
        cancelled, purged = ask(w, "cancel", again.id), ask(w, "purge", handle.id)
        await _look(w)
        assert answer(w, cancelled) == answer(w, purged) == {"ok": True}
        assert w.statuses() == ["failed"]


async def test_an_awakeable_is_completed_with_the_checks_of_the_waiting_type() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").decide.send()
        await w.settle()
        (info,) = await w.app.awakeables()
        wrong, broken = ask(w, "resolve", info.id, '{"yes":"maybe"}'), ask(w, "resolve", info.id, '{"yes":')
        await _look(w)
        assert answer(w, wrong)["error"] == answer(w, broken)["error"] == "bad_arguments"
        right, same = ask(w, "resolve", info.id, '{"yes": true}'), ask(w, "resolve", info.id, '{ "yes":true }')
        other = ask(w, "reject", info.id, '"no"')
        await _look(w)
        assert answer(w, right) == answer(w, same) == {"ok": True}
        assert answer(w, other)["error"] in ("awakeable_already_completed", "unknown_awakeable")
        assert await w.app.invocation(handle.id).result() is True


async def test_a_rejection_gives_its_reason_to_the_handler() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        (info,) = await w.app.awakeables()
        ask(w, "reject", info.id, '"too expensive"')
        await _look(w)
        with pytest.raises(TerminalError, match="too expensive"):
            await w.app.invocation(handle.id).result()


async def test_what_the_app_refuses_is_answered_with_its_own_words() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").add.send()
        await w.settle()
        refusals: list[tuple[str, str, Any]] = [
            ("kill", handle.id, w.app.kill(handle.id)),
            ("pause", "nonsense", w.app.pause("nonsense")),
            ("cancel", handle.id[:-1] + "_", w.app.cancel(handle.id[:-1] + "_")),
            ("resolve", handle.id, w.app.resolve_awakeable(handle.id)),
        ]
        for operation, id, refused in refusals:
            number = ask(w, operation, id)
            await _look(w)
            with pytest.raises(TerminalError) as caught:
                await refused
            assert answer(w, number) == {
                "code": caught.value.code,
                "error": caught.value.error,
                "message": str(caught.value),
            }
        too_far = ask(w, "restart", handle.id, "5")
        await _look(w)
        assert "nothing but the input" in answer(w, too_far)["message"]
        assert w.statuses() == ["succeeded"]


@pytest.mark.parametrize(
    ("operation", "target", "argument"),
    [
        ("explode", "", None),
        ("__init__", "x", None),
        (b"\xff", b"\xff\x00", b"\xff"),
        ("restart", "valid", "not json"),
        ("restart", "valid", '"two"'),
        ("restart", "valid", "-1"),
        ("restart", "valid", b"\xff"),
        ("resolve", "prom_1", "1"),
        ("reject", "prom_1", None),
        ("kill", "inv_1" * 100_000, None),
    ],
)
async def test_a_request_that_makes_no_sense_is_answered_and_harms_nobody(
    operation: Any, target: Any, argument: Any
) -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").add.send()
        await w.settle()
        number = ask(w, operation, handle.id if target == "valid" else target, argument)
        await _look(w)
        assert answer(w, number)["error"] in ("bad_arguments", "malformed_id")
        assert await w.app.object(Job, "j").add() == 2
        assert w.statuses() == ["succeeded"] * 2


@pytest.mark.expects_log("A request of the command line failed")
async def test_an_error_inside_the_app_is_answered_and_the_app_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        await w.app.kill(handle.id)
        w.disk.query("UPDATE journal_entry SET idx = 7")  # somebody has tampered with the file
        number = ask(w, "restart", handle.id, "1")
        await _look(w)
        assert "failed inside the app" in answer(w, number)["message"]
        assert "A request of the command line failed" in caplog.text
        assert await w.app.object(Job, "j").add() == 1


# --- at the start -----------------------------------------------------------------------------------------------------------


# The coroutine of an asynchronous step that is cancelled before it began.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", ["kill", "pause", "cancel"])
@pytest.mark.parametrize("busy", ["work", "wait"])
async def test_what_is_asked_for_while_no_app_runs_is_done_before_any_code_goes_on(operation: str, busy: str) -> None:
    async with world() as w:
        handle = await getattr(w.app.object(Job, "j"), busy).send()
        behind = await w.app.object(Job, "j").add.send()
        await w.settle()
        await w.crash()
        happened.clear()
        hold[-1].set()  # the step would end at once
        number = ask(w, operation, handle.id)
        await w.start()
        assert answer(w, number) == {"ok": True}, "it is answered before the app has started"
        if operation != "cancel":
            assert happened == []
        await w.settle()
        assert "goes on" not in happened
        status = await _status(w, handle)
        assert status == ("paused" if operation == "pause" else "failed")
        assert await _status(w, behind) == ("pending" if operation == "pause" else "succeeded")


async def test_a_timer_that_is_due_at_the_start_does_not_overtake_what_was_asked_for() -> None:
    class Sleeper(VirtualObject):
        @handler
        async def nap(self, ctx: Context) -> None:
            await ctx.sleep(5)
            happened.append("woke up")

    async with World(Sleeper, poll=POLL) as w:
        asleep = await w.app.object(Sleeper, "a").nap.send()
        later = await w.app.object(Sleeper, "b").nap.options(delay=5).send()
        await w.settle()
        await w.crash()
        w.clock.advance(10)
        ask(w, "pause", asleep.id)
        ask(w, "kill", later.id)
        await w.start()
        await w.pass_time(10)
        assert happened == []
        assert await _status(w, asleep) == "paused" and await _status(w, later) == "failed"
        await w.app.resume(asleep.id)
        await w.pass_time(1)
        assert happened == ["woke up"]


@pytest.mark.expects_log("Refused: ")
async def test_requests_at_the_start_are_done_in_the_order_in_which_they_came() -> None:
    async with world() as w:
        one = await w.app.object(Job, "1").wait.send()
        two = await w.app.object(Job, "2").decide.send()
        await w.settle()
        (first, second) = await w.app.awakeables()
        await w.crash()
        happened.clear()
        numbers = [
            ask(w, "pause", one.id),
            ask(w, "resolve", second.id, '{"yes":1}'),  # the type is asked of the handler, which is replayed for that
            ask(w, "resolve", second.id, '{"yes":true}'),
            ask(w, "resolve", first.id, '"go"'),
            ask(w, "kill", two.id),
            ask(w, "restart", two.id, "1"),
            ask(w, "resume", one.id),
        ]
        await w.start()
        answers = [answer(w, number) for number in numbers]
        assert [found.get("error", "done") for found in answers] == ["done", "bad_arguments", *["done"] * 5]
        await w.settle()
        assert await w.app.invocation(one.id).result() == "go"
        assert happened == ["begins", "goes on"]
        again = w.app.invocation(answers[5]["invocation"])
        assert await again.result() is True, "its answer was kept"


@pytest.mark.expects_log("Refused: ")
async def test_asking_a_handler_for_its_type_at_the_start_lets_no_other_go_on() -> None:
    async with world() as w:
        busy = await w.app.object(Job, "busy").work.send()
        behind = await w.app.object(Job, "busy").add.send()
        await w.app.object(Job, "2").decide.send()
        await w.settle()
        (info,) = await w.app.awakeables()
        await w.crash()
        happened.clear()
        hold[-1].set()
        numbers = [
            ask(w, "kill", behind.id),  # loads the object of the busy one
            ask(w, "resolve", info.id, '{"yes":1}'),
            ask(w, "kill", busy.id),
        ]
        await w.start()
        assert [answer(w, number).get("error", "done") for number in numbers] == ["done", "bad_arguments", "done"]
        await w.settle()
        assert happened == []


@pytest.mark.expects_log("Refused: ")
async def test_only_what_was_left_and_is_refused_at_the_start_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever left it has gone, and reads no answer; a command line that waits tells it itself."""
    caplog.set_level(logging.INFO, "actors")
    async with world() as w:
        handle = await w.app.object(Job, "j").add.send()
        await w.settle()
        ask(w, "pause", handle.id)
        await _look(w)
        assert "Refused" in caplog.text and [record for record in caplog.records if record.levelno > logging.INFO] == []
        caplog.clear()
        await w.crash()
        ask(w, "restart", handle.id)
        ask(w, "kill", handle.id)
        await w.start()
        (warning,) = [record for record in caplog.records if record.levelno > logging.INFO]
        assert warning.getMessage() == (
            f"Request of the command line: kill of {handle.id}. Refused: The invocation has ended already: it succeeded."
        )


async def test_the_same_words_for_statuses_serve_the_app_and_the_command_line() -> None:
    async with world() as w:
        done = await w.app.object(Job, "j").add.send()
        await w.app.object(Job, "k").wait.send()
        await w.settle()
        assert [info.id for info in await w.app.invocations(status="ended")] == [done.id]
        assert len(await w.app.invocations(status=["ended", "open", "blocked"])) == 2
        with pytest.raises(
            BadArguments, match=r"status='angry' is not a valid status\. Use scheduled, .*, open or ended"
        ):
            await w.app.invocations(status="angry")


async def test_requests_at_the_start_are_done_without_a_poll_too() -> None:
    async with World(Job) as w:
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        number = ask(w, "kill", handle.id)
        await w.pass_time(1000)
        assert answer(w, number) is None
        await w.restart()
        assert answer(w, number) == {"ok": True} and await _status(w, handle) == "failed"


@pytest.mark.expects_log("Refused: ")
async def test_a_request_for_a_class_that_is_not_served_any_more_does_not_keep_the_app_from_starting() -> None:
    class Other(VirtualObject):
        @handler
        async def go(self) -> None: ...

    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        ended = await w.app.object(Job, "k").add.send()
        await w.settle()
        await w.crash()
        numbers = [ask(w, "pause", handle.id), ask(w, "restart", ended.id), ask(w, "kill", handle.id)]
        w.classes = (Other,)
        await w.start()
        assert [answer(w, number).get("error", "done") for number in numbers] == ["done", "unknown_service", "done"]


# --- crashes ----------------------------------------------------------------------------------------------------------------


OPERATIONS = ["cancel", "kill", "pause", "restart", "purge", "resolve"]


async def _prepare(w: World, operation: str) -> tuple[InvocationHandle[Any], str, str | None]:
    handle = await w.app.object(Job, "j").wait.send()
    await w.settle()
    if operation == "resolve":
        return handle, (await w.app.awakeables())[0].id, '"go"'
    if operation in ("restart", "purge"):
        await w.app.kill(handle.id)
    return handle, handle.id, "1" if operation == "restart" else None


def _effects(w: World) -> tuple[int, ...]:
    """What each operation leaves, counted."""
    statuses = w.statuses()
    ((restarted,),) = w.disk.query("SELECT count(*) FROM invocations WHERE restarted_from IS NOT NULL")
    return (
        statuses.count("failed") + statuses.count("succeeded"),
        statuses.count("paused"),
        restarted,
        len(statuses),
    )


EFFECTS = {
    "cancel": (1, 0, 0, 1),
    "kill": (1, 0, 0, 1),
    "pause": (0, 1, 0, 1),
    "restart": (1, 0, 1, 2),
    "purge": (0, 0, 0, 0),
    "resolve": (1, 0, 0, 1),
}


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("when", ["running", "at the start"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_crash_at_any_commit_does_a_request_neither_twice_nor_not_at_all(
    operation: str, when: str, seed: int, written: bool
) -> None:
    for commit in range(1, 6):
        async with world() as w:
            _, target, argument = await _prepare(w, operation)
            w.rng = Random(seed) if seed else None
            if when == "at the start":
                await w.crash()
                number = ask(w, operation, target, argument)
                w.disk = _Crashing(w.disk, commit, written)
                with contextlib.suppress(StorageError, AppNotRunning):
                    await w.start()
                w.disk = w.disk.disk
            else:
                number = ask(w, operation, target, argument)
                w.store.crash_at_commit(commit, written=written)
            for _ in range(3):
                await _look(w)
            crashed = w.store.crashed
            if answer(w, number) is not None:
                assert answer(w, number)["ok"]
            w.rng = None
            await w.restart()
            await _look(w)
            assert answer(w, number)["ok"], "it is lost" if crashed else "it was not answered"
            assert _effects(w) == EFFECTS[operation]


class _Crashing(Disk):
    """A disk whose next store crashes while the app starts on it."""

    def __init__(self, disk: Disk, commit: int, written: bool) -> None:
        self.disk = disk
        self._crash_at = commit, written

    def store(self, rng: Random | None = None) -> SimulatedStore:
        store = self.disk.store(rng)
        store.crash_at_commit(self._crash_at[0], written=self._crash_at[1])
        return store


async def test_a_request_that_was_taken_by_a_process_that_died_is_done_by_the_next_one() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        number = ask(w, "kill", handle.id)
        w.store.crash_at_commit(1, written=False)
        await _look(w)
        assert w.disk.query("SELECT taken IS NOT NULL, answer FROM request") == [(1, None)]
        await w.restart()
        assert answer(w, number) == {"ok": True}


async def test_a_process_that_has_lost_the_file_takes_no_requests() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        w.disk.query("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
        number = ask(w, "kill", handle.id)
        await _look(w)
        assert answer(w, number) is None
        assert w.disk.query("SELECT taken FROM request") == [(None,)]
        w.disk.query("UPDATE meta SET value = value - 1 WHERE name = 'epoch'")


# --- what it costs, and its end ---------------------------------------------------------------------------------------------


class _Counting(World):
    """Counts what its app asks of the database."""

    reads: list[str]

    async def start(self) -> App:
        app = await super().start()
        self.reads = []
        real = self.store._read

        async def counting(sql: str, parameters: Iterable[Any] = ()) -> Any:
            self.reads.append(sql)
            return await real(sql, parameters)

        self.store._read = counting  # type: ignore[method-assign]
        return app


async def test_an_idle_app_pays_one_read_of_an_empty_table_for_each_look_and_no_commit() -> None:
    counting = _Counting(Job, poll=POLL)
    async with counting as w:
        await w.app.object(Job, "j").add()
        await w.settle()
        commits = w.disk.commits
        counting.reads.clear()
        for _ in range(10):
            await w.pass_time(POLL)
        assert len(counting.reads) == 10 and len(set(counting.reads)) == 1 and "FROM request" in counting.reads[0]
        assert w.disk.commits == commits


async def test_without_a_file_and_where_none_is_asked_for_nothing_looks() -> None:
    async with World(Job) as w:
        await w.app.object(Job, "j").add()
        assert w.clock.next_due_ms() is None
    async with World(Job, poll=0) as w:
        assert w.clock.next_due_ms() is None


@pytest.mark.parametrize("ending", ["close", "crash"])
async def test_nobody_looks_any_more_when_the_app_has_ended(ending: str) -> None:
    async with world() as w:
        assert w.clock.next_due_ms() is not None
        if ending == "crash":
            w.store.crash()
            with pytest.raises((StorageError, AppNotRunning)):
                await w.app.object(Job, "j").add()
        else:
            await w.app.close()
        assert w.clock.next_due_ms() is None
        await w.pass_time(10)
        assert w.clock.next_due_ms() is None


async def test_an_app_that_is_closed_while_it_looks_ends() -> None:
    async with world() as w:
        w.rng = Random(1)
        await w.restart()
        handle = await w.app.object(Job, "j").wait.send()
        await w.settle()
        ask(w, "kill", handle.id)
        w.clock.advance(POLL)
        await asyncio.sleep(0)
        await w.app.close()
        assert w.clock.next_due_ms() is None
        await w.start()
        assert await _status(w, handle) == "failed"


async def test_answers_that_nobody_has_read_are_removed_after_an_hour() -> None:
    async with world() as w:
        handle = await w.app.object(Job, "j").add.send()
        await w.settle()
        number = ask(w, "purge", handle.id)
        await _look(w)
        assert answer(w, number) == {"ok": True}
        for _ in range(10):
            await w.pass_time(350)
        assert answer(w, number) == {"ok": True}
        await w.pass_time(200)
        await w.pass_time(POLL)
        assert w.disk.query("SELECT * FROM request") == []


@pytest.mark.parametrize("poll", [-1, "often", float("nan"), True])
def test_an_interval_that_is_none_is_refused(poll: Any) -> None:
    with pytest.raises((TerminalError, DefinitionError)):
        App(Job, poll=poll)


class Counted(VirtualObject):
    n: int = 0

    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n

    @shared
    async def get(self) -> int:
        return self.n


class Flow(Workflow):
    @handler
    async def run(self, ctx: Context) -> None:
        ctx.object(Counted, "c").add.send()


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("commit", range(1, 6))
@pytest.mark.parametrize("operation", ["restart", "purge"])
async def test_no_crash_does_what_is_asked_of_a_workflow_twice(operation: str, commit: int, written: bool) -> None:
    async with World(Flow, Counted, poll=0.25) as world:
        run = await world.app.object(Flow, "k").run.send()
        await world.settle()
        world.disk.query("INSERT INTO request (operation, target, asked_ms) VALUES (?, ?, 0)", operation, run.id)
        world.store.crash_at_commit(commit, written=written)
        await world.pass_time(0.25)
        await world.restart()
        await world.pass_time(0.25)
        (answer,) = world.disk.query("SELECT answer FROM request")
        assert json.loads(answer[0]).get("ok") is True, answer
        if operation == "restart":
            assert world.disk.query("SELECT count(*) FROM invocation WHERE restart_of IS NOT NULL") == [(1,)]
            assert await world.app.object(Counted, "c").get() == 2
        else:
            assert world.disk.query("SELECT count(*) FROM invocation WHERE service = 'Flow'") == [(0,)]


class Poison(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        answer = await ctx.awakeable(str)
        happened.append(answer)
        return answer


async def test_no_request_at_the_start_lets_the_code_go_on_that_an_earlier_one_has_answered() -> None:
    """Else what crashes the process could not be killed before it runs."""
    happened.clear()
    async with World(Poison) as world:
        handles = [await world.app.object(Poison, key).wait.send() for key in ("a", "b")]
        await world.settle()
        ids = {info.invocation_id: info.id for info in await world.app.awakeables()}
        await world.crash()
        for operation, target, argument in (
            ("resolve", ids[handles[0].id], '"poison"'),
            ("resolve", ids[handles[1].id], '"fine"'),
            ("kill", handles[0].id, None),
        ):
            world.disk.query(
                "INSERT INTO request (operation, target, argument, asked_ms) VALUES (?, ?, ?, 0)",
                operation, target, argument,
            )  # fmt: skip
        await world.start()
        await world.settle()
        assert happened == ["fine"]
        assert (await world.app.describe(handles[0].id)).status == "failed"
        assert await world.app.invocation(handles[1].id).result() == "fine"


class Both(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        plain, other = ctx.awakeable(str), ctx.awakeable(list[int])
        try:
            return f"{await plain} {sum(await other)}"
        except TerminalError as error:
            return f"{error.message} {sum(await other)}"


@pytest.mark.expects_log("Refused: ")
@pytest.mark.parametrize("first", ["resolve", "reject"])
async def test_the_type_of_an_awakeable_is_asked_for_although_another_one_was_completed_before(first: str) -> None:
    world = World(Both)
    async with world:
        sent = await world.app.object(Both, "b").wait.send()
        await world.settle()
        plain, other = await world.app.awakeables()
        await world.crash()
        serde._CACHE.pop(list[int])  # as in a process of its own
        numbers = [
            ask(world, first, plain.id, '"x"'),
            ask(world, "resolve", other.id, '"no list"'),
            ask(world, "resolve", other.id, "[1, 2]"),
        ]
        await world.start()
        await world.settle(5)
        assert [answer(world, number).get("code", "ok") for number in numbers] == ["ok", 400, "ok"]
        assert await world.app.invocation(sent.id).result() == "x 3"
