"""A handler of one object, named on a reference: call it, send to it, or set options first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, Never, ParamSpec, Protocol, TypeVar

from actors.errors import BadArguments
from actors.model.calls import Call, InvocationHandle
from actors.model.definitions import HandlerDefinition
from actors.model.durations import remaining
from actors.model.names import address
from actors.model.options import DEFAULT_OPTIONS, Options, checked_headers, checked_idempotency_key
from actors.model.spelling import refuse_unknown
from actors.serde.type_names import shortened

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Dispatcher(Protocol):
    """Sends the messages of a reference: an app, or the context of a running handler."""

    def dispatch_call(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> Call[Any]: ...

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]: ...


class BoundHandler(Generic[P, R]):
    """A handler of one object: call it, send to it, or set options first."""

    __slots__ = ("_definition", "_dispatcher", "_key", "_options")

    def __init__(
        self, dispatcher: Dispatcher, definition: HandlerDefinition, key: str, options: Options = DEFAULT_OPTIONS
    ) -> None:
        self._dispatcher = dispatcher
        self._definition = definition
        self._key = key
        self._options = options

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Invoke the handler now; await the result for its value.

        Raises BadArguments or SerializationError at once if the arguments do not fit. The await raises the
        TerminalError the handler failed with.
        """
        return self._dispatcher.dispatch_call(self._definition, self._key, args, kwargs, self._options)

    def send(self, /, *args: P.args, **kwargs: P.kwargs) -> InvocationHandle[R]:
        """One way: the message is delivered exactly once, in the order sent, and survives crashes."""
        return self._dispatcher.dispatch_send(self._definition, self._key, args, kwargs, self._options)

    def options(
        self,
        *,
        delay: float | timedelta | None = None,
        headers: dict[str, str] | None = None,
        idempotency_key: str | None = None,
        fail_when_full: bool | None = None,
        **unknown: Never,
    ) -> BoundHandler[P, R]:
        """The same handler with options.

        `delay`: seconds, for sends only; a negative delay means at once. `headers`: the handler reads them in `ctx.headers`.
        `idempotency_key`: all calls and sends of this handler and object under one key are one invocation, as long as that
        invocation is kept; other arguments with the same key are refused with IdempotencyMismatch. `fail_when_full`: in a handler, a
        message to an object with `Limits.max_pending` messages waiting raises MailboxFull; without this option the
        invocation backs off until there is room. Outside of handlers such a message always raises MailboxFull.
        """
        if unknown:
            refuse_unknown(".options(...)", unknown, ("delay", "headers", "idempotency_key", "fail_when_full"))
        set_already = self._options
        options = Options(
            set_already.delay_ms, set_already.headers, set_already.idempotency_key, set_already.fail_when_full
        )
        if fail_when_full is not None:
            if type(fail_when_full) is not bool:
                raise BadArguments(f"fail_when_full= requires True or False, got {shortened(fail_when_full)}.")
            options.fail_when_full = fail_when_full
        if idempotency_key is not None:
            options.idempotency_key = checked_idempotency_key(idempotency_key)
        if delay is not None:
            options.delay_ms = remaining(delay, "delay")
        if headers is not None:
            options.headers = checked_headers(headers)
        return BoundHandler(self._dispatcher, self._definition, self._key, options)

    def __repr__(self) -> str:
        return f"<handler {self._definition.name} of {address(self._definition.service.name, self._key)}>"


def refuse_ambiguous(target: HandlerDefinition, name: str) -> None:
    """Raise BadArguments if an option of a send by name has the name of a parameter of the handler."""
    if name in target.names:
        raise BadArguments(
            f"{target.target} has a parameter {name!r}, and so has send by name. Use .handler(service, key, "
            f"handler).options({name}=...).send({name}=...)."
        )
