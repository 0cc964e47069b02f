"""What is stored of objects, read as one row of JSON texts, and the records made of it.

One row is one hop to SQLite's thread, which takes the GIL for each row that it returns.
"""

from __future__ import annotations

import json
from operator import attrgetter, itemgetter

from actors.storage.records import InvocationRow, JournalRow, ObjectRecord, PromiseRow

_by_position = attrgetter("position")
_by_index = itemgetter(0, 1)  # invocation and idx

_ASKED = (
    "WITH asked (service, key) AS (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)) "
)
# Bytes come as hexadecimal digits; the last column of an entry marks them.
_STORED = f""", waiting AS (SELECT i.* FROM asked CROSS JOIN invocation i
    ON i.service = asked.service AND i.key = asked.key AND i.status < 6)
SELECT (SELECT json_group_array(json_array(s.service, s.key, s.name, s.value))
        FROM asked CROSS JOIN object_state s ON s.service = asked.service AND s.key = asked.key),
       (SELECT json_group_array(json_array({", ".join(InvocationRow._fields)})) FROM waiting),
       (SELECT json_group_array(json_array(j.invocation, j.idx, j.kind, j.name, j.ref,
               CASE typeof(j.value) WHEN 'blob' THEN hex(j.value) ELSE j.value END, j.before, j.at_ms,
               typeof(j.value) = 'blob'))
        FROM waiting CROSS JOIN journal_entry j ON j.invocation = waiting.seq),
       (SELECT json_group_array(json_array({", ".join("p." + name for name in PromiseRow._fields)}))
        FROM asked CROSS JOIN promise p ON p.service = asked.service AND p.key = asked.key)"""
OBJECTS = _ASKED.rstrip() + _STORED
OBJECTS_OF = (
    "WITH place AS (SELECT i.seq, i.service, i.key, i.shared, i.status FROM json_each(?) wanted "
    "CROSS JOIN invocation i ON i.seq = wanted.value AND i.status < 6), "
    "asked AS (SELECT DISTINCT service, key FROM place WHERE status > 0)"
    + _STORED
    + ", (SELECT json_group_array(json_array(seq, service, key, shared, status)) FROM place)"
)


def fill(
    records: dict[tuple[str, str], ObjectRecord], states: str, invocations: str, entries: str, promises: str
) -> None:
    """Fill the records of objects, by (service, key), with the first four columns of such a row."""
    for service, key, name, value in json.loads(states):
        records[service, key].state[name] = value
    started: dict[int, ObjectRecord] = {}
    for row in sorted(map(InvocationRow._make, json.loads(invocations)), key=_by_position):
        record = records[row.service, row.key]
        record.invocations.append(row)
        started[row.seq] = record
    for *values, is_bytes in sorted(json.loads(entries), key=_by_index):
        if is_bytes:
            values[5] = bytes.fromhex(values[5])
        entry = JournalRow._make(values)
        started[entry.invocation].journal.setdefault(entry.invocation, []).append(entry)
    for values in json.loads(promises):
        promise = PromiseRow._make(values)
        records[promise.service, promise.key].promises.append(promise)
