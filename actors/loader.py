"""Brings cold objects into memory, many in one read, and finds the invocations that ids and timers speak of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from actors.attempt.invocation import Invocation
from actors.committer import refuse
from actors.errors import AppNotRunning
from actors.storage import ObjectRecord, Status, StorageError
from actors.storage.port import Store

if TYPE_CHECKING:
    from actors.attempt.invocation import Mailbox
    from actors.partition import Partition

OBJECTS_PER_READ = 250
TURNS_TO_REPLAY = 20  # of the loop, for a handler that is replayed to where it waits


class Holding:
    """`async with` it: a class costs a tenth of what a generator made into a context manager costs."""

    __slots__ = ("_held", "_loader", "_seq")

    def __init__(self, loader: Loader, seq: int) -> None:
        self._loader = loader
        self._seq = seq
        self._held: list[Mailbox] = []

    async def __aenter__(self) -> Invocation | None:
        self._held = await self._loader.hold(self._seq)
        return self._loader._partition.open.get(self._seq)

    async def __aexit__(self, *_: object) -> None:
        self._loader.unpin(self._held)


class Loader:
    """Objects that are asked for are loaded in this order, those of invocations with them. A read sees every batch handed
    over before it."""

    def __init__(self, partition: Partition, store: Store) -> None:
        self._partition = partition
        self._store = store
        self._cold: list[Mailbox] = []
        self._waiting: dict[Mailbox, list[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wanted: dict[int, list[asyncio.Future[list[Mailbox]]]] = {}  # waiters for pinned mailboxes
        self._finding: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._restoring = asyncio.Lock()
        self._left: set[tuple[str, str]] = set()  # objects evicted since the read of `_hold` was requested

    def request(self, mailbox: Mailbox) -> None:
        """Load this object soon; `Partition.loaded` gets its record."""
        self._cold.append(mailbox)
        if self._task is None and not self._partition.stopped:
            self._task = self._partition.spawn(self._load())

    async def recover(self, keys: Sequence[tuple[str, str]]) -> None:
        """Wake what can run, a slice at a time, so that new calls are not kept waiting behind a large backlog."""
        for start in range(0, len(keys), OBJECTS_PER_READ):
            if self._partition.stopped:
                return
            slice_ = [self._partition.mailbox(*key) for key in keys[start : start + OBJECTS_PER_READ]]
            try:
                await self.loaded(slice_)
            except (StorageError, AppNotRunning):
                return  # the app has stopped, and its callers were notified
            await self._partition.turn_taken()

    async def loaded(self, mailboxes: Iterable[Mailbox]) -> None:
        """Return once all of them are in memory."""
        self._partition.check_running()
        waiting = []
        for mailbox in mailboxes:
            if mailbox.state is None:
                future: asyncio.Future[None] = self._partition.loop.create_future()
                self._waiting.setdefault(mailbox, []).append(future)
                waiting.append(future)
        if waiting:
            await asyncio.gather(*waiting)

    def holding(self, seq: int) -> Holding:
        """The open invocation with this number, in memory together with its object until the block ends.

        None if it has ended or never was. Many that ask in the same turn share the reads.
        """
        return Holding(self, seq)

    async def hold(self, seq: int) -> list[Mailbox]:
        """What `holding` pins; the caller unpins it."""
        partition = self._partition
        partition.check_running()
        found = partition.open.get(seq)
        if found is not None:
            held = [found.mailbox] if found.mailbox is not None else []
            _pin(held)
            return held
        future: asyncio.Future[list[Mailbox]] = partition.loop.create_future()
        self._wanted.setdefault(seq, []).append(future)
        if self._finding is None:
            self._finding = partition.spawn(self._find())
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.unpin(future.result())
            raise

    async def replayed(self, invocation: Invocation, index: int) -> None:
        """Replay an invocation that waits, and is held here, until it has asked for the command: then its type is known.

        An invocation that backs off or is paused is left alone, and the type stays unknown.
        """
        partition = self._partition
        if invocation.attempt is None:
            partition.revive(invocation)
        attempt = invocation.attempt
        try:
            turns = TURNS_TO_REPLAY
            while turns:
                if invocation.attempt is None or invocation.attempt.future(index) is not None:
                    return
                if not invocation.attempt.settling:
                    turns -= 1
                await partition.turn_taken()
                await asyncio.sleep(0)  # it may let the loop go first on its way
        finally:
            if attempt is not None:
                partition.replayed(attempt)

    @contextlib.asynccontextmanager
    async def holding_objects(self, keys: Iterable[tuple[str, str]]) -> AsyncIterator[list[Mailbox]]:
        """The objects with these (service, key) are in memory until the block ends."""
        self._partition.check_running()
        held = [self._partition.mailbox(service, key) for service, key in keys]
        _pin(held)
        try:
            await self.loaded(held)
            yield held
        finally:
            self.unpin(held)

    @contextlib.asynccontextmanager
    async def holding_all(self, seqs: Iterable[int]) -> AsyncIterator[None]:
        """Those of them that are open are in memory with their objects until the block ends: one that is not has ended."""
        held = await self._hold(seqs)
        try:
            yield
        finally:
            self.unpin(held)

    async def _hold(self, seqs: Iterable[int]) -> list[Mailbox]:
        """Bring those of them into memory that are open, and pin their objects, in one read if these are cold.

        Nothing may be restored from a row that is out of date. Only this method restores what is not part of a cold
        object, one call at a time, and what was cold when the read was asked for has not changed when it is answered.
        """
        partition = self._partition
        held: list[Mailbox] = []
        async with self._restoring:
            # What ended in a batch that the store does not have yet looks open in the database.
            ending = {
                invocation.seq
                for batch in partition.committer.unseen()
                for invocation in batch.invocations
                if invocation.ended
            }
            cold: list[int] = []
            for seq in dict.fromkeys(seqs):
                found = partition.open.get(seq)
                if found is None:
                    if seq not in ending:
                        cold.append(seq)
                elif found.mailbox is not None:
                    held.append(found.mailbox)
            _pin(held)
            try:
                self._left.clear()
                places, records = await self._store.load_objects_of(cold) if cold else ([], {})
                with partition.entering():
                    for address, record in records.items():
                        if partition.known(*address) is None and address not in self._left and not partition.stopped:
                            mailbox = partition.enter(*address)
                            held.append(mailbox)
                            _pin([mailbox])
                            partition.loaded(mailbox, record)
                scheduled = [place.seq for place in places if place.status == Status.SCHEDULED]
                rows = await self._store.invocations(scheduled) if scheduled else {}
                for seq, service, key, shared, _ in places:
                    found = partition.open.get(seq)
                    if found is None and seq in rows:
                        partition.restore(rows[seq], None)
                        continue
                    if found is not None and found.mailbox is None:
                        continue
                    mailbox = partition.mailbox(
                        service, key
                    )  # one that is out of date, or was asked for, is on its way
                    held.append(mailbox)
                    _pin([mailbox])
                    if shared and mailbox.state is not None and seq not in partition.open:
                        await self._restore_reader(seq, mailbox)
            except BaseException:
                self.unpin(held)
                raise
        try:
            await self.loaded(held)
        except BaseException:
            self.unpin(held)
            raise
        return held

    def left(self, mailbox: Mailbox) -> None:
        """The object was evicted: what was read of it before may be out of date."""
        if self._restoring.locked():
            self._left.add((mailbox.service, mailbox.key))

    def unpin(self, held: Iterable[Mailbox]) -> None:
        for mailbox in held:
            mailbox.pins -= 1
            if not mailbox.pins:
                self._partition.residence.released(mailbox)

    async def _restore_reader(self, seq: int, mailbox: Mailbox) -> None:
        """A reader is evicted alone, while its object, pinned here, stays. It may have ended since its row was read."""
        partition = self._partition
        await partition.committer.flushed()
        if seq in partition.open:
            return
        journal = await self._store.journal(seq)
        row = await self._store.invocation(seq)
        if row is not None and row.status < Status.SUCCEEDED and seq not in partition.open:
            partition.resume(mailbox, partition.restore(row, journal))

    def spawn(self, seqs: Iterable[int], then: Callable[[], None]) -> None:
        """Hold these invocations in memory, in the background, while `then` is called. A storage failure stops the partition."""

        async def run() -> None:
            try:
                async with self.holding_all(seqs):
                    if not self._partition.stopped:
                        then()
            except Exception as error:
                if not self._partition.stopped:
                    self._partition.fail(error)

        self.background(run())

    def background(self, what: object) -> None:
        """Run a coroutine until it ends or the partition stops."""
        task: asyncio.Task[None] = self._partition.spawn(what)  # type: ignore[arg-type]
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def abandon(self, error: BaseException) -> None:
        """Nothing will be loaded any more: every waiter for a load gets `error`."""
        for futures in self._waiting.values():
            for future in futures:
                refuse(future, error)
        self._waiting.clear()
        for wanted in self._wanted.values():
            for one in wanted:
                refuse(one, error)
        self._wanted.clear()

    async def stop(self) -> None:
        tasks = [
            task
            for task in (self._task, self._finding, *self._background)
            if task is not None and task is not asyncio.current_task()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self) -> None:
        try:
            while self._wanted:
                # A slice at a time: those that are found go on while the next are read.
                wanted = {seq: self._wanted.pop(seq) for seq in list(itertools.islice(self._wanted, OBJECTS_PER_READ))}
                try:
                    held = await self._hold(wanted)
                except BaseException as error:
                    stopped = self._partition.failure if not isinstance(error, Exception) else None
                    for futures in wanted.values():
                        for future in futures:
                            refuse(future, stopped or error)
                    raise
                for seq, futures in wanted.items():
                    found = self._partition.open.get(seq)
                    for future in futures:
                        if not future.done():
                            own = [found.mailbox] if found is not None and found.mailbox is not None else []
                            _pin(own)
                            future.set_result(own)
                self.unpin(held)
            self._finding = None
        except Exception as error:
            if not self._partition.stopped:
                self._partition.fail(error)

    async def _load(self) -> None:
        try:
            while self._cold:
                asked, self._cold = self._cold[:OBJECTS_PER_READ], self._cold[OBJECTS_PER_READ:]
                records = await self._store.load_objects([(mailbox.service, mailbox.key) for mailbox in asked])
                with self._partition.entering():
                    for mailbox, record in zip(asked, records, strict=True):
                        self._loaded(mailbox, record)
            self._task = None
        except Exception as error:
            self._partition.fail(error)

    def _loaded(self, mailbox: Mailbox, record: ObjectRecord) -> None:
        if self._partition.stopped:
            return
        self._partition.loaded(mailbox, record)
        for future in self._waiting.pop(mailbox, ()):
            if not future.done():
                future.set_result(None)


def _pin(mailboxes: Iterable[Mailbox]) -> None:
    for mailbox in mailboxes:
        mailbox.pins += 1
