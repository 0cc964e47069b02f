"""Tables, the views people may query, and the steps from one version of them to the next.

The tables belong to the runtime; the views (`invocations`, `journal`, `state`, `awakeables`, `promises`, `timers`)
are a public interface: a plain sqlite3 shell can read them while the app runs. Times in them are UTC in ISO 8601,
values JSON text; results of steps without a declared type show as `msgpack:` and hexadecimal digits.

The SQL keeps to what SQLite 3.37 knows.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

APPLICATION_ID = 0x41435452  # "ACTR" in the file header: tells our files from any other SQLite file

_V1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE invocation (
    seq INTEGER PRIMARY KEY, service TEXT NOT NULL, key TEXT NOT NULL, handler TEXT NOT NULL,
    shared INTEGER NOT NULL, status INTEGER NOT NULL, position INTEGER NOT NULL, args TEXT NOT NULL,
    headers TEXT, parent INTEGER, parent_index INTEGER, attempts INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL, ended_ms INTEGER, outcome TEXT, reason TEXT
);
-- Both indexes hold open invocations only: one that starts and ends in a single batch never enters them.
CREATE INDEX invocation_mailbox ON invocation (service, key, position) WHERE status < 6;
CREATE INDEX invocation_runnable ON invocation (service, key) WHERE status IN (1, 2, 5);

CREATE TABLE journal_entry (
    invocation INTEGER NOT NULL, idx INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT, ref INTEGER,
    value, before TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY (invocation, idx)
) WITHOUT ROWID;
CREATE INDEX journal_awakeable ON journal_entry (invocation, idx) WHERE kind = 5;

CREATE TABLE object_state (
    service TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (service, key, name)
) WITHOUT ROWID;

CREATE TABLE timer (
    due_ms INTEGER NOT NULL, seq INTEGER NOT NULL, invocation INTEGER NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (due_ms, seq)
) WITHOUT ROWID;

CREATE VIEW invocations AS
SELECT seq AS invocation, service, key, handler,
       CASE shared WHEN 1 THEN 'shared' ELSE 'exclusive' END AS mode,
       CASE status WHEN 0 THEN 'scheduled' WHEN 1 THEN 'pending' WHEN 2 THEN 'running' WHEN 3 THEN 'blocked'
                   WHEN 4 THEN 'backing-off' WHEN 5 THEN 'paused' WHEN 6 THEN 'succeeded' ELSE 'failed' END AS status,
       args AS arguments, headers, parent AS called_by, attempts AS failed_attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch') AS accepted_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch') AS ended_at,
       CASE status WHEN 6 THEN outcome END AS result,
       CASE status WHEN 7 THEN outcome END AS failure,
       reason
FROM invocation;

CREATE VIEW journal AS
SELECT invocation, idx AS position,
       CASE kind WHEN 1 THEN 'set state' WHEN 2 THEN 'clear state' WHEN 3 THEN 'run' WHEN 4 THEN 'sleep'
                 WHEN 5 THEN 'awakeable' WHEN 6 THEN 'call' WHEN 7 THEN 'send' WHEN 8 THEN 'resolve awakeable'
                 WHEN 9 THEN 'reject awakeable' WHEN 10 THEN 'now' WHEN 11 THEN 'snapshot'
                 WHEN 20 THEN 'completed' WHEN 21 THEN 'failed' END AS entry,
       name,
       CASE WHEN kind >= 20 THEN ref END AS completes,
       CASE WHEN kind IN (6, 7) THEN ref END AS called,
       CASE WHEN kind = 10 THEN json_quote(strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch'))
            WHEN typeof(value) = 'blob' THEN 'msgpack:' || lower(hex(value)) ELSE value END AS value,
       strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
       CASE WHEN kind IN (4, 5) THEN strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch') END AS due
FROM journal_entry
UNION ALL
SELECT seq, 0, 'input', handler, NULL, NULL, args,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch'), NULL
FROM invocation
UNION ALL
SELECT seq, 1 + (SELECT count(*) FROM journal_entry e WHERE e.invocation = seq),
       CASE status WHEN 6 THEN 'output' ELSE 'failure' END, NULL, NULL, NULL, outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL
FROM invocation WHERE status >= 6;

CREATE VIEW state AS SELECT service, key, name, value FROM object_state;

CREATE VIEW awakeables AS
SELECT a.invocation, a.idx AS position, i.service, i.key, i.handler, a.name AS type,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.at_ms / 1000.0, 'unixepoch') AS since,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.ref / 1000.0, 'unixepoch') AS deadline
FROM journal_entry a JOIN invocation i ON i.seq = a.invocation
WHERE a.kind = 5 AND i.status < 6 AND NOT EXISTS (
    SELECT 1 FROM journal_entry c WHERE c.invocation = a.invocation AND c.kind >= 20 AND c.ref = a.idx);

CREATE VIEW timers AS
SELECT t.invocation, i.service, i.key, i.handler,
       CASE t.idx WHEN -1 THEN 'retry' WHEN -2 THEN 'delayed send' ELSE 'sleep or deadline' END AS purpose,
       strftime('%Y-%m-%dT%H:%M:%fZ', t.due_ms / 1000.0, 'unixepoch') AS due
FROM timer t JOIN invocation i ON i.seq = t.invocation;
"""

