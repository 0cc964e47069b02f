"""What a caller gets when no durable answer can be given any more."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.attempt.invocation import Invocation
from actors.errors import OutcomePending
from actors.journal.ids import IdMint


def unanswered(ids: IdMint, invocation: Invocation, error: BaseException) -> BaseException:
    """The error for a caller whose invocation has no durable outcome: `error`, if nothing of the invocation can be in the file."""
    if invocation.stored_status < 0:  # the store has never received it
        return error
    return may_have_been_done(error, ids.invocation(invocation.seq))


def may_have_been_done(reason: BaseException, id: str | None) -> OutcomePending:
    """What a caller gets whose request was being written when the database failed."""
    if id is None:
        advice = "The request may have been done or not: check before you repeat it."
    else:
        advice = (
            f"Attach to its id, {id}, when the app runs again. If the id is unknown then, the request was not accepted, and "
            "can be repeated."
        )
    pending = OutcomePending(f"The app stopped before the outcome of this request was stored: {reason} {advice}", id)
    pending.__cause__ = reason
    return pending


def refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    """Fail a future that may have no waiter, without asyncio's report of an exception that was never retrieved."""
    if not future.done():
        future.set_exception(error)
        future.exception()
