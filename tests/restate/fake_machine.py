"""A `Machine` in Python: a journal of commands and notifications, matched as restate-server's own state machine matches them.

What differs from the real machine is the bytes only. What was tried with the real one (restate-sdk 1.3) and is the same here:

* A command is compared with the recorded one in everything but times: the delay of a send, the duration of a sleep.
* Notifications become known one at a time, in the order of the journal, while `progress` looks for one of its handles. A wait that
  the journal cannot complete while commands are still recorded behind it is an error.
* A step without a result is executed when no more is recorded. A proposed result counts once it comes back as a notification.
* State that came along is known at once, and its value stands in the command. Other state comes as a notification.
* When the input has ended, a wait that nothing completes suspends the attempt. From then on every command is an error.
* A cancellation is a notification, said once; the calls under way are cancelled with it, as commands of their own.
"""

from __future__ import annotations

import pickle
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from actors.transport.restate.machine import (
    CANCELLED,
    Cancelled,
    Completed,
    Execute,
    Failure,
    Headers,
    Input,
    MachineError,
    Progress,
    Retry,
    Run,
    Suspended,
    Value,
    Waiting,
)

CANCEL = "cancel"  # the notification of a cancellation
Id = int | str  # of a notification: a number for each answer to a command, a name for a signal


@dataclass(frozen=True)
class Command:
    """`compared` must be the same in each attempt, `extra` not. Answers have the ids from `first` on."""

    kind: str
    compared: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    eager: bool = False  # its answer is in `extra`


@dataclass(frozen=True)
class Notification:
    id: Id
    value: Value


@dataclass(frozen=True)
class Start:
    """`entries` follow. `state` is all there is, unless it is `partial`. `failures` of attempts since something was recorded."""

    input: Input
    entries: int
    state: dict[str, bytes]
    partial: bool
    failures: int


@dataclass(frozen=True)
class Proposal:
    id: int
    value: bytes | Failure


@dataclass(frozen=True)
class Suspension:
    ids: tuple[Id, ...]


@dataclass(frozen=True)
class Failed:
    message: str
    stacktrace: str


@dataclass(frozen=True)
class End:
    pass


def packed(*messages: object) -> bytes:
    parts = [pickle.dumps(message) for message in messages]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def unpacked(data: bytes) -> tuple[list[Any], bytes]:
    """The whole messages, and the beginning of another one."""
    found = []
    while len(data) >= 4 and len(data) >= 4 + (size := struct.unpack(">I", data[:4])[0]):
        found.append(pickle.loads(data[4 : 4 + size]))
        data = data[4 + size :]
    return found, data


