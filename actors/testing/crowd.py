"""All who stand outside of the app: callers with random requests, people who complete awakeables, an operator who cancels.

They reach it by a way in: references that outlive its processes, or HTTP.

Promise: each request, answer and cancellation is a choice of the run, with a name. With the usual choices there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.errors import ActorsError
from actors.model.bound_handler import BoundHandler
from actors.model.definitions import HandlerDefinition
from actors.model.names import address
from actors.serde import codec_named
from actors.testing.failures import WorldFailed
from actors.testing.rest import restless
from actors.testing.samples import CannotMake, samples
from actors.testing.step_faults import CHOSEN
from actors.testing.world import World

CALLERS = 3
REQUESTS = 4  # of each caller, at most
PATIENCE_S = 60.0  # then a caller goes on without its answer
DELAYS_S = (0.005, 1.0, 60.0)  # of delayed sends
LATER_MS = 10  # by how much a request or an answer may come later
ROUNDS = 100  # at the end: of what waits for somebody, and of times that are due
JUMPS = 5  # at the end: to times that are due
FURTHEST_MS = 40 * 86_400_000  # then a time is not waited for

HOW = ("a call", "a send", "a delayed send", "a call with an idempotency key", "a send with a wait for its result")
_CALL, _SEND, _DELAYED, _KEYED, _WAITED = range(len(HOW))


@dataclass(frozen=True, slots=True)
class Target:
    """A handler with the keys and arguments of its requests: `rows` of arguments, or else a column for each parameter."""

    handler: HandlerDefinition
    keys: tuple[str, ...]
    columns: tuple[tuple[Any, ...], ...]
    rows: tuple[tuple[Any, ...], ...] | None = None


class WayIn(Protocol):
    """How callers, people and operators reach the app."""

    def handler(self, target: HandlerDefinition, key: str) -> BoundHandler[..., Any]: ...
    async def resolve(self, id: str, value: Any) -> None: ...
    async def reject(self, id: str, reason: str) -> None: ...
    async def cancel(self, id: str) -> None: ...
    def findings(self) -> Iterable[str]:
        """A line for each finding of its own, at the end."""
        ...


class InProcess:
    """The way in of a test: references of the world, which outlive its processes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ask = world.machine.ask

    def handler(self, target: HandlerDefinition, key: str) -> BoundHandler[..., Any]:
        return self._world.handler(target.service.name, key, target.name)

    async def resolve(self, id: str, value: Any) -> None:
        await self._ask(lambda app: app.resolve_awakeable(id, value))

    async def reject(self, id: str, reason: str) -> None:
        await self._ask(lambda app: app.reject_awakeable(id, reason))

    async def cancel(self, id: str) -> None:
        await self._ask(lambda app: app.cancel(id))

    def findings(self) -> Iterable[str]:
        return ()


