"""The engine as an attempt sees it: ports. A rehearsal uses a host on which nothing takes effect."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from actors.attempt.invocation import Invocation, Mailbox
from actors.errors import TerminalError
from actors.journal.entries import Entry
from actors.journal.ids import IdMint
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.limits import Limits
from actors.model.message import Message
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.serde import Codec


class Clock(Protocol):
    def now_ms(self) -> int: ...

    def due_ms(self, after_ms: int) -> int: ...


class Turn(Protocol):
    @property
    def turn_ms(self) -> int:
        """When the turn began, ms since the epoch."""
        ...


class Batch(Protocol):
    @property
    def number(self) -> int: ...

    @property
    def state(self) -> dict[tuple[str, str, str], str | None]:
        """The state that the batch writes, by service, key and name."""
        ...


class Batches(Protocol):
    @property
    def batch(self) -> Batch:
        """The open batch."""
        ...


class Watching(Protocol):
    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None: ...


class Writes(Protocol):
    """The writes into the open batch."""

    def next_number(self) -> int:
        """A number that was never given out before."""
        ...

    def now_ms(self) -> int:
        """The time to record: within a turn, the time of its beginning."""
        ...

    def mark(self, invocation: Invocation) -> None:
        """Write the row of the invocation, as it is at the end of the batch."""
        ...

    def write_entry(self, invocation: Invocation, entry: Entry) -> None: ...

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None: ...

    def write_behind(self, mailbox: Mailbox) -> None:
        """Write all state of the object that the database does not have yet."""
        ...


class Host(Writes, Protocol):
    """The engine as an attempt, its commands and its branches know it. No method waits."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def variables(self) -> contextvars.Context:
        """The context variables that handlers start from."""
        ...

    @property
    def clock(self) -> Clock: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def max_payload(self) -> int: ...

    @property
    def watcher(self) -> Watching | None: ...

    @property
    def turns(self) -> Turn: ...

    @property
    def committer(self) -> Batches: ...

    @property
    def open(self) -> Mapping[int, Invocation]:
        """Invocations in memory, by seq."""
        ...

    @property
    def waiting(self) -> dict[Any, Any]:
        """The attempts that wait."""
        ...

    @property
    def leaving(self) -> set[Any]:
        """The futures that must end before the loop may: clean-ups, and branches of closed attempts."""
        ...

    @property
    def lanes(self) -> Mapping[Any, Any]:
        """The messages that are being placed beside their handlers."""
        ...

    @property
    def ids(self) -> IdMint: ...

    def label(self, invocation: Invocation) -> str:
        """The name of an invocation in the log."""
        ...

    # --- turns ----------------------------------------------------------------------------------------------------------

    def make_ready(self, attempt: Any) -> None: ...

    def run_now(self, attempt: Any, run: Callable[[], None]) -> None:
        """Let the handler go on within this callback of the loop."""
        ...

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None: ...

    def wake_at(self, due_ms: int, callback: Callable[[], None]) -> None: ...

    def waits(self, attempt: Any) -> None:
        """The handler waits: it may be evicted when memory is needed."""
        ...

    # --- what a command sets going --------------------------------------------------------------------------------------

    def definition(self, cls: type) -> ServiceDefinition:
        """The definition of a class. Raises UnknownService."""
        ...

    def handler(self, service: str, name: str) -> HandlerDefinition:
        """A handler by name. Raises UnknownService or UnknownHandler."""
        ...

    def add_timer(self, due_ms: int, invocation: Invocation, index: int) -> None: ...

    def start_step(
        self,
        invocation: Invocation,
        index: int,
        function: Callable[[], Any],
        codec: Codec | None,
        policy: RetryPolicy | None,
    ) -> None: ...

    def complete(self, invocation: Invocation, index: int, kind: int, value: str | bytes | None) -> None:
        """Record the answer to a command."""
        ...

    def complete_awakeable(
        self, caller: Invocation, command: int, seq: int, index: int, kind: int, text: str
    ) -> None: ...

    def wait_promise(self, invocation: Invocation, index: int, name: str) -> None: ...

    def peek_promise(self, invocation: Invocation, index: int, name: str) -> None: ...

    def complete_promise(
        self, caller: Invocation, index: int, name: str, kind: int, text: str, codec: Codec
    ) -> None: ...

    def attach(self, caller: Invocation, index: int, target: int) -> None: ...

    def cancel(self, caller: Invocation, command: int, seq: int) -> None: ...

    # --- messages -------------------------------------------------------------------------------------------------------

    def check_room(
        self, target: HandlerDefinition, key: str, args_text: str, headers: dict[str, str] | None = None
    ) -> None:
        """Check that a message can be accepted. Raises BadKey, MailboxFull or PayloadTooLarge."""
        ...

    def final(
        self, error: TerminalError, sender: Invocation, target: HandlerDefinition, key: str, options: Options
    ) -> bool:
        """Whether the handler receives the error that refuses its message, instead of backing off."""
        ...

    def headers_for(self, headers: dict[str, str] | None, caller: Invocation | None) -> dict[str, str] | None: ...

    def accept(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
        seq: int,
        parent: int | None,
        parent_index: int | None,
        delay_ms: int = 0,
    ) -> Invocation: ...

    def called(self, caller: Invocation, child: Invocation, notified: bool) -> None:
        """A call was accepted whose caller may be cancelled."""
        ...

    def under_way(self, caller: Invocation, target: HandlerDefinition, key: str) -> bool:
        """Whether an earlier message of the caller to this object is not placed yet."""
        ...

    def place_message(
        self, caller: Invocation, command: int, kind: int, message: Message, notified: bool, number: int | None
    ) -> None:
        """Place a message beside its handler, because the file must be read first."""
        ...

    # --- how an attempt ends --------------------------------------------------------------------------------------------

    def hold_while(self, seqs: Iterable[int], then: Callable[[], None]) -> None:
        """Call `then` while these invocations are in memory."""
        ...

    def unpin(self, held: Iterable[Mailbox]) -> None: ...

    def finish(self, invocation: Invocation, status: int, outcome: str, value: Any) -> None:
        """Record the outcome and pass it on."""
        ...

    def end(self, invocation: Invocation, error: TerminalError) -> None:
        """Fail the invocation without its code."""
        ...

    def attempt_failed(self, invocation: Invocation, error: BaseException) -> None:
        """A transient error: the invocation backs off, or is given up by its policy."""
        ...

    def pushed_back(self, invocation: Invocation, error: TerminalError) -> None:
        """A mailbox was full: the next attempt sends the message again."""
        ...

    def pause(self, invocation: Invocation, reason: str, error: BaseException) -> None: ...

    def trace_mistake(self, invocation: Invocation, error: TerminalError) -> None:
        """Say where in the handler the mistake is, if a check of this package ends the invocation."""
        ...
