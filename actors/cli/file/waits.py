"""What an open invocation waits for: earlier invocations of its object, or the results of its commands."""

from __future__ import annotations

from actors.cli.file.database import Database, moment_text
from actors.cli.show.records import Facts
from actors.doctor.pending import Pending, pending
from actors.journal.tries import Tries
from actors.model.names import address
from actors.storage.records import InvocationRow, Mode, Status


async def waits_of(database: Database, row: InvocationRow) -> list[Facts]:
    """[{"for", "position"?, "name"?, "id"?, "status"?, "until"?, "before"?}], in the order of the commands.

    "for" is "invocation", "promise", "awakeable", "sleep", "step" or "time"; "before" is how many invocations must end first.
    A failed step with its own retry policy has "failed" (how often), "failing_since", "until" and "error".
    """
    if row.status == Status.SCHEDULED:
        return [{"for": "time", "until": moment_text(row.position)}]
    if row.status == Status.PENDING and row.shared == Mode.EXCLUSIVE:
        number, first = await database.visitor.ahead(row)
        if first is not None:
            return [{**_invocation(database, first), "before": number}]
    if row.status >= Status.SUCCEEDED:
        return []
    commands = pending(await database.visitor.journal(row.seq))
    return [{**await _facts(database, row, wait), "position": wait.position} for wait in commands]


async def _facts(database: Database, row: InvocationRow, wait: Pending) -> Facts:
    match wait.waiting:
        case "call" | "attach":
            called = await database.visitor.invocation(wait.seq) if wait.seq is not None else None
            return {"for": "invocation", "name": wait.name} if called is None else _invocation(database, called)
        case "awakeable":
            id, until = database.ids.awakeable(row.seq, wait.position), moment_text(wait.until_ms)
            return {"for": "awakeable", "name": wait.name, "id": id, "until": until}
        case "sleep":
            return {"for": "sleep", "until": moment_text(wait.until_ms)}
        case "step":
            return {"for": "step", "name": wait.name, **_tries(wait.tries)}
        case "promise":
            return {"for": "promise", "name": wait.name}


def _tries(tries: Tries) -> Facts:
    if not tries.failed:
        return {}
    return {
        "failed": tries.failed,
        "failing_since": moment_text(tries.since_ms),
        "until": moment_text(tries.next_ms),
        "error": tries.error,
    }


def _invocation(database: Database, row: InvocationRow) -> Facts:
    name = address(row.service, row.shown_key, row.handler)
    return {
        "for": "invocation",
        "name": name,
        "id": database.ids.invocation(row.seq),
        "status": Status.NAMES[row.status],
    }


def told_wait(wait: Facts) -> list[str]:
    """A wait as lines. An id gets a line of its own, so that it can be copied."""
    until = f", until {wait['until']}" if wait.get("until") else ""
    match wait["for"]:
        case "invocation":
            lines = [f"{wait['name'] or 'an invocation'}{', which is ' + wait['status'] if 'status' in wait else ''}"]
            if wait.get("before", 1) > 1:
                lines[0] += f", and {wait['before'] - 1:,} more before this one"
            return [*lines, wait["id"]] if "id" in wait else lines
        case "awakeable":
            return [f"awakeable({wait['name'] or ''}){until}", wait["id"]]
        case "promise":
            return [f'promise "{wait["name"]}"']
        case "step":
            if "failed" not in wait:
                return [f"step {wait['name']}"]
            times = f"{wait['failed']} time{'s' if wait['failed'] > 1 else ''} since {wait['failing_since']}"
            again = f", next try at {wait['until']}" if wait["until"] else ""
            return [f"step {wait['name']}, which failed {times}{again}", wait["error"].strip().rpartition("\n")[2]]
        case "sleep":
            return [f"sleep{until}"]
        case _:
            return [f"its time{until}"]
