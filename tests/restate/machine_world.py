"""A server in memory that drives an endpoint on the fake machine: journals, state, timers, and attempts until there is an outcome.

    async with World(Counter) as world:
        assert await world.call("Counter", "a", "add", 5) == 5

Two modes: with `streams` completions come while an attempt runs; otherwise each await of something new ends an attempt. Time is a
number that the server moves to the next timer when a handler waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Self

from actors import Limits, RetryPolicy
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.model.engine_options import EngineOptions
from actors.testing import InlineExecutor
from actors.transport.restate.endpoint import Endpoint
from actors.transport.restate.failures import from_failure
from actors.transport.restate.machine import Failure, Headers, Input, Value
from tests.restate.fake_machine import (
    CANCEL,
    Command,
    End,
    Failed,
    FakeMachine,
    Notification,
    Proposal,
    Start,
    Suspension,
    packed,
    unpacked,
)

BEGAN_MS = 1_700_000_000_000
IDLE_TURNS = 60  # turns of the loop without any message, after which a server takes a handler for inactive
MOST_ATTEMPTS = 60
OPEN: Any = object()  # the answer that does not come

Answer = Callable[["Invocation", Command], Any]


class AttemptFailed(Exception):
    """An attempt has failed; the server would try again."""


class Suspended(Exception):
    """Nothing that the handler waits for is under way."""


class Invocation:
    """What the server keeps of an invocation."""

    def __init__(self, service: str, key: str, handler: str, body: bytes, headers: Headers, number: int) -> None:
        self.service, self.key, self.handler = service, key, handler
        self.input = Input(f"inv_1{number:030}", key, headers, body, 1234 + number)
        self.entries: list[Command | Notification] = []
        self.pending: list[tuple[int, int, Notification]] = []  # due at, order, what comes then
        self.outcome: bytes | Failure | None = None
        self.awaited: tuple[int | str, ...] | None = None  # what the last attempt was suspended on
        self.failures: list[Failed] = []
        self.failed_since_recorded = 0
        self.attempts = 0
        self.machines: list[FakeMachine] = []

    def commands(self, kind: str | None = None) -> list[Command]:
        return [one for one in self.entries if isinstance(one, Command) and kind in (None, one.kind)]

    def kinds(self) -> list[str]:
        return [command.kind for command in self.commands()]


class World:
    def __init__(
        self,
        *classes: type,
        streams: bool = True,
        partial: bool = False,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        executor: Executor | None = None,
        answer: Answer | None = None,
        debug: bool = False,
    ) -> None:
        catalog = Catalog({definition_of(cls).name: definition_of(cls) for cls in classes})
        options = EngineOptions(
            catalog, limits or Limits(), retry or RetryPolicy(), executor or InlineExecutor(), debug
        )
        self.endpoint = Endpoint(options, self._machine, None, streams, lambda: self.now_ms / 1000)
        self.streams = streams
        self.partial = partial
        self.answer = answer or (lambda invocation, command: OPEN)
        self.now_ms = BEGAN_MS
        self.state: dict[tuple[str, str], dict[str, bytes]] = {}
        self.promises: dict[tuple[str, str, str], bytes | Failure] = {}
        self._current: Invocation | None = None
        self._count = self._order = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.endpoint.close()

    # --- what tests do ------------------------------------------------------------------------------------------------------

    def invocation(
        self, service: str, key: str, handler: str, *args: Any, headers: Sequence[tuple[str, str]] = ()
    ) -> Invocation:
        """A message that was accepted. One argument is a body of its own, several are an array."""
        self._count += 1
        body = b"" if not args else json.dumps(args[0] if len(args) == 1 else list(args)).encode()
        return self.message(service, key, handler, body, [("content-type", "application/json"), *headers])

    def message(self, service: str, key: str, handler: str, body: bytes, headers: Headers) -> Invocation:
        self._count += 1
        return Invocation(service, key, handler, body, headers, self._count)

    async def call(self, service: str, key: str, handler: str, *args: Any) -> Any:
        return await self.outcome(self.invocation(service, key, handler, *args))

    async def outcome(self, invocation: Invocation, retries: int = 0) -> Any:
        """Attempts until there is an outcome: the value of its JSON, or a TerminalError that is raised.

        Raises AttemptFailed when an attempt has failed for more than `retries` times, and Suspended.
        """
        while invocation.outcome is None:
            if invocation.awaited is not None and not self.goes_on(invocation):
                raise Suspended(invocation.awaited)
            assert invocation.attempts < MOST_ATTEMPTS, f"it goes round: {invocation.kinds()}"
            await self.attempt(invocation)
            if len(invocation.failures) > retries:
                raise AttemptFailed(invocation.failures[-1].message)
        if isinstance(invocation.outcome, Failure):
            raise from_failure(invocation.outcome)
        return json.loads(invocation.outcome) if invocation.outcome else None

    def cancel(self, invocation: Invocation) -> None:
        self.later(invocation, CANCEL, b"", 0)

    def resolve(self, invocation: Invocation, id: str, value: Value) -> None:
        """Complete an awakeable."""
        self.later(invocation, id, value, 0)

    def later(self, invocation: Invocation, id: int | str, value: Value, delay_ms: int) -> None:
        self._order += 1
        invocation.pending.append((self.now_ms + delay_ms, self._order, Notification(id, value)))
        invocation.pending.sort(key=lambda entry: entry[:2])

    def stored(self, service: str, key: str) -> dict[str, Any]:
        """The state, decoded."""
        return {name: json.loads(value) for name, value in self.state.get((service, key), {}).items()}

    def store(self, service: str, key: str, **values: Any) -> None:
        texts = {name: json.dumps(value, separators=(",", ":")).encode() for name, value in values.items()}
        self.state.setdefault((service, key), {}).update(texts)

    # --- the server ---------------------------------------------------------------------------------------------------------

    def _machine(self, headers: Headers) -> FakeMachine:
        assert self._current is not None
        machine = FakeMachine()
        self._current.machines.append(machine)
        return machine

    async def attempt(self, invocation: Invocation) -> None:
        invocation.attempts += 1
        invocation.awaited = None
        exchange = _Exchange(self, invocation)
        self._current = invocation
        path = f"/invoke/{invocation.service}/{invocation.handler}"
        scope = {"type": "http", "path": path, "headers": [], "http_version": "2" if self.streams else "1.1"}
        await self.endpoint(scope, exchange.receive, exchange.send)
        assert exchange.over, "the response ended without a reason"

    def start(self, invocation: Invocation) -> Start:
        state = {} if self.partial else dict(self.state.get((invocation.service, invocation.key), {}))
        entries = len(invocation.entries)
        return Start(invocation.input, entries, state, self.partial, invocation.failed_since_recorded)

    def next_notification(self, invocation: Invocation) -> Notification | None:
        """What comes next, recorded; time moves on to it."""
        if not invocation.pending:
            return None
        due_ms, _, notification = invocation.pending.pop(0)
        self.now_ms = max(self.now_ms, due_ms)
        invocation.entries.append(notification)
        return notification

    def goes_on(self, invocation: Invocation) -> bool:
        """Record what comes until the handler has something to go on with."""
        assert invocation.awaited is not None
        known = {entry.id for entry in invocation.entries if isinstance(entry, Notification)}
        if known & set(invocation.awaited) - {CANCEL}:
            return True
        while (notification := self.next_notification(invocation)) is not None:
            if notification.id in invocation.awaited:
                return True
        return False

    def take(self, invocation: Invocation, message: Any) -> None:
        """A message of the endpoint."""
        if isinstance(message, Command):
            invocation.entries.append(message)
            invocation.failed_since_recorded = 0
            self._effect(invocation, message)
        elif isinstance(message, Proposal):
            self.later(invocation, message.id, message.value, 0)
        elif isinstance(message, Suspension):
            invocation.awaited = message.ids
        elif isinstance(message, Failed):
            invocation.failures.append(message)
            invocation.failed_since_recorded += 1

    def _effect(self, invocation: Invocation, command: Command) -> None:
        place = invocation.service, invocation.key
        state = self.state.setdefault(place, {})
        compared = command.compared
        answer: Any = OPEN
        match command.kind:
            case "output":
                invocation.outcome = compared["result"]
            case "set state":
                state[compared["name"]] = compared["value"]
            case "clear state":
                state.pop(compared["name"], None)
            case "get state" if not command.eager:
                answer = state.get(compared["name"])
            case "get state names" if not command.eager:
                answer = list(state)
            case "sleep":
                self.later(invocation, command.first, None, command.extra["duration_ms"])
            case "send":
                answer = self.id_of(command)
            case "call":
                self.later(invocation, command.first, self.id_of(command), 0)
                self._answer(invocation, command, command.first + 1)
            case "attach":
                self._answer(invocation, command, command.first)
            case "get promise":
                answer = self.promises.get((*place, compared["name"]), OPEN)
            case "peek promise":
                answer = self.promises.get((*place, compared["name"]))
            case "complete promise":
                promise = (*place, compared["name"])
                answer = Failure(409, "the promise is completed") if promise in self.promises else None
                self.promises.setdefault(promise, compared["result"])
        if answer is not OPEN:
            self.later(invocation, command.first, answer, 0)

    def _answer(self, invocation: Invocation, command: Command, id: int) -> None:
        answer = self.answer(invocation, command)
        if answer is not OPEN:
            value, delay_ms = answer if isinstance(answer, tuple) else (answer, 0)
            self.later(invocation, id, value, delay_ms)

    def id_of(self, command: Command) -> str:
        compared = command.compared
        return f"inv_1{compared['service']}{compared['key']}{compared['handler']}".ljust(30, "0")


class _Exchange:
    """One request of the server and its response."""

    def __init__(self, world: World, invocation: Invocation) -> None:
        self._world, self._invocation = world, invocation
        self._begun = False
        self._rest = b""
        self._sent = asyncio.Event()
        self.over = False  # an outcome, a suspension or a failure has come

    async def receive(self) -> dict[str, Any]:
        world, invocation = self._world, self._invocation
        if not self._begun:
            self._begun = True
            body = packed(world.start(invocation), *invocation.entries)
            return {"type": "http.request", "body": body, "more_body": world.streams}
        machine, idle = invocation.machines[-1], 0
        while not self.over and idle < IDLE_TURNS:
            notification = world.next_notification(invocation)
            if notification is not None:
                return {"type": "http.request", "body": packed(notification), "more_body": True}
            if machine.executing:
                self._sent.clear()
                await self._sent.wait()
            idle += 1
            await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        self._sent.set()
        if message["type"] != "http.response.body":
            assert message["status"] == 200, message
            return
        messages, self._rest = unpacked(self._rest + message["body"])
        for one in messages:
            self._world.take(self._invocation, one)
            self.over = self.over or isinstance(one, End | Suspension | Failed)
