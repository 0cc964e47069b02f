"""A batch as one statement: the most frequent kinds of rows, in a few JSON texts.

SQLite's thread takes the GIL anew around each statement that it prepares, binds and steps through, and each time it may wait for
a handler that computes. SQLite itself parses rows that come as JSON, without the GIL; and as a single statement is a transaction
by itself, a batch of such rows needs no BEGIN and no COMMIT.

The statement inserts into a view, whose triggers do the work. Both are temporary: they belong to the connection, not the file.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec

from actors.storage.records import Batch

NOT_OWNER = "the epoch is that of another owner"  # the message of the first trigger when it refuses

_FENCE, _CALLS, _ENDED, _STATE, _COMMANDS, _COMPLETIONS, _WRITES = range(7)
_PADDING = (-1, *[0] * 6)  # a row of no kind: no trigger looks at it. Binding None takes five times as long as 0
LARGE = 2000  # characters; a longer text is bound, not packed
STATE_WRITES = frozenset((1, 2, 18))  # kinds of journal entries: set, clear and change state
_SIZES = (2, 4, 8, 16, 32, 64)  # how many rows of the view a statement may have: few statements, all of them cached
MOST = _SIZES[-1]
STATEMENTS = {size: f"INSERT INTO batch VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?)'] * size)}" for size in _SIZES}

# The invocation and the index of a journal entry, as one number: SQLite takes half a microsecond for each value that it
# extracts from a JSON array, and almost none for the keys of an object and for the items of an array.
_INDEX_BITS = 20
_MOST_INDEX = (1 << _INDEX_BITS) - 1
_ENTRY = f"key >> {_INDEX_BITS}, key & {_MOST_INDEX}"

# A row of the view stands for many rows of a table: a to e are their common values, `rows` are their individual values.
SETUP = (
    "CREATE TEMP VIEW IF NOT EXISTS batch (kind, a, b, c, d, e, rows) AS SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_fence INSTEAD OF INSERT ON batch WHEN NEW.kind = {_FENCE} BEGIN
    SELECT RAISE(ABORT, '{NOT_OWNER}') WHERE (SELECT value FROM meta WHERE name = 'epoch') IS NOT NEW.a;
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_calls INSTEAD OF INSERT ON batch WHEN NEW.kind = {_CALLS} BEGIN
    INSERT INTO invocation (attempts, service, handler, shared, status, ended_ms, seq, position, key, args, accepted_ms, outcome)
    SELECT 0, NEW.a, NEW.b, NEW.c, NEW.d, NEW.e, key, key, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
           json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(NEW.rows) WHERE true
    ON CONFLICT (seq) DO UPDATE SET status = excluded.status, position = excluded.position, ended_ms = excluded.ended_ms,
    outcome = excluded.outcome;
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_ended INSTEAD OF INSERT ON batch WHEN NEW.kind = {_ENDED} BEGIN
    UPDATE invocation SET status = NEW.a, ended_ms = NEW.b, outcome = ended.value FROM json_each(NEW.rows) AS ended
    WHERE seq = CAST(ended.key AS INTEGER);
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_state INSTEAD OF INSERT ON batch WHEN NEW.kind = {_STATE} BEGIN
    INSERT INTO object_state SELECT NEW.a, key, NEW.b, value FROM json_each(NEW.rows) WHERE true
    ON CONFLICT DO UPDATE SET value = excluded.value;
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_commands INSTEAD OF INSERT ON batch WHEN NEW.kind = {_COMMANDS} BEGIN
    INSERT INTO journal_entry (kind, name, at_ms, invocation, idx)
    SELECT NEW.a, NEW.b, NEW.c, value >> {_INDEX_BITS}, value & {_MOST_INDEX} FROM json_each(NEW.rows);
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_completions INSTEAD OF INSERT ON batch WHEN NEW.kind = {_COMPLETIONS} BEGIN
    INSERT INTO journal_entry (kind, ref, at_ms, invocation, idx, value)
    SELECT NEW.a, NEW.b, NEW.c, {_ENTRY}, value FROM json_each(NEW.rows);
    END""",
    f"""CREATE TEMP TRIGGER IF NOT EXISTS batch_writes INSTEAD OF INSERT ON batch WHEN NEW.kind = {_WRITES} BEGIN
    INSERT INTO journal_entry (kind, name, ref, invocation, idx, value, before, at_ms)
    SELECT NEW.a, NEW.b, NEW.c, {_ENTRY}, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
           json_extract(value, '$[2]') FROM json_each(NEW.rows);
    END""",
)

_encoder = msgspec.json.Encoder()


def _encode(rows: object) -> str:
    return _encoder.encode(rows).decode()