_V2 = """
-- What few invocations have: cancelled or held by an operator, failing since, accepted under a key, restarted.
ALTER TABLE invocation ADD COLUMN flags INTEGER NOT NULL DEFAULT 0;
ALTER TABLE invocation ADD COLUMN failing_since_ms INTEGER;
ALTER TABLE invocation ADD COLUMN idempotency_key TEXT;
ALTER TABLE invocation ADD COLUMN restart_of INTEGER;
CREATE UNIQUE INDEX invocation_idempotency ON invocation (service, key, handler, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
-- In order of ending: clean-up takes the oldest. New ones are appended at the end.
CREATE INDEX invocation_ended ON invocation (ended_ms, seq) WHERE status >= 6 AND idempotency_key IS NULL;
CREATE INDEX invocation_ended_keyed ON invocation (ended_ms, seq) WHERE status >= 6 AND idempotency_key IS NOT NULL;

-- Invocations that wait for the outcome of another one they have not called.
CREATE TABLE attachment (
    target INTEGER NOT NULL, caller INTEGER NOT NULL, caller_index INTEGER NOT NULL,
    PRIMARY KEY (target, caller, caller_index)
) WITHOUT ROWID;

DROP VIEW invocations;
CREATE VIEW invocations AS
SELECT seq AS invocation, service, key, handler,
       CASE shared WHEN 1 THEN 'shared' ELSE 'exclusive' END AS mode,
       CASE status WHEN 0 THEN 'scheduled' WHEN 1 THEN 'pending' WHEN 2 THEN 'running' WHEN 3 THEN 'blocked'
                   WHEN 4 THEN 'backing-off' WHEN 5 THEN 'paused' WHEN 6 THEN 'succeeded' ELSE 'failed' END AS status,
       args AS arguments, headers, parent AS called_by, attempts AS failed_attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch') AS accepted_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch') AS ended_at,
       CASE status WHEN 6 THEN outcome END AS result,
       CASE status WHEN 7 THEN outcome END AS failure,
       reason,
       idempotency_key, restart_of AS restarted_from,
       CASE WHEN flags & 1 THEN 'requested' END AS cancellation
FROM invocation;

DROP VIEW journal;
CREATE VIEW journal AS
SELECT invocation, idx AS position,
       CASE kind WHEN 1 THEN 'set state' WHEN 2 THEN 'clear state' WHEN 3 THEN 'run' WHEN 4 THEN 'sleep'
                 WHEN 5 THEN 'awakeable' WHEN 6 THEN 'call' WHEN 7 THEN 'send' WHEN 8 THEN 'resolve awakeable'
                 WHEN 9 THEN 'reject awakeable' WHEN 10 THEN 'now' WHEN 11 THEN 'snapshot'
                 WHEN 12 THEN 'attach' WHEN 13 THEN 'cancel' WHEN 20 THEN 'completed' WHEN 21 THEN 'failed'
                 WHEN 22 THEN 'cancelled' WHEN 23 THEN 'placed' END AS entry,
       name,
       CASE WHEN kind >= 20 THEN ref END AS completes,
       CASE WHEN kind IN (6, 7, 12, 13) THEN ref END AS called,
       CASE WHEN kind = 10 THEN json_quote(strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch'))
            WHEN typeof(value) = 'blob' THEN 'msgpack:' || lower(hex(value)) ELSE value END AS value,
       strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
       CASE WHEN kind IN (4, 5) THEN strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch') END AS due
FROM journal_entry
UNION ALL
SELECT seq, 0, 'input', handler, NULL, NULL, args,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch'), NULL
FROM invocation
UNION ALL
SELECT seq, 1 + (SELECT count(*) FROM journal_entry e WHERE e.invocation = seq),
       CASE status WHEN 6 THEN 'output' ELSE 'failure' END, NULL, NULL, NULL, outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL
FROM invocation WHERE status >= 6;
"""

