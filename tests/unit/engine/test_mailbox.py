"""The queue in a mailbox: first come, first served, whichever message is taken out."""

from __future__ import annotations

import itertools

import pytest

from actors.attempt.invocation import Invocation, Mailbox
from actors.model.object_state import ObjectState
from tests.unit.engine.parts import SERVICES, invocation


def loaded() -> Mailbox:
    mailbox = Mailbox("Order", "o")
    mailbox.state = ObjectState(SERVICES["Order"], {})
    return mailbox


def filled(count: int) -> tuple[Mailbox, list[Invocation]]:
    mailbox, messages = loaded(), [invocation(seq) for seq in range(1, count + 1)]
    for message in messages:
        mailbox.append(message)
    return mailbox, messages


def drained(mailbox: Mailbox) -> list[int]:
    return [message.seq for message in iter(mailbox.pop, None)]


def test_messages_leave_in_the_order_in_which_they_came() -> None:
    mailbox, _ = filled(4)
    assert mailbox.length == 4
    assert drained(mailbox) == [1, 2, 3, 4] and mailbox.length == 0


def test_an_empty_mailbox_gives_nothing_and_can_be_filled_again() -> None:
    mailbox, _ = filled(1)
    assert drained(mailbox) == [1]
    assert mailbox.pop() is None and mailbox.pop() is None and mailbox.length == 0
    mailbox.append(invocation(5))
    mailbox.append(invocation(6))
    assert drained(mailbox) == [5, 6]


def test_a_message_that_was_taken_holds_no_other() -> None:
    mailbox, messages = filled(3)
    assert mailbox.pop() is messages[0]
    mailbox.remove(messages[1])
    assert [message.following for message in messages] == [None, None, None]
    assert mailbox.first is messages[2]


@pytest.mark.parametrize("gone", list(itertools.permutations([1, 2, 3], 2)))
def test_messages_are_taken_out_wherever_they_stand(gone: tuple[int, int]) -> None:
    mailbox, messages = filled(3)
    for seq in gone:
        mailbox.remove(messages[seq - 1])
    assert mailbox.length == 1
    mailbox.append(invocation(9))
    assert drained(mailbox) == [*({1, 2, 3} - set(gone)), 9]


def test_the_last_message_may_be_taken_out_and_come_again() -> None:
    mailbox, (message,) = filled(1)
    mailbox.remove(message)
    assert mailbox.first is None and mailbox.last is None and mailbox.length == 0
    mailbox.append(message)
    assert drained(mailbox) == [1]


def test_to_take_out_what_is_not_there_changes_nothing() -> None:
    mailbox, messages = filled(2)
    mailbox.remove(invocation(9))
    mailbox.remove(messages[0])
    mailbox.remove(messages[0])
    assert mailbox.length == 1 and drained(mailbox) == [2]


def test_a_message_that_ends_while_its_object_is_loaded_is_remembered() -> None:
    mailbox = Mailbox("Order", "o")
    arrived, stored = invocation(5), invocation(4)
    mailbox.arrivals, mailbox.length = [arrived], 1
    mailbox.remove(arrived)
    mailbox.remove(stored)  # it is only in the file
    assert mailbox.arrivals == [] and mailbox.length == 0 and mailbox.gone == {4, 5}
