"""The store against the simplest thing it could be: dictionaries."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.storage import RUN, Batch, Flag, InvocationRow, JournalRow, Mode, ObjectRecord, PromiseRow, Status, TimerRow
from actors.storage.records import PlainRow
from actors.storage.sqlite.database import WORKFLOW_FACTS
from tests.storage.rows import OpenStore, plain

# Few names, so that rows meet; awkward ones, so that no layer may quote or encode them wrongly.
# Not NUL in keys: the layer above refuses it, because SQLite's JSON functions end a text there. Nor empty ones: they mean
# the keyless invocations, each of which is stored under its own number.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SERVICES = st.sampled_from(["Order", "order", "Ø.x-1"])
KEYS = st.sampled_from(["k", "0", "1e3", "null", "a'b\"c\\d", "ключ€𝄞", "x\ny"]) | TEXT.filter(
    lambda key: bool(key) and "\x00" not in key
)
NAMES = st.sampled_from(["a", "b", "ä"])
SMALL = st.integers(1, 12)
NUMBER = st.integers(0, 2**53)


@st.composite
def invocations(draw: st.DrawFn) -> InvocationRow:
    status = draw(st.integers(Status.SCHEDULED, Status.FAILED))
    seq = draw(SMALL)
    shared = draw(st.sampled_from([Mode.EXCLUSIVE, Mode.SHARED, Mode.KEYLESS]))
    once = st.none() | st.just(f"i{seq}")
    return InvocationRow(
        seq=seq,
        service=draw(SERVICES),
        key=str(seq) if shared == Mode.KEYLESS else draw(KEYS),
        handler=draw(TEXT),
        shared=shared,
        status=status,
        position=draw(NUMBER),
        args=draw(TEXT),
        headers=draw(st.none() | TEXT),
        parent=draw(st.none() | SMALL),
        parent_index=draw(st.none() | SMALL),
        attempts=draw(SMALL),
        accepted_ms=draw(NUMBER),
        ended_ms=draw(SMALL) if status >= Status.SUCCEEDED else None,
        outcome=draw(st.none() | TEXT),
        reason=draw(st.none() | TEXT),
        flags=draw(st.integers(0, 15)),
        failing_since_ms=draw(st.none() | NUMBER),
        idempotency_key=draw(once | st.just(RUN) if seq <= 2 and shared == Mode.EXCLUSIVE else once),
        restart_of=draw(st.none() | SMALL),
    )


@st.composite
def journal_rows(draw: st.DrawFn) -> JournalRow:
    return JournalRow(
        invocation=draw(SMALL),
        idx=draw(SMALL),
        kind=draw(st.integers(1, 21)),
        name=draw(st.none() | TEXT),
        ref=draw(st.none() | NUMBER),
        value=draw(st.none() | TEXT | st.binary(max_size=8)),
        before=draw(st.none() | TEXT),
        at_ms=draw(NUMBER),
    )


class Model:
    """What the database is to hold, as plainly as can be."""

    def __init__(self) -> None:
        self.invocations: dict[int, InvocationRow] = {}
        self.journal: dict[tuple[int, int], JournalRow] = {}
        self.state: dict[tuple[str, str, str], str] = {}
        self.timers: dict[tuple[int, int], TimerRow] = {}
        self.attached: set[tuple[int, int, int]] = set()
        self.promises: dict[tuple[str, str, str], tuple[PromiseRow, bool]] = {}  # and whether it is unclaimed

    def apply_fact(self, fact: str, values: tuple[Any, ...]) -> None:
        match fact:
            case "completed":
                self.promises[values[:3]] = PromiseRow(*values[:6]), bool(values[6])
            case "claimed":
                if values in self.promises:
                    self.promises[values] = self.promises[values][0], False
            case "expired":
                self.promises.pop(values, None)
            case "promises forgotten":
                self.promises = {where: row for where, row in self.promises.items() if where[:2] != values}
            case "state forgotten":
                self.state = {where: text for where, text in self.state.items() if where[:2] != values}
            case "replaced" if values[0] in self.invocations:
                self.invocations[values[0]] = self.invocations[values[0]]._replace(idempotency_key=None)

    def runs(self) -> list[tuple[int, str, str]]:
        return [(row.seq, row.service, row.key) for row in self.invocations.values() if row.idempotency_key == RUN]

    def keyed(self) -> list[tuple[int, str, str, bool]]:
        rows = [row for _, row in sorted(self.invocations.items()) if row.idempotency_key is not None]
        return [(row.seq, row.service, row.key, row.idempotency_key == RUN) for row in rows]

    def unclaimed(self) -> list[tuple[PromiseRow, bool]]:
        keys = [(service, key) for _, service, key in self.runs()]
        found = [(row, (row.service, row.key) in keys) for row, unclaimed in self.promises.values() if unclaimed]
        return sorted(found, key=lambda pair: (pair[0].completed_ms, pair[0]))

    def apply(self, batch: Batch) -> None:
        for fact, values in batch.workflows:
            self.apply_fact(fact, values)
        for values in batch.plain:
            simple = PlainRow(*values)
            known = self.invocations.get(simple.seq)
            if known is None:
                everything: dict[str, Any] = {"headers": None, "attempts": 0, "reason": None, **simple._asdict()}
                self.invocations[simple.seq] = InvocationRow(**everything)
            else:
                self.invocations[simple.seq] = known._replace(
                    status=simple.status, position=simple.position, ended_ms=simple.ended_ms, outcome=simple.outcome
                )
        for values in batch.invocations:
            row = InvocationRow(*values)
            known = self.invocations.get(row.seq)
            if known is not None:  # what an invocation is does not change, only what it runs and how far it has come
                row = known._replace(
                    shared=row.shared,
                    args=row.args,
                    status=row.status,
                    position=row.position,
                    attempts=row.attempts,
                    ended_ms=row.ended_ms,
                    outcome=row.outcome,
                    reason=row.reason,
                    flags=row.flags,
                    failing_since_ms=row.failing_since_ms,
                )
            self.invocations[row.seq] = row
        for seq, status, ended_ms, outcome in batch.ended:
            known = self.invocations[seq]
            self.invocations[seq] = known._replace(status=status, ended_ms=ended_ms, outcome=outcome)
        for values in batch.journal:
            self.journal[values[0], values[1]] = JournalRow(*values)
        for service, key, name, text in batch.state:
            self.state[service, key, name] = text
        for address in batch.cleared:
            self.state.pop(address, None)
        for timer in batch.timers:
            self.timers[timer[0], timer[1]] = TimerRow(*timer)
        for number in batch.fired:
            self.timers.pop(number, None)
        self.timers = {
            number: timer
            for number, timer in self.timers.items()
            if (timer.due_ms, timer.invocation, timer.idx) not in batch.stopped
        }
        self.attached |= set(batch.attached)
        self.attached -= set(batch.detached)
        for (seq,) in batch.purged:
            if seq in self.ended():
                del self.invocations[seq]
                self.journal = {place: row for place, row in self.journal.items() if place[0] != seq}

    def record(self, service: str, key: str) -> ObjectRecord:
        found = ObjectRecord()
        found.state = {name: text for (s, k, name), text in self.state.items() if (s, k) == (service, key)}
        found.invocations = sorted(
            (row for row in self.invocations.values() if (row.service, row.key) == (service, key) and row.status < 6),
            key=lambda row: row.position,
        )
        entries: dict[int, list[JournalRow]] = defaultdict(list)
        for (seq, _), row in sorted(self.journal.items()):
            entries[seq].append(row)
        found.journal = {row.seq: entries[row.seq] for row in found.invocations if row.seq in entries}
        found.promises = sorted(row for row, _ in self.promises.values() if (row.service, row.key) == (service, key))
        return found

    def runnable(self) -> set[tuple[str, str]]:
        return {
            (row.service, row.key)
            for row in self.invocations.values()
            if row.status in (Status.PENDING, Status.RUNNING)
            or (row.status == Status.PAUSED and not row.flags & Flag.HELD)
        }

    def ended(self) -> dict[int, InvocationRow]:
        return {seq: row for seq, row in self.invocations.items() if row.status >= Status.SUCCEEDED}

    def in_order_of_end(self, keyed: bool) -> list[tuple[int, int]]:
        """(seq, ended_ms) of those with an idempotency key, or of the others."""
        rows = [row for row in self.ended().values() if under_a_key(row) == keyed]
        return sorted(((row.seq, row.ended_ms or 0) for row in rows), key=lambda pair: (pair[1], pair[0]))

    def settled(self) -> list[int]:
        ended = self.ended()
        return sorted({t for t, _, _ in self.attached if t in ended or t not in self.invocations})


def under_a_key(row: InvocationRow) -> bool:
    """Whether it is kept for the sake of its key, which a tick is not."""
    return row.idempotency_key is not None and not row.flags & Flag.TICK


@st.composite
def facts(draw: st.DrawFn, model: Model) -> list[tuple[str, tuple[Any, ...]]]:
    """What happens to whole workflows, in an order that may matter."""
    there, found = set(model.promises), list[tuple[str, tuple[Any, ...]]]()
    for _ in range(draw(st.integers(0, 4))):
        fact = draw(st.sampled_from(sorted(WORKFLOW_FACTS)))
        known = st.sampled_from(sorted(there)) if there else st.nothing()
        where = draw(known | st.tuples(SERVICES, KEYS, NAMES))
        if fact == "completed" and where not in there:
            there.add(where)
            found.append((fact, (*where, draw(st.integers(0, 1)), draw(TEXT), draw(SMALL), draw(st.integers(0, 1)))))
        elif fact in ("promises forgotten", "state forgotten"):
            found.append((fact, where[:2]))
            there = {one for one in there if fact == "state forgotten" or one[:2] != where[:2]}
        elif fact == "replaced":
            ended = [seq for seq, _, _ in model.runs() if seq in model.ended()]
            found += [(fact, (seq,)) for seq in ended]
        elif fact != "completed":
            found.append((fact, where))
            there -= {where} if fact == "expired" else set()
    return found


@st.composite
def ends(draw: st.DrawFn, model: Model, written: set[int]) -> list[tuple[Any, ...]]:
    """Ends of invocations that earlier batches hold, and that have no other row in this batch."""
    there = sorted(set(model.invocations) - written)
    ended = draw(st.lists(st.sampled_from(there), max_size=4, unique=True)) if there else []
    statuses = st.sampled_from((Status.SUCCEEDED, Status.FAILED))
    return [(seq, draw(statuses), draw(SMALL), draw(TEXT)) for seq in ended]


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """Batches a runtime could hand over: no journal entry or timer twice, no two positions the same."""
    model, batches = Model(), []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        batch = Batch(number)
        rows = draw(st.lists(invocations(), max_size=6, unique_by=lambda row: row.seq))
        rows = [row._replace(position=number * 100 + place) for place, row in enumerate(rows)]
        simple = draw(st.integers(0, len(rows)))
        batch.plain = [plain(row) for row in rows[:simple]]
        batch.invocations = [*rows[simple:]]
        batch.ended = draw(ends(model, {row.seq for row in rows}))
        entries = journal_rows().filter(lambda row: (row.invocation, row.idx) not in model.journal)
        batch.journal = [*draw(st.lists(entries, max_size=6, unique_by=lambda row: (row.invocation, row.idx)))]
        addresses = draw(st.lists(st.tuples(SERVICES, KEYS, NAMES), max_size=6, unique=True))
        cleared = draw(st.integers(0, len(addresses)))
        batch.cleared = addresses[:cleared]
        batch.state = [(*address, draw(TEXT)) for address in addresses[cleared:]]
        timers = st.tuples(SMALL, SMALL, SMALL, SMALL).filter(lambda timer: timer[:2] not in model.timers)
        batch.timers = draw(st.lists(timers, max_size=4, unique_by=lambda timer: timer[:2]))
        if there := sorted([*model.timers.values(), *(TimerRow(*timer) for timer in batch.timers)]):
            batch.fired = [(timer[0], timer[1]) for timer in draw(st.lists(st.sampled_from(there), max_size=3))]
            batch.stopped = [(t[0], t[2], t[3]) for t in draw(st.lists(st.sampled_from(there), max_size=3))]
        attachments = st.lists(st.tuples(SMALL, st.integers(1, 2), st.integers(1, 2)), max_size=3)
        batch.attached, batch.detached = draw(attachments), draw(attachments)
        batch.purged = [(seq,) for seq in draw(st.lists(SMALL, max_size=3))]
        batch.workflows = draw(facts(model))
        model.apply(batch)
        batches.append(batch)
    return batches


def check_objects(model: Model, asked: list[tuple[str, str]], found: list[ObjectRecord]) -> None:
    for (service, key), record in zip(asked, found, strict=True):
        record.promises.sort()
        assert record == model.record(service, key)


async def check_objects_of(model: Model, store: OpenStore, seqs: list[int]) -> None:
    """Asked are open and ended invocations, and those that are none; several of one object."""
    places, records = await store.load_objects_of(seqs)
    rows = [model.invocations[seq] for seq in seqs if seq in model.invocations]
    open_ones = [row for row in rows if row.status < Status.SUCCEEDED]
    assert sorted(places) == sorted((row.seq, row.service, row.key, row.shared, row.status) for row in open_ones)
    placed = {(row.service, row.key) for row in open_ones if row.status != Status.SCHEDULED}
    assert set(records) == placed
    check_objects(model, list(records), list(records.values()))


async def check_tick_keys(model: Model, store: OpenStore, asked: list[tuple[str, str]]) -> None:
    # The names of handlers hold no NUL either; they may here.
    handlers = {row.handler for row in model.invocations.values() if "\x00" not in row.handler}
    ranges = [(*target, handler, "i2", "i8") for target in asked for handler in sorted(handlers)]
    expected = [
        (place, row.idempotency_key)
        for row in model.invocations.values()
        for place, (service, key, handler, low, high) in enumerate(ranges)
        if (row.service, row.key, row.handler) == (service, key, handler)
        and row.idempotency_key is not None
        and low < row.idempotency_key < high
    ]
    assert sorted(await store.tick_keys(ranges)) == sorted(expected)


async def windows(store: OpenStore) -> list[TimerRow]:
    """All timers, read as the runtime reads them."""
    found, after = list[TimerRow](), (-1, -1)
    while window := await store.timers(after, 3):
        assert window[0][:2] > after
        found += window
        after = window[-1][:2]
    return found


async def follow(path: Path, batches: list[Batch], reopen_after: int) -> None:
    model = Model()
    asked: list[tuple[str, str]] = [("Order", "k"), ("nobody", "nothing")]
    for part in (batches[:reopen_after], batches[reopen_after:]):
        async with OpenStore(str(path), synchronous="OFF") as store:
            assert set(store.opened.runnable) == model.runnable()
            assert sorted(store.opened.settled) == model.settled()
            assert store.opened.ended == len(model.in_order_of_end(keyed=False))
            for batch in part:
                await store.commit(batch)
                model.apply(batch)
                seen = [(row[1], row[2]) for row in [*batch.plain, *batch.invocations]] + [
                    (row[0], row[1]) for row in batch.state
                ]
                asked = list(dict.fromkeys(asked + seen + [key[:2] for key in model.promises]))
                check_objects(model, asked, await store.load_objects(asked))
            for seqs in ([*range(13)], [*range(1, 13, 2)], [1], list[int]()):
                await check_objects_of(model, store, seqs)
            assert await store.unclaimed_promises(100) == model.unclaimed()
            assert sorted(await store.keyed([*range(1, 13)])) == model.keyed()
            assert await windows(store) == sorted(model.timers.values())
            for keyed in (False, True):
                assert await store.ended(100, keyed) == model.in_order_of_end(keyed)
            assert await store.invocations([*range(1, 13)]) == model.invocations
            open_ones = [row for seq, row in sorted(model.invocations.items()) if row.status < Status.SUCCEEDED]
            assert await store.ticks() == [row for row in open_ones if row.flags & Flag.TICK]
            await check_tick_keys(model, store, asked)
            for row in model.invocations.values():
                if row.idempotency_key is not None:
                    key = "" if row.shared == Mode.KEYLESS else row.key
                    assert await store.find(row.service, key, row.handler, row.idempotency_key) == row
            for seq in range(1, 13):
                attached = sorted((caller, idx) for target, caller, idx in model.attached if target == seq)
                assert await store.attached(seq) == attached
                expected = [row for (owner, _), row in sorted(model.journal.items()) if owner == seq]
                assert await store.journal(seq) == expected


@settings(deadline=None, max_examples=50)
@given(batches=histories(), data=st.data())
def test_the_store_holds_what_dictionaries_would_hold(batches: list[Batch], data: st.DataObject) -> None:
    reopen_after = data.draw(st.integers(0, len(batches)))
    with TemporaryDirectory() as folder:
        asyncio.run(follow(Path(folder) / "app.db", batches, reopen_after))
