"""Whether stored state and open invocations work with the current code, without changing anything.

Promise: only a copy of the file is read; no byte of the file changes. Objects are read in order of (service, key), a page at a
time, so memory is bounded by a page, however many objects there are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from tempfile import TemporaryDirectory
from typing import ClassVar

from actors.app.app import App
from actors.attempt.invocation import changed_kind
from actors.check.rehearsal import Misfit, Rehearsals, Stage
from actors.errors import DefinitionError, SerializationError, StateDecodeError, short_reason
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.model.decoding import migrated
from actors.model.definitions import ServiceDefinition
from actors.model.object_state import ObjectState
from actors.storage.records import RUN, Flag, InvocationRow, Mode, ObjectRecord, Status
from actors.storage.sqlite.snapshot import Snapshot, take

OBJECTS_PER_PAGE = 500
TIMEOUT_S = 5.0
# Timeouts of one handler, or of the state of one class, after which its other items are skipped.
MOST_TIMEOUTS = 3

KINDS = {
    "service": "The class is not served",
    "handler": "The handler is gone",
    "state": "Stored state does not fit",
    "arguments": "Arguments do not decode",
    "journal": "The code does not fit the journal",
    "result": "A recorded result does not decode",
    "error": "The handler raises an error",
    "timeout": "The handler did not end in time",
    "crash": "The process ended in the handler",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that would break. `kind` is one of KINDS.

    `invocation` and `handler` name the invocation, unless the finding is about the object's state. `index` is the journal
    entry at which the code differs, `recorded` the content of the entry, `asked` the step that the code took.
    """

    kind: str
    service: str
    key: str
    handler: str | None
    invocation: str | None
    message: str
    index: int | None = None
    recorded: str | None = None
    asked: str | None = None


