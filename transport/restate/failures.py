"""Terminal errors as failures on the wire, and back. Pure.

Promise: an error comes back as the same class with the same code, message and metadata. An entry of the metadata names the class; it is
taken out again.
"""

from __future__ import annotations

import msgspec

from actors.errors import InvocationKilled, TerminalError
from actors.serde.failures import failure_error, failure_of, failure_text
from actors.transport.restate.machine import Failure

ERROR = "actors.error"  # the entry of the metadata that holds the stable code of an error

_encode = msgspec.json.Encoder().encode


def to_failure(error: TerminalError, longest: int | None = None, marked: bool = False) -> Failure:
    """`longest` is how many characters the message and the metadata may have. With `marked` a plain TerminalError, too, gets the
    entry that names its class: what has none was not raised by user code.
    """
    stored = failure_of(failure_text(error, longest))
    metadata = dict(stored.metadata or {})
    if marked or stored.error != TerminalError.error:
        metadata[ERROR] = stored.error
    return Failure(stored.code, stored.message, tuple(metadata.items()))


def from_failure(failure: Failure, otherwise: type[TerminalError] = TerminalError) -> TerminalError:
    """`otherwise` is the class of a failure that names none."""
    metadata = dict(failure.metadata)
    error = metadata.pop(ERROR, None)
    if error is None:
        killed = failure.code == 409 and failure.message == "killed"
        error = (InvocationKilled if killed else otherwise).error
    code = failure.code if 400 <= failure.code <= 599 else 500
    stored = {"code": code, "message": failure.message, "error": error, "metadata": metadata or None}
    return failure_error(_encode(stored).decode())


def names_its_class(failure: Failure) -> bool:
    return any(name == ERROR for name, _ in failure.metadata)
