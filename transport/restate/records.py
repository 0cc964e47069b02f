"""What operators see of a restate-server: queries on its tables, and facts from their rows. Pure.

Promise: every name and key in a query is a literal, whatever it holds; ids are Restate's own.
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from actors.errors import BadId

Row = Mapping[str, Any]  # a column that is null is missing
Facts = dict[str, Any]

STATUSES = {
    "scheduled": "status = 'scheduled'",
    "pending": "status = 'pending'",
    "running": "status IN ('ready', 'running')",
    "blocked": "status = 'suspended'",
    "backing-off": "status = 'backing-off'",
    "paused": "status = 'paused'",
    "succeeded": "(status = 'completed' AND completion_result = 'success')",
    "failed": "(status = 'completed' AND completion_result <> 'success')",
}
AWAKEABLES = "suspended_waiting_for_signals"  # a column that releases before 1.7 may lack
HAS_AWAKEABLES = f"SELECT column_name FROM information_schema.columns WHERE table_name = 'sys_invocation' AND column_name = '{AWAKEABLES}'"
_WORDS = {"ready": "running", "suspended": "blocked"}
_COLUMNS = (
    "id, target_service_name, target_service_key, target_handler_name, status, completion_result, completion_failure, "
    "created_at, completed_at, retry_count, next_retry_at, scheduled_start_at, last_failure, invoked_by_id, idempotency_key"
)
_ID = re.compile(r"inv_1[0-9a-zA-Z]{33}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OWN_SIGNALS = 17  # the first index of an awakeable; those below it are Restate's, as the cancellation
_FAILURE = re.compile(r"\[(\d+)[^]]*\] ?(.*)", re.DOTALL)


# --- queries ------------------------------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """A text as an SQL literal. A backslash has no meaning in it."""
    return "'" + text.replace("'", "''") + "'"


def matching(
    service: str | None,
    key: str | None,
    handler: str | None,
    statuses: Sequence[str],
    limit: int | None,
    hidden: str | None = None,
) -> str:
    """The invocations that match, the newest first; those of the class `hidden` only if `service` names it."""
    conditions = [_among(statuses)] if statuses else []
    if hidden is not None and service is None:
        conditions.append(f"target_service_name <> {literal(hidden)}")
    where = _where(service, key, handler, " AND ".join(conditions))
    return f"SELECT {_COLUMNS} FROM sys_invocation{where} ORDER BY created_at DESC, id{_limited(limit)}"


def one(id: str) -> str:
    """All columns of an invocation, for `facts` and `waits`."""
    return f"SELECT * FROM sys_invocation WHERE id = {literal(id)}"


def journal_of(id: str) -> str:
    return f'SELECT "index", entry_type, entry_json, appended_at FROM sys_journal WHERE id = {literal(id)} ORDER BY "index"'


def pauses_of(id: str) -> str:
    """Why an invocation is paused: the newest event first."""
    return (
        f"SELECT event_json FROM sys_journal_events WHERE id = {literal(id)} AND event_type = 'Paused' "
        "ORDER BY appended_at DESC LIMIT 1"
    )


def waiting(service: str | None, key: str | None, handler: str | None) -> str:
    """The suspended invocations that wait for a signal, those that have waited longest first."""
    return (
        f"SELECT id, target_service_name, target_service_key, target_handler_name, modified_at, {AWAKEABLES} FROM sys_invocation"
        f"{_where(service, key, handler, STATUSES['blocked'])} ORDER BY modified_at, id"
    )


def state_of(service: str, key: str) -> str:
    return (
        f"SELECT key, value_utf8, value FROM state WHERE service_name = {literal(service)} AND service_key = {literal(key)} "
        "ORDER BY key"
    )


def _where(service: str | None, key: str | None, handler: str | None, also: str) -> str:
    columns = (("target_service_name", service), ("target_service_key", key), ("target_handler_name", handler))
    conditions = [f"{column} = {literal(value)}" for column, value in columns if value is not None]
    conditions += [also] if also else []
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _among(statuses: Sequence[str]) -> str:
    return f"({' OR '.join(STATUSES[status] for status in statuses)})"


def _limited(limit: int | None) -> str:
    return "" if limit is None else f" LIMIT {limit}"


# --- rows ---------------------------------------------------------------------------------------------------------------


def checked_id(id: str) -> str:
    """The id of an invocation. Raises BadId for any other text."""
    if id.startswith(("sign_1", "prom_1")):
        raise BadId(f"{id!r} is the id of an awakeable, not of an invocation: see actors restate awakeables list.")
    if _ID.fullmatch(id) is None:
        raise BadId(f"{id!r} is not an invocation id of Restate: such an id is inv_1 and 33 letters and digits.")
    return id


def facts(row: Row, journal: Sequence[Facts] = (), pauses: Sequence[Row] = ()) -> Facts:
    """The facts about an invocation, as JSON types, under the names that commands for files use.

    The journal, of `entries`, gives arguments, headers and result; without it they are empty.
    """
    status = str(row["status"])
    if status == "completed":
        status = "succeeded" if row.get("completion_result") == "success" else "failed"
    status = _WORDS.get(status, status)
    first = journal[0] if journal and journal[0]["entry"] == "Input" else {}
    last = journal[-1] if journal and journal[-1]["entry"] == "Output" else {}
    return {
        "id": row["id"],
        **_target(row),
        "status": status,
        "accepted_at": row["created_at"],
        "ended_at": row.get("completed_at"),
        "failed_attempts": _failed(status, row.get("retry_count", 0)),
        "arguments": [first["value"]] if first.get("value") is not None else [],
        "headers": first.get("headers", {}),
        "called_by": row.get("invoked_by_id"),
        "idempotency_key": row.get("idempotency_key"),
        "restarted_from": row.get("restarted_from"),
        "result": last.get("value") if status == "succeeded" else None,
        "failure": _failure(row["completion_failure"]) if status == "failed" and "completion_failure" in row else None,
        "reason": _reason(status, row, pauses),
    }


def _target(row: Row) -> Facts:
    return {
        "service": row["target_service_name"],
        "key": row.get("target_service_key", ""),
        "handler": row["target_handler_name"],
    }


def _failed(status: str, attempts: int) -> int:
    """`attempts` counts those since the server last took the invocation up, with the running one."""
    return attempts if status == "backing-off" else max(0, attempts - 1)


def _failure(text: str) -> Facts:
    found = _FAILURE.fullmatch(text)
    code, message = (int(found[1]), found[2]) if found else (500, text)
    return {"code": code, "message": message, "error": None}


def _reason(status: str, row: Row, pauses: Sequence[Row]) -> str | None:
    if status == "paused":
        last = json.loads(pauses[0]["event_json"]).get("last_failure") if pauses else None
        if last:
            return "\n".join(str(last[part]) for part in ("error_message", "error_stacktrace") if last.get(part))
    return row.get("last_failure") if status in ("backing-off", "running") else None


def entries(rows: Sequence[Row]) -> list[Facts]:
    """A journal: [{"position", "at", "entry", "name", "completes", "called", "value"}]. `completes` is the position of a command."""
    commands = {number: row["index"] for row in rows for number in _numbers(row)}
    lines: list[Facts] = []
    for row in rows:
        kind, body = _entry(row)
        line: Facts = {
            "position": row["index"],
            "at": row.get("appended_at"),
            "entry": kind,
            "name": _name(body),
            "completes": None if _is_command(row) else commands.get(body.get("completion_id", 0)),
            "called": _called(body),
            "value": _value(body),
        }
        if kind == "Input":
            line["headers"] = {header["name"]: header["value"] for header in body.get("headers", [])}
        if "wake_up_time" in body:  # the name is the duration
            line |= {"name": None, "until": _moment(body["wake_up_time"])}
        lines.append(line)
    return lines


def _is_command(row: Row) -> bool:
    return str(row["entry_type"]).startswith("Command")


def _numbers(row: Row) -> list[int]:
    """The completions that a command gets."""
    names = ("completion_id", "invocation_id_completion_id", "result_completion_id")
    return [number for name in names if isinstance(number := _entry(row)[1].get(name), int)] if _is_command(row) else []


def _moment(ms: int) -> str:
    return (
        datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def _entry(row: Row) -> tuple[str, Row]:
    """The kind of an entry and its contents: {"Command": {KIND: {...}}}, {"Notification": {"Completion": {KIND: {...}}}}."""
    kind = str(row["entry_type"]).partition(": ")[2] or str(row["entry_type"])
    found: Any = json.loads(row.get("entry_json") or "{}")
    for name in ("Command", "Notification", "Completion", kind):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return kind, found if isinstance(found, dict) else {}


def _name(body: Row) -> str | None:
    request = body.get("request")
    target = request.get("invocation_target") if isinstance(request, dict) else None
    if isinstance(target, dict):
        (target,) = target.values()
        target = "/".join(str(target[part]) for part in ("name", "key", "handler") if part in target)
    return target or body.get("key") or body.get("name") or None


def _called(body: Row) -> str | None:
    request = body.get("request")
    id = request.get("invocation_id") if isinstance(request, dict) else body.get("invocation_id")
    return id if isinstance(id, str) else None


def _value(body: Row) -> Any:
    request = body.get("request", {})
    found = body.get("value", body.get("payload", body.get("result", request.get("parameter"))))
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    return value_of(bytes(found)) if _is_bytes(found) else None if found == "Void" else found


def _is_bytes(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in found)


def value_of(stored: bytes) -> Any:
    """A stored value: of JSON, text, or bytes in hexadecimal digits. None for no bytes."""
    if not stored:
        return None
    try:
        text = stored.decode()
    except UnicodeDecodeError:
        return stored.hex()
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def state(rows: Sequence[Row]) -> Facts:
    """Attributes by name."""
    return {row["key"]: value_of(bytes.fromhex(row.get("value", ""))) for row in rows}


def waits(row: Row, journal: Sequence[Row]) -> list[Facts]:
    """What an open invocation waits for: [{"for", "position"?, "name"?, "id"?, "until"?}]. `journal` are rows as of `entries`."""
    if row["status"] == "scheduled":
        return [{"for": "time", "until": row.get("scheduled_start_at")}]
    if row["status"] == "backing-off":
        return [{"for": "time", "until": row.get("next_retry_at")}]
    open = set(row.get("suspended_waiting_for_completions", ()))
    found: list[Facts] = []
    for line, entry in zip(entries(journal), journal, strict=True):
        if open.intersection(_numbers(entry)):
            wait = {"for": line["entry"], "name": line["name"], "id": line["called"], "until": line.get("until")}
            found.append({"position": line["position"], **{name: value for name, value in wait.items() if value}})
    return found + [{"for": "awakeable", "id": id} for id in awakeable_ids(row)]


def awakeables(rows: Sequence[Row]) -> list[Facts]:
    """The awakeables of suspended invocations."""
    return [
        {"id": id, "invocation_id": row["id"], **_target(row), "since": row["modified_at"]}
        for row in rows
        for id in awakeable_ids(row)
    ]


def awakeable_ids(row: Row) -> list[str]:
    return [awakeable_id(row["id"], index) for index in sorted(row.get(AWAKEABLES, ())) if index >= _OWN_SIGNALS]


def awakeable_id(invocation: str, index: int) -> str:
    """The id that a handler gives away. An invocation's id is two numbers of 8 and 16 bytes, the first of 11 digits."""
    digits = checked_id(invocation).removeprefix("inv_1")
    numbers = _number_of(digits[:11]).to_bytes(8, "little") + _number_of(digits[11:]).to_bytes(16, "little")
    return "sign_1" + base64.urlsafe_b64encode(numbers + index.to_bytes(4, "big")).decode().rstrip("=")


def _number_of(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * len(_DIGITS) + _DIGITS.index(digit)
    return number
