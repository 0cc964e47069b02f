"""Every error a user can meet: one base class, a stable string code for each, and a message that says what to do.

`TerminalError` ends an invocation as a failure; any other exception of a handler is transient and is
retried. Exceptions that a user's `except Exception` must not catch derive from BaseException.
"""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any, ClassVar

from actors.storage.errors import ActorsError as ActorsError
from actors.storage.errors import LookRefused as LookRefused
from actors.storage.errors import StorageError as StorageError

log = logging.getLogger("actors")


class TerminalError(ActorsError):
    """Raise this in a handler or a step to fail for good: there is no retry, and the caller receives the error.

    `code` is an HTTP status from 400 to 599, `metadata` a dict of strings. Both travel with the error, as do the message and
    `error`, the stable code. Your own subclass with its own `error` arrives as that class across objects, steps, restarts and
    clients, wherever the class is imported; elsewhere it arrives as a TerminalError with all four values. A subclass without
    its own `error` arrives as the class that its `error` is inherited from, with a warning in the log. `__init__` is not called
    again on arrival: besides the message, put values that must arrive in `metadata`.
    """

    error = "terminal_error"
    default: ClassVar[str] = ""  # the message of an error raised without a message
    message: str = ""  # for a subclass whose __init__ does not call TerminalError.__init__
    metadata: dict[str, str] | None = None
    location: str | None = None  # file and line of a mistake in a handler, found by a check of this package
    _elsewhere = False  # whether the error came from a called object or a step
    others: tuple[TerminalError, ...] = ()  # the other errors of an exception group, in its order

    def __init__(self, message: str = "", code: int | None = None, metadata: dict[str, str] | None = None) -> None:
        if isinstance(message, str) and not message:
            message = self.default
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.metadata = metadata

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(code := cls.__dict__.get("error"), str):
            _define(code, cls)

    def __str__(self) -> str:
        return printable(self.message) or Exception.__str__(self)


# Classes by their code, weakly referenced: nothing is kept that Python does not keep in TerminalError.__subclasses__().
_BY_CODE: weakref.WeakValueDictionary[str, type[TerminalError]] = weakref.WeakValueDictionary()
_BY_CODE[TerminalError.error] = TerminalError


def _define(code: str, cls: type[TerminalError]) -> None:
    """From now on failures with this code arrive as `cls`. Raises DefinitionError if another class has the code.

    A class that is defined again (a reloaded module, a notebook cell run again) replaces the old class.
    """
    known = _known(code)
    if known is not None and not _is_old(known, cls):
        known = None
        gc.collect()  # the old class may be kept only by its own reference cycles
        known = _known(code)
    if known is not None and not _is_old(known, cls):
        raise DefinitionError(
            f"class {cls.__qualname__}: error = {code!r} is already the code of {known.__module__}.{known.__qualname__}, and a code "
            "stands for one class. Give this class another code."
        )
    _BY_CODE[code] = cls


def class_of(code: str) -> type[TerminalError]:
    """The class that failures with this code arrive as; TerminalError for a code without one."""
    return _BY_CODE.get(code, TerminalError)


def arrives_as_itself(cls: type[TerminalError], code: str) -> bool:
    """Whether failures of `cls` arrive as that class, or as the class it has replaced."""
    arrives = class_of(code)
    return cls is arrives or _is_ours(cls) or _is_old(arrives, cls)


def _known(code: str) -> type[ActorsError] | None:
    return _BY_CODE.get(code) or next(
        (cls for cls in _subclasses(ActorsError) if _is_ours(cls) and cls.error == code), None
    )


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _is_old(known: type, cls: type) -> bool:
    return known is cls or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)


def _subclasses(cls: type[ActorsError]) -> list[type[ActorsError]]:
    return [cls, *(found for direct in cls.__subclasses__() for found in _subclasses(direct))]


