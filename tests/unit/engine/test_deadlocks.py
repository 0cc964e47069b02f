"""Cycles of waits: found when their last edge is made, refused once, and looked for on disk too."""

from __future__ import annotations

import itertools

import pytest

from actors.attempt.invocation import Invocation
from actors.engine.waits.deadlocks import Deadlocks
from actors.errors import BadKey, MailboxFull
from actors.journal.entries import Kind
from actors.model.options import Options
from actors.storage.records import Status
from tests.unit.engine.parts import Parts, at_rest, parts, queued, target


class Desk:
    def __init__(self, made: Parts) -> None:
        self.parts = made
        made.turns.hold()
        self.deadlocks = Deadlocks(made.residents, made.progress, made.pins)
        made.loader.check_queued = self.deadlocks.check_queued

    def holder(self, seq: int, key: str) -> Invocation:
        """It holds the object and waits."""
        return at_rest(self.parts, seq, Status.BLOCKED, key)

    def call(self, caller: Invocation, seq: int, key: str) -> Invocation:
        """It calls an object that another invocation holds."""
        assert caller.journal is not None
        index = caller.journal.append(Kind.CALL, f"Order/{key}/put", "[]", seq, None, 5).idx
        return queued(self.parts, seq, key, caller, index)

    def attach(self, caller: Invocation, to: int) -> int:
        assert caller.journal is not None
        return caller.journal.append(Kind.ATTACH, "inv", None, to, None, 5).idx


def failures(caller: Invocation) -> list[str]:
    assert caller.journal is not None
    return [str(entry.value) for entry in caller.journal.completions if entry.kind == Kind.FAILED]


async def desk() -> Desk:
    return Desk(await parts())


async def test_a_call_behind_a_stranger_waits() -> None:
    made = await desk()
    caller = made.holder(1000, "a")
    made.holder(1001, "b")
    message = made.call(caller, 1002, "b")
    made.deadlocks.check_queued(message)
    assert not message.ended and failures(caller) == []


async def test_the_call_that_closes_a_cycle_is_refused_with_the_way() -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    made.deadlocks.check_queued(made.call(first, 1002, "b"))
    last = made.call(second, 1003, "a")
    made.deadlocks.check_queued(last)
    assert last.status == Status.FAILED and len(failures(second)) == 1 and failures(first) == []
    assert "Deadlock: Order/a/put -> Order/a/wait -> Order/b/put -> Order/b/wait -> Order/a/put" in failures(second)[0]


async def test_an_object_that_calls_itself_is_refused() -> None:
    made = await desk()
    caller = made.holder(1000, "a")
    message = made.call(caller, 1001, "a")
    made.deadlocks.check_queued(message)
    assert message.ended and "deadlock" in failures(caller)[0].lower()


async def test_a_long_way_round_is_a_cycle_too() -> None:
    made = await desk()
    holders = [made.holder(1000 + number, str(number)) for number in range(200)]
    messages = [made.call(caller, 2000 + number, str((number + 1) % 200)) for number, caller in enumerate(holders)]
    for message in messages:
        made.deadlocks.check_queued(message)
    assert [message.ended for message in messages] == [True] + 199 * [False], "the first that is looked at ends it"


async def test_many_ways_to_the_same_place_are_walked_once() -> None:
    made = await desk()
    # Each holder waits for both invocations of the next level: 2**30 paths, and no cycle.
    levels = [[made.holder(1000 + 2 * level + side, f"{level}{side}") for side in (0, 1)] for level in range(30)]
    for level, following in itertools.pairwise(levels):
        for caller in level:
            for to in following:
                made.attach(caller, to.seq)
    message = made.call(made.holder(1999, "caller"), 2000, "00")
    made.deadlocks.check_queued(message)
    assert not message.ended


async def test_an_answered_call_is_not_waited_for() -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    message = made.call(first, 1002, "b")
    made.parts.progress.complete(first, 1, Kind.COMPLETED, "1")
    last = made.call(second, 1003, "a")
    made.deadlocks.check_queued(last)
    assert not last.ended and not message.ended


@pytest.mark.parametrize("why", ["ended", "current", "no mailbox"])
async def test_one_that_does_not_stand_in_a_queue_closes_nothing(why: str) -> None:
    made = await desk()
    caller = made.holder(1000, "a")
    message = made.call(caller, 1001, "a")
    if why == "ended":
        message.status = Status.SUCCEEDED
    elif why == "current":
        made.parts.object("a").current = message
    else:
        message.mailbox = None
    made.deadlocks.check_queued(message)
    assert failures(caller) == []


