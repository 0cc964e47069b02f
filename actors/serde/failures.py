"""The stored form of a failure: a TerminalError as JSON, and back to its class."""

from __future__ import annotations

import contextlib
import logging
import re
import weakref
from collections.abc import Mapping
from typing import Any

import msgspec

from actors.errors import ProgrammingError, SerializationError, TerminalError, arrives_as_itself, class_of, printable

log = logging.getLogger("actors")


class Failure(msgspec.Struct, omit_defaults=True):
    """A terminal error as it is stored: JSON {"code", "message", "error", "metadata"?, "others"?, "location"?}."""

    code: int
    message: str
    error: str = TerminalError.error
    metadata: dict[str, str] | None = None
    others: list[Failure] | None = None
    location: str | None = None


MOST_OTHERS = 20  # failures that are stored with the first one of a group


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Failure).decode


def failure_text(error: TerminalError, longest: int | None = None) -> str:
    """The stored form of `error`, whatever its attributes hold. An invalid status code becomes 500, and the message says so.

    A message or metadata of more than `longest` characters is cut, with a remark.
    """
    return _encode(_failure(error, longest)).decode()


def _failure(error: TerminalError, longest: int | None) -> Failure:
    message = printable(_attribute(error, "message")) or printable(error)
    code: Any = _attribute(error, "code")
    if isinstance(code, int) and not isinstance(code, bool) and 400 <= code <= 599:
        code = int(code)  # also an http.HTTPStatus
    else:
        message += f" [its code {printable(code)} is not an HTTP error status (400 to 599), so it became 500]"
        code = 500
    metadata: dict[str, str] | None = None
    given = _attribute(error, "metadata")
    try:
        if isinstance(given, Mapping):
            metadata = {printable(name): printable(value) for name, value in given.items()} or None
        elif given is not None:
            metadata = {"metadata": printable(given)}
    except Exception as failed:
        metadata = {"metadata": f"<{type(given).__name__}, which cannot be read: {type(failed).__name__}>"}
    if longest is not None:
        message, metadata = _cut(message, longest), _cut_metadata(metadata, longest)
    failure = Failure(code, message, printable(_attribute(error, "error")), metadata)
    _warn_of_lost_class(type(error), failure.error)
    location = _attribute(error, "location")
    if isinstance(location, str):
        failure.location = printable(location)
    others = _attribute(error, "others")
    if isinstance(others, tuple) and others:
        failure.others = [_failure(one, longest) for one in others[:MOST_OTHERS] if isinstance(one, TerminalError)]
    return failure


# Classes that have been warned about, as long as they exist.
_LOST: weakref.WeakSet[type[TerminalError]] = weakref.WeakSet()


def _warn_of_lost_class(cls: type[TerminalError], code: str) -> None:
    """Warn once that failures of `cls` arrive as another class, since an `except` for `cls` would silently never match."""
    arrives = class_of(code)
    if arrives_as_itself(cls, code) or cls in _LOST:
        return
    _LOST.add(cls)
    log.warning(
        "%s.%s arrives as %s where the step or call that raised it is awaited, so `except %s` does not catch it there. "
        "Give the class a code of its own: error = %r",
        *(cls.__module__, cls.__qualname__, arrives.__name__, cls.__name__, _snake_case(cls.__name__)),
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... [cut from {len(text):,} characters: max_failure of the app allows {longest:,}]"


def _cut_metadata(metadata: dict[str, str] | None, longest: int) -> dict[str, str] | None:
    if metadata is None or sum(len(name) + len(value) for name, value in metadata.items()) <= longest:
        return metadata
    kept: dict[str, str] = {}
    left = longest
    for name, value in metadata.items():
        if len(name) >= left:
            kept["..."] = f"{len(metadata) - len(kept):,} of {len(metadata):,} entries were cut: see max_failure"
            break
        left -= len(name)
        kept[name] = _cut(value, left)
        left = max(0, left - len(value))
    return kept


def failure_of(text: str) -> Failure:
    """The stored terminal error. If the record cannot be read, the message says so."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, TypeError):
        return Failure(500, f"The failure cannot be read: {text[:200]}")


def _attribute(error: TerminalError, name: str) -> Any:
    """The attribute of an error; if a subclass makes reading it fail, the attribute of TerminalError."""
    try:
        return getattr(error, name)
    except Exception:
        return getattr(TerminalError, name)


def failure_error(text: str) -> TerminalError:
    """A new exception for a stored failure, of the class its stable code names; a SerializationError if the text is not
    a stored failure.
    """
    try:
        failure = _decode(text)
    except (msgspec.MsgspecError, TypeError) as unreadable:
        return SerializationError(f"The stored failure {str(text)[:80]!r} cannot be read: {unreadable}.")
    return _raised(failure)


def _raised(failure: Failure) -> TerminalError:
    try:
        error = _restored(class_of(failure.error), failure)
    except Exception:  # a class that cannot be created, or refuses this attribute
        error = _restored(TerminalError, failure)
    if failure.error == ProgrammingError.error and failure.metadata and "traceback" in failure.metadata:
        error.add_note(failure.metadata["traceback"])
    if failure.location is not None:
        with contextlib.suppress(Exception):  # a class whose attributes cannot be set
            error.location = failure.location
            error.add_note(f"The mistake is in the handler, at {failure.location}.")
    if failure.others:
        error.others = tuple([_raised(other) for other in failure.others])
    return error


def _restored(cls: type[TerminalError], failure: Failure) -> TerminalError:
    """Restore an error without calling __init__, which may require other arguments, or have effects."""
    error = cls.__new__(cls, failure.message)
    error.args = (failure.message,)
    error.message, error.code, error.metadata = failure.message, failure.code, failure.metadata
    error.error = failure.error
    return error
