"""The entries of a journal as a test writes them: the requests of a handler, and the answers to them.

An entry is a command, with its answer. Answers have positions, counted from 1 over all commands and answers, because their order
decides which way a handler goes. An answer without a `position` comes right after its command. `UNANSWERED` is the answer of a
command that has none. Values are JSON values, or values of types that the state and the steps of the class declare.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


class _Unanswered:
    def __repr__(self) -> str:
        return "UNANSWERED"


UNANSWERED: Final[Any] = _Unanswered()
Failure = Mapping[str, Any]  # {"code": 409, "message": "...", "error": "terminal_error"}, as a client receives it


@dataclass(frozen=True, slots=True)
class SetState:
    """The handler has set a state to `value`, with the request that comes next."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class ClearState:
    """The handler has deleted a state."""

    name: str


@dataclass(frozen=True, slots=True)
class Run:
    """A step, by the name of its function, which has returned `result` or failed with `failure`."""

    name: str
    result: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """A sleep of so many seconds. `over` is False for a sleep that was not over in the end."""

    seconds: float
    over: bool = True
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Now:
    """The handler has read the time: a datetime, or a text in ISO 8601."""

    time: str | datetime.datetime


@dataclass(frozen=True, slots=True)
class Awakeable:
    """An awakeable of this type, `str` for example. `timeout` in seconds."""

    type: str
    timeout: float | None = None
    answer: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `Stock/books/reserve`, and its result.

    `arguments` is None for a call that was refused. A call under an idempotency key, or behind a delayed message of the same
    handler, becomes an invocation later: `placed` is True, or the position at which it did. `number` is the number of the
    invocation, if it is not the next number: the handler's own invocation has the number 1.
    """

    target: str
    arguments: Sequence[Any] | None
    result: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None
    placed: int | bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """A one-way message. A message that was refused has no arguments, but a `failure`. The rest is as for Call."""

    target: str
    arguments: Sequence[Any] | None
    failure: Failure | None = None
    position: int | None = None
    placed: int | bool = False
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """The handler has waited for the invocation with this id."""

    id: str
    result: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The handler has cancelled the invocation with this id."""

    id: str
    done: bool = True
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Resolve:
    """The handler has resolved an awakeable."""

    id: str
    value: Any
    done: bool = True
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """The handler has rejected an awakeable, for this reason."""

    id: str
    reason: Any
    done: bool = True
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """The handler has waited for a promise of its workflow."""

    name: str
    type: str = "Any"
    answer: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Peek:
    """The handler has looked at a promise: its value, or None while it is open."""

    name: str
    result: Any = UNANSWERED
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ResolvePromise:
    """The handler has resolved a promise of its workflow."""

    name: str
    value: Any
    done: bool = True
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class RejectPromise:
    """The handler has rejected a promise of its workflow, for this reason."""

    name: str
    reason: Any
    done: bool = True
    failure: Failure | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The handler was notified of its cancellation: here, or at a position."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class Unseen:
    """The request that comes next was made before the handler was shown the answer at this position.

    That happens to handlers with tasks: an answer may have arrived while a task still ran.
    """

    position: int


@dataclass(frozen=True, slots=True)
class Migrated:
    """The object was migrated meanwhile: from here on, the handler has begun with this state of this version."""

    state: Mapping[str, Any]
    version: int


JournalEntry = (
    SetState
    | ClearState
    | Run
    | Sleep
    | Now
    | Awakeable
    | Call
    | Send
    | Attach
    | Cancel
    | Resolve
    | Reject
    | Promise
    | Peek
    | ResolvePromise
    | RejectPromise
    | Cancelled
    | Unseen
    | Migrated
)
