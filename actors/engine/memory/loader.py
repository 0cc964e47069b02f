"""Brings cold objects into memory, many in one read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.background import Background
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.residents import Residents
from actors.engine.turns import Turns
from actors.engine.unanswered import refuse
from actors.errors import AppNotRunning, short_reason
from actors.journal.ids import IdMint
from actors.journal.journal import Journal
from actors.model.catalog import Catalog
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import ObjectState
from actors.storage.errors import StorageError
from actors.storage.port import Store
from actors.storage.records import OWN_KEY, RUN, Flag, InvocationRow, JournalRow, Mode, ObjectRecord, Status

OBJECTS_PER_READ = 250
_KEYLESS = Mode.KEYLESS
_BLOCKED = Status.BLOCKED


class Loader:
    """Loads requested objects in the order of the requests.

    A read sees every batch that was handed over before it.
    """

    check_queued: Callable[[Invocation], None]  # a message with a waiter stands behind another one
    deliver: Callable[[Mailbox, Invocation], None]
    state_of: Callable[[Mailbox, ObjectRecord], ObjectState]

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        store: Store,
        residents: Residents,
        ledger: Ledger,
        turns: Turns,
        background: Background,
        eviction: Eviction,
    ) -> None:
        self._ids = env.ids
        self._services = catalog.services
        self._store = store
        self._residents = residents
        self._open = residents.open
        self._ledger = ledger
        self._turns = turns
        self._background = background
        self._eviction = eviction
        self._entering: list[Invocation] | None = None
        self._cold: list[Mailbox] = []
        self._waiting: dict[Mailbox, list[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None

    def mailbox(self, service: str, key: str) -> Mailbox:
        """The object's mailbox; a cold one starts to load."""
        mailbox = self._residents.known(service, key)
        if mailbox is None:
            mailbox = self._residents.enter(service, key)
            self.request(mailbox)
        return mailbox

    def request(self, mailbox: Mailbox) -> None:
        """Load this object soon; its record is read with others'."""
        self._cold.append(mailbox)
        if self._task is None and not self._background.stopped:
            self._task = self._turns.spawn(self._load())

    def restore(self, row: InvocationRow, journal: list[JournalRow] | None) -> Invocation:
        """Bring a stored open invocation into memory, asleep."""
        invocation = restored(row, journal, self._services, self._ids)
        if self._residents.absent_waiters:
            invocation.waiters = self._residents.absent_waiters.pop(row.seq, None)
        self._open[row.seq] = invocation
        return invocation

    def arrived(self, mailbox: Mailbox, record: ObjectRecord) -> None:
        """The object is in memory: queue what was stored, then what arrived meanwhile, and wake what can run."""
        mailbox.state = self.state_of(mailbox, record)
        for row in record.invocations:
            if row.seq in self._open or row.status == Status.SCHEDULED:
                continue  # in memory already, among the arrivals; or not in the mailbox before its time
            if mailbox.gone is not None and row.seq in mailbox.gone:
                continue  # it has ended since the row was read
            self.resume(mailbox, self.restore(row, record.journal.get(row.seq)))
        current = mailbox.current
        if current is not None and current.journal is not None and not current.has(Flag.APART):
            mailbox.state.catch_up(current.journal)
        mailbox.gone = None
        arrivals, mailbox.arrivals = mailbox.arrivals, None
        mailbox.length -= len(arrivals or ())
        for invocation in arrivals or ():
            if invocation.ended:
                continue
            self.deliver(mailbox, invocation)
            if not invocation.shared and not invocation.dirty_in:
                self._ledger.mark(invocation)
        if mailbox.key[0] == OWN_KEY and mailbox.current is None:
            self._eviction.over(mailbox)  # its invocation has ended while it was asked for
        else:
            self._eviction.entered(mailbox)

    @contextlib.contextmanager
    def entering(self) -> Iterator[None]:
        """Objects come into memory together, without an await: cycles of waits are looked for when all of them are there."""
        queued: list[Invocation] = []
        self._entering = queued
        try:
            yield
        finally:
            self._entering = None
        for invocation in queued:
            self.check_queued(invocation)

    def resume(self, mailbox: Mailbox, invocation: Invocation) -> None:
        """Give a stored invocation its place, and run it unless it waits for an event that will wake it.

        A paused invocation, unless an operator has paused it, gets one more attempt: the process that loads it first may run
        fixed code.
        """
        invocation.mailbox = mailbox
        if invocation.status in (Status.BLOCKED, Status.BACKING_OFF) or (
            invocation.status == Status.PAUSED
            and (invocation.has(Flag.HELD) or invocation.seq in self._residents.paused_here)
        ):
            if invocation.shared:
                mailbox.readers += 1
                self._eviction.sleeps(invocation)
                return
            if mailbox.current is None:
                mailbox.current = invocation
                return
        elif invocation.status == Status.PAUSED:
            invocation.status = Status.PENDING
        self.deliver(mailbox, invocation)

    def queued(self, invocation: Invocation) -> None:
        """A message with a waiter stands behind another one: the waits may close a cycle."""
        if self._entering is not None:
            self._entering.append(invocation)
        else:
            self.check_queued(invocation)

    async def recover(self, keys: Sequence[tuple[str, str]]) -> None:
        """Wake what can run, a slice at a time, so that new calls are not kept waiting behind a large backlog."""
        for start in range(0, len(keys), OBJECTS_PER_READ):
            if self._background.stopped:
                return
            slice_ = [self.mailbox(*key) for key in keys[start : start + OBJECTS_PER_READ]]
            try:
                await self.loaded(slice_)
            except (StorageError, AppNotRunning):
                return  # the app has stopped, and its callers were notified
            await self._turns.turn_taken()

    async def loaded(self, mailboxes: Iterable[Mailbox]) -> None:
        """Return once all of them are in memory."""
        self._background.check_running()
        waiting = []
        for mailbox in mailboxes:
            if mailbox.state is None:
                future: asyncio.Future[None] = self._turns.loop.create_future()
                self._waiting.setdefault(mailbox, []).append(future)
                waiting.append(future)
        if waiting:
            await asyncio.gather(*waiting)

    def abandon(self, error: BaseException) -> None:
        """Nothing will be loaded any more: every waiter for a load gets `error`."""
        for futures in self._waiting.values():
            for future in futures:
                refuse(future, error)
        self._waiting.clear()

    async def stop(self) -> None:
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _load(self) -> None:
        try:
            while self._cold:
                asked, self._cold = self._cold[:OBJECTS_PER_READ], self._cold[OBJECTS_PER_READ:]
                records = await self._store.load_objects([(mailbox.service, mailbox.key) for mailbox in asked])
                with self.entering():
                    for mailbox, record in zip(asked, records, strict=True):
                        self._loaded(mailbox, record)
            self._task = None
        except Exception as error:
            self._background.fail(error)

    def _loaded(self, mailbox: Mailbox, record: ObjectRecord) -> None:
        if self._background.stopped:
            return
        self.arrived(mailbox, record)
        for future in self._waiting.pop(mailbox, ()):
            if not future.done():
                future.set_result(None)


def restored(
    row: InvocationRow, journal: list[JournalRow] | None, services: Mapping[str, ServiceDefinition], ids: IdMint
) -> Invocation:
    """A stored open invocation. Without a handler if its class has none for it, or if its journal cannot be read."""
    definition = services.get(row.service)
    handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition is not None else None
    if handler is not None and (row.shared == _KEYLESS) != (handler.mode == _KEYLESS):
        handler = None
    try:
        entries, unreadable = Journal.restored(journal) if journal else None, None
    except Exception as error:  # whatever a damaged row may raise
        entries, handler = None, None
        unreadable = f"The journal of {ids.invocation(row.seq)} cannot be read: {short_reason(error)}. Kill it."
    invocation = Invocation.restored(row, handler, entries)
    if entries is not None and row.status == _BLOCKED:
        entries.passed = len(entries.completions)  # it was shown all of them, and waits for another one
    if unreadable is not None:
        invocation.more().reason = unreadable
    return invocation
