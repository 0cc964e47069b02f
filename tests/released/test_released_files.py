"""A database file that 5d6a237 wrote opens, goes on, and answers as before.

`objects` holds its classes, `write` has made it, with what that release answered beside it. Each test has a copy.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import sqlite3
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors import App, Limits, TerminalError
from actors.check import check
from actors.errors import BadId, IdempotencyMismatch, InvocationCancelled, InvocationKilled, UnknownInvocation
from actors.handlers import InvocationHandle
from actors.journal.entries import Kind
from actors.model.virtual_object import Served
from actors.storage import Flag, Mode, SqliteStore, Status
from actors.storage.sqlite.backup import backup, restore
from actors.testing import Disk, ManualClock
from tests.released import objects
from tests.released.objects import (
    ANSWERS,
    CLASSES,
    PARCEL,
    SAMPLES,
    Account,
    AccountInCents,
    Approval,
    Desk,
    Ledger,
    Log,
    Mailer,
    Nightly,
    Race,
    Values,
)
from tests.storage.rows import shell
from tests.world import World, limits

RELEASED = Path(__file__).with_name("5d6a237")
RECORDED: dict[str, Any] = json.loads(RELEASED.with_suffix(".json").read_text(encoding="utf-8"))
IDS: dict[str, str] = RECORDED["ids"]
AWAKEABLES: dict[str, list[str]] = RECORDED["awakeables"]
INFOS: dict[str, dict[str, Any]] = RECORDED["infos"]
ENDED: dict[str, dict[str, Any]] = RECORDED["ended"]
STATES: dict[str, dict[str, Any]] = RECORDED["states"]
HOUR = 3600
IN_CENTS = tuple(AccountInCents if cls is Account else cls for cls in CLASSES)

# At the start one of the requests that are left in the file is refused.
pytestmark = pytest.mark.may_log("Request of the command line: purge")


@pytest.fixture(autouse=True)
def forget_executions() -> Iterator[None]:
    objects.executed.clear()
    yield
    objects.executed.clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    path.write_bytes(lzma.decompress(RELEASED.with_suffix(".sqlite.xz").read_bytes()))
    return path


@contextlib.asynccontextmanager
async def released(file: Path, *classes: type[Served], **options: Any) -> AsyncIterator[World]:
    """The current code on a copy of the file, at the time at which the release was stopped."""
    world = World(*(classes or CLASSES), **options)
    world.disk.close()
    with shell(file) as connection, contextlib.closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)
        world.disk = Disk(copy.serialize())
    world.clock.move_to(RECORDED["stopped_ms"])
    async with world:
        await world.settle(5)
        yield world


@pytest.fixture
async def world(file: Path) -> AsyncIterator[World]:
    async with released(file) as world:
        yield world


def app_on(file: Path, *classes: type[Served]) -> App:
    """An app on the file itself."""
    clock = ManualClock(RECORDED["stopped_ms"])
    return App(*(classes or CLASSES), storage=f"sqlite:///{file}", clock=clock, limits=limits(), poll=0)


async def answer(handle: InvocationHandle[Any]) -> dict[str, Any]:
    """The outcome, as it is recorded."""
    try:
        return {"id": handle.id, "result": repr(await handle.output())}
    except TerminalError as error:
        failure = [type(error).__name__, str(error), error.code, error.error, error.metadata]
        return {"id": handle.id, "failure": failure}


async def resolve(world: World, name: str, value: Any = "new", place: int = 0) -> None:
    """By the id that the release has given out; what that leads to has happened when it returns."""
    await world.app.resolve_awakeable(AWAKEABLES[name][place], value)
    await world.settle(5)


async def result(world: World, name: str) -> Any:
    return await world.app.invocation(IDS[name]).output()


# --- what the file holds ----------------------------------------------------------------------------------------------

# What no release before the current one writes.
NEWER_KINDS = {
    Kind.UNSEEN: "the order of commands and completions was not recorded",
    Kind.CHANGE: "a write of state was recorded as the whole text",
}
NEWER_FLAGS = {Flag.APART: "writes of atomic handlers were stored with the others"}


def test_every_table_of_the_file_has_rows(file: Path) -> None:
    with shell(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        empty = [name for name in tables if not connection.execute(f"SELECT 1 FROM {name}").fetchone()]
    assert set(tables) - {"sqlite_sequence"} == {
        "meta",
        "invocation",
        "journal_entry",
        "object_state",
        "timer",
        "attachment",
        "request",
        "promise",
    }
    assert empty == []


def test_every_kind_of_entry_is_in_the_journal_of_an_open_invocation(file: Path) -> None:
    with shell(file) as connection:
        rows = connection.execute(
            "SELECT DISTINCT kind FROM journal_entry JOIN invocation ON invocation = seq WHERE status < 6"
        ).fetchall()
    assert {kind for (kind,) in rows} == Kind.NAMES.keys() - NEWER_KINDS.keys()


def test_every_status_mode_flag_and_timer_is_in_the_file(file: Path) -> None:
    with shell(file) as connection:
        statuses = {status for (status,) in connection.execute("SELECT DISTINCT status FROM invocation")}
        modes = {mode for (mode,) in connection.execute("SELECT DISTINCT shared FROM invocation")}
        flags = {flag for (flag,) in connection.execute("SELECT DISTINCT flags FROM invocation")}
        timers = {purpose for (purpose,) in connection.execute("SELECT DISTINCT purpose FROM timers")}
    assert statuses == set(range(len(Status.NAMES)))
    assert modes == set(range(len(Mode.NAMES)))
    every = {value for name, value in vars(Flag).items() if name.isupper()}
    assert {flag for flag in every if any(flag & found for found in flags)} == every - NEWER_FLAGS.keys()
    assert timers == {"retry", "delayed send", "sleep or deadline"}


def test_requests_are_in_the_file_answered_taken_and_new(file: Path) -> None:
    with shell(file) as connection:
        rows = connection.execute(
            "SELECT count(answer), count(*) FILTER (WHERE answer IS NULL AND taken), count(*) FILTER (WHERE taken IS NULL) "
            "FROM request"
        ).fetchall()
    assert rows == [(7, 1, 8)]


async def test_the_views_show_the_same_in_the_new_schema(file: Path) -> None:
    views = ("invocations", "journal", "state", "awakeables", "promises", "timers")
    with shell(file) as connection:
        before = {view: connection.execute(f"SELECT * FROM {view} ORDER BY 1, 2, 3").fetchall() for view in views}
        version = connection.execute("PRAGMA user_version").fetchone()
    store = SqliteStore(str(file))
    await store.open()
    await store.close()
    with shell(file) as connection:
        after = {view: connection.execute(f"SELECT * FROM {view} ORDER BY 1, 2, 3").fetchall() for view in views}
        assert connection.execute("PRAGMA user_version").fetchone() > version
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert version == (3,)
    assert after == before


async def test_the_file_gets_the_tables_and_indexes_of_a_new_one(file: Path, tmp_path: Path) -> None:
    schemas = []
    for path in (file, tmp_path / "new.db"):
        store = SqliteStore(str(path))
        await store.open()
        await store.close()
        with shell(path) as connection:
            schemas.append(set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")))
    assert schemas[0] == schemas[1]


# --- the file as a whole ----------------------------------------------------------------------------------------------


async def test_a_check_finds_nothing_wrong(file: Path) -> None:
    report = await check(app_on(file))
    with shell(file) as connection:
        (opened,) = connection.execute("SELECT count(*) FROM invocation WHERE status < 6").fetchone()
        (with_journal,) = connection.execute(
            "SELECT count(*) FROM invocation WHERE status < 6 AND seq IN (SELECT invocation FROM journal_entry)"
        ).fetchone()
    assert report.findings == []
    assert (report.counts.invocations, report.counts.replayed) == (opened, with_journal)
    assert report.counts.outdated == 1  # Ledger/stale


async def test_a_check_finds_nothing_wrong_with_the_next_version_of_a_class(file: Path) -> None:
    report = await check(app_on(file, *IN_CENTS))
    assert report.findings == []
    assert report.counts.outdated == 1 + 5


async def test_the_file_can_be_backed_up_and_the_backup_goes_on(file: Path, tmp_path: Path) -> None:
    backup(str(file), str(tmp_path / "backup.db"))
    async with app_on(tmp_path / "backup.db") as app:
        await app.resolve_awakeable(AWAKEABLES["queue: 1"][0], "new")
        assert await app.invocation(IDS["queue: 1"]).result() == "new"


async def test_the_file_can_be_restored_over_a_later_one(file: Path, tmp_path: Path) -> None:
    async with app_on(tmp_path / "later.db") as app:
        await app.object(Desk, "later").serve("later")
    restore(str(file), str(tmp_path / "later.db"))
    async with app_on(tmp_path / "later.db") as app:
        assert await app.invocation(IDS["cold"]).result() == "yes"
        assert await app.object(Desk, "full").look() == ["full begins"]


async def test_a_file_that_was_opened_opens_again(file: Path) -> None:
    async with app_on(file) as app:
        await app.resolve_awakeable(AWAKEABLES["queue: 1"][0], "new")
        assert await app.invocation(IDS["queue: 1"]).result() == "new"
        accepted = await app.object(Desk, "new").serve.send("new")
    async with app_on(file) as app:
        assert await app.invocation(IDS["queue: 1"]).result() == "new"
        assert await app.invocation(accepted.id).result() == ["new"]
        await app.resolve_awakeable(AWAKEABLES["paused"][0], "new")
        await app.resume(IDS["paused"])
        assert await app.invocation(IDS["paused"]).result() == "new"
    assert (await check(app_on(file))).findings == []


async def test_a_crash_right_after_the_first_start_loses_nothing(world: World) -> None:
    await world.restart()
    await resolve(world, "queue: 1")
    await resolve(world, "order", place=1)
    await resolve(world, "order", place=3)
    assert await result(world, "queue: 1") == "new"
    assert await result(world, "order") == [2, 0, 1, 3]


async def test_numbers_of_the_file_are_not_given_out_again(world: World) -> None:
    accepted = await world.app.object(Desk, "new").serve.send("new")
    newest, *_ = await world.app.invocations(limit=1)
    assert newest.id == accepted.id
    assert accepted.id not in {info["id"] for info in (*INFOS.values(), *ENDED.values())}


async def test_an_id_of_the_file_with_another_tag_is_refused(world: World) -> None:
    id = IDS["cold"]
    with pytest.raises(BadId):
        await world.app.describe(id[:-2] + ("AA" if id[-2:] != "AA" else "BB"))


# --- what has ended ---------------------------------------------------------------------------------------------------


async def test_every_ended_invocation_answers_as_before(world: World) -> None:
    answers = {name: await answer(world.app.invocation(recorded["id"])) for name, recorded in ENDED.items()}
    left = answers.pop("left to purge")
    assert left["failure"][0] == "UnknownInvocation"
    assert answers == {name: recorded for name, recorded in ENDED.items() if name != "left to purge"}
    assert len(answers) > 60


async def test_every_ended_invocation_is_described_as_before(world: World) -> None:
    infos = {name: info for name, info in INFOS.items() if "ended_at" in info and name != "left to purge"}
    described = {}
    for name, recorded in infos.items():
        info = await world.app.describe(recorded["id"])
        facts = {"failed_with": info.failure and info.failure.error}
        facts |= {fact: getattr(info, fact) for fact in recorded if fact != "failed_with"}
        described[name] = json.loads(json.dumps({fact: facts[fact] for fact in recorded}, default=str))
    assert described == infos


async def test_ended_invocations_are_listed_in_the_order_of_before(world: World) -> None:
    listed = [info.id for info in await world.app.invocations(status="ended", limit=1000)]
    recorded = [ended["id"] for name, ended in ENDED.items() if name != "left to purge"]
    assert [id for id in listed if id in recorded] == recorded


async def test_an_invocation_that_was_purged_is_unknown(world: World) -> None:
    for name in ("purged", "asked to purge"):
        with pytest.raises(UnknownInvocation):
            await world.app.describe(IDS[name])


async def test_an_outcome_of_a_declared_type_is_of_that_type(world: World) -> None:
    assert await result(world, "echo") == PARCEL


async def test_an_idempotency_key_of_an_ended_invocation_stands_for_it(world: World) -> None:
    once = world.app.object(Desk, "served").serve.options(idempotency_key="a")
    handle = await once.send("1")
    assert handle.previously_accepted
    assert handle.id == IDS["served once"]
    assert await once("1") == ["1"]
    assert await world.app.object(Desk, "served").look() == ["1"]


async def test_an_idempotency_key_of_an_ended_call_to_a_service_stands_for_it(world: World) -> None:
    handle = await world.app.service(Mailer).wait.options(idempotency_key="b").send("mailed")
    assert handle.id == IDS["mailed once, ended"]
    assert await handle.result() == "mailed: yes"


async def test_other_arguments_under_an_old_idempotency_key_are_refused(world: World) -> None:
    with pytest.raises(IdempotencyMismatch):
        await world.app.object(Desk, "served").serve.options(idempotency_key="a")("2")


async def test_an_idempotency_key_of_an_open_invocation_joins_it(world: World) -> None:
    handle = await world.app.object(Desk, "once").wait.options(idempotency_key="open").send("once")
    queued = await world.app.object(Desk, "once").wait.options(idempotency_key="waiting").send("behind")
    mailed = await world.app.service(Mailer).wait.options(idempotency_key="a").send("mailed")
    delayed = await world.app.object(Desk, "later").serve.options(idempotency_key="later").send("later once")
    assert handle.id == IDS["once"]
    assert queued.id == IDS["once, in the queue"]
    assert mailed.id == IDS["mailed once"]
    assert delayed.id == IDS["later once"]
    await resolve(world, "once")
    await resolve(world, "mailed once")
    assert await handle.result() == "new"
    assert await mailed.result() == "mailed: new"
    assert await world.app.object(Desk, "once").look() == ["once begins", "once: new", "behind begins"]


async def test_an_ended_invocation_with_a_key_can_be_found_by_it(world: World) -> None:
    found = await world.app.invocation_of(world.app.object(Desk, "served").serve, "a")
    assert found.id == IDS["served once"]


async def test_an_ended_invocation_restarts_with_its_old_journal(world: World) -> None:
    await resolve(world, "restarted")  # which holds the object
    objects.executed.clear()
    again = await world.app.restart(IDS["restartable"], keep=4)
    await world.settle(5)
    assert await again.output() == [True, "yes", "not kept"]
    assert objects.executed == {"not kept": 1}


async def test_an_ended_invocation_can_be_purged(world: World) -> None:
    await world.app.purge(IDS["served once"])
    assert await world.app.object(Desk, "served").serve.options(idempotency_key="a")("1") == ["1", "1"]


async def test_what_has_ended_is_forgotten_after_its_retention(file: Path) -> None:
    kept = Limits(retention=HOUR, idempotency_retention=2 * HOUR)
    async with released(file, limits=kept) as world:
        await world.pass_time(HOUR + 1)
        await world.settle(5)
        with pytest.raises(UnknownInvocation):
            await world.app.describe(IDS["echo"])
        assert await result(world, "served once") == ["1"]
        assert await result(world, "workflow decided") == "granted"
        await world.pass_time(HOUR)
        await world.settle(5)
        for name in ("served once", "workflow decided"):
            with pytest.raises(UnknownInvocation):
                await world.app.describe(IDS[name])
        assert await world.status(world.app.invocation(IDS["queue: 1"])) == "blocked"


# --- state ------------------------------------------------------------------------------------------------------------


async def test_every_state_reads_as_before(world: World) -> None:
    states = {}
    for address in STATES:
        service, _, key = address.partition("/")
        state = await world.app.state(service, key)
        states[address] = {"version": state.version, "texts": dict(state.texts), "tag": state.tag}
    changed = {address for address in STATES if states[address] != STATES[address]}
    assert changed == {"Desk/left to resolve", "Desk/left to reject", "Desk/left to resume"}  # they have gone on


async def test_state_of_every_type_is_what_was_assigned(world: World) -> None:
    assert await world.app.object(Values, "filled").differing() == []
    assert await world.app.object(Values, "filled").plain() == {"undeclared": [1, None, "ä€𝄞"]}
    assert len(SAMPLES) > 30


async def test_state_of_every_type_is_found_by_the_next_handler(world: World) -> None:
    waiting = await world.app.object(Values, "filled").fill_and_wait.send()
    await world.settle()
    query = "SELECT DISTINCT entry FROM journal JOIN invocations USING (invocation) WHERE key = 'filled' AND status = 'blocked'"
    assert sorted(world.disk.query(query)) == [
        ("awakeable",),
        ("input",),
    ]  # no write: nothing differs from what is stored
    assert await world.status(waiting) == "blocked"


async def test_state_that_was_patched_reads_as_before(world: World) -> None:
    state = await world.app.state(Values, "patched")
    assert state.values == {"by patch": [1, "two"], "number": 7}
    changed = await world.app.patch_state(Values, "patched", set={"number": 8}, if_tag=STATES["Values/patched"]["tag"])
    assert changed.values == {"by patch": [1, "two"], "number": 8}


async def test_a_handler_that_has_written_every_type_goes_on(world: World) -> None:
    await resolve(world, "fill and wait")
    await resolve(world, "clear and wait")
    assert await result(world, "fill and wait") == "new: -41"
    assert await result(world, "clear and wait") == "new: 0, None"
    assert await world.app.object(Values, "journaled").differing() == ["number"]


async def test_arguments_of_an_open_invocation_are_what_was_given(world: World) -> None:
    await resolve(world, "echo later", True)
    assert await result(world, "echo later") == PARCEL


async def test_a_large_list_goes_on_growing(world: World) -> None:
    await resolve(world, "log")
    assert await world.status(world.app.invocation(IDS["log"])) == "blocked"
    (second,) = [info for info in await world.app.awakeables() if info.invocation_id == IDS["log"]]
    await world.restart()  # what was written in full and as differences is read
    await world.app.resolve_awakeable(second.id, "new")
    await world.settle(5)
    assert await result(world, "log") == [66, 66]
    entries = world.disk.query(
        "SELECT DISTINCT entry FROM journal JOIN invocations USING (invocation) WHERE handler = 'grow'"
    )
    assert {("set state",), ("change state",)} <= set(entries)
    assert objects.executed == {"another line": 3} | dict(STARTED)
    lines = (await world.app.state(Log, "log")).values["lines"]
    assert [int(line[:4]) for line in lines] == list(range(66))


# --- steps ------------------------------------------------------------------------------------------------------------

# What is executed at each start: steps that the release has not completed.
STARTED = {"the slow service": 1, "the endless service": 1, "the lost service": 1}


async def test_no_recorded_step_is_executed_at_the_start(world: World) -> None:
    assert objects.executed == STARTED


async def test_recorded_results_without_a_type_are_what_was_returned(world: World) -> None:
    await resolve(world, "untyped")
    assert await result(world, "untyped") == []
    assert objects.executed["untyped"] == 0


async def test_recorded_results_with_a_type_are_what_was_returned(world: World) -> None:
    await resolve(world, "typed", "go")
    assert await result(world, "typed") == [True, True, True, True]
    assert objects.executed["parcel"] == 0


async def test_a_recorded_failure_of_a_step_is_raised_again(world: World) -> None:
    await resolve(world, "step refused")
    teapot = ["new", "TerminalError", "the step is refused", 418, {"reason": "teapot"}]
    assert await result(world, "step refused") == teapot
    assert objects.executed["the step"] == 0


async def test_a_step_whose_retries_were_used_up_has_failed(world: World) -> None:
    await resolve(world, "step exhausted")
    assert await result(world, "step exhausted") == "retries_exhausted: new"
    assert objects.executed["the flaky service"] == 0


async def test_a_step_that_waited_for_its_next_try_is_tried(world: World) -> None:
    assert await result(world, "tried again") == "the slow service"
    assert objects.executed["the slow service"] == 1
    assert objects.executed["before the tries"] == 0


async def test_a_step_that_was_executed_at_the_crash_is_executed(world: World) -> None:
    assert await result(world, "running") == ["before the crash", "the endless service"]
    assert objects.executed["the endless service"] == 1
    assert objects.executed["before the crash"] == 0


async def test_an_invocation_that_backs_off_is_tried_when_it_is_due(world: World) -> None:
    info = await world.app.describe(IDS["backs off"])
    assert (info.status, info.failed_attempts) == ("backing-off", 1)
    assert info.reason is not None and "ConnectionError: the failing service is down" in info.reason
    (due,) = world.disk.query("SELECT due_ms FROM timer WHERE idx = -1")
    await world.pass_time((due[0] - RECORDED["stopped_ms"] - 1) / 1000)
    assert objects.executed["the failing service"] == 0
    await world.pass_time(0.001)
    assert await result(world, "backs off") == ["before the failure", "the failing service"]
    assert objects.executed["before the failure"] == 0


async def test_an_invocation_paused_after_its_last_attempt_is_tried(world: World) -> None:
    assert INFOS["gives up"]["status"] == "paused"
    assert await result(world, "gives up") == ["before the pause", "the lost service"]
    assert objects.executed["before the pause"] == 0


async def test_random_numbers_times_and_ids_are_those_of_before(world: World) -> None:
    await resolve(world, "draws")
    assert await result(world, "draws") == [True] * 5


async def test_a_sleep_ends_when_it_is_due(world: World) -> None:
    await world.pass_time(HOUR - 2)  # a second of it had passed
    assert await world.status(world.app.invocation(IDS["sleeps"])) == "blocked"
    await world.pass_time(1)
    assert await result(world, "sleeps") == "after the sleep"
    assert objects.executed["before the sleep"] == 0


# --- mailboxes and awakeables -----------------------------------------------------------------------------------------


async def test_a_blocked_queue_goes_on_in_the_order_of_acceptance(world: World) -> None:
    await world.app.object(Desk, "queue").serve.send("5")
    await resolve(world, "queue: 1")
    (third,) = [info for info in await world.app.awakeables() if info.invocation_id == IDS["queue: 3"]]
    await world.app.resolve_awakeable(third.id, "new")
    await world.settle(5)
    served = ["1 begins", "1: new", "2", "3 begins", "3: new", "4", "5"]
    assert await world.app.object(Desk, "queue").look() == served


async def test_a_full_mailbox_goes_on_in_the_order_of_acceptance(world: World) -> None:
    await resolve(world, "full")
    assert await world.app.object(Desk, "full").look() == ["full begins", "full: new", "next", "last"]


async def test_delayed_messages_are_delivered_when_they_are_due(world: World) -> None:
    await world.pass_time(HOUR - 1)
    assert await world.app.object(Desk, "later").look() == []
    await world.pass_time(1)
    assert await world.app.object(Desk, "later").look() == ["later"]
    await world.pass_time(HOUR)
    assert await world.app.object(Desk, "later").look() == ["later", "later once"]
    assert (await world.app.describe(IDS["later once"])).headers == {"tenant": "ä"}


async def test_an_awakeable_with_a_deadline_is_resolved_before_it(world: World) -> None:
    await resolve(world, "an hour, answered")
    assert await result(world, "an hour, answered") == "new"


async def test_an_awakeable_with_a_deadline_times_out_at_it(world: World) -> None:
    await world.pass_time(HOUR - 1)
    assert await world.status(world.app.invocation(IDS["an hour"])) == "blocked"
    await world.pass_time(1)
    assert await result(world, "an hour") == "timeout"


async def test_an_awakeable_is_rejected_by_its_old_id(world: World) -> None:
    await world.app.reject_awakeable(AWAKEABLES["queue: 1"][0], "no")
    await world.settle()
    assert await result(world, "queue: 1") == "awakeable_rejected: no"


async def test_open_awakeables_are_listed_in_the_order_of_before(world: World) -> None:
    ended = {AWAKEABLES[f"left to {name}"][0] for name in ("resolve", "reject", "kill", "cancel")}  # by requests
    listed = [info.id for info in await world.app.awakeables()]
    assert listed == [id for id in RECORDED["open_awakeables"] if id not in ended]
    assert len(listed) > 70


async def test_awakeables_of_every_type_accept_what_they_accepted(world: World) -> None:
    for place, value in enumerate(ANSWERS.values()):
        await resolve(world, "types", value, place)
    assert await result(world, "types") == []


async def test_values_of_every_type_that_had_come_are_what_was_given(world: World) -> None:
    for place, value in enumerate(ANSWERS.values()):
        if not place % 2:
            await resolve(world, "types, half of them", value, place)
    assert await result(world, "types, half of them") == []


async def test_a_reader_that_waits_reads_what_there_was_when_it_began(world: World) -> None:
    await resolve(world, "reader")
    assert await result(world, "reader") == ["before", "new"]
    assert await world.app.object(Desk, "read").look() == ["before", "after"]


# --- operators --------------------------------------------------------------------------------------------------------


async def test_an_invocation_that_an_operator_paused_waits_for_resume(world: World) -> None:
    info = await world.app.describe(IDS["paused"])
    assert (info.status, info.held) == ("paused", True)
    await resolve(world, "paused")
    assert await world.status(world.app.invocation(IDS["paused"])) == "paused"
    await world.app.resume(IDS["paused"])
    await world.settle(5)
    assert await result(world, "paused") == "new"


async def test_what_came_while_an_invocation_was_paused_is_there(world: World) -> None:
    for name in ("resolved while paused", "rejected while paused"):
        assert await world.status(world.app.invocation(IDS[name])) == "paused"
        await world.app.resume(IDS[name])
    await world.settle(5)
    assert await result(world, "resolved while paused") == "meanwhile"
    assert await result(world, "rejected while paused") == "awakeable_rejected: meanwhile"


async def test_a_paused_invocation_in_a_queue_holds_those_behind_it(world: World) -> None:
    desk = world.app.object(Desk, "paused in the queue")
    await resolve(world, "before a paused")
    assert await desk.look() == ["first begins", "first: new"]
    await world.app.resume(IDS["paused in the queue"])
    await world.settle(5)
    assert await desk.look() == ["first begins", "first: new", "second", "third"]


async def test_a_cancelled_invocation_goes_on_with_its_clean_up(world: World) -> None:
    assert (await world.app.describe(IDS["cancelled, cleaning up"])).cancel_requested
    await resolve(world, "cancelled, cleaning up", place=1)
    with pytest.raises(TerminalError, match="cleaned up: new"):
        await result(world, "cancelled, cleaning up")
    assert objects.executed["clean-up"] == 0


async def test_an_invocation_that_was_restarted_goes_on(world: World) -> None:
    info = await world.app.describe(IDS["restarted"])
    assert info.restarted_from == IDS["restartable"]
    await resolve(world, "restarted")
    assert await result(world, "restarted") == [True, "new", "not kept"]
    assert objects.executed == {"not kept": 1} | dict(STARTED)


async def test_an_invocation_that_a_request_restarted_goes_on(world: World) -> None:
    (open_one,) = await world.app.invocations(service="Steps", key="request", status="blocked")
    assert open_one.restarted_from == IDS["asked to restart"]
    await resolve(world, "Steps/request/restartable")
    assert await world.app.invocation(open_one.id).output() == [True, "new", "not kept"]


async def test_an_open_invocation_is_cancelled(world: World) -> None:
    await world.app.cancel(IDS["mailed once"])
    await world.settle(5)
    with pytest.raises(InvocationCancelled):
        await result(world, "mailed once")


async def test_an_open_invocation_is_killed_with_what_it_has_called(world: World) -> None:
    await world.app.kill(IDS["call"])
    await world.settle(5)
    with pytest.raises(InvocationKilled):
        await result(world, "call")
    assert await world.app.object(Desk, "called").serve("next") == ["call begins", "next"]


async def test_a_scheduled_invocation_is_cancelled(world: World) -> None:
    await world.app.cancel(IDS["later"])
    await world.pass_time(2 * HOUR)
    assert await world.app.object(Desk, "later").look() == ["later once"]


async def test_requests_that_were_left_in_the_file_are_done(world: World) -> None:
    assert await result(world, "left to resolve") == "by request"
    assert await result(world, "left to reject") == "awakeable_rejected: by request"
    assert await result(world, "left to resume") == "meanwhile"
    assert await world.status(world.app.invocation(IDS["left to pause"])) == "paused"
    with pytest.raises(InvocationKilled):
        await result(world, "left to kill")
    with pytest.raises(InvocationCancelled):
        await result(world, "left to cancel")
    with pytest.raises(UnknownInvocation):
        await result(world, "left to purge")
    (again, *_) = await world.app.invocations(service="Steps", key="left")
    assert again.restarted_from == IDS["left to restart"]


async def test_the_answers_to_requests_are_kept(file: Path) -> None:
    query = "SELECT number, answer FROM request WHERE number < 8 ORDER BY number"
    with shell(file) as connection:
        before = connection.execute(query).fetchall()
    async with released(file) as world:
        assert world.disk.query(query) == before
        refusals = world.disk.query("SELECT number FROM request WHERE answer NOT LIKE '{\"ok\":true%' ORDER BY number")
        assert refusals == [(7,), (16,)]


# --- calls and messages -----------------------------------------------------------------------------------------------


async def test_a_caller_gets_the_answer_of_an_open_call(world: World) -> None:
    await resolve(world, "Desk/called/wait")
    assert await result(world, "call") == "called new"
    assert objects.executed["before the call"] == 0


async def test_a_chain_of_calls_through_a_service_is_answered(world: World) -> None:
    await resolve(world, "Desk/called by service/wait")
    assert await result(world, "call service") == "called relayed new"


async def test_calls_by_name_are_answered(world: World) -> None:
    await resolve(world, "Mailer//wait", place=0)
    assert await result(world, "call by name") == ["yes", "by name: new"]


async def test_a_call_under_an_idempotency_key_is_answered(world: World) -> None:
    again = await world.app.object(Desk, "called once").wait.options(idempotency_key="once").send("once")
    assert again.previously_accepted
    await resolve(world, "Desk/called once/wait")
    assert await result(world, "call once") == "called new"
    assert await world.app.object(Desk, "called once").look() == ["once begins", "once: new"]


async def test_answers_of_calls_that_had_come_are_what_they_were(world: World) -> None:
    await resolve(world, "answered")
    failure = ["TerminalError", "no €", 422, {"field": "amount"}]
    assert await result(world, "answered") == [["call"], ["call", "call once"], failure, "new"]
    assert await world.app.object(Desk, "answered").look() == ["call", "call once"]


async def test_messages_that_a_handler_has_sent_are_not_sent_again(world: World) -> None:
    await resolve(world, "send")
    assert await result(world, "send") == "new"
    await world.pass_time(3 * HOUR)
    served = ["send", "send once", "send by name", "send later", "send by name later"]
    assert await world.app.object(Desk, "sent").look() == served
    await resolve(world, "Mailer//wait", place=1)
    mailed = await world.app.invocations(service="Mailer", handler="wait", status="succeeded")
    assert [await world.app.invocation(info.id).output() for info in mailed].count("from a handler: new") == 1


async def test_an_attached_handler_gets_the_outcome(world: World) -> None:
    await resolve(world, "queue: 1")
    assert await result(world, "attach") == "attached new"


async def test_a_handler_that_has_attached_to_an_ended_one_goes_on(world: World) -> None:
    await resolve(world, "attach to ended")
    assert await result(world, "attach to ended") == [["1"], "new"]


async def test_a_handler_that_has_completed_awakeables_goes_on(world: World) -> None:
    await resolve(world, "complete")
    assert await result(world, "complete") == ["awakeable_already_completed", "new"]


async def test_a_handler_that_has_cancelled_another_one_goes_on(world: World) -> None:
    await resolve(world, "cancel")
    assert await result(world, "cancel") == "new"


async def test_refusals_of_a_full_mailbox_are_what_they_were(world: World) -> None:
    await resolve(world, "knock")
    assert await result(world, "knock") == ["mailbox_full", "mailbox_full", "new"]
    assert await world.app.object(Desk, "full").look() == ["full begins"]


async def test_headers_and_trace_context_are_kept(world: World) -> None:
    await resolve(world, "Mailer//headers")
    mine, passed_on = await result(world, "trace")
    assert mine == {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "ä"}
    assert passed_on == {"traceparent": mine["traceparent"]}


# --- several at once --------------------------------------------------------------------------------------------------


async def test_combinators_go_on_with_what_had_come(world: World) -> None:
    for place in (7, 3, 5, 1):  # h before g
        await resolve(world, "combine", f"new {place}", place)
    assert await world.status(world.app.invocation(IDS["combine"])) == "blocked"
    await world.pass_time(1800)
    outcomes = ["awakeable_rejected", "new 5", "new 7", "timeout", False, True]
    assert await result(world, "combine") == [["a", "new 1"], "new 3", *outcomes]


async def test_the_order_of_completion_goes_on(world: World) -> None:
    for place in (3, 1):
        await resolve(world, "order", place=place)
    assert await result(world, "order") == [2, 0, 3, 1]
    assert objects.executed == {"place 3": 1, "place 1": 1} | dict(STARTED)
    assert (await world.app.state(Race, "order")).values == {"notes": ["2 old", "0 old", "3 new", "1 new"]}


@pytest.mark.parametrize("name", ["gather", "task group"])
async def test_branches_go_on_where_they_were(world: World, name: str) -> None:
    await resolve(world, name, place=2)
    await world.pass_time(600)
    await world.settle(5)
    assert await result(world, name) == ["a old", "b old", "c new"]
    executed = {name: times for name, times in objects.executed.items() if name.startswith("branch")}
    assert executed == {"branch c": 1}
    assert (await world.app.state(Race, name)).values == {"notes": ["b old", "a old", "c new"]}


# --- workflows --------------------------------------------------------------------------------------------------------


async def test_a_workflow_that_waits_for_a_promise_goes_on(world: World) -> None:
    await world.app.object(Approval, "waiting").decide("granted")
    await world.settle(5)
    assert await result(world, "workflow waiting") == "granted"
    assert await result(world, "watcher") == "decided: granted"
    assert (objects.executed["ask for waiting"], objects.executed["wait for waiting"]) == (0, 0)


async def test_a_workflow_that_has_ended_answers_as_before(world: World) -> None:
    decided = world.app.object(Approval, "decided")
    assert await decided.run("decided") == "granted"
    assert await decided.look() == ["decided", "granted", "decided", "promise_rejected: not today"]
    assert await decided.watch() == "decided: granted"
    with pytest.raises(IdempotencyMismatch):
        await decided.run("something else")


async def test_a_promise_that_was_rejected_stays_rejected(world: World) -> None:
    with pytest.raises(TerminalError, match="denied"):
        await world.app.object(Approval, "refused").watch()


async def test_a_promise_that_was_completed_before_the_run_is_there(world: World) -> None:
    assert await world.app.object(Approval, "unclaimed").run("unclaimed") == "granted beforehand"


async def test_the_value_of_a_promise_is_what_was_given(world: World) -> None:
    assert await world.app.object(Approval, "parcel").unpack()
    await world.app.object(Approval, "no parcel").deliver()
    await world.settle(5)
    assert await result(world, "unpack") is True


async def test_a_workflow_that_runs_again_has_none_of_its_promises(world: World) -> None:
    again = world.app.object(Approval, "again")
    assert await world.status(world.app.invocation(IDS["workflow run again"])) == "blocked"
    await again.decide("denied")
    await world.settle(5)
    assert await result(world, "workflow run again") == "denied"
    assert await result(world, "workflow run before") == "granted"
    assert await again.run("again") == "denied"


async def test_the_caller_of_a_workflow_gets_its_outcome(world: World) -> None:
    await world.app.object(Approval, "of a handler").decide("granted")
    await world.settle(5)
    assert await result(world, "run workflow") == "approved: granted"


# --- versions of classes ----------------------------------------------------------------------------------------------


async def test_an_invocation_whose_object_was_migrated_goes_on(world: World) -> None:
    await resolve(world, "ledger", "posted")
    assert await result(world, "ledger") == "[150, 225]"
    assert (await world.app.state(Ledger, "migrated")).values == {"amounts": [150, 225], "status": "posted"}


async def test_an_object_that_was_not_migrated_yet_is_migrated(world: World) -> None:
    assert await world.app.object(Ledger, "stale").look() == [150]
    await world.app.object(Ledger, "stale").add("1")
    state = await world.app.state(Ledger, "stale")
    assert (state.version, state.values) == (2, {"amounts": [150, 100]})


async def test_an_object_of_a_migrated_class_is_not_migrated_again(world: World) -> None:
    assert await world.app.object(Ledger, "new").look() == [375]


async def test_the_same_version_of_a_class_goes_on(world: World) -> None:
    await resolve(world, "checkout")
    await resolve(world, "follow")
    assert await result(world, "checkout") == "new: 6.50 euros"
    assert await result(world, "follow") == "5.50 then 5.50 euros"


async def test_an_atomic_handler_goes_on_and_keeps_what_it_wrote(world: World) -> None:
    await resolve(world, "atomic, succeeds", "paid")
    assert await result(world, "atomic, succeeds") == "paid: 6.50 euros"
    assert await world.app.object(Account, "succeeds").look() == "paid: 6.50 euros"
    assert (objects.executed["try"], objects.executed["book"]) == (0, 1)


async def test_an_atomic_handler_that_fails_takes_back_what_it_wrote(world: World) -> None:
    await resolve(world, "atomic, fails", "fail")
    with pytest.raises(TerminalError, match="nothing was done"):
        await result(world, "atomic, fails")
    assert await world.app.object(Account, "fails").look() == "new: 5.50 euros"
    assert (await world.app.state(Account, "fails")).values == {"total": "5.50"}


async def test_an_atomic_handler_that_had_failed_has_left_nothing(world: World) -> None:
    assert await world.app.object(Account, "failed").look() == "new: 0 euros"


async def test_the_next_version_of_a_class_migrates_stored_state(file: Path) -> None:
    async with released(file, *IN_CENTS) as world:
        account = world.app.object(AccountInCents, "stored")
        assert await account.look() == "new: 550 cents"
        await account.add(Decimal(1))
        state = await world.app.state(AccountInCents, "stored")
        assert (state.version, state.values) == (2, {"total": 650})


async def test_the_next_version_of_a_class_goes_on_with_open_invocations(file: Path) -> None:
    async with released(file, *IN_CENTS) as world:
        await resolve(world, "checkout")
        await resolve(world, "follow")
        await resolve(world, "atomic, succeeds", "paid")
        await resolve(world, "atomic, fails", "fail")
        assert await result(world, "checkout") == "new: 650 cents"
        assert await result(world, "follow") == "550 then 550 cents"
        assert await result(world, "atomic, succeeds") == "paid: 650 cents"
        assert (await world.app.describe(IDS["atomic, fails"])).status == "failed"
        assert await world.app.object(AccountInCents, "fails").look() == "new: 550 cents"
        assert objects.executed["try"] == 0


# --- schedules --------------------------------------------------------------------------------------------------------

TO_TWO = 21 * HOUR + 46 * 60 + 35  # seconds from 4:13:25, when the release was stopped


async def test_the_ticks_that_wait_are_those_of_before(file: Path) -> None:
    query = "SELECT invocation, service, key, due FROM timers JOIN invocations USING (invocation, service, key) "
    query += "WHERE idempotency_key LIKE '@schedule %' ORDER BY invocation"
    with shell(file) as connection:
        before = connection.execute(query).fetchall()
    async with released(file) as world:
        assert world.disk.query(query) == before
        assert len(before) == 4


async def test_schedules_go_on(world: World) -> None:
    utc, vienna = world.app.object(Nightly, "utc"), world.app.object(Nightly, "vienna")
    before = await utc.look()
    await world.pass_time(TO_TWO)
    assert (await vienna.look())[-1] == "2023-11-17T03:00:00+01:00"
    assert await utc.look() == before == ["2023-11-15T03:00:00+00:00", "2023-11-16T03:00:00+00:00"]
    await world.pass_time(HOUR)
    assert (await utc.look())[-1] == "2023-11-17T03:00:00+00:00"
    await world.pass_time(HOUR / 4)
    (digest, *_) = await world.app.invocations(service="Mailer", handler="digest", status="succeeded")
    assert await world.app.invocation(digest.id).output() == "due 2023-11-17T03:15:00+00:00"


@pytest.mark.expects_log("the tick of 2023-11-17T03:30:00+00:00 is skipped")
async def test_a_tick_that_still_runs_holds_its_schedule(world: World) -> None:
    await world.pass_time(TO_TWO)
    await world.pass_time(1.5 * HOUR)  # it waits since the 15th
    await resolve(world, "Nightly/slow/wait")
    (first, *_) = await world.app.invocations(service="Nightly", key="slow", status="succeeded")
    assert await world.app.invocation(first.id).output() == "2023-11-15T03:30:00+00:00 new"
    await world.pass_time(22.5 * HOUR)
    await world.pass_time(1.5 * HOUR)
    (running,) = await world.app.invocations(service="Nightly", key="slow", status="blocked")
    assert (await world.app.describe(running.id)).headers == {"schedule-due": "2023-11-18T03:30:00+00:00"}
