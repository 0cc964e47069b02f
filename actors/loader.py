"""Brings cold objects into memory, many in one read, and finds the invocation an id or a timer speaks of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from actors.committer import Store, refuse
from actors.errors import AppNotRunning
from actors.invocation import Invocation
from actors.storage import ObjectRecord, Status, StorageError

if TYPE_CHECKING:
    from actors.mailbox import Mailbox
    from actors.partition import Partition

OBJECTS_PER_READ = 500


class Loader:
    """Objects are loaded in the order they were asked for. A read sees every batch handed over before it."""

    def __init__(self, partition: Partition, store: Store) -> None:
        self._partition = partition
        self._store = store
        self._cold: list[Mailbox] = []
        self._waiting: dict[Mailbox, list[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def request(self, mailbox: Mailbox) -> None:
        """Load this object soon; `Partition.loaded` gets its record."""
        self._cold.append(mailbox)
        if self._task is None and not self._partition.stopped:
            self._task = self._partition.loop.create_task(self._load())

    async def recover(self, keys: Sequence[tuple[str, str]]) -> None:
        """Wake what can run, a slice at a time, so that new calls are not kept waiting behind a large backlog."""
        for start in range(0, len(keys), OBJECTS_PER_READ):
            if self._partition.stopped:
                return
            slice_ = [self._partition.mailbox(*key) for key in keys[start : start + OBJECTS_PER_READ]]
            try:
                await self.loaded(slice_)
            except (StorageError, AppNotRunning):
                return  # the app has stopped, and whoever asked it for something was told
            await self._partition.idle()

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

    async def opened(self, seq: int) -> Invocation | None:
        """The open invocation with this number, in memory together with its object. None if it has ended or never was."""
        found = self._partition.open.get(seq)
        if found is not None:
            return found
        row = await self._store.invocation(seq)
        found = self._partition.open.get(seq)
        if found is not None or row is None or row.status >= Status.SUCCEEDED:
            return found
        if row.status == Status.SCHEDULED:
            return self._partition.restore(row, None)
        await self.loaded([self._partition.mailbox(row.service, row.key)])
        return self._partition.open.get(seq)

    def spawn(self, seqs: Iterable[int], then: Callable[[], None]) -> None:
        """Open these invocations in the background, then call back. A storage failure stops the partition."""

        async def run() -> None:
            try:
                for seq in seqs:
                    await self.opened(seq)
            except Exception as error:
                if not self._partition.stopped:
                    self._partition.fail(error)
                return
            then()

        task = self._partition.loop.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def abandon(self, error: BaseException) -> None:
        """Nothing will be loaded any more: whoever waits for a load gets `error`."""
        for futures in self._waiting.values():
            for future in futures:
                refuse(future, error)
        self._waiting.clear()

    async def stop(self) -> None:
        tasks = [
            task for task in (self._task, *self._background) if task is not None and task is not asyncio.current_task()
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self) -> None:
        try:
            while self._cold:
                asked, self._cold = self._cold[:OBJECTS_PER_READ], self._cold[OBJECTS_PER_READ:]
                records = await self._store.load_objects([(mailbox.service, mailbox.key) for mailbox in asked])
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
