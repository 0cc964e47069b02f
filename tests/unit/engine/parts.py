"""The parts of a partition up to the loader and the timers, over a disk in memory and a clock that stands still.

What a part calls further up is noted in `calls`. A test replaces what it looks at more closely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from actors import Context, Limits, Service, VirtualObject, handler, shared
from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.failures import Failures
from actors.engine.host import PartitionHost
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.loader import Loader
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.timer_queue import TimerQueue
from actors.engine.timers import Timers
from actors.engine.turns import Turns
from actors.engine.watching import Counts
from actors.journal.ids import IdMint
from actors.journal.journal import Journal
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, definition_of
from actors.model.futures import JournaledFuture
from actors.model.object_state import ObjectState
from actors.model.retry import RetryPolicy
from actors.storage.records import ObjectRecord, Status
from actors.testing import Disk, ManualClock, SimulatedStore

disks: list[Disk] = []  # those in use: the fixture in conftest closes them

TURNS = 30  # of the loop; more than any test here needs to come to rest


class Order(VirtualObject):
    notes: list[str] = []

    @handler
    async def put(self, note: str) -> int:
        self.notes.append(note)
        return len(self.notes)

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @shared
    async def look(self) -> list[str]:
        return self.notes

    @shared
    async def watch(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Mailer(Service):
    @handler
    async def deliver(self, to: str) -> str:
        return to

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


SERVICES = {cls.__name__: definition_of(cls) for cls in (Order, Mailer)}


def target(name: str, service: str = "Order") -> HandlerDefinition:
    return SERVICES[service].handlers[name]


def invocation(seq: int, name: str = "put", key: str = "o", service: str = "Order") -> Invocation:
    """One that no part has seen yet."""
    return Invocation(seq, target(name, service), key, '["a"]' if name == "put" else "[]", None, 5)


def at_rest(parts: Parts, seq: int, status: int, key: str, name: str = "wait") -> Invocation:
    """One that holds its object in memory, without an attempt."""
    mailbox = parts.object(key)
    made = invocation(seq, name, key)
    made.mailbox, made.status, made.journal = mailbox, status, Journal()
    if made.shared:
        mailbox.readers += 1
    else:
        assert mailbox.current is None
        mailbox.current = made
    parts.residents.open[seq] = made
    return made


def queued(parts: Parts, seq: int, key: str, parent: Invocation | None = None, index: int = 0) -> Invocation:
    """One that stands in the mailbox of an object in memory; a call, if there is a `parent`."""
    made = invocation(seq, "put", key)
    made.mailbox = parts.object(key)
    made.mailbox.append(made)
    parts.residents.open[seq] = made
    if parent is not None:
        made.parent, made.parent_index = parent.seq, index
    return made


class Attempt:
    """An attempt that runs no code: it notes what is done with it."""

    def __init__(self, about: Invocation, events: list[str] | None = None, name: str = "") -> None:
        self.invocation = about
        self.notified = self.scheduled = self.ended = self.settling = False
        self.begun = True
        self.name = name or str(about.seq)
        self.events: list[str] = events if events is not None else []
        self.then: Callable[[], None] = lambda: None

    def run(self) -> None:
        self.scheduled = False
        self.events.append(f"run {self.name}")
        self.then()

    def wake(self) -> None:
        self.events.append(f"wake {self.name}")

    def close(self) -> None:
        self.ended = True
        self.events.append(f"close {self.name}")

    def future(self, index: int) -> JournaledFuture[Any] | None:
        return None

    def replaying(self) -> bool:
        return False

    def unrecorded_wait(self) -> str | None:
        return None


class Kept:
    """Counts what has ended."""

    count = 0
    limit = float("inf")
    armed = True

    def look(self) -> None:
        raise AssertionError("there is no limit")


@dataclass
class Parts:
    env: Env
    catalog: Catalog
    clock: ManualClock
    disk: Disk
    store: SimulatedStore
    residents: Residents
    turns: Turns
    background: Background
    committer: Committer
    ledger: Ledger
    eviction: Eviction
    loader: Loader
    pins: Pins
    progress: Progress
    intake: Intake
    timers: Timers
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    async def settle(self) -> None:
        """Let everything happen that needs no time to pass."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def commit(self) -> None:
        """Write what is open, and come to rest."""
        self.committer.kick()
        await self.settle()

    def object(self, key: str) -> Mailbox:
        """The mailbox of an Order that is in memory, as if it had been loaded."""
        known = self.residents.known("Order", key)
        if known is None:
            known = self.residents.enter("Order", key)
            known.state = ObjectState(self.catalog.services["Order"], {})
        return known

    def called(self, name: str) -> list[Any]:
        """What a callable that leads up was called with."""
        return [call[1] if len(call) == 2 else call[1:] for call in self.calls if call[0] == name]


