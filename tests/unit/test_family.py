"""The family of an invocation, over records that this test makes up."""

from __future__ import annotations

import pytest

from actors.app.family import family
from actors.errors import UnknownInvocation
from actors.journal.ids import IdMint
from actors.storage import InvocationRow
from tests.storage.rows import invocation

IDS = IdMint(b"0" * 32)


class Calls:
    """Invocations by number, with those that each has called."""

    def __init__(self, called: dict[int, list[int]], kept: set[int] | None = None) -> None:
        self._called = called
        self._rows = {seq: invocation(seq) for seq in called if kept is None or seq in kept}
        self.reads = 0

    async def invocation(self, seq: int) -> InvocationRow | None:
        return self._rows.get(seq)

    async def invocations(self, seqs: list[int]) -> dict[int, InvocationRow]:
        self.reads += 1
        return {seq: self._rows[seq] for seq in seqs if seq in self._rows}

    async def called(self, seqs: list[int], limit: int) -> list[tuple[int, int, str, int]]:
        self.reads += 1
        all = [(seq, n + 1, "attach", other) for seq in seqs for n, other in enumerate(self._called.get(seq, []))]
        return all[:limit]


def shape(node: dict[str, object]) -> object:
    children = node["children"]
    assert isinstance(children, list)
    return [(IDS.read_invocation(str(child["id"])), shape(child)) for child in children]


async def test_an_attachment_that_leads_back_is_shown_once_and_not_followed() -> None:
    calls = Calls({1: [2, 3], 2: [1], 3: [2, 3]})
    found = await family(calls, IDS, 1)
    assert shape(found) == [(2, [(1, [])]), (3, [(2, []), (3, [])])]
    assert found["cut"] is False and calls.reads <= 6


@pytest.mark.parametrize("children", [[2] * 30, list(range(2, 32))], ids=["the same", "others"])
async def test_no_more_than_the_limit_is_shown_whatever_is_repeated(children: list[int]) -> None:
    found = await family(Calls({1: children, **{n: [n] * 9 for n in range(2, 32)}}, kept={1, 2}), IDS, 1, most=20)
    assert len(found["children"]) == 20 and found["cut"] is True


async def test_the_family_of_nothing_is_refused() -> None:
    with pytest.raises(UnknownInvocation):
        await family(Calls({}), IDS, 1)
