"""The state machine that keeps the journal of an attempt: it speaks the protocol of Restate, matches commands, knows completions.

An interface, so that tests can use a machine written in Python; `sdk` has the machine of restate-sdk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

CANCELLED = 1  # the handle that is always open: the signal of a cancellation


@dataclass(frozen=True, slots=True)
class Failure:
    """A terminal failure on the wire."""

    code: int
    message: str
    metadata: tuple[tuple[str, str], ...] = ()
    stacktrace: str | None = None


Headers = Sequence[tuple[str, str]]
Value = bytes | str | list[str] | Failure | None  # a payload, an invocation id, names of state, a failure, or nothing


class Input(NamedTuple):  # not a frozen dataclass: one is made for each attempt, and that takes three times as long
    """What an invocation was made with. `seed` is the same in each attempt."""

    invocation_id: str
    key: str
    headers: Headers
    body: bytes
    seed: int


class Run(NamedTuple):
    """A step; `replayed` if the journal has its result."""

    handle: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Completed:
    """At least one of the handles has its value."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing goes on before more input comes, or the result of a step is proposed. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The invocation is to be cancelled. Said once."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The server asks again when one of the handles has its value. The attempt is over."""


@dataclass(frozen=True, slots=True)
class Execute:
    """The function of this step is to be executed now."""

    handle: int


Progress = Completed | Waiting | Cancelled | Suspended | Execute


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed step is tried again; None for no limit."""

    initial_ms: int
    factor: float
    max_interval_ms: int
    max_attempts: int | None
    max_duration_ms: int | None


class MachineError(Exception):
    """The journal does not hold what the handler requests, or the protocol was broken. The machine has informed the server."""


class Machine(Protocol):
    """The journal of one attempt. Commands return handles; each command is matched with the journal or appended to it.

    Each method raises MachineError.
    """

    def response_head(self) -> tuple[int, Headers]: ...

    def add_input(self, data: bytes) -> None: ...

    def end_input(self) -> None: ...

    def take_output(self) -> bytes: ...

    def ready(self) -> bool:
        """Whether the whole journal of the earlier attempts has come."""
        ...

    def replaying(self) -> bool:
        """Whether the next command is one that an earlier attempt has requested."""
        ...

    def input(self) -> Input:
        """The first command of every handler."""
        ...

    def completed(self, handle: int) -> bool: ...

    def take(self, handle: int) -> Value:
        """The value of a completed handle, once."""
        ...

    def progress(self, handles: Iterable[int]) -> Progress:
        """Go on until one of the handles has its value."""
        ...

    def fail_attempt(self, message: str, stacktrace: str) -> None:
        """The attempt has failed; the server tries again by the handler's policy."""
        ...

    # --- commands -------------------------------------------------------------------------------------------------------

    def get_state(self, name: str) -> int: ...

    def get_state_names(self) -> int: ...

    def set_state(self, name: str, value: bytes) -> None: ...

    def clear_state(self, name: str) -> None: ...

    def sleep(self, duration_ms: int, name: str) -> int: ...

    def run(self, name: str) -> Run: ...

    def propose(self, handle: int, result: bytes | Failure) -> None:
        """The result of a step: its handle gets it once it is recorded."""
        ...

    def propose_retry(self, handle: int, failure: Failure, took_ms: int, retry: Retry | None) -> None:
        """The step has failed: ends the attempt, or, when `retry` is used up, the step."""
        ...

    def awakeable(self) -> tuple[str, int]: ...

    def complete_awakeable(self, id: str, result: bytes | Failure) -> None: ...

    def call(
        self, service: str, handler: str, key: str, body: bytes, idempotency_key: str | None, headers: Headers
    ) -> int:
        """The handle of the result."""
        ...

    def send(
        self,
        service: str,
        handler: str,
        key: str,
        body: bytes,
        delay_ms: int,
        idempotency_key: str | None,
        headers: Headers,
    ) -> int:
        """The handle of the invocation's id."""
        ...

    def attach(self, invocation_id: str) -> int: ...

    def cancel(self, invocation_id: str) -> None: ...

    def get_promise(self, name: str) -> int: ...

    def peek_promise(self, name: str) -> int: ...

    def complete_promise(self, name: str, result: bytes | Failure) -> int: ...

    def finish(self, result: bytes | Failure) -> None:
        """The outcome; the last command."""
        ...
