"""Whether everything in a file is explained by the code of an app: each kept invocation once more, object by object.

Promise: the file is read in one transaction and not changed, whether its app runs or not; no step is started. Memory is bounded by
the largest object and a number for each invocation. What cannot be judged is listed with the reason, and is never a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from operator import attrgetter

from actors.app.app import App
from actors.check.explanation import Address, Explaining, Explanation, Stored
from actors.check.forgetting import complete, gap_before_ms
from actors.check.past import past_of
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces
from actors.journal.entries import Kind
from actors.storage.records import InvocationRow, JournalRow, KeptObject, Mode
from actors.storage.sqlite.reads import SqliteReads

ROWS_PER_PAGE = 2_000


class Auditing:
    """One audit: of all classes, of one `service`, or of the objects with one `key`.

    `timeout_s` limits the replay of a handler that awaits what is not durable; `watch` is called with each invocation before its code
    runs, and with None after it; `progress` with the number of invocations done, and of all.
    """

    def __init__(
        self,
        reads: SqliteReads,
        app: App,
        service: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 5.0,
        watch: Callable[[InvocationRow | None], None] = lambda row: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._reads = reads
        options = app.engine_options()
        self._catalog, self._limits = options.catalog, options.limits
        self._now_ms = app._life.options.clock.now_ms()
        self._service, self._key = service, key
        self._timeout_s = timeout_s
        self._watch = watch
        self._progress = progress
        self._journals: dict[int, list[JournalRow]] = {}
        self._unserved: Counter[str] = Counter()
        self._oldest_ms = 0

    async def run(self) -> Explanation:
        """Raises StorageError."""
        reads = self._reads
        async with reads.at_once():
            secret = await reads.secret()
            stage = Stage(self._catalog, self._limits, secret)
            retraces = Retraces(stage, self._timeout_s, self._watch)
            self._oldest_ms = await gap_before_ms(reads, self._limits, self._now_ms)
            explaining = Explaining(stage, retraces, {}, {}, await complete(reads, self._limits), False)
            try:
                await self._all(explaining)
            finally:
                retraces.close()
        for service, rows in self._unserved.items():
            explaining.not_judged((service, ""), f"the app does not serve the class; invocations: {rows:,}")
        return explaining.report

    async def _all(self, explaining: Explaining) -> None:
        left = set(await self._reads.with_state(self._service, self._key))
        async for address, rows in self._objects(explaining):
            left.discard(address)
            if address[0] in self._catalog.services:
                await self._explain(explaining, address, rows)
            else:
                self._unserved[address[0]] += len(rows)
        for address in sorted(left):  # state without invocations
            if address[0] in self._catalog.services:
                await self._explain(explaining, address, [])

    async def _objects(self, explaining: Explaining) -> AsyncIterator[tuple[Address, list[InvocationRow]]]:
        """The invocations of each object, with their journals, and with the invocations that they have called."""
        order = await self._reads.in_order(self._service, self._key)
        done, rest = 0, list[InvocationRow]()
        for start in range(0, len(order), ROWS_PER_PAGE):
            page = order[start : start + ROWS_PER_PAGE]
            found = await self._reads.invocations(page)
            self._journals |= await self._reads.journals(page)
            rows = rest + [found[seq] for seq in page]
            *whole, last = [list(group) for _, group in groupby(rows, key=attrgetter("service", "key"))]
            rest = last
            if start + ROWS_PER_PAGE >= len(order):
                whole, rest = [*whole, last], []
            called = [entry.ref for journal in self._journals.values() for entry in journal if entry.kind == Kind.CALL]
            explaining.rows = await self._reads.invocations([seq for seq in called if seq is not None])
            for group in whole:
                yield (group[0].service, group[0].key), group
                done += len(group)
                self._progress(done, len(order))
            self._journals = {row.seq: self._journals[row.seq] for row in rest if row.seq in self._journals}

    async def _explain(self, explaining: Explaining, address: Address, rows: list[InvocationRow]) -> None:
        keyless = bool(rows) and rows[0].shared == Mode.KEYLESS
        state = {} if keyless else await self._reads.state(*address)
        findings = explaining.report.findings
        before = len(findings)
        await explaining.explain(self._catalog.services[address[0]], address, Stored(rows, self._journals, state))
        explaining.report.known.clear()  # no audit goes on from here, and it would hold the state of every object
        if len(findings) > before and not keyless and await self._changed_outside(explaining, address, rows, state):
            del findings[before:]
            explaining.not_judged(address, "its journals show that its state was changed outside its handlers")

    async def _changed_outside(
        self, explaining: Explaining, address: Address, rows: list[InvocationRow], state: dict[str, str]
    ) -> bool:
        exclusive = [row for row in rows if row.shared == Mode.EXCLUSIVE]
        recorded_from = await self._reads.recorded_from(address[0])
        kept = KeptObject(exclusive, self._journals, dict(state), recorded_from, self._oldest_ms)
        return any(change.cause == "outside" for change in past_of(kept, *address, explaining.ids).changes())
