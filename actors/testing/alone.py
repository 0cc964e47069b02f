"""One request alone: what it answers and leaves, when nothing else happens in the app.

Promise: the real runtime executes it, on a disk that begins with a given state, until all that it calls and sends has come to rest. Two
executions that differ in the clock, the ids and the random numbers are two machines with another `number`. The answers of the
world outside come from the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from actors.attempt.attempt import Attempt
from actors.attempt.invocation import Invocation
from actors.engine.steps import Steps
from actors.errors import ActorsError, TerminalError
from actors.journal.entries import Kind
from actors.model.definitions import definition_of
from actors.model.limits import Limits
from actors.model.options import DEFAULT_OPTIONS
from actors.model.retry import RetryPolicy
from actors.model.virtual_object import Served
from actors.serde import Codec, packing
from actors.serde.failures import failure_error, failure_of
from actors.storage.records import Mode, Status
from actors.testing import step_sources
from actors.testing.chances import NO_FAULTS, Chances
from actors.testing.choices import Choices
from actors.testing.faults import Faults
from actors.testing.loop import VirtualLoop
from actors.testing.machine import Machine, quiet
from actors.testing.obstacles import obstacle
from actors.testing.outside import EXECUTED, OPEN, Answer, Question, arguments_of
from actors.testing.patience import Patience
from actors.testing.process import paced
from actors.testing.races import Order, order_of
from actors.testing.step_faults import Step, StepFaults
from actors.testing.watcher import WorldWatcher
from actors.transport.served import App

Rows = tuple[tuple[str, str, str, str], ...]  # state: class, key, name, JSON text

DELAYS = Faults(crash=0, step=0, delay=0.5, memory=0, prompt=0.5, connection=0)  # of all machines but the first
MOST_JUMPS = 100  # to times that are due
KEPT = Limits(retention=None, idempotency_retention=None, max_retained=None)  # of an app that is judged as a whole


@dataclass(frozen=True, slots=True)
class Given:
    """A request, with the state in which it is made; `start_ms` is the wall clock, in milliseconds since 1970.

    Its invocations draw by chance what those with these `numbers` would draw in the machine that is imitated, in their order. `times` are what
    `ctx.now()` returns in each of them.
    """

    state: Rows
    service: str
    key: str
    handler: str
    args: str
    start_ms: int = 0
    numbers: tuple[int, ...] = ()
    times: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """`outcome` is status and text, None if the request waits. `state` is that of the objects that it has `touched`; nothing else decides.

    `peculiar`: the clock has been read, time has passed, or numbers were drawn by chance.

    `order` is that of its parts. `unclear` says why nothing follows from it. What is `impossible` is left by no run: an invocation is paused.
    """

    outcome: tuple[int, str] | None
    touched: frozenset[tuple[str, str]]
    state: Rows
    peculiar: bool
    order: Order
    unclear: str | None
    impossible: bool


# Answers a question; the second argument says whether something else can happen first.
Decide = Callable[[Question, bool], Answer]


class Alone:
    """A machine that executes requests one by one, each as if it were the first. Life: `execute` any number of times, `close` once.

    `chance` makes the random numbers of an invocation of the machine that is imitated.
    """

    def __init__(
        self,
        classes: Sequence[type[Served]],
        fakes: Mapping[Step, Callable[..., Any]],
        chance: Callable[[int], Random],
        number: int = 0,
    ) -> None:
        self._chance = chance
        self._has_drawn = False
        self._numbers: tuple[int, ...] = ()
        self._times: list[list[int]] = []  # for each invocation, the next one last
        self._definitions = {definition.name: definition for definition in map(definition_of, classes)}
        self._fakes = fakes
        self._number = number
        self._decide: Decide
        self._loop = loop = VirtualLoop()
        self._chances = Chances(Choices(), DELAYS if number else NO_FAULTS)

        def asked(invocation: Invocation, name: str, function: Callable[[], Any]) -> Answer:
            question = Question("step", invocation.service, invocation.handler_name, "", name, arguments_of(function))
            return self._decide(question, False)

        parts = dataclasses.replace(
            paced(self._chances, False, {}), steps=_answered(asked), attempt=_imitating(self._draws, self._time)
        )
        self._machine = Machine(loop, self._chances, parts, {})
        self._patience = Patience(loop, self._machine.goes_on, self._machine.only_ticks, tuple)
        self._machine.on_commit = lambda batch: self._patience.committed()
        self._machine.make = functools.partial(self._app, tuple(classes))

    def _app(
        self, classes: tuple[type[Served], ...], app: Callable[..., App], own: dict[str, Any], chosen: dict[str, Any]
    ) -> App:
        machine = self._machine
        steps = StepFaults()
        for step, fake in self._fakes.items():
            steps.replace(step, fake)
        watcher = WorldWatcher(machine.story, steps, self._chances, machine.sources, machine.disk.query)
        return app(*classes, retry=RetryPolicy(max_attempts=5), limits=KEPT, watcher=watcher, **own)

    def execute(self, given: Given, decide: Decide) -> Left:
        """Execute a request. `decide` gives the answers of the world outside."""
        self._decide, self._has_drawn, self._numbers = decide, False, given.numbers
        self._times = [[*reversed(times)] for times in given.times]
        step_sources.install()
        try:
            with quiet():
                return self._patience.run(self._execute(given))
        finally:
            step_sources.uninstall()

    def close(self) -> None:
        self._machine.close()
        self._loop.close()

    async def _execute(self, given: Given) -> Left:
        machine = self._machine
        # Of all that decides: an id that is in the state must not be given out again, and the same request has the same ids.
        secret = hashlib.sha256(repr((self._number, given)).encode()).digest()
        self._chances.renew(Choices(seed=int.from_bytes(secret[:4], "big")))
        await machine.renew(given.state, given.start_ms, secret)
        await machine.start()
        seq = await self._send(given)
        unclear = await self._come_to_rest()
        ((status, outcome),) = machine.disk.query("SELECT status, outcome FROM invocation WHERE seq = ?", seq)
        touched = frozenset(
            machine.disk.query("SELECT DISTINCT service, key FROM invocation WHERE shared != ?", Mode.KEYLESS)
        )
        rows = machine.disk.query("SELECT service, key, name, value FROM object_state ORDER BY 1, 2, 3")
        return Left(
            (status, outcome) if status >= Status.SUCCEEDED else None,
            touched,
            tuple(row for row in rows if row[:2] in touched),
            self._has_drawn or bool(machine.disk.query(_TIMED, Kind.SLEEP, Kind.NOW, Kind.AWAKEABLE)),
            order_of(machine.disk.query),
            obstacle(machine.disk.query) or unclear,
            bool(machine.disk.query("SELECT 1 FROM invocation WHERE status = ?", Status.PAUSED)),
        )

    def _draws(self, number: int) -> Random:
        """The random numbers of an invocation of this machine, whose numbers begin with 1."""
        self._has_drawn = True
        if number <= len(self._numbers):
            return self._chance(self._numbers[number - 1])
        return self._machine.ids.random(number)

    def _time(self, number: int) -> int:
        """What the clock shows to an invocation of this machine."""
        if number <= len(self._times) and self._times[number - 1]:
            return self._times[number - 1].pop()
        return self._machine.clock.now_ms()

    async def _send(self, given: Given) -> int:
        handler = self._definitions[given.service].handlers[given.handler]

        async def send(app: App) -> str:
            handle = await app.dispatch_send(handler, given.key, handler.decode(given.args), {}, DEFAULT_OPTIONS)
            return handle.id

        return self._machine.ids.read_invocation(await self._machine.ask(send))

    async def _come_to_rest(self) -> str | None:
        """Let all happen that happens by itself. Why it does not come to rest, if so."""
        disk = self._machine.disk
        for _ in range(MOST_JUMPS):
            while True:
                await self._patience.settled()
                if not await self._answer():
                    break
            ((due_ms,),) = disk.query("SELECT min(due_ms) FROM timer")
            if due_ms is None:
                return None
            await asyncio.sleep(max(due_ms - self._machine.clock.now_ms(), 0) / 1000 + 0.001)
        return "a request waits for more and more times"

    async def _answer(self) -> bool:
        """Complete the awakeables that are to be completed now. Whether there is one."""
        disk, ids = self._machine.disk, self._machine.ids
        waiting = disk.query("SELECT invocation, position, service, handler, key, type FROM awakeables ORDER BY 1, 2")
        may_wait = len(waiting) > 1 or bool(disk.query("SELECT 1 FROM timer"))
        some = False
        for seq, index, service, handler, key, type_name in waiting:
            answer = self._decide(Question("awakeable", service, handler, key, type_name or ""), may_wait)
            if answer != OPEN:
                some = True
                with contextlib.suppress(ActorsError):  # too late: the answer before has ended its invocation
                    await self._complete(ids.awakeable(seq, index), answer)
        return some

    async def _complete(self, id: str, answer: Answer) -> None:
        text = answer.stored
        assert isinstance(text, str)
        if answer.kind == "value":
            await self._machine.ask(lambda app: app._gateway.resolve(id, text=text))
        else:
            await self._machine.ask(lambda app: app.reject_awakeable(id, failure_of(text).message))


_TIMED = "SELECT 1 FROM journal_entry WHERE kind IN (?, ?) OR (kind = ? AND ref IS NOT NULL) LIMIT 1"


def _imitating(draws: Callable[[int], Random], time: Callable[[int], int]) -> type[Attempt]:
    """Attempts whose `ctx.random` and `ctx.now()` are given."""

    class ImitatingAttempt(Attempt):
        __slots__ = ()

        def generator(self) -> Random:
            return draws(self.invocation.seq)

        def read_clock(self) -> int:
            return time(self.invocation.seq)

    return ImitatingAttempt


class _AsStored(Codec):
    """Takes a text for the text of a result that was stored before."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(str)
        self.encode = self.dump = lambda text: text


