"""The file a command line looks at: where it is, what its records say, in ids and words."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import click

from actors.app import database_path
from actors.cli.timeline import Line, decoded
from actors.errors import BadArguments, DefinitionError, UnknownInvocation
from actors.handlers import address
from actors.ids import IdMint
from actors.storage import Flag, InvocationRow, Mode, Status, Visitor

Facts = dict[str, Any]

EVERYTHING = 2**62


def database_file(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The path in what was given: a path, or the URL that App takes."""
    try:
        path = database_path(value) if value.startswith("sqlite:") else value
    except DefinitionError as error:
        raise click.BadParameter(error.message) from None
    if path == ":memory:":
        raise click.BadParameter("a database in memory is known to its own process only.")
    if not path or "\x00" in path:
        raise click.BadParameter("a path cannot be empty or hold a NUL character.")
    return path


class Database:
    """A visit to the file, and the ids its records have outside."""

    def __init__(self, visitor: Visitor, ids: IdMint) -> None:
        self.visitor = visitor
        self.ids = ids

    async def find(self, id: str) -> InvocationRow:
        """Raises BadId or UnknownInvocation."""
        row = await self.visitor.invocation(self.ids.read_invocation(id))
        if row is None:
            raise UnknownInvocation()
        return row

    async def matching(
        self, service: str | None, key: str | None, handler: str | None, statuses: list[int], limit: int
    ) -> list[InvocationRow]:
        """Those that match, the newest first."""
        return await self.visitor.listed(service, key, handler, statuses, EVERYTHING, limit)

    def facts(self, row: InvocationRow) -> Facts:
        """What is known of an invocation, as JSON types. Times are UTC in ISO 8601."""
        outcome = json.loads(row.outcome) if row.outcome is not None else None
        return {
            "id": self.ids.invocation(row.seq),
            "service": row.service,
            "key": row.shown_key,
            "handler": row.handler,
            "mode": Mode.NAMES[row.shared],
            "status": Status.NAMES[row.status],
            "accepted_at": _moment(row.accepted_ms),
            "ended_at": _moment(row.ended_ms),
            "failed_attempts": row.attempts,
            "arguments": json.loads(row.args),
            "headers": json.loads(row.headers) if row.headers is not None else {},
            "called_by": self._id(row.parent),
            "idempotency_key": row.idempotency_key or None,  # that of a workflow's run is empty
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
        """Those nobody has completed, the oldest first. `wanted` is what columns of the view must hold."""
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
    """Read the file, and with `asks` leave requests in it. Raises StorageError and its kinds."""
    visitor = Visitor(path)
    secret = await visitor.enter(asks=asks)
    try:
        yield Database(visitor, IdMint(secret))
    finally:
        await visitor.close()


def statuses_named(names: tuple[str, ...]) -> list[int]:
    """The numbers of these statuses, "open" among them. Raises BadArguments."""
    found: set[int] = set()
    for name in names:
        if name == "open":
            found.update(range(Status.SUCCEEDED))
        elif name == "ended":
            found.update((Status.SUCCEEDED, Status.FAILED))
        elif name in Status.NAMES:
            found.add(Status.NAMES.index(name))
        else:
            raise BadArguments(f"{name!r} is no status. There are {', '.join(Status.NAMES)}, open and ended.")
    return sorted(found)


def _moment(ms: int | None) -> str | None:
    if ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
