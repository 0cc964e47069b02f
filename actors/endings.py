"""What an invocation that has ended may leave behind, and what it must not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actors.attempt.invocation import StepWork
from actors.errors import StateDecodeError
from actors.journal.entries import Kind
from actors.journal.journal import Journal
from actors.storage import Flag, Mode, Status

if TYPE_CHECKING:
    from actors.attempt.invocation import Invocation, Work
    from actors.partition import Partition

log = logging.getLogger("actors")

_FAILED = Status.FAILED
_TIMED = frozenset((Kind.SLEEP, Kind.AWAKEABLE))  # what may have a time at which it goes off


def finish_rare(partition: Partition, invocation: Invocation) -> None:
    extras = invocation.extras
    assert extras is not None
    partition.paused_here.discard(invocation.seq)
    partition.alarms.cancel_retry(invocation.seq)
    if invocation.status == Status.SUCCEEDED:
        extras.reason = None
    if extras.flags & Flag.ATTACHED:
        partition.attachments.ended(invocation.seq, invocation.status, invocation.outcome)
    if extras.flags & Flag.TICK:
        partition.ticks.ended(invocation)


def clean_up(partition: Partition, invocation: Invocation, journal: Journal) -> None:
    """Nothing of an ended invocation may still go off."""
    work, invocation.work = invocation.work, None
    if work:
        invocation.work = _cancel_work(partition, invocation, journal, work)
    for entry in journal.commands:
        if entry.kind in _TIMED and entry.ref is not None and entry.idx not in journal.completed:
            partition.alarms.cancel(entry.ref, invocation.seq, entry.idx)
    if (
        invocation.status == _FAILED
        and invocation.handler is not None
        and invocation.handler.atomic
        and not invocation.has(Flag.APART)
    ):
        _roll_back(partition, invocation, journal)
    mailbox = invocation.mailbox
    # As `write_behind` asks itself: few states are behind, and each call has a journal to clean up.
    if mailbox is not None and mailbox.state is not None and mailbox.state.behind is not None and not invocation.shared:
        partition.write_behind(mailbox)
    if invocation.handler is not None and invocation.handler.service.kind == "workflow":
        partition.promises.ended(invocation, journal)


def _cancel_work(
    partition: Partition, invocation: Invocation, journal: Journal, work: dict[int, Work]
) -> dict[int, Work] | None:
    """The steps among it that hold the key, because they are still being executed; None without any."""
    left: dict[int, Work] = {}
    for index, piece in work.items():
        if not isinstance(piece, StepWork):
            piece.cancel()
        elif piece.leave() and invocation.mode == Mode.EXCLUSIVE:
            left[index] = piece
        command = journal.command(index)
        if invocation.status == Status.SUCCEEDED and command is not None and command.kind == Kind.RUN:
            log.warning(
                "%s returned before its step %s was done, which was cut short. Await every ctx.run(...)",
                partition.label(invocation),
                command.name,
            )
    return left or None


def _roll_back(partition: Partition, invocation: Invocation, journal: Journal) -> None:
    """The state goes back to what it was when the invocation began, under a release that did not keep its writes apart."""
    mailbox = invocation.mailbox
    assert mailbox is not None and mailbox.state is not None
    stored = mailbox.state.stored
    try:
        found = journal.rolled_back(stored)
    except StateDecodeError as error:  # the file was edited: what it was before is not known any more
        log.error("The state of %s cannot be rolled back and stays as it is. %s", partition.label(invocation), error)
        found = {}
    for name, text in found.items():
        if text is None:
            stored.pop(name, None)
        else:
            stored[name] = text
        partition.write_state(invocation, name, text)
    mailbox.state.discard()
