"""The database as commands see it: its path, and its records with ids and words instead of numbers."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import AsyncIterator

import click

from actors.app.options import database_path
from actors.cli.show.records import Facts
from actors.cli.show.timeline import Line, decoded
from actors.errors import BadId, DefinitionError, UnknownInvocation
from actors.journal.ids import IdMint
from actors.model.names import address
from actors.storage.records import Flag, InvocationRow, Mode, Status
from actors.storage.sqlite.visitor import Visitor

EVERYTHING = 2**62


def database_file(ctx: click.Context, param: click.Parameter | None, value: str) -> str:
    """The path of the file, given as a path or as App's storage URL."""
    try:
        path = database_path(value) if value.startswith("sqlite:") or "://" in value else value
    except DefinitionError:
        raise click.BadParameter(f"{value!r} is not a valid database. Use a path, or sqlite:///path.") from None
    if path == ":memory:":
        raise click.BadParameter("a database in memory can be used only by its own process.")
    if not path or "\x00" in path:
        raise click.BadParameter("a path cannot be empty or hold a NUL character.")
    return path


class Database:
    """A visit to the file, and the public ids of its records."""

    def __init__(self, visitor: Visitor, secret: bytes) -> None:
        self.visitor = visitor
        self.secret = secret
        self.ids = IdMint(secret)

    def named(self, text: str) -> str:
        """The id of an invocation, given as an id or as the number that the views show."""
        number = text.isascii() and text.isdecimal() and len(text) <= 18
        return self.ids.invocation(int(text)) if number else text

    def seq(self, id: str) -> int:
        """The number of an invocation, given as an id or as the number that the views show. Raises BadId."""
        id = self.named(id)
        if id.startswith("prom_1"):
            raise BadId(f"{id!r} is the id of an awakeable, not of an invocation: see actors awakeables list.")
        return self.ids.read_invocation(id)

    def awakeable(self, id: str) -> tuple[int, int]:
        """The invocation and the position of an awakeable. Raises BadId."""
        if id.startswith("inv_1"):
            raise BadId(
                f"{id!r} is the id of an invocation, not of an awakeable: actors invocations show lists its awakeables."
            )
        return self.ids.read_awakeable(id)

    async def find(self, id: str) -> InvocationRow:
        """The row of an invocation. Raises BadId or UnknownInvocation."""
        row = await self.visitor.invocation(self.seq(id))
        if row is None:
            raise UnknownInvocation()
        return row

    async def matching(
        self, service: str | None, key: str | None, handler: str | None, statuses: list[int], limit: int
    ) -> list[InvocationRow]:
        """The invocations that match, the newest first."""
        return await self.visitor.listed(service, key, handler, statuses, EVERYTHING, limit)

    def facts(self, row: InvocationRow) -> Facts:
        """The facts about an invocation, as JSON types. Times are UTC in ISO 8601."""
        outcome = json.loads(row.outcome) if row.outcome is not None else None
        return {
            "id": self.ids.invocation(row.seq),
            "service": row.service,
            "key": row.shown_key,
            "handler": row.handler,
            "mode": Mode.NAMES[row.shared],
            "status": Status.NAMES[row.status],
            "accepted_at": moment_text(row.accepted_ms),
            "ended_at": moment_text(row.ended_ms),
            "failed_attempts": row.attempts,
            "arguments": json.loads(row.args),
            "headers": json.loads(row.headers) if row.headers is not None else {},
            "called_by": self._id(row.parent),
            "idempotency_key": row.idempotency_key or None,  # empty for a workflow's run
            "restarted_from": self._id(row.restart_of),
            "cancel_requested": bool(row.flags & Flag.CANCELLED),
            "held": bool(row.flags & Flag.HELD),
            "result": outcome if row.status == Status.SUCCEEDED else None,
            "failure": outcome if row.status == Status.FAILED else None,
            "reason": row.reason,
        }

    def _id(self, seq: int | None) -> str | None:
        return None if seq is None else self.ids.invocation(seq)

    async def story(self, row: InvocationRow) -> list[Line]:
        """The journal, with the input first and the outcome last."""
        target = address(row.service, row.shown_key)
        return [
            Line(
                datetime.datetime.fromisoformat(at),
                row.seq,
                position,
                target,
                entry,
                name,
                completes,
                called,
                decoded(value),
            )
            for at, position, entry, name, completes, called, value, _ in await self.visitor.story(row.seq)
        ]

    async def awakeables(self, limit: int, **wanted: str | int | None) -> list[Facts]:
        """Open awakeables, the oldest first. `wanted` are values that columns of the view must have."""
        return [
            {
                "id": self.ids.awakeable(seq, position),
                "invocation_id": self.ids.invocation(seq),
                "service": service,
                "key": key,
                "handler": handler,
                "type": kind,
                "since": since,
                "deadline": deadline,
            }
            for seq, position, service, key, handler, kind, since, deadline in await self.visitor.open_awakeables(
                limit, **wanted
            )
        ]


@contextlib.asynccontextmanager
async def visiting(path: str, *, asks: bool = False) -> AsyncIterator[Database]:
    """Read the file, and with `asks` leave requests in it. Raises StorageError or a subclass."""
    visitor = Visitor(path)
    secret = await visitor.enter(asks=asks)
    try:
        yield Database(visitor, secret)
    finally:
        await visitor.close()


def moment_text(ms: int | None) -> str | None:
    """Milliseconds since the epoch in UTC and ISO 8601."""
    if ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
