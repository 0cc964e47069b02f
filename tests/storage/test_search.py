"""A search that no index answers: in parts, each of which says how far it has got."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.storage import InvocationRow, Mode, Status
from actors.storage.records import Wanted
from actors.storage.sqlite.examination import _CALLED
from tests.storage.rows import AT_MS, OpenStore, batch, entry, invocation

KEYS = ["a", "A/b", "é", "x%y_z", "kk"]
REASONS = [None, "ConnectionError: Upstream refused", "ValueError: 100 %_", "paused"]


@st.composite
def rows(draw: st.DrawFn) -> list[InvocationRow]:
    found = []
    for seq in sorted(draw(st.sets(st.integers(1, 60), max_size=25))):
        status = draw(st.integers(0, 7))
        found.append(
            invocation(
                seq,
                key=draw(st.sampled_from(KEYS)),
                service=draw(st.sampled_from(["Order", "Cart"])),
                shared=draw(st.sampled_from([Mode.EXCLUSIVE, Mode.SHARED])),
                status=status,
                accepted_ms=AT_MS + draw(st.integers(0, 5)),
                reason=draw(st.sampled_from(REASONS)) if status in (Status.PAUSED, Status.BACKING_OFF) else None,
                outcome='{"code": 409, "message": "Sold OUT"}'
                if status == Status.FAILED
                else "1"
                if status == 6
                else None,
                idempotency_key=f"{draw(st.sampled_from(KEYS))}{seq}" if draw(st.booleans()) else None,
                parent=1 if draw(st.booleans()) else None,
                parent_index=1,
            )
        )
    return found


def mostly(nothing: object, *others: object) -> st.SearchStrategy[object]:
    """A filter that is left out more often than not: of many filters at once nothing would be left."""
    return st.sampled_from([nothing] * 2 * len(others) + list(others))


wanted = st.builds(
    Wanted,
    service=mostly(None, "Order", "None"),
    key=mostly(None, *KEYS),
    handler=mostly(None, "add"),
    statuses=mostly((), (4,), (5,), (7,), (4, 5), (6, 7), (0, 1, 2, 3, 4, 5)),
    error=mostly(None, "upstream", "sold out", "%", "_", ""),
    text=mostly(None, "a", "K", "%y", "é", ""),
    from_ms=mostly(None, AT_MS, AT_MS + 3),
    to_ms=mostly(None, AT_MS + 2, AT_MS + 9),
    roots=mostly(False, True),
)


def lower(text: str) -> str:
    return "".join(chr(ord(one) + 32) if "A" <= one <= "Z" else one for one in text)


def matches(row: InvocationRow, asked: Wanted) -> bool:
    said = [row.reason or ""] + ([row.outcome or ""] if row.status == Status.FAILED else [])
    error, text = lower(asked.error or ""), lower(asked.text or "")
    return (
        asked.service in (None, row.service)
        and asked.key in (None, row.key)
        and asked.handler in (None, row.handler)
        and (not asked.statuses or row.status in asked.statuses)
        and (asked.error is None or any(one and error in lower(one) for one in said))
        and (asked.text is None or any(text in lower(one) for one in (row.key, row.idempotency_key) if one is not None))
        and (asked.from_ms is None or row.accepted_ms >= asked.from_ms)
        and (asked.to_ms is None or row.accepted_ms < asked.to_ms)
        and (not asked.roots or row.parent is None)
    )


@settings(max_examples=200, deadline=None)
@given(rows(), wanted, st.integers(1, 7), st.integers(1, 30))
def test_the_parts_of_a_search_are_what_a_list_would_give(
    stored: list[InvocationRow], asked: Wanted, limit: int, width: int
) -> None:
    async def search() -> list[InvocationRow]:
        found: list[InvocationRow] = []
        async with OpenStore(":memory:") as store:
            await store.commit(batch(invocations=stored))
            before = 2**62
            while before:
                async with store.look() as records:
                    part = await records.searched(asked, before, limit, width)
                assert part.down_to < before and len(part.found) <= limit
                assert (part.accepted_ms is None) == (part.down_to == 0)
                found += part.found
                before = part.down_to
        return found

    assert asyncio.run(search()) == [row for row in reversed(stored) if matches(row, asked)]


async def test_newer_invocations_are_counted_up_to_a_limit(tmp_path: Path) -> None:
    async with OpenStore(str(tmp_path / "a.db"), synchronous="OFF") as store:
        await store.commit(
            batch(invocations=[invocation(seq, key=f"k{seq % 2}", status=seq % 8) for seq in range(1, 41)])
        )
        async with store.look() as records:
            assert await records.newer(0, (), 100) == 40
            assert await records.newer(0, (), 10) == 10
            assert await records.newer(30, (), 100) == 10
            assert await records.newer(30, (), 100, key="k1") == 5
            assert await records.newer(30, (7,), 100, service="Order", handler="add") == 2
            assert await records.newer(30, (), 100, key="") == await records.newer(99, (), 100) == 0


async def test_calls_sends_and_attachments_are_found_in_their_order(tmp_path: Path) -> None:
    journal = [
        entry(1, 1, 3, name="step"),
        entry(1, 2, 6, name="Order/a/add", ref=7),
        entry(1, 3, 7, name="Order/b/add"),  # under an idempotency key: placed later
        entry(1, 4, 23, ref=3, value="9"),
        entry(1, 5, 7, name="Order/c/add"),  # not placed yet
        entry(1, 6, 12, ref=7),
        entry(2, 1, 6, name="Order/a/add", ref=8),
    ]
    async with OpenStore(str(tmp_path / "a.db"), synchronous="OFF") as store:
        await store.commit(batch(invocations=[invocation(1), invocation(2)], journal=journal))
        async with store.look() as records:
            both = [(2, 1, "call", 8), (1, 2, "call", 7), (1, 3, "send", 9), (1, 6, "attach", 7)]
            assert await records.called([2, 1], 100) == both
            assert await records.called([2, 1], 2) == both[:2]
            assert await records.journal_length(1) == 6 and await records.journal_length(5) == 0


async def test_each_journal_of_a_family_is_read_once(tmp_path: Path) -> None:
    path = str(tmp_path / "app.db")
    async with OpenStore(path):
        plan = sqlite3.connect(path).execute(f"EXPLAIN QUERY PLAN {_CALLED}", ("[1]", 10)).fetchall()
    journals = [step[3] for step in plan if re.match(r"(SEARCH|SCAN) (c|p)\b", step[3])]
    assert [step.split(" ")[0] for step in journals] == ["SEARCH", "SCAN", "SEARCH"], plan
    assert "AUTOMATIC" in journals[2], plan  # the entries that were read, by their place: not the table
