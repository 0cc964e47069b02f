"""What an open invocation waits for: earlier invocations of its object, or the results of its commands."""

from __future__ import annotations

from collections.abc import Sequence

from actors.cli.file.database import Database, moment_text
from actors.cli.show.records import Facts
from actors.cli.show.timeline import Line
from actors.journal.tries import Tries
from actors.model.names import address
from actors.storage.records import InvocationRow, Mode, Status


async def waits_of(database: Database, row: InvocationRow, story: Sequence[Line]) -> list[Facts]:
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
    due = await database.due(row.seq)
    answered = {line.completes for line in story if line.completes is not None and line.entry != "placed"}
    placed = {line.completes: line.value for line in story if line.entry == "placed"}
    tries = {position: (failed, details) for position, _, failed, details in await database.visitor.open_steps(row.seq)}
    waits: list[Facts] = []
    for line in story:
        if line.position in answered:
            continue
        at: Facts = {"position": line.position}
        if line.entry in ("call", "attach"):
            seq = placed.get(line.position, line.called)
            called = await database.visitor.invocation(seq) if isinstance(seq, int) else None
            wait = {"for": "invocation", "name": line.name} if called is None else _invocation(database, called)
            waits.append({**wait, **at})
        elif line.entry == "promise":
            waits.append({"for": "promise", "name": line.name, **at})
        elif line.entry == "awakeable":
            id, until = database.ids.awakeable(row.seq, line.position), due.get(line.position)
            waits.append({"for": "awakeable", "name": line.name, "id": id, "until": until, **at})
        elif line.entry == "sleep":
            waits.append({"for": "sleep", "until": due.get(line.position), **at})
        elif line.entry == "run":
            waits.append({"for": "step", "name": line.name, **at, **_tries(*tries[line.position])})
    return waits


def _tries(failed: int | None, details: str | None) -> Facts:
    tries = Tries.of(failed, details)
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
