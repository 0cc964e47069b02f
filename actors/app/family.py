"""The family of an invocation: its callers, and what it and its calls have called and sent.

Promise: a bounded number of reads, each invocation once, so an attachment that leads back ends as well.
"""

from __future__ import annotations

from typing import Any, Protocol

from actors.app.listing import InvocationInfo
from actors.app.overview import facts
from actors.errors import UnknownInvocation
from actors.journal.ids import IdMint
from actors.storage.records import InvocationRow

DEEPEST = 8  # generations below the invocation
MOST = 500  # invocations below it
ANCESTORS = 64


class Records(Protocol):
    """What is read, as `Examination` has it."""

    async def invocation(self, seq: int) -> InvocationRow | None: ...
    async def invocations(self, seqs: list[int]) -> dict[int, InvocationRow]: ...
    async def called(self, seqs: list[int], limit: int) -> list[tuple[int, int, str, int]]: ...


async def family(records: Records, ids: IdMint, seq: int, deepest: int = DEEPEST, most: int = MOST) -> dict[str, Any]:
    """The invocation with its facts; `ancestors`, the nearest first; and `children`, each with its own.

    A child is the facts of an invocation, with `position` and `entry` of the command that made it: call, send or attach. An
    invocation that is no longer kept has its `id` alone. `cut` says whether something below was left out. Raises UnknownInvocation.
    """
    row = await records.invocation(seq)
    if row is None:
        raise UnknownInvocation()
    root = _node(row, ids)
    nodes: dict[int, dict[str, Any]] = {seq: root}
    generation, cut, shown = [seq], False, 0
    for depth in range(deepest + 1):
        found = await records.called(generation, most + 1)
        room = most - shown
        if depth == deepest or len(found) > room:
            cut = cut or bool(found)
            found = [] if depth == deepest else found[:room]
        if not found:
            break
        shown += len(found)
        rows = await records.invocations([called for *_, called in found])
        generation = []
        for parent, position, entry, called in found:
            child = rows.get(called)
            node = _node(child, ids) if child is not None else {"id": ids.invocation(called), "children": []}
            nodes[parent]["children"].append({"position": position, "entry": entry, **node})
            if child is not None and called not in nodes:
                nodes[called] = nodes[parent]["children"][-1]
                generation.append(called)
    ancestors: list[dict[str, Any]] = []
    seen = {seq}
    while row is not None and row.parent is not None and row.parent not in seen and len(ancestors) < ANCESTORS:
        seen.add(row.parent)
        row = await records.invocation(row.parent)
        if row is not None:
            ancestors.append(facts(InvocationInfo.of(row, ids)))
    return {**root, "ancestors": ancestors, "cut": cut}


def _node(row: InvocationRow, ids: IdMint) -> dict[str, Any]:
    return {**facts(InvocationInfo.of(row, ids)), "children": []}
