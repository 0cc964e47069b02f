"""Writes the kept file, with the release whose checkout is the current folder.

    git worktree add ../released 5d6a237
    cd ../released
    PYTHONHASHSEED=0 python ../actors/tests/released/write.py ../actors/tests/released/5d6a237

writes 5d6a237.sqlite.xz, the database as a crash leaves it, and 5d6a237.json, what that release answered: ids, outcomes, states.
Both were made by 5d6a237 with Python 3.11, whose hash seed decides the order of sets; made again they hold the same. A later
commit must not make them: they are there because they are old.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import lzma
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path.cwd()))  # the release is that of the current folder
import actors

sys.path.insert(0, str(Path(__file__).parents[2]))  # the classes are those beside this file
from actors import App, Limits, TerminalError
from actors.handlers import InvocationHandle
from actors.testing import InlineExecutor, ManualClock
from tests.released import objects
from tests.released.objects import (
    ANSWERS,
    CLASSES,
    PARCEL,
    Account,
    Approval,
    Caller,
    Desk,
    Ledger,
    LedgerBefore,
    Log,
    Mailer,
    Race,
    Steps,
    Typed,
    Values,
)

HOUR = 3600
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tenant": "ä"}


class Writer:
    """Drives one app after the other over a database file.

    `ids` holds the ids of invocations, `awakeables` those of what they wait for, by the names that the tests use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.ids: dict[str, str] = {}
        self.awakeables: dict[str, list[str]] = {}
        self.app: App

    @contextlib.asynccontextmanager
    async def running(self, *classes: Any, **limits: Any) -> AsyncIterator[App]:
        self.app = App(
            *classes,
            storage=f"sqlite:///{self.path}",
            clock=self.clock,
            random=Random(0),
            executor=InlineExecutor(),
            poll=0,
            limits=Limits(retention=None, idempotency_retention=None, **limits),
        )
        async with self.app:
            yield self.app

    async def accept(self, name: str, handle: InvocationHandle[Any], status: str = "blocked") -> None:
        """Wait until the invocation has come as far as it can, and has this status."""
        await handle
        self.ids[name] = handle.id
        await self.rest()
        await self.until(name, status)
        self.awakeables[name] = await self.open_awakeables(name)

    async def open_awakeables(self, name: str) -> list[str]:
        """In the order in which the invocation has made them."""
        return [info.id for info in await self.app.awakeables() if info.invocation_id == self.ids[name]]

    async def until(self, name: str, status: str) -> None:
        async def has_status() -> bool:
            return (await self.app.describe(self.ids[name])).status == status

        await eventually(has_status, f"{name} {status}")

    async def resolve(self, name: str, value: Any = "yes", place: int = 0) -> None:
        """One of its awakeables; returns once all that this leads to has happened."""
        await self.app.resolve_awakeable(self.awakeables[name][place], value)
        await self.rest()

    async def rest(self) -> None:
        """Let everything happen that needs no time to pass."""
        for _ in range(20):
            await asyncio.sleep(0.002)
            await self.app.awakeables()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.rest()


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(1000):
        if await holds():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError(what)


