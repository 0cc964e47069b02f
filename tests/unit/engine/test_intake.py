"""How messages get in: what is refused, what is written when, and where they stand."""

from __future__ import annotations

import asyncio

import pytest

from actors.attempt.invocation import Invocation
from actors.errors import AppNotRunning, BadKey, MailboxFull, OutcomePending, Overloaded, PayloadTooLarge
from actors.model.message import Message
from actors.model.options import Options
from actors.storage.records import OWN_KEY, Flag, Status
from actors.testing import Disk, SimulatedCrash
from tests.unit.engine.parts import Parts, at_rest, parts, queued, target


def accept(made: Parts, key: str = "o", name: str = "put", delay_ms: int = 0, seq: int | None = None) -> Invocation:
    number = made.ledger.next_number() if seq is None else seq
    args = '["a"]' if name == "put" else "[]"
    return made.intake.accept(target(name), key, args, None, None, number, None, None, delay_ms)


def call(made: Parts, key: str = "o", name: str = "put") -> tuple[Invocation, asyncio.Future[object]]:
    return made.intake.accept_call(target(name), key, '["a"]' if name == "put" else "[]", None, None)


# --- what is refused ------------------------------------------------------------------------------------------------------


async def test_what_is_too_large_is_refused_with_its_limit() -> None:
    made = await parts(max_key=4, max_payload=10, max_stored_headers=20)
    intake = made.intake
    intake.check_room(target("put"), "four", '["aaaaaa"]', {"a": "b"})
    with pytest.raises(BadKey, match="max_key of the app allows 4"):
        intake.check_room(target("put"), "fifth", "[]")
    with pytest.raises(PayloadTooLarge, match="max_payload of the app allows 10"):
        intake.check_room(target("put"), "o", '["aaaaaaa"]')
    with pytest.raises(PayloadTooLarge, match="max_stored_headers"):
        intake.check_room(target("put"), "o", "[]", {"name": "a long value"})


async def test_a_full_mailbox_takes_readers_only() -> None:
    made = await parts(max_pending=1)
    at_rest(made, 1, Status.BLOCKED, "o")
    made.intake.check_room(target("put"), "o", "[]")
    queued(made, 2, "o")
    with pytest.raises(MailboxFull, match="Order/o has 1 messages waiting"):
        made.intake.check_room(target("put"), "o", "[]")
    with pytest.raises(MailboxFull):
        call(made)
    made.intake.check_room(target("look"), "o", "[]")
    made.intake.check_room(target("put"), "p", "[]")


async def test_too_many_calls_in_flight_are_refused() -> None:
    made = await parts(max_in_flight=1)
    made.turns.hold()
    call(made)
    with pytest.raises(Overloaded, match="max_in_flight"):
        call(made, "p")
    assert len(made.residents.open) == 1, "what was refused left nothing"


async def test_a_stopped_partition_takes_no_call() -> None:
    made = await parts()
    made.background.stopped = True
    with pytest.raises(AppNotRunning):
        call(made)
    assert made.residents.open == {} and made.committer.batch.empty()


# --- what is accepted -----------------------------------------------------------------------------------------------------


async def test_a_message_is_part_of_the_open_batch() -> None:
    made = await parts()
    accepted = accept(made)
    assert made.residents.open == {accepted.seq: accepted}
    assert made.committer.batch.invocations == [accepted]


async def test_messages_for_a_cold_object_run_in_order_once_it_is_loaded() -> None:
    made = await parts()
    first, second, third = accept(made), accept(made), accept(made)
    mailbox = made.residents.known("Order", "o")
    assert mailbox is not None and mailbox.arrivals == [first, second, third] and mailbox.length == 3
    await made.settle()
    assert [message.outcome for message in (first, second, third)] == ["1", "2", "3"]
    assert made.disk.query("SELECT count(*) FROM invocations WHERE status = 'succeeded'") == [(3,)]


async def test_an_exclusive_message_stands_behind_the_one_that_holds_the_object() -> None:
    made = await parts()
    holder = at_rest(made, 1000, Status.BLOCKED, "o")
    first, second = accept(made), accept(made)
    mailbox = made.object("o")
    assert mailbox.current is holder and mailbox.first is first and mailbox.last is second
    reader = accept(made, name="look")
    assert reader.attempt is not None and mailbox.readers == 1 and mailbox.length == 2