class Crowd:
    """Visits a world that serves the classes of `targets`, by `way_in`. Values of awakeables are made with `texts`."""

    def __init__(
        self, world: World, targets: Sequence[Target], cancels: bool, texts: Sequence[str], way_in: WayIn | None = None
    ) -> None:
        self._world = world
        self._way_in = way_in if way_in is not None else InProcess(world)
        self._machine = world.machine
        self._choose = world.choices.choose
        self._targets = targets
        self._cancels = cancels
        self._texts = texts
        self._noticed: dict[tuple[int, int], int] = {}  # awakeables, by number of the invocation and position
        self._answering: list[asyncio.Task[None]] = []

    async def visit(self) -> None:
        """All requests, until nothing goes on any more. Raises WorldFailed if something should go on and does not."""
        people = asyncio.create_task(self._answer_all(), name="people")
        callers = [
            asyncio.create_task(self._call(f"caller {one}"), name=f"caller {one}") for one in range(1, CALLERS + 1)
        ]
        try:
            await asyncio.gather(*callers)
        finally:
            people.cancel()
        await asyncio.wait([people])
        if not people.cancelled():
            people.result()  # raises
        await asyncio.gather(*self._answering)
        await self._end()

    # --- callers ------------------------------------------------------------------------------------------------------------

    async def _call(self, name: str) -> None:
        for number in range(1, REQUESTS + 1):
            slot = f"{name} request {number}"
            await self._later(slot, 0.5)
            if self._cancels and (which := self._choose(f"{slot} cancels", 4, 0.08)):
                await self._cancel(name, which)
            if which := self._choose(slot, len(self._targets) + 1, 0.85):
                await self._request(name, slot, self._targets[which - 1])

    async def _request(self, name: str, slot: str, target: Target) -> None:
        handler = target.handler
        service = handler.service
        key = self._one_of(f"{slot} key", target.keys)
        if target.rows is not None:
            args = self._one_of(f"{slot} arguments", target.rows)
        else:
            args = tuple(
                self._one_of(f"{slot} {parameter}", column)
                for parameter, column in zip(handler.names, target.columns, strict=True)
            )
        how = self._choose(f"{slot} how", len(HOW), 0.5)
        bound = self._way_in.handler(handler, key)
        if how == _DELAYED:
            bound = bound.options(delay=self._one_of(f"{slot} delay", DELAYS_S))
        elif how == _KEYED and not handler.once:  # a workflow runs once for each key anyway
            bound = bound.options(idempotency_key=f"key {self._choose(f'{slot} idempotency key', 2, 0.5) + 1}")
        shown = f"{address(service.name, key, handler.name)}({', '.join(map(repr, args))})"
        self._machine.story.tell(name, shown, HOW[how] if how else "")
        if how in (_CALL, _KEYED):
            await self._await_answer(name, shown, bound(*args))
            return
        sent = bound.send(*args)
        await self._await_answer(name, shown, sent, "sent")
        if how == _WAITED:
            await self._await_answer(name, shown, sent.result())

    async def _await_answer(self, name: str, shown: str, answer: Awaitable[Any], said: str = "") -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):  # wait_for takes more turns of the loop before Python 3.12
                value = await answer
        except ActorsError as error:  # before TimeoutError, which some of them are
            self._machine.story.tell(name, shown, "->", f"{type(error).__name__}: {error}")
        except TimeoutError:
            self._machine.story.tell(name, shown, "gives up")
        else:
            self._machine.story.tell(name, shown, "->", said or repr(value))

    async def _cancel(self, name: str, which: int) -> None:
        """Cancel one of the oldest open invocations."""
        rows = self._world.query(
            "SELECT seq, service, key, handler FROM invocation WHERE status < 6 ORDER BY seq LIMIT ?", which
        )
        if len(rows) == which:
            seq, *parts = rows[-1]
            self._machine.story.tell(name, "cancels", address(*parts))
            await self._quietly(self._way_in.cancel(self._machine.ids.invocation(seq)))

    # --- people -------------------------------------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        while True:
            await self._world.until(lambda: bool(self._unnoticed()))
            for awakeable in self._unnoticed():
                # Each by a person of its own, so that the order of the answers is free.
                self._answering.append(asyncio.create_task(self._notice(*awakeable), name="people"))

    def _unnoticed(self) -> list[tuple[int, int, str]]:
        return [
            (seq, position, type_name)
            for seq, position, type_name in self._world.query(
                "SELECT invocation, position, type FROM awakeables ORDER BY invocation, position"
            )
            if (seq, position) not in self._noticed
        ]

    def _notice(self, seq: int, position: int, type_name: str) -> Coroutine[Any, Any, None]:
        number = self._noticed[seq, position] = len(self._noticed) + 1
        return self._answer(number, seq, position, type_name)

    async def _answer(self, number: int, seq: int, position: int, type_name: str) -> None:
        name = f"awakeable {number}"
        if self._choose(f"{name} is left open", 2, 0.1):
            return
        await self._later(name, 0.5)
        values = self._values(type_name)
        which = self._choose(name, len(values) + 1, 0.5)
        id = self._machine.ids.awakeable(seq, position)
        if which < len(values):
            self._machine.story.tell("people", f"complete {name}:", repr(values[which]))
            await self._quietly(self._way_in.resolve(id, values[which]))
        else:
            self._machine.story.tell("people", f"reject {name}")
            await self._quietly(self._way_in.reject(id, "no"))

    def _values(self, type_name: str) -> list[Any]:
        codec = codec_named(type_name)
        try:
            return samples(codec.type, self._texts) if codec is not None else []
        except CannotMake:
            return []

    # --- the end ------------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        jumps = 0
        for _ in range(ROUNDS):
            await self._world.settle()
            unnoticed = self._unnoticed()
            for awakeable in unnoticed:
                await self._notice(*awakeable)
            if unnoticed or await self._resume():
                continue
            if jumps == JUMPS or not await self._jump():
                break
            jumps += 1
        if lines := [*restless(self._machine), *self._way_in.findings()]:
            raise WorldFailed("\n".join(lines))

    async def _resume(self) -> bool:
        """Resume, as an operator does, what is paused for no other reason than choices."""
        paused = self._world.query(
            "SELECT invocation FROM invocations WHERE status = 'paused' AND instr(reason, ?)", CHOSEN
        )
        for (seq,) in paused:
            await self._quietly(self._machine.ask(lambda app, seq=seq: app.resume(self._machine.ids.invocation(seq))))  # type: ignore[misc]
        return bool(paused)

    async def _jump(self) -> bool:
        """Let time pass until the next time that an invocation waits for."""
        ((due_ms,),) = self._world.query("SELECT min(due_ms) FROM timer")
        if due_ms is None or due_ms - self._machine.clock.now_ms() > FURTHEST_MS:
            return False
        await asyncio.sleep(max(due_ms - self._machine.clock.now_ms(), 0) / 1000 + 0.001)
        return True

    # --- choices ------------------------------------------------------------------------------------------------------------

    def _one_of(self, name: str, options: Sequence[Any]) -> Any:
        return options[self._choose(name, len(options), 1 - 1 / len(options)) if len(options) > 1 else 0]

    async def _later(self, name: str, odds: float) -> None:
        if later_ms := self._choose(f"{name} comes later ms", LATER_MS + 1, odds):
            await asyncio.sleep(later_ms / 1000)

    async def _quietly(self, work: Awaitable[Any]) -> None:
        """What came too late is refused."""
        try:
            await work
        except ActorsError as error:
            self._machine.story.tell("refused", str(error))