@dataclass(slots=True)
class PackedBatch:
    """A batch. The statement writes the rows in `packed`; the rows in the lists below it are written one by one."""

    batch: Batch
    packed: list[tuple[Any, ...]]  # rows of the view, without the fence
    plain: list[tuple[Any, ...]]
    ended: list[tuple[Any, ...]]
    state: list[tuple[Any, ...]]
    journal: list[tuple[Any, ...]]

    def alone(self) -> bool:
        """Whether one statement is the whole batch."""
        batch = self.batch
        return len(self.packed) < MOST and not (
            self.plain
            or self.ended
            or self.state
            or self.journal
            or batch.invocations
            or batch.cleared
            or batch.timers
            or batch.fired
            or batch.stopped
            or batch.attached
            or batch.detached
            or batch.purged
            or batch.reserve_to is not None
            or batch.answered
            or batch.workflows
            or batch.tries
        )

    def statements(self, epoch: int | None) -> list[tuple[str, list[Any]]]:
        """The statements with their parameters. Each first checks that `epoch` is still the owner's number."""
        fence = (_FENCE, epoch, 0, 0, 0, 0, 0)
        found = []
        for start in range(0, len(self.packed) or 1, MOST - 1):
            rows = [fence, *self.packed[start : start + MOST - 1]]
            size = next(size for size in _SIZES if size >= len(rows))
            parameters: list[Any] = [value for row in rows for value in row]
            parameters += _PADDING * (size - len(rows))
            found.append((STATEMENTS[size], parameters))
        return found


def packed(batch: Batch) -> PackedBatch:
    """Pack a batch. Raises sqlite3.InterfaceError, as SQLite does, for a value that a database cannot hold."""
    try:
        calls, plain = _calls(batch.plain)
        ended = _ended(batch.ended)
        state, large = _state(batch.state)
        entries, others = _entries(batch.journal)
    except TypeError as error:
        raise sqlite3.InterfaceError(str(error)) from None
    found = PackedBatch(batch, [], plain, [], large, others)
    if _holds_nul(calls):
        found.plain = batch.plain
    else:
        found.packed += calls
    if _holds_nul(ended):
        found.ended = batch.ended
    else:
        found.packed += ended
    if _holds_nul(state):
        found.state = batch.state
    else:
        found.packed += state
    if _holds_nul(entries):
        found.journal = batch.journal
    else:
        found.packed += entries
    return found


def _holds_nul(rows: list[tuple[Any, ...]]) -> bool:
    """Whether a text holds a NUL, or seems to: SQLite before 3.41 ends a text at a NUL inside JSON."""
    return any("\\u0000" in row[-1] for row in rows)


def _calls(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The packed rows and the others: an invocation with a caller, or with another mailbox position, has three more values.

    Each value that SQLite extracts from JSON costs half a microsecond, so binding is cheaper for these rows.
    """
    calls: defaultdict[tuple[Any, ...], dict[int, tuple[Any, ...]]] = defaultdict(dict)
    others: list[tuple[Any, ...]] = []
    for row in rows:
        seq, service, key, handler, shared, status, position, args, parent, _, accepted_ms, ended_ms, outcome = row
        if parent is None and position == seq:
            calls[service, handler, shared, status, ended_ms][seq] = key, args, accepted_ms, outcome
        else:
            others.append(row)
    return [(_CALLS, *common, _encode(several)) for common, several in calls.items()], others


def _ended(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    ended: defaultdict[tuple[int, int], dict[int, str]] = defaultdict(dict)
    for seq, status, ended_ms, outcome in rows:
        ended[status, ended_ms][seq] = outcome
    return [(_ENDED, *common, 0, 0, 0, _encode(several)) for common, several in ended.items()]


def _state(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The packed rows and the others: a large text is bound directly, not encoded as JSON and parsed again."""
    texts: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    large: list[tuple[Any, ...]] = []
    for row in rows:
        service, key, name, text = row
        if len(text) > LARGE:
            large.append(row)
        else:
            texts[service, name][key] = text
    return [(_STATE, service, name, 0, 0, 0, _encode(several)) for (service, name), several in texts.items()], large


def _entries(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The packed rows and the others: packed are steps, awakeables, completions and state writes.

    The others hold large texts, or bytes, which JSON cannot express, or more values: taking these out of JSON costs more
    than it saves.
    """
    commands: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    answers: defaultdict[tuple[Any, ...], dict[int, str]] = defaultdict(dict)
    writes: defaultdict[tuple[Any, ...], dict[int, tuple[Any, ...]]] = defaultdict(dict)
    others: list[tuple[Any, ...]] = []
    for row in rows:
        invocation, idx, kind, name, ref, value, before, at_ms = row
        if type(value) is bytes or idx > _MOST_INDEX:
            others.append(row)
        elif name is None:
            if before is None and len(value or "") <= LARGE:
                answers[kind, ref, at_ms][invocation << _INDEX_BITS | idx] = value
            else:
                others.append(row)
        elif ref is None and value is None and before is None:
            commands[kind, name, at_ms].append(invocation << _INDEX_BITS | idx)
        elif kind in STATE_WRITES and len(value or "") + len(before or "") <= LARGE:
            writes[kind, name, ref][invocation << _INDEX_BITS | idx] = value, before, at_ms
        else:
            others.append(row)
    together = sum(len(several) for group in (commands, answers, writes) for several in group.values())
    if len(others) + together < len(rows):
        return [], rows  # two entries in one place: SQLite refuses them
    packed = [(_COMMANDS, *common, 0, 0, _encode(several)) for common, several in commands.items()]
    packed += [(_COMPLETIONS, *common, 0, 0, _encode(several)) for common, several in answers.items()]
    packed += [(_WRITES, *common, 0, 0, _encode(several)) for common, several in writes.items()]
    return packed, others
