"""A user's query on a file: it can only read.

Promise: whatever the query is, SQLite itself refuses to change this file or to open another file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any

from actors.storage.errors import StorageError, translated, translated_os
from actors.storage.sqlite.bystander import Bystander

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_BETWEEN_LOOKS = 100_000  # SQLite steps between two checks for Ctrl-C


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a query. `more`: there are more rows than the limit."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    more: bool


class BadQuery(StorageError):
    """The query is not valid, or would do more than read."""

    error = "bad_query"
    code = 400


def query(path: str, text: str, limit: int) -> Found:
    """The first `limit` rows. Raises BadQuery, StorageError, or KeyboardInterrupt."""
    try:
        with Bystander(path) as bystander, contextlib.closing(sqlite3.connect(bystander.uri(), uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
            connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
            # Ctrl-C is raised in the Python function that SQLite calls in between; SQLite then stops, "interrupted".
            connection.set_progress_handler(lambda: 0, _BETWEEN_LOOKS)
            cursor = connection.execute(text)
            if cursor.description is None:
                raise BadQuery("This statement returns no rows. Use SELECT ... FROM invocations.")
            rows = cursor.fetchmany(limit + 1)
            return Found([column[0] for column in cursor.description], rows[:limit], len(rows) > limit)
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from None
        if isinstance(error, sqlite3.DatabaseError) and "not authorized" in str(error):
            raise BadQuery("A query may only read this file: use SELECT, or WITH ... SELECT.") from None
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in ("", "SQLITE_ERROR") or "prohibited" in str(error):
            raise BadQuery(f"The query failed: {error}.") from None
        raise translated(error, path) from error
    except OSError as error:
        raise translated_os(error, path) from error
    except (sqlite3.Warning, ValueError) as error:  # several statements at once, a NUL character
        raise BadQuery(f"The query failed: {error}") from None