_V3 = """
-- What a command line asks the running app to do, or the next one. Numbers are never used twice: whoever waits for an
-- answer must not read another one. `taken` is the epoch of the process that does it: from then on it is not withdrawn.
CREATE TABLE request (
    number INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL, target TEXT NOT NULL, argument TEXT,
    asked_ms INTEGER NOT NULL, taken INTEGER, answered_ms INTEGER, answer TEXT
);
-- Ticks of schedules (flag 16): the open ones, which have no ended_ms, come first; then in order of ending.
CREATE INDEX invocation_tick ON invocation (ended_ms, seq) WHERE flags & 16;
-- Ended ticks are forgotten like invocations without a key: an endless series must not be kept for its keys' sake.
DROP INDEX invocation_ended_keyed;
CREATE INDEX invocation_ended_keyed ON invocation (ended_ms, seq)
    WHERE status >= 6 AND idempotency_key IS NOT NULL AND flags & 16 = 0;
-- The row without a name holds the version of an object's state; see the class's version=.
DROP VIEW state;
CREATE VIEW state AS SELECT service, key, name, value FROM object_state WHERE name != '';
-- An invocation of a keyless service has shared = 2 and its own number as its key: a mailbox of its own. The views show ''.
CREATE UNIQUE INDEX invocation_idempotency_keyless ON invocation (service, handler, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND shared = 2;

-- Completed promises of workflows. One that may belong to no run is unclaimed until the clean-up has looked for a run.
CREATE TABLE promise (
    service TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, failed INTEGER NOT NULL, value TEXT NOT NULL,
    completed_ms INTEGER NOT NULL, unclaimed INTEGER NOT NULL, PRIMARY KEY (service, key, name)
) WITHOUT ROWID;
CREATE INDEX promise_unclaimed ON promise (completed_ms) WHERE unclaimed = 1;

CREATE VIEW promises AS
SELECT service, key, name, CASE failed WHEN 0 THEN value END AS value, CASE failed WHEN 1 THEN value END AS failure,
       strftime('%Y-%m-%dT%H:%M:%fZ', completed_ms / 1000.0, 'unixepoch') AS completed_at
FROM promise;

DROP VIEW invocations;
CREATE VIEW invocations AS
SELECT seq AS invocation, service, CASE shared WHEN 2 THEN '' ELSE key END AS key, handler,
       CASE shared WHEN 1 THEN 'shared' WHEN 2 THEN 'keyless' ELSE 'exclusive' END AS mode,
       CASE status WHEN 0 THEN 'scheduled' WHEN 1 THEN 'pending' WHEN 2 THEN 'running' WHEN 3 THEN 'blocked'
                   WHEN 4 THEN 'backing-off' WHEN 5 THEN 'paused' WHEN 6 THEN 'succeeded' ELSE 'failed' END AS status,
       args AS arguments, headers, parent AS called_by, attempts AS failed_attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch') AS accepted_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch') AS ended_at,
       CASE status WHEN 6 THEN outcome END AS result,
       CASE status WHEN 7 THEN outcome END AS failure,
       reason,
       nullif(idempotency_key, '') AS idempotency_key, restart_of AS restarted_from,
       CASE WHEN flags & 1 THEN 'requested' END AS cancellation
FROM invocation;

DROP VIEW journal;
CREATE VIEW journal AS
SELECT invocation, idx AS position,
       CASE kind WHEN 1 THEN 'set state' WHEN 2 THEN 'clear state' WHEN 3 THEN 'run' WHEN 4 THEN 'sleep'
                 WHEN 5 THEN 'awakeable' WHEN 6 THEN 'call' WHEN 7 THEN 'send' WHEN 8 THEN 'resolve awakeable'
                 WHEN 9 THEN 'reject awakeable' WHEN 10 THEN 'now' WHEN 11 THEN 'snapshot'
                 WHEN 12 THEN 'attach' WHEN 13 THEN 'cancel' WHEN 14 THEN 'promise'
                 WHEN 15 THEN 'peek at promise' WHEN 16 THEN 'resolve promise' WHEN 17 THEN 'reject promise'
                 WHEN 19 THEN 'migrated'
                 WHEN 20 THEN 'completed' WHEN 21 THEN 'failed'
                 WHEN 22 THEN 'cancelled' WHEN 23 THEN 'placed' END AS entry,
       name,
       CASE WHEN kind >= 20 THEN ref END AS completes,
       CASE WHEN kind IN (6, 7, 12, 13) THEN ref END AS called,
       CASE WHEN kind = 10 THEN json_quote(strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch'))
            WHEN typeof(value) = 'blob' THEN 'msgpack:' || lower(hex(value)) ELSE value END AS value,
       strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
       CASE WHEN kind IN (4, 5) THEN strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch') END AS due
FROM journal_entry
UNION ALL
SELECT seq, 0, 'input', handler, NULL, NULL, args,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch'), NULL
FROM invocation
UNION ALL
SELECT seq, 1 + (SELECT count(*) FROM journal_entry e WHERE e.invocation = seq),
       CASE status WHEN 6 THEN 'output' ELSE 'failure' END, NULL, NULL, NULL, outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL
FROM invocation WHERE status >= 6;

DROP VIEW awakeables;
CREATE VIEW awakeables AS
SELECT a.invocation, a.idx AS position, i.service, CASE i.shared WHEN 2 THEN '' ELSE i.key END AS key, i.handler, a.name AS type,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.at_ms / 1000.0, 'unixepoch') AS since,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.ref / 1000.0, 'unixepoch') AS deadline
FROM journal_entry a JOIN invocation i ON i.seq = a.invocation
WHERE a.kind = 5 AND i.status < 6 AND NOT EXISTS (
    SELECT 1 FROM journal_entry c WHERE c.invocation = a.invocation AND c.kind >= 20 AND c.ref = a.idx);

DROP VIEW timers;
CREATE VIEW timers AS
SELECT t.invocation, i.service, CASE i.shared WHEN 2 THEN '' ELSE i.key END AS key, i.handler,
       CASE t.idx WHEN -1 THEN 'retry' WHEN -2 THEN 'delayed send' ELSE 'sleep or deadline' END AS purpose,
       strftime('%Y-%m-%dT%H:%M:%fZ', t.due_ms / 1000.0, 'unixepoch') AS due
FROM timer t JOIN invocation i ON i.seq = t.invocation;
"""

