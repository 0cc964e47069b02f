"""The port between what a handler asks for and the engine that records it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from actors.model.calls import Call, InvocationHandle
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.futures import Awakeable, DurableFuture, JournaledFuture
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.model.running import Running
from actors.serde import Codec


class Journaling(Running, Protocol):
    """Keeps the journal of one attempt of a handler. Only that handler's context and its futures use it.

    Each command is a durable point: what the handler changed in its state is recorded before it. On replay the command is
    matched with what is recorded; otherwise it is recorded, and begun. None of the methods waits: what a handler awaits are
    the futures. Each of them raises AttemptEnded once the attempt is over, or when the journal holds another command.
    """

    @property
    def handler(self) -> HandlerDefinition: ...

    @property
    def key(self) -> str:
        """The key of the object; empty for a Service."""
        ...

    @property
    def invocation_id(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]:
        """A copy of the headers that came with the message."""
        ...

    @property
    def reads_only(self) -> bool:
        """Whether the handler is a shared one: it reads a snapshot of the state."""
        ...

    def replaying(self) -> bool:
        """Whether the handler's code is where an attempt before this one has been."""
        ...

    def generator(self) -> random.Random:
        """A generator that is seeded for the invocation."""
        ...

    # --- classes and names ----------------------------------------------------------------------------------------------

    def definition(self, cls: type) -> ServiceDefinition:
        """Raises UnknownService."""
        ...

    def target(self, service: str, handler: str) -> HandlerDefinition:
        """Raises UnknownService or UnknownHandler."""
        ...

    # --- state: JSON texts by name --------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Record what the handler has changed in its state. Raises TerminalError for what cannot be stored."""
        ...

    def text(self, name: str) -> str | None: ...

    def names(self) -> list[str]:
        """The names that are set, sorted."""
        ...

    def assign(self, name: str, value: Any) -> None:
        """Set a declared attribute of the object."""
        ...

    def unassign(self, name: str) -> None:
        """Put a declared attribute back to its default. Raises AttributeError if it has no value, and no default either."""
        ...

    def write(self, name: str, text: str | None, codec: Codec) -> None:
        """Set a value that no attribute declares; None deletes it."""
        ...

    # --- commands -------------------------------------------------------------------------------------------------------

    def now_ms(self) -> int: ...

    def step(
        self,
        name: str,
        function: Callable[..., Any],
        args: Any,
        kwargs: Any,
        codec: Codec | None,
        retry: RetryPolicy | None,
    ) -> DurableFuture[Any]: ...

    def sleep(self, duration_ms: int) -> DurableFuture[None]: ...

    def awakeable(self, codec: Codec, timeout_ms: int | None) -> Awakeable[Any]: ...

    def complete_awakeable(self, kind: int, id: str, text: str, codec: Codec) -> DurableFuture[None]:
        """`kind` is Kind.RESOLVE, with the value as `text`, or Kind.REJECT, with the reason. Raises BadId."""
        ...

    def call(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> Call[Any]:
        """`text` are the arguments, a JSON array; `values` the same as objects, if none of them can change."""
        ...

    def send(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> InvocationHandle[Any]: ...

    def cancel_invocation(self, id: str) -> DurableFuture[None]: ...

    def attach(self, id: str, codec: Codec) -> DurableFuture[Any]: ...

    def wait_promise(self, promise: JournaledFuture[Any], name: str, codec: Codec) -> None: ...

    def peek_promise(self, name: str, codec: Codec) -> DurableFuture[Any]: ...

    def complete_promise(self, kind: int, name: str, text: str, codec: Codec) -> DurableFuture[None]: ...
