"""The state of the object, as its handler on Restate reads and writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actors.model.definitions import HandlerDefinition
from actors.model.instances import set_attempt
from actors.serde import Codec
from actors.storage.records import Mode
from actors.transport.restate.line import Line
from actors.transport.restate.machine import (
    Input,
    Machine,
)
from actors.transport.restate.payloads import stable
from actors.transport.restate.served import ServedClasses
from actors.transport.restate.state import LazyState

VERSION = "actors.version"  # the name in the state that holds the version of the class that wrote it


class StateCommands(Line):
    """The part of `model.journaling.Journaling` about state."""

    def __init__(
        self,
        served: ServedClasses,
        handler: HandlerDefinition,
        machine: Machine,
        given: Input,
        headers: dict[str, str],
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(served, handler, machine, given, headers, loop, wake)
        self._pending: dict[str, str | None] = {}  # writes of an atomic handler
        self._read_all = False  # `state` knows all that is stored
        self._version_to_write = handler.service.version > 1 and handler.mode != Mode.KEYLESS
        classes = served.lazy(handler.service)
        self._guarded = classes.guarded
        self.state = LazyState(handler.service, classes.reader if handler.shared else classes.worker, self._stored)
        set_attempt(self.state.instance, self)

    def leave(self) -> None:
        super().leave()
        self.state.leave()

    # --- state --------------------------------------------------------------------------------------------------------------

    def _stored(self, name: str) -> str | None:
        """The stored text of a name, from the journal."""
        self._check_use()
        value: bytes | None = self.value_now(self._do(self._machine.get_state, name))
        return None if value is None else value.decode()

    def stored_names(self) -> list[str]:
        names: list[str] | None = self.value_now(self._do(self._machine.get_state_names))
        return sorted(name for name in names or () if name != VERSION)

    def flush(self) -> None:
        self._check_use()
        self.record()

    def record(self) -> None:
        """What the handler has read or changed, before its next durable point."""
        if self._handler.shared:
            self.take_snapshot()
        else:
            self.record_changes()

    def take_snapshot(self) -> None:
        """A shared handler is about to do more than to read: read the rest of the state now, before it can change."""
        if self._read_all or self._handler.mode == Mode.KEYLESS:
            return
        self._read_all = True
        for name in self.stored_names():
            self.state.text(name)
        self.state.complete()

    def record_changes(self) -> None:
        for name, text in self.state.changes(self._check_state).items():
            self._write(name, text, self._handler.service.fields_by_name[name].codec)

    def _check_state(self, name: str, text: str) -> None:
        self.check_size(text, f"The state {name!r}")

    def _write(self, name: str, text: str | None, codec: Codec) -> None:
        self.state.texts[name] = text
        if self._handler.atomic:
            self._pending[name] = text if text is None else stable(codec, text)
        else:
            self._store(name, text if text is None else stable(codec, text))

    def _store(self, name: str, text: str | None) -> None:
        self._write_version()
        if text is None:
            self._do(self._machine.clear_state, name)
        else:
            self._do(self._machine.set_state, name, text.encode())

    def _write_version(self) -> None:
        """With the first state that is written."""
        if self._version_to_write:
            self._version_to_write = False
            version = str(self._handler.service.version)
            self._do(self._machine.set_state, VERSION, version.encode())

    def write_pending(self) -> None:
        """An atomic handler has succeeded."""
        for name, text in self._pending.items():
            self._store(name, text)
        self._pending.clear()

    def upgrade(self) -> None:
        """Before the first line of the handler: migrate state of an older version. A shared handler migrates what it reads, in memory.

        Raises StateDecodeError.
        """
        service = self._handler.service
        recorded = self._stored(VERSION)
        if recorded is None:
            names = self.stored_names()
            if not names:
                self.state.complete()
                return  # the first write will record the version
            version = 1
        else:
            version = int(recorded)
            if version == service.version:
                self._version_to_write = False
                return
            names = self.stored_names()
        before: dict[str, str] = {}
        for name in names:
            text = self._stored(name)
            if text is not None:
                before[name] = text
        after = self._served.migrated(service, self.key, before, version)
        self.state.know(after)
        self._read_all = True
        if self._handler.shared:
            return
        self._version_to_write = True
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                self._store(name, after.get(name))
        self._write_version()

    def text(self, name: str) -> str | None:
        return self.state.text(name)

    def names(self) -> list[str]:
        if self._read_all:
            return sorted(self.state.stored())
        names = set(self.stored_names())
        for name, text in self._pending.items():
            (names.discard if text is None else names.add)(name)
        return sorted(names)

    def assign(self, name: str, value: Any) -> None:
        setattr(self.state.instance, name, value)

    def unassign(self, name: str) -> None:
        delattr(self.state.instance, name)

    def write(self, name: str, text: str | None, codec: Codec) -> None:
        self._check_state(name, text or "")
        self._write(name, text, codec)
