"""A waiting invocation is replayed up to the command whose type is needed, through the ports of the engine."""

from __future__ import annotations

from actors.engine.waits.revival import replayed
from actors.storage.records import Status
from tests.unit.engine.parts import Parts, parts, target


async def waiting() -> tuple[Parts, int]:
    """Parts, and the number of an invocation that waits for its first command, without its code."""
    made = await parts()
    accepted = made.intake.accept(target("wait"), "o", "[]", None, None, made.ledger.next_number(), None, None)
    await made.settle()
    assert accepted.status == Status.BLOCKED and accepted.attempt is not None
    made.eviction.suspend(accepted.attempt)
    return made, accepted.seq


async def test_a_handler_is_replayed_until_it_has_asked_for_a_command() -> None:
    made, seq = await waiting()
    async with made.pins.holding(seq) as again:
        assert again is not None and again.attempt is None
        await replayed(again, 1, made.progress, made.turns)
        assert again.attempt is not None and again.attempt.future(1) is not None


async def test_a_command_that_is_never_requested_is_not_waited_for() -> None:
    made, seq = await waiting()
    async with made.pins.holding(seq) as again:
        assert again is not None
        await replayed(again, 99, made.progress, made.turns)
        assert again.attempt is not None and again.attempt.future(99) is None


async def test_an_invocation_that_is_paused_is_not_replayed() -> None:
    made, seq = await waiting()
    async with made.pins.holding(seq) as again:
        assert again is not None
        again.status = Status.PAUSED
        await replayed(again, 1, made.progress, made.turns)
        assert again.attempt is None
