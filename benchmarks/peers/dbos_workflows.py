"""DBOS: one workflow for each call, with one transaction of a datasource in the database that also holds its journal.

DBOS has no objects with keys: the row of a counter is what serializes the calls of one key. Its blocking functions are measured,
each caller in a thread: its asynchronous functions take about twice the CPU time for the same work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa  # pyright: ignore[reportMissingImports]
from dbos import DBOS, SQLAlchemyDatasource  # pyright: ignore[reportMissingImports]

from benchmarks.peers.harness import AddBlocking, Peer
from benchmarks.peers.postgres import postgres

CREATE = "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, value INTEGER NOT NULL)"
ADD = (
    "INSERT INTO counters (key, value) VALUES (:key, 1) "
    "ON CONFLICT (key) DO UPDATE SET value = counters.value + 1 RETURNING value"
)


@contextmanager
def _launched(url: str, isolation: str, pool: dict[str, int]) -> Iterator[AddBlocking]:
    DBOS(config={"name": "counter", "system_database_url": url, "log_level": "ERROR"})
    source: Any = SQLAlchemyDatasource.create(url, engine_kwargs=dict(pool))
    with source.engine.begin() as connection:
        connection.execute(sa.text(CREATE))

    def write(key: str) -> int:
        return int(source.sql_session().execute(sa.text(ADD), {"key": key}).scalar_one())

    transaction = source.transaction(isolation_level=isolation)(write)

    def add(key: str) -> int:
        return int(transaction(key))

    workflow = DBOS.workflow()(add)
    DBOS.launch()
    try:
        yield workflow
    finally:
        DBOS.destroy()
        source.engine.dispose()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[AddBlocking]:
    with _launched(f"sqlite:///{folder / 'counter.sqlite'}", "SERIALIZABLE", {}) as add:
        yield add


@asynccontextmanager
async def _postgres(folder: Path) -> AsyncIterator[AddBlocking]:
    with postgres(folder / "postgres") as url:
        # As large as DBOS's own pool: connections beyond a pool would be made anew for each call.
        pool = {"pool_size": 20, "max_overflow": 0}
        # The row lock orders the additions of a key: READ COMMITTED suffices, and is never retried.
        with _launched(url, "READ COMMITTED", pool) as add:
            yield add


def on_sqlite() -> Peer:
    return Peer("dbos-sqlite", version("dbos"), "SQLite, its default settings", _sqlite, blocking=True)


def on_postgres() -> Peer:
    return Peer("dbos-postgres", version("dbos"), "PostgreSQL, synchronous_commit=on", _postgres, blocking=True)