_AS_STORED = _AsStored()


def _answered(answer: Callable[[Invocation, str, Callable[[], Any]], Answer]) -> type[Steps]:
    """Steps that return what is answered in their place."""

    class AnsweredSteps(Steps):
        __slots__ = ()

        def start(
            self,
            invocation: Invocation,
            index: int,
            function: Callable[[], Any],
            codec: Codec | None,
            policy: RetryPolicy | None,
        ) -> None:
            journal = invocation.journal
            command = journal.command(index) if journal is not None else None
            assert command is not None
            kind, stored = answer(invocation, command.name or "", function)
            if kind != EXECUTED.kind:
                function, codec = _giving(kind, stored)
            super().start(invocation, index, function, codec, policy)

    return AnsweredSteps


def _giving(kind: str, stored: str | bytes | None) -> tuple[Callable[[], Any], Codec | None]:
    """A step that ends with what is stored. One whose answer is unknown fails: what comes of that is not looked at."""
    if kind in ("failure", "unknown"):
        error = failure_error(stored) if isinstance(stored, str) else TerminalError("unknown")

        def fail() -> None:
            raise error

        return fail, None
    if isinstance(stored, bytes):
        return functools.partial(packing.unpack, stored), None
    return functools.partial(str, stored), _AS_STORED
