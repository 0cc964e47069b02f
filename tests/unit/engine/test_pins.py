"""How long invocations and objects stay in memory because a part does something with them."""

from __future__ import annotations

import asyncio

import pytest

from actors.attempt.invocation import Mailbox
from actors.storage.records import Status
from tests.unit.engine.parts import Parts, held, parts, reads_of, stored


@pytest.mark.parametrize("cold", [True, False])
async def test_an_invocation_is_held_with_its_object_until_the_block_ends(cold: bool) -> None:
    disk, (seq,) = await stored(("o", Status.BLOCKED))
    made = await held(disk)
    if not cold:
        await made.loader.loaded([made.loader.mailbox("Order", "o")])
    async with made.pins.holding(seq) as found:
        assert found is not None and found.seq == seq and found.mailbox is not None
        mailbox = found.mailbox
        assert mailbox.state is not None and mailbox.pins == 1
        async with made.pins.holding(seq) as again:
            assert again is found and mailbox.pins == 2
    assert mailbox.pins == 0
    assert made.residents.known("Order", "o") is None, "it sleeps, and nothing holds it any more"


@pytest.mark.parametrize("seq", ["ended", "never was"])
async def test_an_invocation_that_is_not_open_is_not_found(seq: str) -> None:
    disk, (ended,) = await stored(("o", Status.SUCCEEDED))
    made = await held(disk)
    async with made.pins.holding(ended if seq == "ended" else 4000) as found:
        assert found is None
    assert made.residents.open == {}


@pytest.mark.parametrize("status", [Status.BLOCKED, Status.SCHEDULED])
async def test_an_invocation_that_ended_in_the_open_batch_is_not_restored(status: int) -> None:
    disk, (seq,) = await stored(("o", status))
    made = await held(disk)
    async with made.pins.holding(seq) as found:
        assert found is not None
        made.progress.finish(found, Status.SUCCEEDED, '"x"')
    async with made.pins.holding(seq) as again:
        assert again is None
    await made.commit()
    assert disk.query("SELECT status FROM invocations") == [("succeeded",)]


async def test_many_that_are_searched_for_in_one_turn_share_a_read() -> None:
    disk, seqs = await stored(*((str(number), Status.BLOCKED) for number in range(5)))
    made = await held(disk)

    async def hold(seq: int) -> str:
        async with made.pins.holding(seq) as found:
            assert found is not None
            return found.key

    reads = reads_of(disk)
    assert await asyncio.gather(*(hold(seq) for seq in seqs)) == ["0", "1", "2", "3", "4"]
    assert len(reads) == 1 and made.residents.open == {}


async def test_a_caller_who_leaves_while_it_waits_holds_nothing() -> None:
    disk, (seq,) = await stored(("o", Status.BLOCKED))
    made = await held(disk)
    waiter = asyncio.create_task(made.pins.hold(seq))
    mailbox = await _until_pinned(made, waiter)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await made.settle()
    assert mailbox is None or mailbox.pins == 0
    assert made.residents.known("Order", "o") is None


async def _until_pinned(made: Parts, waiter: asyncio.Task[list[Mailbox]]) -> Mailbox | None:
    """Step the loop until the object is pinned for the waiter, which has not gone on yet."""
    for _ in range(20):
        await asyncio.sleep(0)
        mailbox = made.residents.known("Order", "o")
        if waiter.done() or (mailbox is not None and mailbox.pins):
            return mailbox
    return None


async def test_objects_are_held_by_key() -> None:
    made = await parts()
    async with made.pins.holding_objects([("Order", "a"), ("Order", "b")]) as mailboxes:
        assert [mailbox.key for mailbox in mailboxes] == ["a", "b"]
        assert all(mailbox.state is not None and mailbox.pins == 1 for mailbox in mailboxes)
    assert all(mailbox.pins == 0 for mailbox in mailboxes)


async def test_it_calls_back_while_all_of_them_are_in_memory() -> None:
    disk, seqs = await stored(("a", Status.BLOCKED), ("b", Status.SUCCEEDED), ("c", Status.BLOCKED))
    made = await held(disk)
    seen: list[set[int]] = []
    made.pins.hold_while(seqs, lambda: seen.append(set(made.residents.open)))
    await made.settle()
    assert seen == [{seqs[0], seqs[2]}] and made.residents.open == {}