class FakeMachine:
    """See `Machine`. `executing` are the handles of steps whose result was not proposed yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._start: Start | None = None
        self._entries_left = 0
        self._recorded: deque[Command] = deque()
        self._unseen: deque[Notification] = deque()
        self._ready: dict[Id, Value] = {}
        self._ids: dict[int, Id] = {CANCELLED: CANCEL}  # by handle
        self._next_handle = self._next_signal = 17
        self._next_id = 1
        self._output: list[object] = []
        self._error: MachineError | None = None
        self._closed = False  # the input has ended
        self._over = False
        self._calls: list[int] = []  # ids of the answers that name the invocations called
        self._cancelling = False
        self._to_execute: list[int] = []
        self._state: dict[str, bytes | None] = {}
        self.executing: set[int] = set()
        self.refused: list[str] = []  # what was requested after the end

    # --- bytes ----------------------------------------------------------------------------------------------------------

    def response_head(self) -> tuple[int, Headers]:
        return 200, [("content-type", "application/x-fake")]

    def add_input(self, data: bytes) -> None:
        messages, self._rest = unpacked(self._rest + data)
        for message in messages:
            if isinstance(message, Start):
                self._start = message
                self._entries_left = message.entries
                self._state = dict(message.state)
                continue
            self._entries_left -= self._entries_left > 0
            if isinstance(message, Command):
                self._recorded.append(message)
            else:
                self._unseen.append(message)

    def end_input(self) -> None:
        self._closed = True

    def take_output(self) -> bytes:
        output, self._output = self._output, []
        return packed(*output)

    def ready(self) -> bool:
        return self._start is not None and not self._entries_left

    def replaying(self) -> bool:
        return bool(self._recorded)

    def input(self) -> Input:
        if not self.ready():
            raise self._fail("the input is not complete")
        assert self._start is not None
        return self._start.input

    # --- waiting --------------------------------------------------------------------------------------------------------

    def completed(self, handle: int) -> bool:
        return self._ids[handle] in self._ready

    def take(self, handle: int) -> Value:
        return self._ready.pop(self._ids[handle])

    def progress(self, handles: Iterable[int]) -> Progress:
        self._usable("await")
        handles = list(handles)
        if self._cancelling:
            return self._cancel_calls()
        wanted = {self._ids[handle] for handle in handles}
        if wanted & self._ready.keys():
            return Completed()
        found = self._look_for({CANCEL, *wanted})
        if found == CANCEL:
            del self._ready[CANCEL]
            self._cancelling = True
            return self._cancel_calls()
        if found is not None:
            return Completed()
        if self._recorded:
            raise self._fail(f"a wait for {sorted(map(str, wanted))}; recorded is {self._recorded[0]}")
        for handle in self._to_execute:
            if handle in handles:
                self._to_execute.remove(handle)
                self.executing.add(handle)
                return Execute(handle)
        if self.executing & set(handles):
            return Waiting()
        return self._suspended(wanted)

    def _look_for(self, wanted: set[Id]) -> Id | None:
        while self._unseen:
            seen = self._unseen.popleft()
            self._ready[seen.id] = seen.value
            if seen.id in wanted:
                return seen.id
        return None

    def _cancel_calls(self) -> Progress:
        while self._calls:
            id = self._calls[0]
            if id not in self._ready and self._look_for({id}) is None:
                if self._recorded:
                    raise self._fail("the id of a call is not recorded")
                return self._suspended({id})
            self._command("cancel", {"invocation": self._ready[self._calls.pop(0)]})
        self._cancelling = False
        return Cancelled()

    def _suspended(self, wanted: set[Id]) -> Progress:
        if not self._closed:
            return Waiting()
        self._output.append(Suspension(tuple(sorted({CANCEL, *wanted}, key=str))))
        self._over = True
        return Suspended()

    def fail_attempt(self, message: str, stacktrace: str) -> None:
        self._fail(message, stacktrace)

    def _fail(self, message: str, stacktrace: str = "") -> MachineError:
        if self._error is None:
            self._output.append(Failed(message, stacktrace))
            self._error = MachineError(message)
        return self._error

    def _usable(self, what: str) -> None:
        if self._error is not None:
            raise self._error
        if self._over:
            self.refused.append(what)
            raise MachineError(f"The attempt is over, and was asked to {what}.")

    # --- commands -------------------------------------------------------------------------------------------------------

    def _command(self, kind: str, compared: dict[str, Any], ids: int = 0, eager: bool = False, **extra: Any) -> Command:
        self._usable(kind)
        first, self._next_id = self._next_id, self._next_id + ids
        requested = Command(kind, compared, extra, first, eager)
        if not self._recorded:
            self._output.append(requested)
            return requested
        recorded = self._recorded.popleft()
        if (recorded.kind, recorded.compared, recorded.first) != (kind, compared, first):
            raise self._fail(f"Recorded is {recorded}, requested was {requested}")
        return recorded

    def _handle(self, id: Id) -> int:
        handle, self._next_handle = self._next_handle, self._next_handle + 1
        self._ids[handle] = id
        return handle

    def _answered(self, kind: str, compared: dict[str, Any], **extra: Any) -> int:
        return self._handle(self._command(kind, compared, 1, **extra).first)

    def _read(self, kind: str, compared: dict[str, Any], known: bool, value: Value) -> int:
        command = self._command(kind, compared, 1, eager=known and not self._recorded, value=value)
        if command.eager:
            self._ready[command.first] = command.extra["value"]
        return self._handle(command.first)

    @property
    def _partial(self) -> bool:
        assert self._start is not None
        return self._start.partial

    def get_state(self, name: str) -> int:
        known = name in self._state or not self._partial
        return self._read("get state", {"name": name}, known, self._state.get(name))

    def get_state_names(self) -> int:
        names = [name for name, value in self._state.items() if value is not None]
        return self._read("get state names", {}, not self._partial, names)

    def set_state(self, name: str, value: bytes) -> None:
        self._command("set state", {"name": name, "value": value})
        self._state[name] = value

    def clear_state(self, name: str) -> None:
        self._command("clear state", {"name": name})
        self._state[name] = None

    def sleep(self, duration_ms: int, name: str) -> int:
        return self._answered("sleep", {"name": name}, duration_ms=duration_ms)

    def run(self, name: str) -> Run:
        command = self._command("run", {"name": name}, 1)
        handle = self._handle(command.first)
        replayed = any(seen.id == command.first for seen in self._unseen) or command.first in self._ready
        if not replayed:
            self._to_execute.append(handle)
        return Run(handle, replayed)

    def propose(self, handle: int, result: bytes | Failure) -> None:
        if self._over or self._error is not None:
            self.refused.append("propose")
            return
        if handle in self._to_execute:
            self._to_execute.remove(handle)
        else:
            assert handle in self.executing, "a result is proposed once, of a step that was to be executed"
        self.executing.discard(handle)
        id = self._ids[handle]
        assert isinstance(id, int)
        self._output.append(Proposal(id, result))

    def propose_retry(self, handle: int, failure: Failure, took_ms: int, retry: Retry | None) -> None:
        self._usable("propose")
        assert self._start is not None
        limit = retry.max_attempts if retry is not None else None
        if limit is not None and self._start.failures + 1 >= limit:
            self.propose(handle, Failure(failure.code, failure.message))
            return
        raise self._fail(failure.message, failure.stacktrace or "")

    def awakeable(self) -> tuple[str, int]:
        self._usable("awakeable")
        number, self._next_signal = self._next_signal, self._next_signal + 1
        id = f"sign_1{self.input().invocation_id}{number:06}"
        return id, self._handle(id)

    def complete_awakeable(self, id: str, result: bytes | Failure) -> None:
        self._command("complete awakeable", {"id": id, "result": result})

    def call(
        self, service: str, handler: str, key: str, body: bytes, idempotency_key: str | None, headers: Headers
    ) -> int:
        command = self._command("call", _target(service, handler, key, body, idempotency_key, headers), 2)
        self._calls.append(command.first)
        self._handle(command.first)
        return self._handle(command.first + 1)

    def send(
        self,
        service: str,
        handler: str,
        key: str,
        body: bytes,
        delay_ms: int,
        idempotency_key: str | None,
        headers: Headers,
    ) -> int:
        compared = _target(service, handler, key, body, idempotency_key, headers)
        return self._answered("send", compared, delay_ms=delay_ms)

    def attach(self, invocation_id: str) -> int:
        return self._answered("attach", {"invocation": invocation_id})

    def cancel(self, invocation_id: str) -> None:
        self._command("cancel", {"invocation": invocation_id})

    def get_promise(self, name: str) -> int:
        return self._answered("get promise", {"name": name})

    def peek_promise(self, name: str) -> int:
        return self._answered("peek promise", {"name": name})

    def complete_promise(self, name: str, result: bytes | Failure) -> int:
        return self._answered("complete promise", {"name": name, "result": result})

    def finish(self, result: bytes | Failure) -> None:
        self._command("output", {"result": result})
        self._output.append(End())
        self._over = True


def _target(
    service: str, handler: str, key: str, body: bytes, idempotency_key: str | None, headers: Headers
) -> dict[str, Any]:
    return {
        "service": service,
        "handler": handler,
        "key": key,
        "body": body,
        "idempotency_key": idempotency_key,
        "headers": list(headers),
    }
