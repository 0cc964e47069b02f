"""The port between the requests of a handler and the engine that records them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from actors.model.calls import Call, InvocationHandle
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.future_host import FutureHost
from actors.model.futures import Awakeable, DurableFuture, JournaledFuture
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.serde import Codec


class Journaling(FutureHost, Protocol):
    """Keeps the journal of one attempt of a handler. Only the context of that handler and its futures use it.

    Each command is a durable point: the handler's state changes so far are recorded before it. On replay the command is
    matched with the recorded command; otherwise it is recorded, and begun. No method waits: handlers await the futures. Each
    method raises AttemptEnded once the attempt is over, or when the journal holds another command.
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
        """Whether the handler is shared: it reads a snapshot of the state."""
        ...

    def replaying(self) -> bool:
        """Whether an earlier attempt has reached the place where the handler's code is now."""
        ...

    def generator(self) -> random.Random:
        """The random generator that is seeded for the invocation."""
        ...

    # --- classes and names ----------------------------------------------------------------------------------------------

    def definition(self, cls: type) -> ServiceDefinition:
        """The definition of a class. Raises UnknownService."""
        ...

    def target(self, service: str, handler: str) -> HandlerDefinition:
        """A handler by name. Raises UnknownService or UnknownHandler."""
        ...

    # --- state: JSON texts by name --------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Record the handler's state changes. Raises TerminalError for a value that cannot be stored."""
        ...

    def text(self, name: str) -> str | None: ...

    def names(self) -> list[str]:
        """The names of the values that are set, sorted."""
        ...

    def assign(self, name: str, value: Any) -> None:
        """Set a declared attribute of the object."""
        ...

    def unassign(self, name: str) -> None:
        """Put a declared attribute back to its default. Raises AttributeError if it has neither a value nor a default."""
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
        """`text` holds the arguments as a JSON array, `values` the same arguments as objects, if all of them are immutable."""
        ...

    def send(
        self, target: HandlerDefinition, key: str, text: str, values: tuple[Any, ...] | None, options: Options
    ) -> InvocationHandle[Any]: ...

    def cancel_invocation(self, id: str) -> DurableFuture[None]: ...

    def attach(self, id: str, codec: Codec) -> DurableFuture[Any]: ...

    def wait_promise(self, promise: JournaledFuture[Any], name: str, codec: Codec) -> None: ...

    def peek_promise(self, name: str, codec: Codec) -> DurableFuture[Any]: ...

    def complete_promise(self, kind: int, name: str, text: str, codec: Codec) -> DurableFuture[None]: ...