_V4 = """
-- A state write may hold what has changed in the text before it: [[place, removed, inserted], ...].
DROP VIEW journal;
CREATE VIEW journal AS
SELECT invocation, idx AS position,
       CASE kind WHEN 1 THEN 'set state' WHEN 2 THEN 'clear state' WHEN 3 THEN 'run' WHEN 4 THEN 'sleep'
                 WHEN 5 THEN 'awakeable' WHEN 6 THEN 'call' WHEN 7 THEN 'send' WHEN 8 THEN 'resolve awakeable'
                 WHEN 9 THEN 'reject awakeable' WHEN 10 THEN 'now' WHEN 11 THEN 'snapshot'
                 WHEN 12 THEN 'attach' WHEN 13 THEN 'cancel' WHEN 14 THEN 'promise'
                 WHEN 15 THEN 'peek at promise' WHEN 16 THEN 'resolve promise' WHEN 17 THEN 'reject promise'
                 WHEN 18 THEN 'change state' WHEN 19 THEN 'migrated'
                 WHEN 20 THEN 'completed' WHEN 21 THEN 'failed'
                 WHEN 22 THEN 'cancelled' WHEN 23 THEN 'placed' END AS entry,
       name,
       CASE WHEN kind >= 20 THEN ref END AS completes,
       CASE WHEN kind IN (6, 7, 12, 13) THEN ref END AS called,
       CASE WHEN kind = 10 THEN json_quote(strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch'))
            WHEN typeof(value) = 'blob' THEN 'msgpack:' || lower(hex(value)) ELSE value END AS value,
       strftime('%Y-%m-%dT%H:%M:%fZ', at_ms / 1000.0, 'unixepoch') AS at,
       CASE WHEN kind IN (4, 5) THEN strftime('%Y-%m-%dT%H:%M:%fZ', ref / 1000.0, 'unixepoch') END AS due
FROM journal_entry
UNION ALL
SELECT seq, 0, 'input', handler, NULL, NULL, args,
       strftime('%Y-%m-%dT%H:%M:%fZ', accepted_ms / 1000.0, 'unixepoch'), NULL
FROM invocation
UNION ALL
SELECT seq, 1 + (SELECT count(*) FROM journal_entry e WHERE e.invocation = seq),
       CASE status WHEN 6 THEN 'output' ELSE 'failure' END, NULL, NULL, NULL, outcome,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch'), NULL
FROM invocation WHERE status >= 6;
"""