@dataclass(slots=True)
class Counts:
    """How much was checked. `outdated` objects have an older version and would be migrated; `unserved` objects have only
    state, of a class that is not served."""

    objects: int = 0
    outdated: int = 0
    unserved: int = 0
    invocations: int = 0
    replayed: int = 0

    NAMES: ClassVar[tuple[str, ...]] = ("objects", "outdated", "unserved", "invocations", "replayed")

    def add(self, other: Counts) -> None:
        for name in self.NAMES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Report:
    """What a check found. `problems` counts all findings by kind, `findings` holds the first of each kind."""

    counts: Counts = field(default_factory=Counts)
    problems: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing would break."""
        return not self.problems

    def add(self, page: Page, most: int) -> None:
        """Add a page; at most `most` findings of each kind are kept."""
        self.counts.add(page.counts)
        for finding in page.findings:
            self.problems[finding.kind] += 1
            if self.problems[finding.kind] <= most:
                self.findings.append(finding)


@dataclass(slots=True)
class Page:
    """The findings of consecutive objects. `last` is the last object, `item` the number of its last item."""

    last: tuple[str, str]
    item: int
    counts: Counts = field(default_factory=Counts)
    findings: list[Finding] = field(default_factory=list)


class Check:
    """Checks a snapshot of a file against the classes of an app. `pages` opens and closes the snapshot.

    The work is counted in *items*: the state of an object, or the replay of an invocation. `watch` receives the number of
    each item before it begins, and 0 after it, so that another process sees which item does not end; `dead` are the numbers
    of the items that did not end, and why.
    """

    def __init__(
        self,
        app: App,
        snapshot: Snapshot,
        *,
        timeout_s: float = TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
        watch: Callable[[int], None] = lambda item: None,
        dead: dict[int, Misfit] | None = None,
        timeouts: Counter[tuple[str, str]] | None = None,
    ) -> None:
        self._services = app._services
        self._limits = app._partitions.limits
        self._snapshot = snapshot
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._watch = watch
        self._dead = dead or {}
        self._timeouts = timeouts if timeouts is not None else Counter()  # by (service, handler); "" for state
        self._item = 0
        self._page = Page(("", ""), 0)
        self._ids = IdMint(bytes(32))
        self._rehearsals: Rehearsals | None = None

    async def pages(self, after: tuple[str, str] = ("", ""), item: int = 0) -> AsyncIterator[Page]:
        """The pages after the object `after`, whose last item had the number `item`.

        Raises StorageError, or DefinitionError if no stored record belongs to a class of the app.
        """
        self._item = item
        opened = await self._snapshot.open()
        try:
            stage = Stage(Catalog(self._services), self._limits, opened.secret)
            self._ids = stage.ids
            self._rehearsals = Rehearsals(stage, self._timeout_s, self._monotonic)
            await self._refuse_wrong_file()
            while keys := await self._snapshot.objects(after, OBJECTS_PER_PAGE):
                self._page = Page(keys[-1], item)
                for (service, key), record in zip(keys, await self._snapshot.load_objects(keys), strict=True):
                    await self._object(service, key, record)
                self._page.item = item = self._item
                after = self._page.last
                yield self._page
        finally:
            if self._rehearsals is not None:
                self._rehearsals.close()
            await self._snapshot.close()

    async def _refuse_wrong_file(self) -> None:
        stored = await self._snapshot.services()
        if stored and not any(service in self._services for service in stored):
            raise DefinitionError(
                f"The file holds no records of the classes of this app (stored: {_some(stored)}; served: "
                f"{_some(self._services)}). Check the path of the file. A class that was renamed keeps its "
                f"records with name={stored[0]!r}."
            )

    async def _object(self, service: str, key: str, record: ObjectRecord) -> None:
        counts = self._page.counts
        definition = self._services.get(service)
        counts.objects += 1
        counts.invocations += len(record.invocations)
        if definition is None:
            counts.unserved += not record.invocations
            for row in record.invocations:
                said = (
                    f"No class {service!r} in this app. Served: {_some(self._services)}. Serve it; if it was "
                    f"renamed, restore its name, for example with name={service!r}; or end these invocations "
                    f"first, with the release that has it: actors invocations cancel --service {quote(service)}"
                )
                self._found(row, Misfit("service", said))
            return
        misfit = self._state(definition, key, record) if record.state else None
        at, held = len(self._page.findings), 0
        for row in record.invocations:
            held += await self._invocation(definition, row, record, misfit)
        if misfit is not None:
            also = f" {held} open invocation{'s' if held > 1 else ''} would be paused for that." if held else ""
            found = Finding(misfit.kind, definition.name, key, None, None, misfit.message + also)
            self._page.findings.insert(at, found)

    def _state(self, definition: ServiceDefinition, key: str, record: ObjectRecord) -> Misfit | None:
        state = ObjectState(definition, dict(record.state))
        self._page.counts.outdated += state.version < definition.version and bool(state.stored)
        misfit = self._skipped(definition.name, "")
        if misfit is None:
            try:
                self._watch(self._item)
                migrated(definition, key, state.stored, state.version, self._limits.max_payload)
            except StateDecodeError as error:
                misfit = Misfit("state", str(error))
            finally:
                self._watch(0)
        return misfit

    async def _invocation(
        self, definition: ServiceDefinition, row: InvocationRow, record: ObjectRecord, of_state: Misfit | None
    ) -> bool:
        """Whether the invocation's only problem is `of_state`, the problem of the state, which is reported once."""
        if row.flags & Flag.TICK and row.status == Status.SCHEDULED:
            return False  # the start withdraws a tick without a schedule; others run with their stored arguments
        handler = definition.handler(row.handler, row.idempotency_key == RUN)
        if handler is None:
            known = ", ".join(sorted(definition.handlers))
            said = (
                f"{row.service} has no handler {row.handler!r}. Its handlers: {known}. Restore its name, for "
                f"example with @handler(name={row.handler!r}); or end these invocations first, with the release "
                f"that has it: actors invocations cancel --service {quote(row.service)} --handler "
                f"{quote(row.handler)}"
            )
            self._found(row, Misfit("handler", said))
            return False
        if (row.shared == Mode.KEYLESS) != (handler.mode == Mode.KEYLESS):
            self._found(row, Misfit("handler", changed_kind(row.service, row.shared)))
            return False
        try:
            handler.decode(row.args)
        except SerializationError as error:
            self._found(row, Misfit("arguments", str(error)))
            return False
        journal = record.journal.get(row.seq, [])
        if not journal:
            return False  # nothing is recorded yet: whatever the code does is new
        misfit = self._skipped(row.service, row.handler)
        if misfit is None:
            self._page.counts.replayed += 1
            try:
                self._watch(self._item)
                assert self._rehearsals is not None
                misfit = await self._rehearsals.replay(definition, row, journal, record.state)
            except Exception as error:  # an internal error: the remaining items are still checked
                misfit = Misfit("crash", f"The check itself failed here: {short_reason(error)}.")
            finally:
                self._watch(0)
            if misfit is not None and misfit.kind == "timeout":
                self._timeouts[row.service, row.handler] += 1
        if misfit is None:
            return False
        if of_state is not None and misfit == of_state and misfit.kind == "state":
            return True
        self._found(row, misfit)
        return False

    def _skipped(self, service: str, handler: str) -> Misfit | None:
        """Begin the next item; returns why the item is skipped, or None."""
        self._item += 1
        dead = self._dead.get(self._item)
        if dead is not None:
            self._timeouts[service, handler] += 1
            return dead
        if self._timeouts[service, handler] < MOST_TIMEOUTS:
            return None
        what = f"{service}.{handler}" if handler else f"the state of {service}"
        return Misfit("timeout", f"Skipped: {MOST_TIMEOUTS} others of {what} did not end in time.")

    def _found(self, row: InvocationRow, misfit: Misfit) -> None:
        id = self._ids.invocation(row.seq)
        self._page.findings.append(
            Finding(
                misfit.kind,
                row.service,
                row.shown_key,
                row.handler,
                id,
                misfit.message,
                misfit.index,
                misfit.recorded,
                misfit.asked,
            )
        )


async def check(app: App, path: str | None = None, *, timeout_s: float = TIMEOUT_S, most: int = 100) -> Report:
    """Check the file of `app`, or the file at `path`, against the app's classes. No step is executed, and nothing is written.

    The app must not run. `timeout_s` limits a replay that waits for something not durable. A replay that blocks the thread is
    not interrupted: `actors check` replays in a separate process, which can be killed. `most` findings of each kind are kept.
    Raises DefinitionError for an app in memory, or if no record in the file belongs to the app; DatabaseInUse,
    DatabaseForeign, or StorageError.
    """
    report = Report()
    with TemporaryDirectory(prefix="actors-check-") as folder:
        source, target = file_of(app, path), str(Path(folder) / "copy.db")
        take(source, target)
        async for page in Check(app, Snapshot(target, source), timeout_s=timeout_s).pages():
            report.add(page, most)
    return report


def file_of(app: App, path: str | None) -> str:
    """The file to check. Raises DefinitionError if neither the app nor `path` names a file."""
    found = path if path is not None else app._life.path
    if found == ":memory:":
        raise DefinitionError("This app keeps its records in memory only. Name the file to check.")
    return found


def _some(names: Collection[str], most: int = 10) -> str:
    shown = sorted(names)[:most]
    return ", ".join(shown) + (", ..." if len(names) > most else "")


def timeouts_of(findings: Collection[Finding]) -> Counter[tuple[str, str]]:
    """How often a handler did not end, or decoding the state of a class, by (service, handler)."""
    return Counter((f.service, f.handler or "") for f in findings if f.kind in ("timeout", "crash"))
