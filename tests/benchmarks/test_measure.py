"""What is counted, how rounds alternate, and what a median is taken of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors import App
from actors.storage import Batch, InvocationRow
from benchmarks.measure import Figures, MeasuredStore, Side, alternate, closed_loop, medians, percentile
from benchmarks.objects import Counter


def invocation(seq: int, key: str) -> InvocationRow:
    return InvocationRow(seq, "Counter", key, "add", 0, 6, seq, "[1]", None, None, None, 0, 1, 1, "1", None)


async def test_the_store_counts_commits_rows_and_payload_bytes_since_it_was_last_asked(tmp_path: Path) -> None:
    store = MeasuredStore(str(tmp_path / "app.db"))
    await store.open()
    try:
        journal = [(1, 1, 3, "charge", None, b"\x01\x02", None, 1)]
        state = [("Counter", "é", "count", "1")]
        await store.commit(Batch(1, [invocation(1, "é")], journal=journal, state=state))
        await store.commit(Batch(2, [invocation(2, "k")], timers=[(5, 6, 2, 1)]))
        await store.commit(Batch(3, fired=[(5, 6)], cleared=[("Counter", "é", "count")]))
        texts = "Counter é add [1] 1charge ..Counter é count 1Counter k add [1] 1Counter é count"
        assert store.account() == (3, 7, len(texts.replace(" ", "").encode()))
        assert store.account() == (0, 0, 0)
    finally:
        await store.close()


async def test_a_commit_that_fails_is_not_counted(tmp_path: Path) -> None:
    store = MeasuredStore(str(tmp_path / "app.db"))
    await store.open()
    try:
        twice: list[tuple[object, ...]] = [(1, 1, 3, None, None, None, None, 1)] * 2
        with pytest.raises(Exception, match="UNIQUE"):
            await store.commit(Batch(1, journal=twice))
        assert store.account() == (0, 0, 0)
    finally:
        await store.close()


async def test_the_store_can_be_given_to_an_app(tmp_path: Path) -> None:
    store = MeasuredStore(str(tmp_path / "app.db"))
    async with App(Counter, store=store) as app:
        await app.object(Counter, "a").get()
        store.account()
        assert await app.object(Counter, "a").add(1) == 1
        assert store.account()[:2] == (1, 2)


async def test_each_caller_of_a_closed_loop_waits_for_its_answer() -> None:
    under_way = most = 0
    seen: list[int] = []

    async def operation(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        seen.append(item)
        under_way -= 1

    assert len(await closed_loop(operation, range(20), callers=4)) == 20
    assert sorted(seen) == list(range(20)) and most == 4


async def test_an_operation_that_fails_ends_the_round() -> None:
    async def operation(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ValueError, match="7"):
        await closed_loop(operation, [7], callers=1)


async def test_sides_take_turns_on_the_same_items_after_a_warm_up(tmp_path: Path) -> None:
    happened: list[tuple[str, str]] = []
    draws = iter("xyz")
    done: list[str] = []

    def side(name: str) -> Side:
        async def operation(item: str) -> None:
            happened.append((name, item))

        return Side(name, MeasuredStore(str(tmp_path / name)), operation)

    sides = [side("own"), side("floor")]
    await alternate(sides, ["warm"], lambda: [next(draws)], callers=1, rounds=3, progress=done.append)
    assert happened == [(name, item) for item in ("warm", "x", "y", "z") for name in ("own", "floor")]
    assert [len(one.rounds) for one in sides] == [3, 3]
    assert done == [f"{name} {when}" for when in ("warm", "1/3", "2/3", "3/3") for name in ("own", "floor")]


def test_the_median_is_taken_of_each_figure_on_its_own() -> None:
    rounds = [Figures(10, 3, 1, 1, 1, 1, 5), Figures(30, 1, 2, 1, 1, 1, 6), Figures(20, 2, 9, 1, 1, 1, 70)]
    assert medians(rounds) == Figures(20, 2, 2, 1, 1, 1, 6)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected
    assert percentile([8], share) == 8