# An entry may say that the next one was asked for before a completion was shown.
_V5 = _V4.replace("CASE kind WHEN 1 THEN", "CASE kind WHEN 0 THEN 'unseen' WHEN 1 THEN")

_V6 = """
-- SQLite decides with each change of a row whether it belongs here, and builds a table for an IN of three to do so: that took as
-- long as all else of an update.
DROP INDEX invocation_runnable;
CREATE INDEX invocation_runnable ON invocation (service, key) WHERE status = 1 OR status = 2 OR status = 5;
"""

_V7 = """
-- What people look for, among millions of others: what backs off, what has failed, when the next attempt is due.
CREATE INDEX invocation_failing ON invocation (seq) WHERE status = 4;
CREATE INDEX invocation_failed ON invocation (seq) WHERE status = 7;
CREATE INDEX timer_retry ON timer (invocation) WHERE idx = -1;
"""

# MIGRATIONS[n] leads from version n to n + 1. A released step is never edited: add the next one.
MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4, _V5, _V6, _V7)


def steps(version: int, migrations: Sequence[str] = MIGRATIONS) -> list[str]:
    """The statements that lead from `version` to the last one, to be run in one transaction."""
    statements = [statement for script in migrations[version:] for statement in _statements(script)]
    return [*statements, f"PRAGMA user_version = {len(migrations)}"] if statements else []


def creation(secret: bytes, migrations: Sequence[str] = MIGRATIONS) -> list[tuple[str, tuple[Any, ...]]]:
    """The statements that make an app's database of an empty file, and their parameters, to be run in one transaction.

    `secret` are 32 random bytes, from which all ids are made.
    """
    meta = {"secret": secret, "epoch": 0, "next_number": 1, "owner": None}
    return [
        (f"PRAGMA application_id = {APPLICATION_ID}", ()),
        *((statement, ()) for statement in steps(0, migrations)),
        *(("INSERT INTO meta VALUES (?, ?)", row) for row in meta.items()),
    ]


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version whose tables and views are those of this database, whatever number it carries; None for others."""
    tables = _tables(connection)
    for version in range(len(MIGRATIONS), 0, -1):
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
            for statement in steps(0, MIGRATIONS[:version]):
                model.execute(statement)
            if tables == _tables(model):
                return version
    return None


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table, whichever steps have led to them, and the texts of each view and of what only a step of indexes changes."""
    found = connection.execute(
        "SELECT name, type, sql FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' "
        "OR name IN ('invocation_runnable', 'invocation_failing')"
    ).fetchall()
    return {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))]
        if kind == "table"
        else [sql]
        for name, kind, sql in found
    }


def _statements(script: str) -> list[str]:
    """The script's statements, one by one: `executescript` would commit the transaction that must hold them all."""
    statements, current = [], ""
    for part in script.split(";")[:-1]:
        current += part + ";"
        if sqlite3.complete_statement(current):  # not a semicolon inside a text or a comment
            statements.append(current.strip())
            current = ""
    return statements
