"""Every error a user can meet: one base, a stable string code each, and a message that says what to do.

`TerminalError` ends an invocation as a failure; anything else a handler raises is transient and is
retried. What must not be caught by a user's `except Exception` derives from BaseException.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ActorsError(Exception):
    """Base of all errors of this framework. `error` is the stable code, `code` its HTTP-like number."""

    error: str = "actors_error"
    code: int = 500


class TerminalError(ActorsError):
    """Raise it in a handler or a step to fail for good: no retry, the caller receives it.

    `code` is an HTTP status from 400 to 599; `metadata` a dict of strings that travels with the error.
    """

    error = "terminal_error"

    def __init__(self, message: str = "", code: int | None = None, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.metadata = metadata

    def __str__(self) -> str:
        return self.message


class DeterminismError(ActorsError):
    """On replay the handler asked for something else than its journal holds. The invocation is paused."""

    error = "journal_mismatch"


class StateDecodeError(ActorsError):
    """Stored state or arguments no longer fit the class. The invocation is paused until new code starts."""

    error = "stored_data_mismatch"


class DefinitionError(ActorsError, TypeError):
    """A class cannot work as it is written. Raised when the class or the App is created."""

    error = "bad_definition"


class AppNotRunning(ActorsError, RuntimeError):
    """The app was used outside `async with app:`, or after it stopped."""

    error = "app_not_running"


class SerializationError(TerminalError, TypeError):
    """A value cannot be stored so that exactly the same value comes back."""

    error = "not_serializable"


class BadArguments(TerminalError, TypeError):
    """Arguments that do not fit the handler's signature or types."""

    error = "bad_arguments"
    code = 400


class UnknownService(TerminalError, LookupError):
    error = "unknown_service"
    code = 404


class UnknownHandler(TerminalError, LookupError):
    error = "unknown_handler"
    code = 404


class BadKey(TerminalError, ValueError):
    """An object key that is empty, not a string, or not encodable as UTF-8."""

    error = "bad_key"
    code = 400


class BadId(TerminalError, ValueError):
    """An invocation or awakeable id that is malformed or was not made by this app."""

    error = "malformed_id"
    code = 400


class UnknownInvocation(TerminalError, LookupError):
    error = "unknown_invocation"
    code = 404


class UnknownAwakeable(TerminalError, LookupError):
    """No open awakeable has this id: it never existed, or its invocation has ended."""

    error = "unknown_awakeable"
    code = 404


class AwakeableCompleted(TerminalError):
    """The awakeable already has a different completion. The first one stands."""

    error = "awakeable_already_completed"
    code = 409


class AwakeableRejected(TerminalError):
    """Raised at the await of an awakeable that somebody rejected."""

    error = "awakeable_rejected"


class DurableTimeout(TerminalError, TimeoutError):
    """A durable timeout passed before what it guards was completed."""

    error = "timeout"
    code = 408


class StateWriteRefused(TerminalError, AttributeError):
    """A shared handler tried to change state. Only exclusive handlers (`@handler`) may write."""

    error = "state_write_in_shared_handler"


class UndeclaredState(TerminalError, AttributeError):
    """A handler set an attribute that the class does not declare; it would have been lost."""

    error = "undeclared_state"


class MisusedFuture(TerminalError):
    """A context or a future of one invocation was used where it does not belong."""

    error = "misused_future"


class DeadlockError(TerminalError):
    """A call would wait for an object that waits for the caller. The message prints the cycle."""

    error = "deadlock"
    code = 409


class RetriesExhausted(TerminalError):
    """A step with a retry policy of its own used it up."""

    error = "retries_exhausted"


class AttemptEnded(BaseException):
    """Raised by a context whose attempt is over, so that `finally` blocks of a closed handler have no effect.

    Not an Exception: a user's `except Exception` must not swallow it.
    """


class Failure(msgspec.Struct, omit_defaults=True):
    """A terminal error as it is stored and sent: JSON {"code", "message", "error", "metadata"?}."""

    code: int
    message: str
    error: str = TerminalError.error
    metadata: dict[str, str] | None = None


def _subclasses(cls: type[TerminalError]) -> list[type[TerminalError]]:
    return [found for direct in cls.__subclasses__() for found in (direct, *_subclasses(direct))]


_BY_CODE: dict[str, type[TerminalError]] = {cls.error: cls for cls in _subclasses(TerminalError)}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Failure).decode


def failure_text(error: TerminalError) -> str:
    """The stored form of `error`. An invalid status code becomes 500; unprintable text is escaped, never fatal."""
    code = error.code
    if type(code) is not int or not 400 <= code <= 599:
        code = 500
    metadata: dict[str, str] | None = None
    if error.metadata:
        metadata = {_printable(name): _printable(value) for name, value in error.metadata.items()}
    return _encode(Failure(code, _printable(error.message), error.error, metadata)).decode()


def failure_error(text: str) -> TerminalError:
    """A new exception for a stored failure, of the class its stable code names."""
    failure = _decode(text)
    error = _BY_CODE.get(failure.error, TerminalError)(failure.message, failure.code, failure.metadata)
    error.error = failure.error
    return error


def _printable(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
