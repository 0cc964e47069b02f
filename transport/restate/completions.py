"""The values that the machine makes known, shown to the handler's futures one by one, in the order of the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from actors.errors import TerminalError
from actors.model.futures import DurableFuture
from actors.transport.restate.machine import Machine, Value

Read = Callable[[Value], Any]  # makes the value of a future; may raise a TerminalError


class _Arrived(NamedTuple):
    handle: int
    future: DurableFuture[Any]
    read: Read
    value: Value


class Completions:
    """`expect` says which future a handle completes. The machine makes values known one at a time, because each time it is asked
    about all handles that are open.
    """

    __slots__ = ("_arrived", "_machine", "_open")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._open: dict[int, tuple[DurableFuture[Any], Read]] = {}
        self._arrived: deque[_Arrived] = deque()

    def expect(self, handle: int, future: DurableFuture[Any], read: Read) -> None:
        self._open[handle] = (future, read)

    @property
    def outstanding(self) -> bool:
        return bool(self._open)

    def handles(self) -> list[int]:
        """What is open, in the order of the commands."""
        return list(self._open)

    def show(self) -> bool:
        """Complete the next future. False if no value is known."""
        if not self._arrived:
            self._arrive()
            if not self._arrived:
                return False
        _, future, read, value = self._arrived.popleft()
        try:
            result = read(value)
        except TerminalError as error:
            future._fail(error)
        else:
            future._succeed(result)
        return True

    def taken(self, handle: int) -> tuple[Value] | None:
        """The value of a handle, if it is known already, for a handler that needs it without an await.

        What the journal holds before it stays, to be shown at the next await.
        """
        self._arrive()
        for place, arrived in enumerate(self._arrived):
            if arrived.handle == handle:
                del self._arrived[place]
                return (arrived.value,)
        if handle not in self._open and self._machine.completed(handle):
            return (self._machine.take(handle),)
        return None

    def drop(self) -> None:
        """The attempt is over: nothing is shown any more."""
        self._open.clear()
        self._arrived.clear()

    def _arrive(self) -> None:
        for handle in list(self._open):
            if self._machine.completed(handle):
                future, read = self._open.pop(handle)
                self._arrived.append(_Arrived(handle, future, read, self._machine.take(handle)))
