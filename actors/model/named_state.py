"""State by name, declared or not: `ctx.get`, `ctx.set` and `ctx.clear`."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar, overload

from actors.errors import BadArguments, StateWriteRefused, WrongKind
from actors.model.definitions import HandlerDefinition
from actors.model.journaling import Journaling
from actors.model.names import check_name
from actors.serde import ANY, codec_for
from actors.storage.records import Mode

T = TypeVar("T")

RESERVED = "actors."  # an engine may keep what it must know of an object beside its state


class NamedState:
    """A part of `Context`, which sets `_attempt`."""

    __slots__ = ("_attempt",)
    _attempt: Journaling

    @overload
    def get(self, name: str, type: type[T], default: T) -> T: ...

    @overload
    def get(self, name: str, type: type[T]) -> T | None: ...

    @overload
    def get(self, name: str, type: Any = None, default: Any = None) -> Any: ...

    def get(self, name: str, type: Any = None, default: Any = None) -> Any:
        """A state value by name, declared or not; `default` if it is not set. A fresh copy: change it with `set`."""
        if not name:
            check_name(name, "ctx.get")
        attempt = self._attempt
        attempt.flush()
        text = attempt.text(name)
        field = self._field(name)
        if text is None:
            return field.default() if field is not None and field.has_default and default is None else default
        codec = codec_for(type, f"ctx.get({name!r})") if type is not None else field.codec if field is not None else ANY
        return codec.decode(text)

    def set(self, name: str, value: Any, type: Any = None) -> None:
        """Set a state value by name. An undeclared name holds JSON types, or the type in `type`."""
        self._check_may_write(name)
        field = self._field(name)
        attempt = self._attempt
        if field is not None:
            attempt.flush()
            attempt.assign(name, field.codec.decode(field.codec.encode(value)))
            attempt.flush()
            return
        check_name(name, "ctx.set")
        if name.startswith(RESERVED):
            raise BadArguments(f"ctx.set: names that begin with {RESERVED!r} are the framework's own, got {name!r}.")
        codec = ANY if type is None else codec_for(type, f"ctx.set({name!r})")
        text = codec.encode(value)
        attempt.flush()
        before = attempt.text(name)
        if before is None or not codec.equal(before, text):
            attempt.write(name, text, codec)

    def clear(self, name: str) -> None:
        """Delete one state value; a declared attribute goes back to its default."""
        self._check_may_write(name)
        if not name:
            check_name(name, "ctx.clear")
        attempt = self._attempt
        attempt.flush()
        if self._field(name) is not None:
            with contextlib.suppress(AttributeError):  # it has neither a value nor a default
                attempt.unassign(name)
            attempt.flush()
        elif attempt.text(name) is not None:
            attempt.write(name, None, ANY)

    def clear_all(self) -> None:
        """Delete all state of this object."""
        for name in self.state_keys():
            self.clear(name)

    def state_keys(self) -> list[str]:
        """The names of the values that are set, sorted. A declared attribute that still has its default is not included."""
        self._check_has_state()
        self._attempt.flush()
        return self._attempt.names()

    def _field(self, name: str) -> Any:
        return self._check_has_state().service.fields_by_name.get(name)

    def _check_has_state(self) -> HandlerDefinition:
        handler = self._attempt.handler
        if handler.mode == Mode.KEYLESS:
            raise WrongKind("A Service has no state. Keep it in a VirtualObject, by key.")
        return handler

    def _check_may_write(self, name: str) -> None:
        if self._attempt.reads_only:
            raise StateWriteRefused(
                f"ctx.set/clear of {name!r} in a shared handler. Shared handlers only read; use @handler."
            )
