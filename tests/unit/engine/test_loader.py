"""What comes into memory, with how many reads, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from actors.attempt.invocation import Invocation
from actors.engine.memory.loader import OBJECTS_PER_READ
from actors.errors import AppNotRunning
from actors.storage.records import Flag, Status
from actors.testing import Disk, SimulatedCrash
from tests.unit.engine.parts import at_rest, held, invocation, parts, queued, reads_of, stored, target


async def test_an_object_is_loaded_once_however_many_request_it() -> None:
    made = await parts()
    first = made.loader.mailbox("Order", "o")
    assert made.loader.mailbox("Order", "o") is first and first.state is None
    await made.loader.loaded([first, first])
    assert first.state is not None and made.loader.mailbox("Order", "o") is first


async def test_an_object_comes_with_its_state() -> None:
    disk = Disk()
    before = await parts(disk)
    before.ledger.patch(before.object("o"), {"notes": '["a"]'})
    await before.settle()
    made = await parts(disk)
    mailbox = made.loader.mailbox("Order", "o")
    await made.loader.loaded([mailbox])
    assert mailbox.state is not None and mailbox.state.stored == {"notes": '["a"]'}


async def test_objects_requested_together_are_read_together() -> None:
    made = await parts()
    keys = [str(number) for number in range(OBJECTS_PER_READ + 1)]
    mailboxes = [made.loader.mailbox("Order", key) for key in keys]
    reads = reads_of(made.disk)
    await made.loader.loaded(mailboxes)
    assert len(reads) == 2 and all(mailbox.state is not None for mailbox in mailboxes)


async def test_stored_messages_stand_before_those_that_arrived_meanwhile() -> None:
    disk, seqs = await stored(("o", Status.PENDING), ("o", Status.PENDING))
    made = await held(disk)
    arrived = made.intake.accept(target("put"), "o", '["b"]', None, None, made.ledger.next_number(), None, None)
    await made.settle()
    mailbox = made.object("o")
    order = [mailbox.current, *iter(mailbox.pop, None)]
    assert [message.seq for message in order if message is not None] == [*seqs, arrived.seq]


async def test_an_arrival_that_ended_meanwhile_is_not_delivered() -> None:
    disk, (first, second) = await stored(("o", Status.PENDING), ("o", Status.PENDING))
    made = await held(disk)
    mailbox = made.loader.mailbox("Order", "o")
    mailbox.remove(invocation(first))  # as one that was cancelled while its object was read
    await made.settle()
    assert mailbox.current is not None and mailbox.current.seq == second and mailbox.first is None


@pytest.mark.parametrize(
    ("status", "flags", "becomes"),
    [
        (Status.PENDING, 0, "running"),
        (Status.RUNNING, 0, "running"),
        (Status.BLOCKED, 0, "blocked"),
        (Status.BACKING_OFF, 0, "backing-off"),
        (Status.PAUSED, 0, "running"),
        (Status.PAUSED, Flag.HELD, "paused"),
        (Status.SCHEDULED, 0, None),
    ],
)
async def test_a_stored_invocation_goes_on_unless_something_wakes_it(
    status: int, flags: int, becomes: str | None
) -> None:
    disk = Disk()
    before = await parts(disk)
    left = invocation(before.ledger.next_number(), "wait")
    left.status = status
    if flags:
        left.more().flags = flags
    before.ledger.mark(left)
    await before.settle()
    made = await held(disk)
    mailbox = made.loader.mailbox("Order", "o")
    await made.loader.loaded([mailbox])
    current = mailbox.current
    assert (Status.NAMES[current.status] if current is not None else None) == becomes
    if current is not None:
        assert (current.attempt is not None) == (becomes == "running")


async def test_what_this_process_has_paused_is_not_tried_again() -> None:
    disk, (seq,) = await stored(("o", Status.PAUSED))
    made = await held(disk)
    made.residents.paused_here.add(seq)
    mailbox = made.loader.mailbox("Order", "o")
    await made.loader.loaded([mailbox])
    assert mailbox.current is not None and mailbox.current.status == Status.PAUSED


async def test_cycles_are_looked_for_once_all_objects_of_a_read_are_there() -> None:
    made = await parts()
    at_rest(made, 1000, Status.BLOCKED, "o")
    messages = [queued(made, 1001, "o"), queued(made, 1002, "o")]
    with made.loader.entering():
        for message in messages:
            made.loader.queued(message)
        assert made.called("check_queued") == []
    assert made.called("check_queued") == messages
    made.loader.queued(messages[0])
    assert made.called("check_queued") == [*messages, messages[0]], "at once, when none is entering"


async def test_recovery_wakes_what_can_run() -> None:
    disk, seqs = await stored(("a", Status.RUNNING), ("b", Status.BLOCKED), ("c", Status.PENDING))
    made = await parts(disk)
    await made.loader.recover([("Order", "a"), ("Order", "c")])
    await made.settle()
    assert disk.query("SELECT invocation, status FROM invocations ORDER BY invocation") == [
        (seqs[0], "succeeded"),
        (seqs[1], "blocked"),
        (seqs[2], "succeeded"),
    ]
    assert made.residents.known("Order", "b") is None


# --- failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.expects_log("The app has stopped")
async def test_a_read_that_fails_stops_the_partition_and_its_waiters() -> None:
    made = await parts()
    made.store.crash()
    loading = asyncio.create_task(made.loader.loaded([made.loader.mailbox("Order", "o")]))
    finding = asyncio.create_task(made.pins.hold(5))
    await made.settle()
    assert made.failures
    made.loader.abandon(made.failures[0])
    made.pins.abandon(made.failures[0])
    results = await asyncio.gather(loading, finding, return_exceptions=True)
    assert [type(result) for result in results] == [SimulatedCrash, SimulatedCrash]


async def test_a_stopped_partition_loads_nothing() -> None:
    made = await parts()
    made.background.stopped = True
    mailbox = made.loader.mailbox("Order", "o")
    await made.settle()
    assert mailbox.state is None
    with pytest.raises(AppNotRunning):
        await made.loader.loaded([mailbox])
    with pytest.raises(AppNotRunning):
        await made.pins.hold(1)


async def test_a_damaged_journal_does_not_stop_the_partition() -> None:
    disk, (seq,) = await stored(("o", Status.BLOCKED))
    disk.connection.execute("INSERT INTO journal_entry (invocation, idx, kind, at_ms) VALUES (?, 2, 10, 5)", (seq,))
    made = await held(disk)
    async with made.pins.holding(seq) as found:
        assert isinstance(found, Invocation) and found.handler is None and found.extras is not None
        assert "cannot be read" in str(found.extras.reason) and made.env.ids.invocation(seq) in str(found.extras.reason)
