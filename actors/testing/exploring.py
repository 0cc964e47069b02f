"""`explore`: a whole test made from classes alone, with random requests of several callers and all that may go wrong.

Promise: no test is written, and what fails is a run of a simulation: run again, shrunk, and given again by its text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from actors.errors import ActorsError, BadArguments
from actors.model.definitions import HandlerDefinition, definition_of
from actors.model.handlers import Handler
from actors.model.names import checked_key
from actors.model.virtual_object import Served
from actors.testing.alone import KEPT
from actors.testing.checked import whole
from actors.testing.choices import parsed
from actors.testing.crowd import Crowd, Target, WayIn
from actors.testing.failures import WorldFailed
from actors.testing.faults import Faults
from actors.testing.judge import JUDGED, Judge
from actors.testing.runs import Body, planned
from actors.testing.samples import CannotMake, samples
from actors.testing.simulation import RUNS, Simulated, Simulation
from actors.testing.step_faults import Step
from actors.testing.world import World

KEYS = ("a", "b")

Arguments = Mapping[Any, Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Exploration(Simulation):
    """The simulation of an exploration; see `explore`. If `atomic`, its runs are judged as a whole."""

    atomic: bool = False

    def run(self, body: Body) -> Simulated:
        """Run all seeds, until one fails. Raises WorldFailed if no run could be judged as a whole."""
        found = Simulation.run(self, body)
        if self.atomic and found.failed is None and not found.reached[JUDGED]:
            raise WorldFailed(
                f"None of {found.runs} runs could be judged as a whole, so nothing is known of them. Explore without atomic, or fewer "
                f"classes and handlers at a time: {found.summary()}"
            )
        return found

    def keep(self, text: str) -> str:
        """How to run this failure each time. The choices are places in the keys and arguments of this exploration."""
        return f"pass also=[{text!r}] to explore(...)"


def explore(
    *classes: type[Served],
    runs: int = RUNS,
    seed: int = 0,
    keys: Sequence[str] = KEYS,
    arguments: Arguments | None = None,
    replace: Mapping[Step, Callable[..., Any]] | None = None,
    cancels: bool = True,
    http: bool = False,
    atomic: bool = False,
    faults: Faults | None = None,
    also: Sequence[str] = (),
) -> Callable[[World], Awaitable[None]]:
    """A test for pytest, of classes alone: `test_shop = explore(Order, Stock)`.

    `runs` times, from the seeds `seed`, `seed + 1`, ..., several callers at a time make random requests of all public handlers: calls,
    sends, delayed sends, some under idempotency keys. Objects have the `keys`. Arguments are made from the annotations; `arguments` gives
    those of a handler instead, as tuples: `{Stock.take: [(1,), (2,)]}`. Awakeables are completed with values of their types, or rejected,
    and unless `cancels=False` invocations are cancelled now and then. What else goes wrong `faults` says, as in `simulate`. Steps run as
    they are; `replace` gives functions to call in their place. With `http=True` all of them use HTTP, by the client of this package:
    connections break, requests without an idempotency key are then lost or done once, and others are repeated.

    What a run must not leave behind: an invocation that is paused or does not go on, and all that the witnesses of a world see. A failing
    run is shrunk. `also` are further runs, by their texts.

    With `atomic=True` the app as a whole is the specification: each request, with all that it calls and sends, must look as if it had
    run alone between its call and its answer. That is more than most apps promise. Nothing is cancelled then, whatever `cancels` says. A run in
    which the runtime has decided an outcome, as by a refused deadlock, is counted and not judged; if no run can be judged, the test fails.

    Raises BadArguments if a value cannot be made, an option is not valid, or with `atomic` a class is a workflow, has a schedule, or `http` is
    set too.
    """
    for name, chosen in (("http", http), ("atomic", atomic)):
        if not isinstance(chosen, bool):
            raise BadArguments(f"explore({name}={chosen!r}) requires True or False.")
    for name, option, least in (("runs", runs, 1), ("seed", seed, 0)):
        whole(f"explore({name}=...)", option, least)
    if faults is not None and not isinstance(faults, Faults):
        raise BadArguments(f"explore(faults={faults!r}) requires Faults(...).")
    for text in also:
        parsed(text)  # raises
    fakes = dict(replace or {})
    body = exploration(classes, keys, arguments or {}, fakes, cancels, http, atomic)
    plan = Exploration(runs, seed, faults or Faults(), tuple(also), atomic=atomic)
    return planned(plan)(body)


def exploration(
    classes: Sequence[type[Served]],
    keys: Sequence[str] = KEYS,
    arguments: Arguments | None = None,
    fakes: Mapping[Step, Callable[..., Any]] | None = None,
    cancels: bool = True,
    http: bool = False,
    atomic: bool = False,
) -> Body:
    """The test itself. Raises BadArguments or DefinitionError, and ModuleNotFoundError if `http` requires what is not installed."""
    targets = _Targets(classes, _checked_keys(keys), arguments or {}).all()
    if http and atomic:
        raise BadArguments(
            "explore(http=True, atomic=True): a run is judged as a whole without HTTP. Make two explorations of the classes."
        )
    way_in = _over_http() if http else None
    judge = Judge(classes, fakes or {}) if atomic else None

    async def explored(world: World) -> None:
        world.unchecked("steps")  # a random run need not come to each step
        for step, fake in (fakes or {}).items():
            world.replace(step, fake)
        if judge is None:
            await world.serve(*classes)
        else:
            await world.serve(*classes, limits=KEPT, watcher=judge.attend(world))
        if way_in is None:
            await Crowd(world, targets, cancels and judge is None, keys).visit()
            return
        async with way_in(world) as callers:
            await Crowd(world, targets, cancels, keys, callers).visit()

    return explored


def _over_http() -> Callable[[World], AbstractAsyncContextManager[WayIn]]:
    from actors.testing.http_callers import over_http  # needs httpx, which only this way in does

    return over_http


def _checked_keys(keys: Sequence[str]) -> tuple[str, ...]:
    if isinstance(keys, str) or not isinstance(keys, Sequence) or not keys:
        raise BadArguments(f'explore(keys={keys!r}) requires a list of one key or more, such as ["a", "b"].')
    for key in keys:
        try:
            checked_key(key)
        except ActorsError as error:
            raise BadArguments(f"explore(keys={keys!r}): {error}") from None
    return tuple(keys)


class _Targets:
    """The handlers that get requests, with their keys and arguments."""

    def __init__(self, classes: Sequence[type[Served]], keys: tuple[str, ...], arguments: Arguments) -> None:
        if not classes:
            raise BadArguments("explore(...) requires classes: explore(Order, Stock).")
        for cls in classes:
            if classes.count(cls) > 1:
                raise BadArguments(f"explore(...): the class {cls.__name__} is given twice.")
        self._definitions = [definition_of(cls) for cls in classes]
        self._keys = keys
        self._given: dict[str, tuple[tuple[Any, ...], ...]] = {}
        for handler, rows in arguments.items():
            definition = self._handler(handler)
            self._given[definition.target] = self._checked_rows(definition, rows)

    def all(self) -> list[Target]:
        # A handler with a schedule runs when its time has come, with headers that no caller gives; arguments= asks for it anyway.
        scheduled = {schedule.handler for definition in self._definitions for schedule in definition.schedules}
        found = [
            self._target(handler)
            for definition in self._definitions
            for handler in definition.handlers.values()
            if handler.target in self._given or not (handler.private or handler in scheduled)
        ]
        if not found and not scheduled:
            raise BadArguments("explore(...) requires a class with a public handler: there is nothing to call.")
        return found

    def _target(self, handler: HandlerDefinition) -> Target:
        keys = ("",) if handler.service.kind == "service" else self._keys
        rows = self._given.get(handler.target)
        if rows is not None:
            return Target(handler, keys, (), rows)
        columns = []
        for name, codec in zip(handler.names, handler.codecs, strict=True):
            try:
                columns.append(tuple(samples(codec.type, self._keys)))
            except CannotMake as error:
                places = ", ".join(["..."] * handler.arity) + ("," if handler.arity == 1 else "")
                raise BadArguments(
                    f"explore(...) cannot make a value for the parameter {name!r} of {handler.target}, of type {error}. Give arguments "
                    f"of this handler: explore(..., arguments={{{handler.target}: [({places})]}})."
                ) from None
        return Target(handler, keys, tuple(columns))

    def _handler(self, asked: Any) -> HandlerDefinition:
        """The handler of a key of `arguments`: `Order.add`, of the class or of the class it is inherited from."""
        if isinstance(asked, Handler):
            for definition in self._definitions:
                for handler in definition.handlers.values():
                    if handler.function is asked.function:
                        return handler
        known = ", ".join(sorted(handler.target for one in self._definitions for handler in one.handlers.values()))
        shown = getattr(asked, "__qualname__", repr(asked))
        raise BadArguments(
            f"explore(arguments=...): {shown} is not a handler of these classes. Known handlers: {known}."
        )

    def _checked_rows(self, handler: HandlerDefinition, rows: Any) -> tuple[tuple[Any, ...], ...]:
        where = f"explore(arguments={{{handler.target}: ...}})"
        if isinstance(rows, (str, bytes)) or not isinstance(rows, Sequence) or not rows:
            raise BadArguments(f"{where} requires a list of tuples, one for each request, got {rows!r}.")
        for row in rows:
            if not isinstance(row, tuple):
                raise BadArguments(
                    f"{where} requires tuples of arguments, got {row!r}. A tuple of one value is (value,)."
                )
            try:
                handler.encode(row, {})
            except ActorsError as error:
                raise BadArguments(f"{where}: {error}") from None
        return tuple(rows)
