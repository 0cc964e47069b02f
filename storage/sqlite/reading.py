"""A query of the user on a file: it reads, and can do nothing else.

Promise: SQLite itself refuses what would change this file or open another one, whatever the text of the query is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any

from actors.storage.errors import StorageError, translated, translated_os
from actors.storage.sqlite.bystander import Bystander

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_BETWEEN_LOOKS = 100_000  # steps of SQLite between two moments at which Ctrl-C is noticed


@dataclass(frozen=True, slots=True)
class Found:
    """`more` says that there were more rows than were asked for."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool


class BadQuery(StorageError):
    """The query cannot be read, or would do more than read."""

    error = "bad_query"
    code = 400


def query(path: str, text: str, limit: int) -> Found:
    """The first `limit` rows. Raises BadQuery, StorageError, or KeyboardInterrupt."""
    try:
        with Bystander(path) as bystander, contextlib.closing(sqlite3.connect(bystander.uri(), uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
            connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
            # Ctrl-C is raised in the lines of Python that SQLite calls in between: it then stops, "interrupted".
            connection.set_progress_handler(lambda: 0, _BETWEEN_LOOKS)
            cursor = connection.execute(text)
            if cursor.description is None:
                raise BadQuery("This statement is not a query: it returns no rows. Write SELECT ... FROM invocations.")
            rows = cursor.fetchmany(limit + 1)
            return Found([column[0] for column in cursor.description], rows[:limit], len(rows) > limit)
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        if isinstance(error, sqlite3.DatabaseError) and "not authorized" in str(error):
            raise BadQuery("A query may only read: SELECT, or WITH ... SELECT, on this file alone.") from None
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in ("", "SQLITE_ERROR") or "prohibited" in str(error):
            raise BadQuery(f"The query cannot be done: {error}.") from None
        raise translated(error, path) from error
    except OSError as error:
        raise translated_os(error, path) from error
    except (sqlite3.Warning, ValueError) as error:  # several statements at once, a NUL character
        raise BadQuery(f"The query cannot be done: {error}") from None
