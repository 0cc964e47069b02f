"""Who really waits for whom: an oracle that watches a partition and knows nothing of how the engine looks for cycles.

What it sees. The apps of a `WatchedMachine` are made of watched parts: subclasses that look before or after the inherited method does
its work, and change nothing. The graph is made anew each time it is asked for, from the tables of the partition: `open`, each mailbox's `current`, and the raw entries of each journal (commands
without completions), not the `waits` the engine keeps. What leaves memory is drawn at the moment it leaves: nothing
about it can change before it is back. What a crash leaves behind is drawn from the disk, by SQL.

When it looks. Each time a message joins a queue and each time an attachment begins, before the engine looks; each time
the engine refuses something for a deadlock, before that takes effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from actors import App
from actors.attempt.invocation import Invocation, Mailbox
from actors.engine.intake import Intake
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.loader import Loader
from actors.engine.partition import Parts
from actors.engine.progress import Progress
from actors.engine.waits.deadlocks import Deadlocks
from actors.errors import DeadlockError, TerminalError
from actors.journal.entries import Kind
from actors.serde.failures import failure_error
from actors.testing import Disk
from tests.property.simulated_machine import Machine

Graph = dict[int, set[int]]


class Record:
    """What was seen. It outlives the partitions."""

    def __init__(self) -> None:
        self.cold: Graph = {}  # out of memory: what they wait for
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()

    def crashed(self, disk: Disk) -> None:
        """A process has ended, and the next one has not begun: all there is, is on disk."""
        self.cold = stored_graph(disk)


record = Record()


def new_record() -> Record:
    """The record of everything that is watched from now on."""
    global record
    record = Record()
    return record


# --- the graph ------------------------------------------------------------------------------------------------------------


def graph_of(open_ones: Mapping[int, Invocation]) -> Graph:
    graph = {seq: waits for seq, waits in record.cold.items() if seq not in open_ones}
    for seq, invocation in open_ones.items():
        mailbox = invocation.mailbox
        if mailbox is not None and not invocation.shared and mailbox.current is not invocation:
            graph[seq] = (
                {mailbox.current.seq} if mailbox.current is not None and _queued(mailbox, invocation) else set()
            )
        else:
            graph[seq] = _unanswered(invocation)
    return graph


def _queued(mailbox: Mailbox, invocation: Invocation) -> bool:
    waiting = mailbox.first
    while waiting is not None and waiting is not invocation:
        waiting = waiting.following
    return waiting is not None


def _unanswered(invocation: Invocation) -> set[int]:
    journal = invocation.journal
    if journal is None:
        return set()
    commands = [(entry.idx, entry.kind, entry.ref) for entry in journal.commands]
    completions = [(entry.kind, entry.ref, entry.value) for entry in journal.completions]
    return _waits(commands, completions)


def _waits(commands: list[tuple[int, int, int | None]], completions: list[tuple[int, int | None, Any]]) -> set[int]:
    answered = {ref for kind, ref, _ in completions if kind in (Kind.COMPLETED, Kind.FAILED)}
    placed = {ref: int(value) for kind, ref, value in completions if kind == Kind.PLACED}
    found = set()
    for idx, kind, ref in commands:
        if kind in (Kind.CALL, Kind.ATTACH) and idx not in answered:
            target = placed.get(idx, ref)
            if target is not None:
                found.add(target)
    return found


def stored_graph(disk: Disk) -> Graph:
    """The same, of what is stored: by SQL alone."""
    graph: Graph = {}
    holders: dict[tuple[str, str], int] = {}
    rows = disk.query(
        "SELECT seq, service, key, shared FROM invocation WHERE status BETWEEN 1 AND 5 ORDER BY service, key, position"
    )
    for seq, service, key, shared in rows:
        holder = seq if shared else holders.setdefault((service, key), seq)
        if holder != seq:
            graph[seq] = {holder}
            continue
        entries = disk.query("SELECT idx, kind, ref, value FROM journal_entry WHERE invocation = ?", seq)
        commands = [(idx, kind, ref) for idx, kind, ref, _ in entries if kind < Kind.COMPLETED]
        graph[seq] = _waits(commands, [(kind, ref, value) for _, kind, ref, value in entries if kind >= Kind.COMPLETED])
    return graph


def reaches(graph: Graph, start: int, goal: int) -> bool:
    """Whether `start` waits, through any number of others, for `goal`; or is it."""
    seen, edge = {start}, {start}
    while edge:
        edge = {after for before in edge for after in graph.get(before, ())} - seen
        seen |= edge
    return goal in seen


def walk_exists(graph: Graph, labels: dict[int, str], names: list[str], first: int, last: int) -> bool:
    """Whether invocations with these names, each waiting for the next, lead from `first` to `last`."""
    reached = {first} if labels.get(first) == names[0] else set()
    for name in names[1:]:
        reached = {after for before in reached for after in graph.get(before, ()) if labels.get(after) == name}
    return last in reached


def label(invocation: Invocation) -> str:
    return f"{invocation.service}/{invocation.key}/{invocation.handler_name}"


# --- the watchers ---------------------------------------------------------------------------------------------------------


class WatchedEviction(Eviction):
    def _forget(self, invocation: Invocation) -> None:
        record.cold[invocation.seq] = graph_of(self._residents.open)[invocation.seq]
        super()._forget(invocation)


class WatchedLoader(Loader):
    def restore(self, row: Any, journal: Any) -> Invocation:
        invocation = super().restore(row, journal)
        record.cold.pop(invocation.seq, None)
        return invocation


class WatchedDeadlocks(Deadlocks):
    def check_queued(self, waiting: Invocation, loaded: frozenset[int] = frozenset()) -> None:
        with self._looking():
            super().check_queued(waiting, loaded)

    def check_attached(self, caller: Invocation, index: int, target: int, loaded: frozenset[int] = frozenset()) -> None:
        graph = graph_of(self._open)
        closes = target in graph and reaches(graph, target, caller.seq)
        if not loaded:
            record.counts["attachments"] += 1
            record.counts["attachments that close a cycle"] += closes
        with self._looking():
            super().check_attached(caller, index, target, loaded)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        progress = self._progress
        assert isinstance(progress, WatchedProgress)
        progress.looking = True
        yield
        progress.looking = False


class WatchedIntake(Intake):
    def deliver(self, mailbox: Mailbox, invocation: Invocation) -> None:
        """A message joins a queue, or need not."""
        holder, before = mailbox.current, graph_of(self._open)
        super().deliver(mailbox, invocation)
        if invocation.shared or holder is None:
            return
        record.counts["joins"] += 1
        if reaches(before, holder.seq, invocation.seq):
            record.counts["joins that close a cycle"] += 1
            after = graph_of(self._open)
            hidden = set(before) - set(self._open)
            if not invocation.ended and reaches(after, holder.seq, invocation.seq):
                # Refused later, once what is out of memory is there; in the end, if it is not.
                in_memory = {seq: waits for seq, waits in after.items() if seq not in hidden}
                place = "wholly in memory" if reaches(in_memory, holder.seq, invocation.seq) else "partly out of memory"
                record.counts[f"cycles {place} that were not refused at once"] += 1
        elif invocation.ended:
            record.problems.append(f"{label(invocation)} was ended as it joined, but closes no cycle")


class WatchedProgress(Progress):
    looking = False  # for a cycle
    ending = False  # its own completion of the caller's command passes the refusal on

    def end(self, invocation: Invocation, error: TerminalError) -> None:
        if isinstance(error, DeadlockError):
            record.counts["calls refused"] += 1
            mailbox = invocation.mailbox
            holder = mailbox.current if mailbox is not None else None
            if holder is None or holder is invocation or invocation.seq not in self._open:
                record.problems.append(f"{label(invocation)} was refused ({error}), but waits for nobody")
            else:
                self._check_refusal(error.message, invocation)
        self.ending = True
        super().end(invocation, error)
        self.ending = False

    def complete(self, invocation: Invocation, index: int, kind: int, value: str | bytes | None) -> None:
        if self.looking and not self.ending and kind == Kind.FAILED and isinstance(value, str):
            error = failure_error(value)
            if isinstance(error, DeadlockError):
                record.counts["attachments refused"] += 1
                self._check_refusal(error.message, invocation)
        super().complete(invocation, index, kind, value)

    def _check_refusal(self, message: str, refused: Invocation) -> None:
        """The printed cycle is there at this moment, from `refused` to `refused`."""
        graph = graph_of(self._open)
        names = message.removeprefix("Deadlock: ").partition(". Each invocation waits")[0].split(" -> ")
        labels = {seq: label(one) for seq, one in self._open.items()}
        if len(names) < 2 or not walk_exists(graph, labels, names, refused.seq, refused.seq):
            record.problems.append(f"a false alarm: {names}; the waits are {graph}, of {labels}")


class WatchedApp(App):
    _parts = Parts(
        eviction=WatchedEviction,
        loader=WatchedLoader,
        progress=WatchedProgress,
        intake=WatchedIntake,
        deadlocks=WatchedDeadlocks,
    )


class WatchedMachine(Machine):
    _app_class = WatchedApp