class DeterminismError(ActorsError):
    """On replay the handler took a different step than the step in its journal. The invocation is paused.

    `index` is the journal entry, `recorded` its content, `asked` the step that the code took instead.
    """

    error = "journal_mismatch"

    def __init__(self, message: str, index: int = 0, recorded: str = "", asked: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.recorded = recorded
        self.asked = asked


class StateDecodeError(ActorsError):
    """Stored state or arguments no longer fit the class. The invocation is paused until new code starts."""

    error = "stored_data_mismatch"


class DefinitionError(TerminalError, TypeError):
    """A class, a type or a policy cannot work as written. Raised when the class or the App is created.

    Terminal, because a handler can cause it too (`ctx.awakeable(SomePlainClass)`), and a retry would not help.
    """

    error = "bad_definition"


class AppNotRunning(ActorsError, RuntimeError):
    """The app was used outside `async with app:`, or after it stopped."""

    error = "app_not_running"


class OutcomePending(AppNotRunning):
    """The app stopped after it had accepted a call and before the outcome was stored. The call goes on when the app
    starts again.

    `invocation_id` is the id of the call: attach to it. A repeated request would be another call.
    """

    error = "outcome_pending"

    def __init__(self, message: str, invocation_id: str | None = None) -> None:
        super().__init__(message)
        self.invocation_id = invocation_id


class SerializationError(TerminalError, TypeError):
    """A value cannot be stored and restored exactly."""

    error = "not_serializable"


class BadArguments(TerminalError, TypeError):
    """The arguments do not fit the handler's signature or types."""

    error = "bad_arguments"
    code = 400


class UnknownService(TerminalError, LookupError):
    error = "unknown_service"
    code = 404


class UnknownHandler(TerminalError, LookupError, AttributeError):
    """No handler has this name. References raise it as an AttributeError, so `hasattr` and `getattr` with a default work."""

    error = "unknown_handler"
    code = 404


class PrivateHandler(TerminalError):
    """A private handler, which only other handlers may call, was called from outside."""

    error = "private_handler"
    code = 400


class WrongKind(TerminalError, TypeError):
    """An object, a service or a workflow was used as if it were another of these three kinds."""

    error = "wrong_kind"
    code = 400


class BadKey(TerminalError, ValueError):
    """An object key that is empty, too long, not a str, or not encodable as UTF-8."""

    error = "bad_key"
    code = 400


class BadId(TerminalError, ValueError):
    """An invocation or awakeable id that is malformed or was not made by this app."""

    error = "malformed_id"
    code = 400


class UnknownInvocation(TerminalError, LookupError):
    error = "unknown_invocation"
    code = 404
    default = "This invocation is no longer kept, or never existed."


class UnknownAwakeable(TerminalError, LookupError):
    """No open awakeable has this id: it never existed, or its invocation has ended."""

    error = "unknown_awakeable"
    code = 404


class AwakeableCompleted(TerminalError):
    """The awakeable already has a different completion. The first completion stands."""

    error = "awakeable_already_completed"
    code = 409


class AwakeableRejected(TerminalError):
    """Raised at the await of an awakeable that was rejected."""

    error = "awakeable_rejected"


class PromiseCompleted(TerminalError):
    """The durable promise already has a different completion. The first completion stands."""

    error = "promise_already_completed"
    code = 409


class PromiseRejected(TerminalError):
    """Raised at the await of a durable promise that a handler of its workflow rejected."""

    error = "promise_rejected"


class DurableTimeout(TerminalError, TimeoutError):
    """A durable timeout passed before the guarded wait was over."""

    error = "timeout"
    code = 408


class StateWriteRefused(TerminalError, AttributeError):
    """A shared handler tried to change state. Only exclusive handlers (`@handler`) may write."""

    error = "state_write_in_shared_handler"


class StateWriteInStep(StateWriteRefused):
    """The function of a step set or deleted an attribute of its object. A replay would not repeat the change."""

    error = "state_write_in_step"


class UndeclaredState(TerminalError, AttributeError):
    """A handler set an attribute that the class does not declare; the value would be lost."""

    error = "undeclared_state"


class UnsetState(TerminalError, AttributeError):
    """A state attribute without a default was read before it was assigned."""

    error = "unset_state"


class MisusedFuture(TerminalError):
    """A context or a future of one invocation was used where it does not belong."""

    error = "misused_future"


class MisusedApp(TerminalError, RuntimeError):
    """The app was called from another thread or event loop, or inside one of its own handlers. Nothing was done."""

    error = "misused_app"


class DeadlockError(TerminalError):
    """A call would wait for an object that waits for the caller. The message prints the cycle."""

    error = "deadlock"
    code = 409


class InvocationCancelled(TerminalError):
    """Raised once, at an await of a handler whose invocation was cancelled; if not caught, it becomes the outcome."""

    error = "cancelled"
    code = 409
    default = "The invocation was cancelled."


class InvocationKilled(TerminalError):
    """The outcome of an invocation that was killed: ended without running its code."""

    error = "killed"
    code = 409
    default = "The invocation was killed."


class WrongStatus(TerminalError):
    """The operation is not possible in the invocation's current status, which the message names."""

    error = "wrong_status"
    code = 409


class ObjectBusy(TerminalError):
    """State cannot be changed from outside while an exclusive invocation is under way. The message names the invocation."""

    error = "object_busy"
    code = 409


class StateChanged(TerminalError):
    """The state was changed by someone else since it was read."""

    error = "state_changed"
    code = 412


class CannotPatch(TerminalError):
    """State cannot be changed so that it fits its class. Nothing was changed."""

    error = "cannot_patch"
    code = 409


class CannotKeep(TerminalError):
    """A restart cannot keep the journal that far. The message names the highest position that works."""

    error = "cannot_keep"
    code = 409


class IdempotencyMismatch(TerminalError):
    """An idempotency key was used before, with other arguments."""

    error = "idempotency_key_reused"
    code = 422


class MailboxFull(TerminalError):
    """The mailbox of the object holds `Limits.max_pending` messages. Nothing was accepted.

    Callers outside get this error. A handler backs off and tries again instead, unless its message has `fail_when_full`, or
    the full object waits for that handler and so could never make room.
    """

    error = "mailbox_full"
    code = 429


class Overloaded(TerminalError):
    """The app has `Limits.max_in_flight` invocations in memory. Nothing was accepted."""

    error = "overloaded"
    code = 429


class PayloadTooLarge(TerminalError):
    """Arguments, a result or a state value are longer than the app allows."""

    error = "payload_too_large"
    code = 413


class JournalTooLong(TerminalError):
    """The journal of the invocation has reached `Limits.max_journal` or `max_journal_bytes`."""

    error = "journal_too_long"


class TickSkipped(TerminalError):
    """The outcome of a schedule's tick that did not run: it was missed, or the tick before it had not ended."""

    error = "tick_skipped"
    code = 409


class RetriesExhausted(TerminalError):
    """A step has used up its own retry policy, or a handler a policy with on_exhausted="fail"."""

    error = "retries_exhausted"


class ProgrammingError(TerminalError):
    """With `App(debug=True)`: the outcome of an invocation whose code is wrong (NameError, TypeError and the like).

    `metadata["traceback"]` says where. Over HTTP it is included only while the app has `debug`.
    """

    error = "programming_error"


class NotReady(TerminalError):
    """`output()` of an invocation that has no outcome yet."""

    error = "not_ready"
    code = 470
    default = "This invocation has no outcome yet. Await its result() to wait for the outcome."


class ServerUnreachable(ActorsError, ConnectionError):
    """A client did not get an answer. The message says whether the request may have been done."""

    error = "server_unreachable"
    code = 503


class RequestTimedOut(ActorsError, TimeoutError):
    """The answer did not come within the client's timeout. An accepted call goes on."""

    error = "request_timed_out"
    code = 504


class UnexpectedAnswer(ActorsError):
    """A client received an answer that is neither a value nor an error of an app; `status` is the HTTP status."""

    error = "unexpected_answer"
    code = 502

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ClientClosed(ActorsError, RuntimeError):
    """A client was used outside of its `with` block, or closed before the answer came."""

    error = "client_closed"


class AttemptEnded(BaseException):
    """Raised by a context whose attempt is over, so that `finally` blocks of a closed handler have no effect.

    Not an Exception: a user's `except Exception` must not swallow it.
    """


def with_code(error: BaseException) -> str:
    """The message of an error as a terminal and the log show it: with its stable code, which `actors explain` takes.

    The code of the base class says nothing, so it is left out.
    """
    return f"{error}{code_suffix(error)}"


def code_suffix(error: BaseException) -> str:
    """` [mailbox_full]`, or nothing for an error without a code of its own."""
    return f" [{error.error}]" if isinstance(error, ActorsError) and error.error != ActorsError.error else ""


def times(count: int) -> str:
    """`1 time`, `2 times`."""
    return f"{count} time{'' if count == 1 else 's'}"


def short_reason(error: BaseException) -> str:
    """`repr(error)`, even if the __repr__ of its class fails."""
    try:
        text = printable(repr(error))
        return text if len(text) <= 2000 else text[:2000] + "..."
    except Exception:
        return f"{type(error).__name__}, which cannot be shown as text"


def printable(value: Any) -> str:
    """Any `value` as text that can be stored: surrogates are escaped, a failing __str__ is named."""
    try:
        text = value if type(value) is str else str(value)
        return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    except Exception as error:
        return f"<{type(value).__name__}, which cannot be shown as text: {type(error).__name__}>"