@pytest.mark.parametrize(("waits", "checked"), [("a caller", True), ("attached", True), ("nothing", False)])
async def test_a_queued_message_that_has_a_waiter_may_close_a_cycle(waits: str, checked: bool) -> None:
    made = await parts()
    at_rest(made, 1000, Status.BLOCKED, "o")
    message = Invocation(5, target("put"), "o", "[]", None, 5)
    if waits == "a caller":
        message.parent = 1001
    elif waits == "attached":
        message.more().flags |= Flag.ATTACHED
    made.intake.deliver(made.object("o"), message)
    assert made.called("check_queued") == ([message] if checked else [])


async def test_a_number_given_out_before_stands_where_it_is_accepted() -> None:
    made = await parts()
    early = made.ledger.next_number()
    accept(made)
    late = accept(made, seq=early)
    assert late.seq == early and late.position > made.residents.open[early + 1].position


async def test_a_message_of_a_service_has_a_mailbox_of_its_own() -> None:
    made = await parts()
    made.turns.hold()
    deliver = target("deliver", "Mailer")
    first = made.intake.accept(deliver, "", '["a"]', None, None, made.ledger.next_number(), None, None)
    second, _ = made.intake.accept_call(deliver, "", '["a"]', None, None)
    assert first.key == f"{OWN_KEY}{first.seq}" and second.key == f"{OWN_KEY}{second.seq}"
    assert first.mailbox is not second.mailbox and first.attempt is not None and second.attempt is not None
    assert made.committer.batch.invocations == [first, second]


async def test_a_message_with_a_key_keeps_the_key_and_its_headers() -> None:
    made = await parts()
    options = Options(idempotency_key="once", headers={"a": "b"})
    message = Message(target("put"), "o", '["a"]', None, options)
    accepted = made.intake.accept_message(message, made.ledger.next_number(), None)
    assert accepted.extras is not None
    assert (accepted.extras.idempotency_key, accepted.extras.headers) == ("once", '{"a":"b"}')


# --- for later ------------------------------------------------------------------------------------------------------------


async def test_a_delayed_message_has_no_place_before_its_time() -> None:
    made = await parts()
    later = accept(made, delay_ms=5000)
    assert later.status == Status.SCHEDULED and later.mailbox is None
    assert later.position == made.clock.now_ms() + 5000
    await made.settle()
    assert later.seq not in made.residents.open, "it need not stay in memory"


async def test_a_delayed_message_stands_behind_what_came_before_its_time() -> None:
    made = await parts()
    at_rest(made, 1000, Status.BLOCKED, "o")
    later, other = accept(made, delay_ms=5000), accept(made)
    made.intake.deliver_scheduled(later)
    assert later.status == Status.PENDING and later.position > other.position
    assert made.object("o").last is later and made.object("o").first is other


# --- calls from outside ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cold", [True, False])
async def test_a_caller_is_answered_once_the_outcome_is_durable(cold: bool) -> None:
    made = await parts()
    if not cold:
        made.object("o")
    made.store.hold_commits()
    called, answer = call(made)
    await made.settle()
    assert called.outcome == "1" and not answer.done()
    made.store.release_commits()
    await made.settle()
    assert answer.result() == 1
    assert made.disk.commits == 1, "accepted and ended in one batch"


async def test_a_read_leaves_no_row() -> None:
    made = await parts()
    made.object("o")
    _, answer = call(made, name="look")
    await made.settle()
    assert answer.result() == [] and made.disk.commits == 0


async def test_a_call_behind_another_one_is_written_all_the_same() -> None:
    made = await parts()
    at_rest(made, 1000, Status.BLOCKED, "o")
    called, answer = call(made)
    await made.settle()
    assert not answer.done() and called.stored_status == Status.PENDING and made.disk.commits == 1


@pytest.mark.may_log("The app has stopped")
@pytest.mark.parametrize("given", [True, False])
async def test_a_failed_commit_is_pending_only_for_what_the_store_was_given(given: bool) -> None:
    made = await parts(Disk())
    at_rest(made, 1000, Status.BLOCKED, "o")
    accepted = accept(made)
    if given:
        made.store.crash_at_commit(1, written=True)
    else:
        made.committer.abandon(SimulatedCrash("gone"))
    with pytest.raises(OutcomePending if given else SimulatedCrash) as caught:
        await made.intake.durable(accepted)
    if given:
        assert isinstance(caught.value, OutcomePending) and made.env.ids.invocation(accepted.seq) in str(caught.value)
