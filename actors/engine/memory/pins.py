"""Keeps invocations and objects in memory while a part does something with them.

Promise: what is pinned is not evicted; an invocation is restored once, and never from a row that is out of date.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable

from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.loader import OBJECTS_PER_READ, Loader
from actors.engine.memory.residents import Residents
from actors.engine.turns import Turns
from actors.engine.unanswered import refuse
from actors.storage.port import Store
from actors.storage.records import InvocationRow, Status


class _Holding:
    """`async with` it: a class costs a tenth of what a generator made into a context manager costs."""

    __slots__ = ("_held", "_pins", "_seq")

    def __init__(self, pins: Pins, seq: int) -> None:
        self._pins = pins
        self._seq = seq
        self._held: list[Mailbox] = []

    async def __aenter__(self) -> Invocation | None:
        self._held = await self._pins.hold(self._seq)
        return self._pins._open.get(self._seq)

    async def __aexit__(self, *_: object) -> None:
        self._pins.unpin(self._held)


class Pins:
    """Pins the objects of invocations, found by number, and objects, found by key; loads what is not in memory."""

    def __init__(
        self,
        store: Store,
        residents: Residents,
        turns: Turns,
        background: Background,
        committer: Committer,
        eviction: Eviction,
        loader: Loader,
    ) -> None:
        self._store = store
        self._residents = residents
        self._open = residents.open
        self._turns = turns
        self._background = background
        self._committer = committer
        self._eviction = eviction
        self._loader = loader
        self._wanted: dict[int, list[asyncio.Future[list[Mailbox]]]] = {}  # waiters for pinned mailboxes
        self._finding: asyncio.Task[None] | None = None
        self._restoring = asyncio.Lock()
        self._left: set[tuple[str, str]] = set()  # objects evicted since the read of `_hold` was requested

    def holding(self, seq: int) -> _Holding:
        """The open invocation with this number, in memory together with its object until the block ends.

        None if it has ended or never was. Many that ask in the same turn share the reads.
        """
        return _Holding(self, seq)

    def restored(self, row: InvocationRow) -> Invocation:
        """A scheduled invocation, in memory from its row: it stands in no mailbox yet."""
        return self._loader.restore(row, None)

    async def hold(self, seq: int) -> list[Mailbox]:
        """What `holding` pins; the caller unpins it."""
        self._background.check_running()
        found = self._open.get(seq)
        if found is not None:
            held = [found.mailbox] if found.mailbox is not None else []
            _pin(held)
            return held
        future: asyncio.Future[list[Mailbox]] = self._turns.loop.create_future()
        self._wanted.setdefault(seq, []).append(future)
        if self._finding is None:
            self._finding = self._turns.spawn(self._find())
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.unpin(future.result())
            raise

    @contextlib.asynccontextmanager
    async def holding_objects(self, keys: Iterable[tuple[str, str]]) -> AsyncIterator[list[Mailbox]]:
        """The objects with these (service, key) are in memory until the block ends."""
        self._background.check_running()
        held = [self._loader.mailbox(service, key) for service, key in keys]
        _pin(held)
        try:
            await self._loader.loaded(held)
            yield held
        finally:
            self.unpin(held)

    @contextlib.asynccontextmanager
    async def holding_all(self, seqs: Iterable[int]) -> AsyncIterator[None]:
        """The open invocations among these are in memory with their objects until the block ends: a missing invocation has ended."""
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
        held: list[Mailbox] = []
        async with self._restoring:
            # What ended in a batch that the store does not have yet looks open in the database.
            ending = {
                invocation.seq
                for batch in self._committer.unseen()
                for invocation in batch.invocations
                if invocation.ended
            }
            cold: list[int] = []
            for seq in dict.fromkeys(seqs):
                found = self._open.get(seq)
                if found is None:
                    if seq not in ending:
                        cold.append(seq)
                elif found.mailbox is not None:
                    held.append(found.mailbox)
            _pin(held)
            try:
                self._left.clear()
                places, records = await self._store.load_objects_of(cold) if cold else ([], {})
                with self._loader.entering():
                    for address, record in records.items():
                        if (
                            self._residents.known(*address) is None
                            and address not in self._left
                            and not self._background.stopped
                        ):
                            mailbox = self._residents.enter(*address)
                            held.append(mailbox)
                            _pin([mailbox])
                            self._loader.arrived(mailbox, record)
                scheduled = [place.seq for place in places if place.status == Status.SCHEDULED]
                rows = await self._store.invocations(scheduled) if scheduled else {}
                for seq, service, key, shared, _ in places:
                    found = self._open.get(seq)
                    if found is None and seq in rows:
                        self.restored(rows[seq])
                        continue
                    if found is not None and found.mailbox is None:
                        continue
                    mailbox = self._loader.mailbox(
                        service, key
                    )  # one that is out of date, or was asked for, is on its way
                    held.append(mailbox)
                    _pin([mailbox])
                    if shared and mailbox.state is not None and seq not in self._open:
                        await self._restore_reader(seq, mailbox)
            except BaseException:
                self.unpin(held)
                raise
        try:
            await self._loader.loaded(held)
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
                self._eviction.released(mailbox)

    async def _restore_reader(self, seq: int, mailbox: Mailbox) -> None:
        """A reader is evicted alone, while its object, pinned here, stays. It may have ended since its row was read."""
        await self._committer.flushed()
        if seq in self._open:
            return
        journal = await self._store.journal(seq)
        row = await self._store.invocation(seq)
        if row is not None and row.status < Status.SUCCEEDED and seq not in self._open:
            self._loader.resume(mailbox, self._loader.restore(row, journal))

    def hold_while(self, seqs: Iterable[int], then: Callable[[], None]) -> None:
        """Hold these invocations in memory, in the background, while `then` is called. A storage failure stops the partition."""

        async def run() -> None:
            async with self.holding_all(seqs):
                if not self._background.stopped:
                    then()

        self._background.run(run())

    async def _find(self) -> None:
        try:
            while self._wanted:
                # A slice at a time: those that are found go on while the next are read.
                wanted = {seq: self._wanted.pop(seq) for seq in list(itertools.islice(self._wanted, OBJECTS_PER_READ))}
                try:
                    held = await self._hold(wanted)
                except BaseException as error:
                    stopped = self._background.failure if not isinstance(error, Exception) else None
                    for futures in wanted.values():
                        for future in futures:
                            refuse(future, stopped or error)
                    raise
                for seq, futures in wanted.items():
                    found = self._open.get(seq)
                    for future in futures:
                        if not future.done():
                            own = [found.mailbox] if found is not None and found.mailbox is not None else []
                            _pin(own)
                            future.set_result(own)
                self.unpin(held)
            self._finding = None
        except Exception as error:
            if not self._background.stopped:
                self._background.fail(error)

    def abandon(self, error: BaseException) -> None:
        """Nothing will be found any more: every waiter gets `error`."""
        for wanted in self._wanted.values():
            for one in wanted:
                refuse(one, error)
        self._wanted.clear()

    async def stop(self) -> None:
        task = self._finding
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _pin(mailboxes: Iterable[Mailbox]) -> None:
    for mailbox in mailboxes:
        mailbox.pins += 1