async def parts(
    disk: Disk | None = None, clock: ManualClock | None = None, rng: Random | None = None, **limits: Any
) -> Parts:
    """A process on this disk, before anything in it has been loaded. With `rng` its answers take a while."""
    clock, disk, loop = clock or ManualClock(), disk or Disk(), asyncio.get_running_loop()
    if disk not in disks:
        disks.append(disk)
    calls: list[tuple[Any, ...]] = []
    failures: list[BaseException] = []

    def noted(name: str, answer: Any = None) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append((name, *arguments))
            return answer

        return call

    options = {"retention": None, "idempotency_retention": None, **limits}
    retry = RetryPolicy()
    env = Env(IdMint(bytes(32)), clock, Random(0), Limits(**options), retry, None, Counts(), None, False)
    catalog = Catalog(SERVICES)
    store = disk.store(rng)
    residents = Residents(SERVICES)
    turns = Turns(loop, clock, env.label, lambda: committer.kick(), failures.append)
    background = Background(turns.spawn, failures.append)
    committer = Committer(
        store, clock, loop, background.fail, lambda: eviction.handed_over(), lambda about, error: error
    )
    ledger = Ledger(committer, turns)
    eviction = Eviction(env, residents, turns, background, committer)
    loader = Loader(env, catalog, store, residents, ledger, turns, background, eviction)
    pins = Pins(store, residents, turns, background, committer, eviction, loader)
    progress = Progress(env, catalog, residents, ledger, turns, background, committer, eviction)
    intake = Intake(env, catalog, residents, ledger, turns, background, committer, loader, progress)
    timers = Timers(env, residents, ledger, background, eviction, pins, progress, intake)
    timers.begin(
        TimerQueue(
            store, clock, committer, background, env.limits.max_timers, 60_000, lambda due: timers.timers_due(due)
        )
    )

    host = PartitionHost(env, catalog, residents, set())
    host.writes(ledger, committer)
    host.runs(turns, eviction, pins)
    host.goes_on(progress, Failures(env, residents, ledger, committer, eviction, progress))

    def state_of(mailbox: Mailbox, record: ObjectRecord) -> ObjectState:
        return ObjectState(catalog.services.get(mailbox.service), record.state)

    def none_sent(senders: Iterable[Invocation]) -> list[asyncio.Task[None]]:
        return []

    eviction.evicted = noted("evicted")
    loader.deliver, loader.state_of, loader.check_queued = intake.deliver, state_of, noted("check_queued")
    progress.host = host
    progress.pause = noted("pause")
    progress.calls_left = noted("calls_left", False)
    progress.tell_cancelled = noted("tell_cancelled")
    progress.clean_up = noted("clean_up")
    progress.finish_rare = noted("finish_rare")
    progress.undelivered = noted("undelivered")
    progress.retention = Kept()
    progress.begin_recorded = noted("begin_recorded")
    progress.sending = none_sent
    progress.hold_while, progress.holding = pins.hold_while, pins.holding
    intake.deliver_later = timers.deliver_later
    timers.tick_due = noted("tick_due")

    opened = await store.open()
    env.ids.begin(opened.secret)
    ledger.begin(opened.next_number)
    return Parts(
        env,
        catalog,
        clock,
        disk,
        store,
        residents,
        turns,
        background,
        committer,
        ledger,
        eviction,
        loader,
        pins,
        progress,
        intake,
        timers,
        calls,
        failures,
    )


async def stored(*rows: tuple[str, int]) -> tuple[Disk, list[int]]:
    """A disk with exclusive invocations of these keys and statuses, left by another process. Their numbers."""
    disk = Disk()
    made = await parts(disk)
    seqs = []
    for key, status in rows:
        left = invocation(made.ledger.next_number(), "wait" if status == Status.BLOCKED else "put", key)
        left.status = status
        made.ledger.mark(left)
        seqs.append(left.seq)
    await made.settle()
    return disk, seqs


async def held(disk: Disk) -> Parts:
    """A process on that disk in which no handler goes on."""
    made = await parts(disk)
    made.turns.hold()
    return made


def reads_of(disk: Disk) -> list[str]:
    """The statements that read, from now on."""
    statements: list[str] = []

    def note(sql: str) -> None:
        if sql.lstrip().upper().startswith(("SELECT", "WITH")):
            statements.append(sql)

    disk.connection.set_trace_callback(note)
    return statements
