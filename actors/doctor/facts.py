"""Diagnoses as JSON types, for terminals and for HTTP: the same names everywhere."""

from __future__ import annotations

import datetime
from typing import Any

from actors.doctor.causes import Cause
from actors.doctor.diagnosis import Diagnosis, name
from actors.doctor.trouble import Trouble
from actors.journal.ids import IdMint
from actors.storage.records import InvocationRow, Status


def facts(found: Diagnosis | Trouble, ids: IdMint) -> dict[str, Any]:
    """A diagnosis or all trouble, with ids made by `ids`."""
    if isinstance(found, Trouble):
        return {
            "headline": found.headline(),
            "cut": found.cut,
            "causes": [
                {
                    **_cause(group.cause, group.root, ids),
                    "alike": group.alike,
                    "behind": group.behind,
                    "other_keys": sorted(group.keys),
                }
                for group in found.groups
            ],
        }
    return {
        "subject": found.subject,
        **_cause(found.cause, found.root, ids),
        "chain": [
            {"id": ids.invocation(link.row.seq), "name": name(link.row), "text": link.text} for link in found.chain
        ],
        "other_causes": found.others,
        "behind": found.behind,
        "behind_since": _moment(found.behind_since_ms),
        "callers": list(found.callers),
        "more_callers": found.more_callers,
    }


def _cause(cause: Cause, root: InvocationRow | None, ids: IdMint) -> dict[str, Any]:
    return {
        "cause": cause.code,
        "needs_a_person": cause.needs_a_person(),
        "text": cause.text,
        "detail": cause.detail,
        "since": _moment(cause.since_ms),
        "id": ids.invocation(root.seq) if root is not None else None,
        "name": name(root) if root is not None else None,
        "status": Status.NAMES[root.status] if root is not None else None,
        "ways": [{"command": list(way.command), "effect": way.effect} for way in cause.ways],
    }


def _moment(ms: int | None) -> str | None:
    """Milliseconds since the epoch in UTC and ISO 8601."""
    if ms is None:
        return None
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
