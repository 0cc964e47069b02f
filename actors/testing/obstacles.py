"""Why nothing can be said of whole requests: what an app has done that a request alone cannot do again, or that its code has not decided.

Promise: each reason is a few words that end the sentence "not judged as a whole: ".
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from actors.check.retrace import may_be_imposed
from actors.errors import DeadlockError, MailboxFull, Overloaded
from actors.journal.entries import Kind
from actors.serde.failures import failure_of
from actors.storage.records import InvocationRow, JournalRow

REFUSED = frozenset((DeadlockError.error, MailboxFull.error, Overloaded.error))

_BY_ID = {
    Kind.RESOLVE: "a handler completes an awakeable",
    Kind.REJECT: "a handler completes an awakeable",
    Kind.ATTACH: "a handler attaches to an invocation",
    Kind.CANCEL: "a handler cancels an invocation",
}
# How the name of a call or send ends, see `Commands`.
_DELAYED = re.compile(r" after \d+ ms(?: once.*)?$", re.DOTALL)
_KEYED = re.compile(r" once as .*$", re.DOTALL)


def obstacle(query: Callable[..., list[tuple[Any, ...]]]) -> str | None:
    """The first reason that the records of an app give, if they give one."""
    return next(_obstacles(query), None)


def _obstacles(query: Callable[..., list[tuple[Any, ...]]]) -> Iterator[str]:
    journals: defaultdict[int, list[JournalRow]] = defaultdict(list)
    for entry in query(f"SELECT {', '.join(JournalRow._fields)} FROM journal_entry ORDER BY invocation, idx"):
        journals[entry[0]].append(JournalRow._make(entry))
    for row in map(InvocationRow._make, query(f"SELECT {', '.join(InvocationRow._fields)} FROM invocation")):
        journal = journals[row.seq]
        yield from _of_journal(journal)
        if may_be_imposed(row, journal) and row.outcome is not None:
            yield f"the runtime has ended an invocation: {failure_of(row.outcome).error}"


def _of_journal(journal: list[JournalRow]) -> Iterator[str]:
    messages = {}
    for entry in journal:
        if entry.kind in _BY_ID:
            yield _BY_ID[entry.kind]
        elif entry.kind in (Kind.CALL, Kind.SEND):
            messages[entry.idx] = entry
            if _DELAYED.search(entry.name or ""):
                yield "a handler sends with a delay"
            elif _KEYED.search(entry.name or ""):
                yield "a handler uses an idempotency key"
            elif entry.kind == Kind.SEND and entry.value is None:
                yield "a message was refused"
        elif entry.kind == Kind.FAILED and entry.ref in messages:
            code = failure_of(str(entry.value)).error
            if code in REFUSED:
                yield f"a call was refused: {code}"