# --- attachments ----------------------------------------------------------------------------------------------------------


async def test_an_attachment_that_closes_a_cycle_fails_and_its_target_goes_on() -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    made.deadlocks.check_attached(first, made.attach(first, 1001), 1001)
    assert failures(first) == []
    made.deadlocks.check_attached(second, made.attach(second, 1000), 1000)
    assert len(failures(second)) == 1 and failures(first) == [] and not first.ended
    assert "Order/b/wait -> Order/a/wait -> Order/b/wait" in failures(second)[0]


async def test_an_invocation_cannot_wait_for_itself() -> None:
    made = await desk()
    caller = made.holder(1000, "a")
    made.deadlocks.check_attached(caller, made.attach(caller, 1000), 1000)
    assert "Deadlock: Order/a/wait -> Order/a/wait. Each" in failures(caller)[0]


async def test_a_message_with_an_attached_caller_goes_on_without_the_caller() -> None:
    made = await desk()
    holder = made.holder(1000, "a")
    message = queued(made.parts, 1001, "a")
    made.attach(holder, 1001)
    made.deadlocks.check_queued(message)
    assert not message.ended and len(failures(holder)) == 1


@pytest.mark.parametrize("why", ["answered", "target ended", "caller ended"])
async def test_an_attachment_that_is_over_closes_nothing(why: str) -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    made.attach(first, 1001)
    index = made.attach(second, 1000)
    if why == "answered":
        made.parts.progress.complete(second, index, Kind.COMPLETED, "1")
    elif why == "target ended":
        del made.parts.residents.open[1000]
    else:
        second.status = Status.FAILED
    made.deadlocks.check_attached(second, index, 1000)
    assert failures(second) == []


# --- out of memory --------------------------------------------------------------------------------------------------------


async def test_an_attachment_is_checked_once_its_target_is_in_memory() -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    made.call(first, 1002, "b")
    assert first.journal is not None
    for about in made.parts.residents.open.values():
        made.parts.ledger.mark(about)
    made.parts.ledger.write_entry(first, first.journal.commands[0])
    await made.parts.commit()
    mailbox = made.parts.object("a")
    mailbox.pins = 1
    made.parts.eviction.released(mailbox)  # it stays while it is pinned
    mailbox.pins = 0
    made.parts.eviction.released(mailbox)
    assert 1000 not in made.parts.residents.open
    index = made.attach(second, 1000)
    made.deadlocks.check_attached(second, index, 1000)
    assert failures(second) == [], "the caller of this check loads the target"
    async with made.parts.pins.holding(1000):
        made.deadlocks.check_attached(second, index, 1000)
    assert len(failures(second)) == 1


async def test_an_invocation_met_on_disk_is_loaded_and_searched_too() -> None:
    made = await desk()
    first, second, third = (made.holder(1000 + n, key) for n, key in enumerate("abc"))
    made.attach(first, 1001)
    made.attach(second, 1002)
    for about in (first, second, third):
        made.parts.ledger.mark(about)
    for about in (first, second):
        assert about.journal is not None
        made.parts.ledger.write_entry(about, about.journal.commands[0])
    await made.parts.commit()
    made.parts.eviction.released(made.parts.object("b"))
    assert 1001 not in made.parts.residents.open
    index = made.attach(third, 1000)
    made.deadlocks.check_attached(third, index, 1000)
    assert failures(third) == [], "not known yet"
    await made.parts.settle()
    assert len(failures(third)) == 1


# --- full mailboxes -------------------------------------------------------------------------------------------------------


async def test_it_says_whether_an_object_waits_for_an_invocation() -> None:
    made = await desk()
    first, second = made.holder(1000, "a"), made.holder(1001, "b")
    made.call(first, 1002, "b")
    waits_for = made.deadlocks.waits_for
    assert waits_for("Order", "a", first) and waits_for("Order", "a", second)
    assert not waits_for("Order", "b", first) and not waits_for("Order", "unknown", first)
    second.status = Status.FAILED  # only a step of it goes on
    assert not waits_for("Order", "b", second)


async def test_a_full_mailbox_is_final_only_if_it_can_never_empty() -> None:
    made = await desk()
    sender, other = made.holder(1000, "a"), made.holder(1001, "b")
    full, options = MailboxFull("full"), Options()
    final = made.deadlocks.final
    assert not final(full, sender, target("put"), "b", options)
    assert final(full, sender, target("put"), "b", Options(fail_when_full=True))
    assert final(BadKey("bad"), sender, target("put"), "b", options)
    made.attach(other, 1000)
    assert final(full, sender, target("put"), "b", options)