def leave_requests(path: Path, asked_ms: int, *requests: tuple[str, str, str | None]) -> None:
    """As a command line leaves them in the file of an app that does not run."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO request (operation, target, argument, asked_ms) VALUES (?, ?, ?, ?)",
            [(*request, asked_ms) for request in requests],
        )


async def first_life(writer: Writer, app: App) -> None:
    """With version 1 of Ledger and small mailboxes: a night of ticks, and what the second life finds cold."""
    accept = writer.accept
    for minutes in (226.666_667, 60, 15, 15, 43.333_333):  # from 22:13:20 to 2:00, 3:00, 3:15, 3:30 and 4:13:20
        await writer.pass_time(minutes * 60)
    for key in ("migrated", "stale"):
        await app.object(LedgerBefore, key).add("1.50")
    await accept("ledger", app.object(LedgerBefore, "migrated").post.send("2.25"))
    await accept("full", app.object(Desk, "full").wait.send("full"))
    await accept("full: next", app.object(Desk, "full").serve.send("next"), "pending")
    await accept("full: last", app.object(Desk, "full").serve.send("last"), "pending")
    await accept("knock", app.object(Caller, "knock").knock.send("full"))
    for name in ("cold", "rejected cold", "asked to pause", "asked to kill", "asked to resolve", "asked to reject"):
        await accept(name, app.object(Desk, name).wait.send(name))
    await accept("call cold", app.object(Caller, "cold").call.send("called cold"))
    await accept("service cold", app.service(Mailer).wait.send("cold"))
    await accept("workflow cold", app.object(Approval, "cold").run.send("cold"))
    await app.object(Desk, "cold read").serve("before")
    await accept("reader cold", app.object(Desk, "cold read").read.send())
    await app.object(Desk, "cold read").serve("after")
    await accept("asked to restart", app.object(Steps, "request").restartable.send())
    await writer.resolve("asked to restart")
    await accept("asked to purge", app.object(Desk, "purged").serve.send("purged"), "succeeded")


def between(writer: Writer) -> None:
    """The app is stopped for a day, so that ticks are missed, and finds requests of a command line."""
    ids, awakeables = writer.ids, writer.awakeables
    writer.clock.advance(24 * HOUR)
    leave_requests(
        writer.path,
        writer.clock.now_ms(),
        ("pause", ids["asked to pause"], None),
        ("kill", ids["asked to kill"], None),
        ("resolve", awakeables["asked to resolve"][0], '"by request"'),
        ("reject", awakeables["asked to reject"][0], '"by request"'),
        ("restart", ids["asked to restart"], "2"),
        ("purge", ids["asked to purge"], None),
        ("cancel", ids["asked to restart"], None),  # refused: it has ended
    )


async def second_life(writer: Writer, app: App) -> None:
    for scenario in (cold, values, steps, mailboxes, operated, calls, at_once, workflows, evolving, asked_for_later):
        await scenario(writer, app)


async def cold(writer: Writer, app: App) -> None:
    """What waits since the first life was not loaded at the start."""
    await writer.rest()
    await writer.resolve("cold")
    await app.reject_awakeable(writer.awakeables["rejected cold"][0], "no")
    (called,) = [info.id for info in await app.awakeables() if info.key == "called cold"]
    await app.resolve_awakeable(called, "yes")
    await writer.resolve("service cold")
    await writer.resolve("reader cold")
    await app.object(Approval, "cold").decide("yes")
    for name in ("cold", "rejected cold", "call cold", "service cold", "reader cold", "workflow cold"):
        await writer.until(name, "succeeded")


async def values(writer: Writer, app: App) -> None:
    await app.object(Values, "filled").fill()
    await writer.accept("fill and wait", app.object(Values, "journaled").fill_and_wait.send())
    await writer.accept("clear and wait", app.object(Values, "cleared").clear_and_wait.send())
    await writer.accept("echo", app.object(Values, "echo").echo.send(PARCEL), "succeeded")
    await writer.accept("echo later", app.object(Values, "echo").echo_later.send(PARCEL))
    await app.patch_state(Values, "patched", set={"number": 7, "by patch": [1, "two"]}, undeclared=True)


async def steps(writer: Writer, app: App) -> None:
    accept = writer.accept
    objects.down.update(["the flaky service", "the slow service", "the failing service", "the lost service"])
    objects.down.add("the endless service")
    await accept("untyped", app.object(Steps, "untyped").untyped.send())
    await accept("typed", app.object(Steps, "typed").typed.send())
    await accept("step refused", app.object(Steps, "refused").refused.send())
    await accept("draws", app.object(Steps, "draws").draws.send())
    await accept("step exhausted", app.object(Steps, "exhausted").exhausted.send(), "running")
    await accept("gives up", app.object(Steps, "gives up").gives_up.send(), "backing-off")
    await accept("fails", app.object(Steps, "fails").fails.send(), "backing-off")
    for _ in range(4):
        await writer.pass_time(1)
    await writer.until("step exhausted", "blocked")
    writer.awakeables["step exhausted"] = await writer.open_awakeables("step exhausted")
    await writer.until("gives up", "paused")
    await writer.until("fails", "failed")
    await accept("tried again", app.object(Steps, "tried again").tried_again.send(), "running")
    await accept("backs off", app.object(Steps, "backs off").backs_off.send(), "backing-off")
    await accept("running", app.object(Steps, "running").running.send(), "running")
    await accept("sleeps", app.object(Steps, "sleeps").sleeps.send(HOUR))
    await accept("slept", app.object(Steps, "slept").sleeps.send(1))
    await writer.pass_time(1)
    await writer.until("slept", "succeeded")
    await accept("fail", app.object(Steps, "fail").fail.send(), "failed")


async def mailboxes(writer: Writer, app: App) -> None:
    accept, desk = writer.accept, app.object(Desk, "queue")
    await accept("queue: 1", desk.wait.send("1"))
    await accept("queue: 2", desk.serve.send("2"), "pending")
    await accept("queue: 3", desk.wait.send("3"), "pending")
    await accept("queue: 4", desk.serve.send("4"), "pending")
    await accept("later", app.object(Desk, "later").serve.options(delay=HOUR).send("later"), "scheduled")
    later = app.object(Desk, "later").serve.options(delay=2 * HOUR, idempotency_key="later", headers={"tenant": "ä"})
    await accept("later once", later.send("later once"), "scheduled")
    await accept("an hour", app.object(Desk, "an hour").wait_an_hour.send())
    await accept("an hour, answered", app.object(Desk, "an hour, answered").wait_an_hour.send())
    await app.object(Desk, "read").serve("before")
    await accept("reader", app.object(Desk, "read").read.send())
    await app.object(Desk, "read").serve("after")
    await accept("types", app.object(Typed, "none").wait.send())
    await accept("types, half of them", app.object(Typed, "half").wait.send())
    for place, answer in enumerate(ANSWERS.values()):
        if place % 2:
            await writer.resolve("types, half of them", answer, place)
    once = app.object(Desk, "once")
    await accept("once", once.wait.options(idempotency_key="open").send("once"))
    await accept("once, in the queue", once.wait.options(idempotency_key="waiting").send("behind"), "pending")
    await accept("served once", app.object(Desk, "served").serve.options(idempotency_key="a").send("1"), "succeeded")
    await accept("mailed once", app.service(Mailer).wait.options(idempotency_key="a").send("mailed"))
    await accept("mailed once, ended", app.service(Mailer).wait.options(idempotency_key="b").send("mailed"))
    await writer.resolve("mailed once, ended")


async def operated(writer: Writer, app: App) -> None:
    accept, ids = writer.accept, writer.ids
    for name in ("paused", "resolved while paused", "rejected while paused"):
        await accept(name, app.object(Desk, name).wait.send(name))
        await app.pause(ids[name])
    await app.resolve_awakeable(writer.awakeables["resolved while paused"][0], "meanwhile")
    await app.reject_awakeable(writer.awakeables["rejected while paused"][0], "meanwhile")
    await accept("before a paused", app.object(Desk, "paused in the queue").wait.send("first"))
    await accept("paused in the queue", app.object(Desk, "paused in the queue").serve.send("second"), "pending")
    await accept("behind a paused", app.object(Desk, "paused in the queue").serve.send("third"), "pending")
    await app.pause(ids["paused in the queue"])
    await accept("cancelled", app.service(Mailer).wait.send("cancelled"))
    await app.cancel(ids["cancelled"])
    await writer.until("cancelled", "failed")
    await accept("cancelled in the queue", app.object(Desk, "queue").serve.send("cancelled"), "pending")
    await app.cancel(ids["cancelled in the queue"])
    await accept("cancelled, cleaning up", app.object(Desk, "clean up").clean_up.send())
    await app.cancel(ids["cancelled, cleaning up"])
    await writer.rest()
    writer.awakeables["cancelled, cleaning up"] = await writer.open_awakeables("cancelled, cleaning up")
    await accept("killed", app.object(Caller, "killed").call.send("killed"))
    await app.kill(ids["killed"])
    await accept("restartable", app.object(Steps, "restarted").restartable.send())
    await writer.resolve("restartable")
    await accept("restarted", await app.restart(ids["restartable"], keep=2))
    await accept("restarted from its input", await app.restart(ids["fail"]), "failed")
    await accept("purged", app.object(Desk, "purged").serve.send("purged"), "succeeded")
    await app.purge(ids["purged"])


async def calls(writer: Writer, app: App) -> None:
    accept = writer.accept
    await accept("call", app.object(Caller, "call").call.send("called"))
    await accept("call service", app.object(Caller, "call service").call_service.send("called by service"))
    await accept("call by name", app.object(Caller, "call by name").call_by_name.send("called by name"))
    (by_name,) = [info.id for info in await app.awakeables() if info.key == "called by name"]
    await app.resolve_awakeable(by_name, "yes")
    await writer.rest()
    await accept("call once", app.object(Caller, "call once").call_once.send("called once"))
    await accept("answered", app.object(Caller, "answered").answered.send("answered"))
    await accept("send", app.object(Caller, "send").send.send("sent"))
    await accept("attach", app.object(Caller, "attach").attach.send(writer.ids["queue: 1"]))
    await accept("attach to ended", app.object(Caller, "ended").attach_to_ended.send(writer.ids["served once"]))
    for name in ("completed by a handler", "rejected by a handler"):
        await accept(name, app.object(Desk, name).wait.send(name))
    ids = [writer.awakeables[name][0] for name in ("completed by a handler", "rejected by a handler")]
    await accept("complete", app.object(Caller, "complete").complete.send(*ids))
    await accept("cancelled by a handler", app.service(Mailer).wait.send("cancelled"))
    await accept("cancel", app.object(Caller, "cancel").cancel.send(writer.ids["cancelled by a handler"]))
    await accept("run workflow", app.object(Caller, "run workflow").run_workflow.send("of a handler"))
    await accept("trace", app.object(Caller, "trace").trace.options(headers=TRACE).send())
    await accept("deadlock", app.object(Caller, "deadlock").call_itself.send(), "failed")


async def at_once(writer: Writer, app: App) -> None:
    await writer.accept("combine", app.object(Race, "combine").combine.send())
    await writer.resolve("combine", "a", 0)
    await app.reject_awakeable(writer.awakeables["combine"][2], "c")
    await app.reject_awakeable(writer.awakeables["combine"][4], "e")
    await writer.accept("order", app.object(Race, "order").order.send())
    for place in (2, 0):
        await writer.resolve("order", "old", place)
    for name, group in (("gather", False), ("task group", True)):
        await writer.accept(name, app.object(Race, name).branches.send(group), "running")
        await writer.rest()
        writer.awakeables[name] = await writer.open_awakeables(name)
        for place in (1, 0):
            await writer.resolve(name, "old", place)
    await app.object(Log, "log").fill()
    await writer.accept("log", app.object(Log, "log").grow.send())


async def workflows(writer: Writer, app: App) -> None:
    accept = writer.accept
    for name in ("waiting", "decided", "refused"):
        await accept(f"workflow {name}", app.object(Approval, name).run.send(name))
    await accept("watcher", app.object(Approval, "waiting").watch.send())
    await app.object(Approval, "decided").decide("granted")
    await app.object(Approval, "refused").refuse("denied")
    await writer.until("workflow decided", "succeeded")
    await writer.until("workflow refused", "failed")
    await accept("workflow run before", app.object(Approval, "again").run.send("again"))
    await app.object(Approval, "again").decide("granted")
    await writer.until("workflow run before", "succeeded")
    await accept("workflow run again", await app.restart(writer.ids["workflow run before"]))
    await app.object(Approval, "unclaimed").decide("granted beforehand")
    await app.object(Approval, "parcel").deliver()
    await accept("unpack", app.object(Approval, "no parcel").unpack.send())


async def evolving(writer: Writer, app: App) -> None:
    await writer.resolve("ledger")  # replayed by version 2
    writer.awakeables["ledger"] = await writer.open_awakeables("ledger")
    await app.object(Ledger, "new").add("3.75")
    for key in ("stored", "checkout", "succeeds", "fails", "follow"):
        await app.object(Account, key).add(Decimal("5.50"))
    await writer.accept("checkout", app.object(Account, "checkout").checkout.send())
    await writer.accept("atomic, succeeds", app.object(Account, "succeeds").attempt.send())
    await writer.accept("atomic, fails", app.object(Account, "fails").attempt.send())
    await writer.accept("follow", app.object(Account, "follow").follow.send())
    await app.object(Account, "follow").add(Decimal("1"))
    await writer.accept("atomic, failed", app.object(Account, "failed").attempt.send())
    await writer.resolve("atomic, failed", "fail")


async def asked_for_later(writer: Writer, app: App) -> None:
    """What the requests are about that the current code finds."""
    for name in ("resolve", "reject", "pause", "kill"):
        await writer.accept(f"left to {name}", app.object(Desk, f"left to {name}").wait.send(name))
    await writer.accept("left to cancel", app.service(Mailer).wait.send("left"))
    await writer.accept("left to resume", app.object(Desk, "left to resume").wait.send("resume"))
    await app.pause(writer.ids["left to resume"])
    await app.resolve_awakeable(writer.awakeables["left to resume"][0], "meanwhile")
    await writer.accept("left to restart", app.object(Steps, "left").fail.send(), "failed")
    await writer.accept("left to purge", app.object(Desk, "left to purge").serve.send("purge"), "succeeded")
    await writer.rest()


def left(writer: Writer) -> list[tuple[str, str, str | None]]:
    ids, awakeables = writer.ids, writer.awakeables
    return [
        ("resolve", awakeables["left to resolve"][0], '"by request"'),
        ("reject", awakeables["left to reject"][0], '"by request"'),
        *[(name, ids[f"left to {name}"], None) for name in ("pause", "kill", "cancel", "resume", "restart", "purge")],
        ("purge", ids["left to pause"], None),  # refused: it is open
    ]


async def answers(writer: Writer, app: App) -> dict[str, Any]:
    """What this release says of all there is."""
    infos = {}
    for name, id in writer.ids.items():
        if name not in ("purged", "asked to purge"):
            # A reason holds a traceback, which names lines of the release.
            described = await app.describe(id)
            info = dataclasses.asdict(dataclasses.replace(described, reason=None, failure=None))
            if described.failure is not None:
                info["failed_with"] = described.failure.error
            infos[name] = {fact: value for fact, value in info.items() if value}
    names = {id: name for name, id in writer.ids.items()}
    ended: dict[str, Any] = {}
    for listed in await app.invocations(status="ended", limit=1000):
        # The others are ticks, and what was called or sent without a name for it.
        name = names.get(listed.id, f"{listed.service}/{listed.key}/{listed.handler} {listed.id}")
        try:
            ended[name] = {"id": listed.id, "result": repr(await app.invocation(listed.id).result())}
        except TerminalError as error:
            ended[name] = {
                "id": listed.id,
                "failure": [type(error).__name__, str(error), error.code, error.error, error.metadata],
            }
    with contextlib.closing(sqlite3.connect(writer.path)) as connection:
        stored = connection.execute("SELECT DISTINCT service, key FROM state ORDER BY 1, 2").fetchall()
    states = {}
    for service, key in stored:
        state = await app.state(service, key)
        states[f"{service}/{key}"] = {"version": state.version, "texts": dict(state.texts), "tag": state.tag}
    awakeables = {name: ids for name, ids in writer.awakeables.items() if ids}
    named = {id for ids in awakeables.values() for id in ids}
    open_awakeables = await app.awakeables()
    for waiting in open_awakeables:
        if waiting.id not in named:
            awakeables.setdefault(f"{waiting.service}/{waiting.key}/{waiting.handler}", []).append(waiting.id)
    return {
        "stopped_ms": writer.clock.now_ms(),
        "ids": writer.ids,
        "awakeables": awakeables,
        "open_awakeables": [waiting.id for waiting in open_awakeables],
        "infos": infos,
        "ended": ended,
        "states": states,
    }


def keep(path: Path, target: Path) -> None:
    """The database as one file without a log."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with connection:
            # The crashed process has taken one of the requests, and not answered it.
            connection.execute("UPDATE request SET taken = 3 WHERE operation = 'resolve' AND answer IS NULL")
            # What another run would have another of: the number of the process, and the folders in tracebacks.
            connection.execute("UPDATE meta SET value = 1 WHERE name = 'owner'")
            for root in (Path.cwd(), Path(__file__).parents[2]):
                connection.execute("UPDATE invocation SET reason = replace(reason, ?, '')", (f"{root}/",))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    target.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


async def write(folder: Path, output: Path) -> None:
    writer = Writer(folder / "app.db")
    async with writer.running(*CLASSES):
        pass
    with contextlib.closing(sqlite3.connect(writer.path)) as connection, connection:
        connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'secret'", (bytes(range(32)),)
        )  # so ids are the same
    async with writer.running(*[LedgerBefore if cls is Ledger else cls for cls in CLASSES], max_pending=2) as app:
        await first_life(writer, app)
    between(writer)
    async with writer.running(*CLASSES) as app:
        await second_life(writer, app)
        recorded = await answers(writer, app)
        crashed = folder / "crashed.db"
        with (
            contextlib.closing(sqlite3.connect(writer.path)) as source,
            contextlib.closing(sqlite3.connect(crashed)) as copy,
        ):
            source.backup(copy)  # the moment of the crash: the app runs
    leave_requests(crashed, writer.clock.now_ms(), *left(writer))
    keep(crashed, output.with_suffix(".sqlite.xz"))
    text = json.dumps(recorded, indent=1, ensure_ascii=False, default=str)
    output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    assert Path(actors.__file__).is_relative_to(Path.cwd()), f"this is {actors.__file__}"
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(write(Path(temporary), Path(sys.argv[1])))
