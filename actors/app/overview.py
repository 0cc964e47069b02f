"""An invocation as an operator sees it: its record and its journal, as JSON types."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from actors.app.listing import InvocationInfo, steps_of
from actors.doctor.tracebacks import error_line
from actors.errors import UnknownInvocation
from actors.serde import packing
from actors.storage.records import InvocationRow, Mode, Status

if TYPE_CHECKING:
    from actors.engine.partition import Partition
    from actors.journal.ids import IdMint


async def overview(partition: Partition, id: str, after: int, limit: int) -> dict[str, Any]:
    """The facts, and up to `limit` entries of the journal after position `after`; `journal_more` says whether there are more.

    Position 0 is the input. Values are shown as stored. Raises BadId or UnknownInvocation.
    """
    seq = partition.ids.read_invocation(id)
    async with partition.committer.gated():
        await partition.committer.flushed()
        async with partition.store.look() as records:
            row = await records.invocation(seq)
            if row is None:
                raise UnknownInvocation()
            story = await records.story(seq, after, limit + 1)
        steps = await steps_of(partition, row)
    return {
        **facts(InvocationInfo.of(row, partition.ids)),
        **_contents(row, partition.ids),
        "steps": [replace(step, error=_error(step.error)) for step in steps],
        "journal": [_entry(line, partition.ids) for line in story[:limit]],
        "journal_more": len(story) > limit,
    }


_CONTENTS = ("steps", "arguments", "result", "headers", "called_by")  # of a single invocation only: see `overview`


def facts(info: InvocationInfo) -> dict[str, Any]:
    """The facts that lists show. Of `reason` only the error: the traceback is for the command line and the log."""
    shown = {name: getattr(info, name) for name in InvocationInfo.__slots__ if name not in _CONTENTS}
    shown["reason"] = _error(info.reason)
    return shown


def as_texts(found: dict[str, Any], cut_at: int | None) -> dict[str, Any]:
    """The same with the values of users as texts, {"text", "bytes", "cut"}, which no page can change by reading them.

    A text is cut after `cut_at` characters; `bytes` is the size of the whole.
    """
    shown = {
        name: _text(value, cut_at) if name in ("arguments", "result", "failure", "headers") else value
        for name, value in found.items()
    }
    shown["journal"] = [{**entry, "value": _text(entry["value"], cut_at)} for entry in found["journal"]]
    return shown


def _text(value: Any, cut_at: int | None) -> dict[str, Any] | None:
    if value is None:
        return None
    encoded = bytes(value) if isinstance(value, msgspec.Raw) else _encode(value)
    text = encoded.decode()
    cut = cut_at is not None and len(text) > cut_at
    return {"text": text[:cut_at] if cut else text, "bytes": len(encoded), "cut": cut}


_encode = msgspec.json.Encoder(enc_hook=str).encode  # `str` for values of steps without a declared type


def _error(reason: str | None) -> str | None:
    return None if reason is None else error_line(reason.strip())


def _contents(row: InvocationRow, ids: IdMint) -> dict[str, Any]:
    outcome = _raw(row.outcome)
    return {
        "mode": Mode.NAMES[row.shared],
        "arguments": _raw(row.args),
        "headers": _raw(row.headers) or {},
        "called_by": ids.invocation(row.parent) if row.parent is not None else None,
        "result": outcome if row.status == Status.SUCCEEDED else None,
        "failure": outcome if row.status == Status.FAILED else None,
    }


def _entry(line: tuple[Any, ...], ids: IdMint) -> dict[str, Any]:
    at, position, entry, name, completes, called, value, due = line
    return {
        "position": position,
        "at": at,
        "entry": entry,
        "name": name,
        "completes": completes,
        "called": ids.invocation(called) if called is not None else None,
        "value": _value(value),
        "due": due,
    }


def _value(text: str | None) -> Any:
    if text is not None and text.startswith("msgpack:"):  # the result of a step that does not declare a type
        return packing.unpack(bytes.fromhex(text.removeprefix("msgpack:")))
    return _raw(text)


def _raw(text: str | None) -> Any:
    return None if text is None else msgspec.Raw(text.encode())
