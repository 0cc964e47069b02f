"""The class is its own specification: every stored invocation once more, alone and in the order of its object.

An object is a sequential machine, and its mailbox has decided the order. So each invocation is given the state that the one
before it has left and the answers that its journal holds, and its code runs again. Its outcome, its requests, and the state in the
end must be those on disk. Code that depends on anything else is found: on time, on chance, on the memory of the process, on what
a step has changed; and so is a runtime that loses, repeats or reorders.

Promise: nothing is written, no step is started and no message is sent; what a handler does beside its context happens again. What
cannot be judged is listed with the reason, and is never a finding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Protocol

from actors.check.explanation import Address, Explaining, Explanation, Known, Stored
from actors.check.forgetting import never_forgot
from actors.check.placing import OutsideReader, misplaced
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.model.limits import Limits
from actors.model.virtual_object import Served
from actors.storage.records import Extent, InvocationRow, JournalRow


class Records(Protocol):
    """The records of an app, as `actors.testing.Disk` has them."""

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]: ...


async def explain(
    records: Records,
    classes: Catalog | Iterable[type[Served]],
    limits: Limits | None = None,
    *,
    known: Mapping[Address, Known] | None = None,
    changed: Collection[Address] = (),
    complete: bool | None = None,
    one_release: bool = False,
    readers: Mapping[Address, Sequence[OutsideReader]] | None = None,
    timeout_s: float = 5.0,
) -> Explanation:
    """Explain all stored invocations, and the state, by the code of `classes`.

    `records` are read before the first await, so the app may run meanwhile. An object begins without state, or with the state that
    is `known`. The file does not tell what was changed from outside, nor which invocations were forgotten: `changed` are objects
    whose state an operator has changed, which are not judged, and `complete` says that no ended invocation was forgotten. If
    `complete` is None, that follows from `limits` and the times in the file, unless an operator purged. `one_release` says that no
    older version of a class has executed any of them; without it, the objects of a class with version > 1 are judged from where
    their journals show its version. `readers` are
    those that the records do not hold, by their objects. `timeout_s` limits the replay of a handler that awaits something that is not durable.
    """
    catalog = classes if isinstance(classes, Catalog) else _catalog(classes)
    limits = limits or Limits()
    file = _File(records)
    if complete is None:
        complete = file.is_complete(limits)
    stage = Stage(catalog, limits, file.secret)
    retraces = Retraces(stage, timeout_s)
    explaining = Explaining(
        stage, retraces, {row.seq: row for row in file.rows}, known or {}, complete, one_release, readers or ()
    )
    try:
        await _all(file, catalog, explaining, changed)
        for address, states in explaining.states.items():
            explaining.report.misread += [
                text
                async for text in misplaced(explaining, catalog.services[address[0]], states, (readers or {})[address])
            ]
    finally:
        retraces.close()
    return explaining.report


async def _all(file: _File, catalog: Catalog, explaining: Explaining, changed: Collection[Address]) -> None:
    unserved: Counter[str] = Counter()
    left = dict(file.state)
    groups = ((address, list(group)) for address, group in groupby(file.rows, key=attrgetter("service", "key")))
    for address, rows in groups:
        state = left.pop(address, {})
        definition = catalog.services.get(address[0])
        if definition is None:
            unserved[address[0]] += len(rows)
        elif address in changed:
            explaining.not_judged(address, "its state was changed from outside")
        else:
            await explaining.explain(definition, address, Stored(rows, file.journal, state))
    for address, state in left.items():
        definition = catalog.services.get(address[0])
        if definition is not None and address not in changed:
            await explaining.explain(definition, address, Stored((), file.journal, state))
    for service, count in unserved.items():
        explaining.not_judged((service, ""), f"the class is not among those given; invocations: {count:,}")


def _catalog(classes: Iterable[type[Served]]) -> Catalog:
    definitions = [definition_of(cls) for cls in classes]
    return Catalog({definition.name: definition for definition in definitions})


class _File:
    """All records, read at once."""

    def __init__(self, records: Records) -> None:
        columns = ", ".join(InvocationRow._fields)
        rows = records.query(f"SELECT {columns} FROM invocation ORDER BY service, key, position, seq")
        self.rows = [InvocationRow._make(row) for row in rows]
        columns = ", ".join(JournalRow._fields)
        self.journal: dict[int, list[JournalRow]] = defaultdict(list)
        for row in records.query(f"SELECT {columns} FROM journal_entry ORDER BY invocation, idx"):
            self.journal[row[0]].append(JournalRow._make(row))
        self.state: dict[Address, dict[str, str]] = defaultdict(dict)
        for service, key, name, text in records.query("SELECT service, key, name, value FROM object_state"):
            self.state[service, key][name] = text
        ((self.secret,),) = records.query("SELECT value FROM meta WHERE name = 'secret'")

    def is_complete(self, limits: Limits) -> bool:
        """Whether the limits cannot have made the app forget an ended invocation yet, as far as the records tell."""
        extent = None
        if self.rows:
            first, last = min(self.rows, key=attrgetter("seq")), max(row.seq for row in self.rows)
            last_ms = max(row.ended_ms or row.accepted_ms for row in self.rows)
            extent = Extent(first.seq, first.accepted_ms, last_ms, last)
        return never_forgot(extent, len(self.rows), limits)
