"""Scenarios that ask: how many operations per second, how quick and at what cost, as a fraction of the floor?"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from actors import App
from benchmarks import machine
from benchmarks.flights import FlightsMissing, calls
from benchmarks.floor import (
    AircraftOnFloor,
    AirportOnFloor,
    ApprovalOnFloor,
    CounterOnFloor,
    Floor,
    StepperOnFloor,
)
from benchmarks.measure import Figures, MeasuredStore, Operation, Progress, Side, alternate, run
from benchmarks.objects import Aircraft, Airport, Approval, Counter, Front, Recorded, Stepper
from benchmarks.options import Options, Result, Skipped

CLASSES = (Counter, Recorded, Front, Stepper, Approval, Aircraft, Airport)
QUICK = Options(rounds=3, ops=4000)


@dataclass(frozen=True, slots=True)
class Work:
    """The items of a run: all items once to warm up, then one draw for each round. `keys` counts distinct objects."""

    warm_up: Sequence[Any]
    draw: Callable[[], Sequence[Any]]
    keys: int


def random_keys(keys: int, ops: int) -> Work:
    names = [f"key-{number}" for number in range(keys)]
    random = Random(1)
    return Work(names, lambda: random.choices(names, k=ops), keys)


def one_key(keys: int, ops: int) -> Work:
    return random_keys(1, ops)


def flights(keys: int, ops: int) -> Work:
    try:
        items = calls(ops)
    except FlightsMissing as missing:
        raise Skipped(str(missing)) from None
    return Work(items, lambda: items, len({item[:2] for item in items}))


def counter(app: App) -> Operation:
    return lambda key: app.object(Counter, key).add(1)


def recorded(app: App) -> Operation:
    return lambda key: app.object(Recorded, key).add(1)


def tell(app: App) -> Operation:
    return lambda key: app.object(Counter, key).add.send(1)


def chain(app: App) -> Operation:
    return lambda key: app.object(Front, key).add(1)


def run_step(app: App) -> Operation:
    return lambda key: app.object(Stepper, key).work(1)


def awakeable(app: App) -> Operation:
    tickets = count()
    loop = asyncio.get_running_loop()

    async def round_trip(key: str) -> int:
        ticket = next(tickets)
        left = Approval.outbox[ticket] = loop.create_future()
        call = app.object(Approval, key).ask(ticket)
        id = await left
        del Approval.outbox[ticket]
        await app.resolve_awakeable(id, ticket)
        return await call

    return round_trip


def fly(app: App) -> Operation:
    def call(item: tuple[str, str, int]) -> Any:
        kind, key, number = item
        return app.object(Aircraft, key).fly(number) if kind == "Aircraft" else app.object(Airport, key).depart(number)

    return call


def fly_on_floor(floor: Floor) -> Operation:
    def call(item: tuple[str, str, int]) -> Any:
        kind, key, number = item
        if kind == "Aircraft":
            return floor.object(AircraftOnFloor, key).fly(number)
        return floor.object(AirportOnFloor, key).depart(number)

    return call


def step_on_floor(floor: Floor) -> Operation:
    return lambda key: floor.object(StepperOnFloor, key).work(1)


def awakeable_on_floor(floor: Floor) -> Operation:
    tickets = count()
    loop = asyncio.get_running_loop()

    async def round_trip(key: str) -> int:
        ticket = next(tickets)
        left = Approval.outbox[ticket] = loop.create_future()
        call = loop.create_task(floor.object(ApprovalOnFloor, key).ask(ticket))
        id = await left
        del Approval.outbox[ticket]
        await floor.resolve(id, ticket)
        return await call

    return round_trip


def counter_on_floor(floor: Floor) -> Operation:
    return lambda key: floor.object(CounterOnFloor, key).add(1)


@dataclass(frozen=True, slots=True)
class Throughput:
    """`operation` is the runtime's side; None measures a second floor, which shows how much the machine itself varies."""

    name: str
    summary: str
    operation: Callable[[App], Operation] | None
    work: Callable[[int, int], Work] = random_keys
    on_floor: Callable[[Floor], Operation] = counter_on_floor
    weight: float = 1.0
    against_counter: bool = False  # also measure counter calls of the same app, as a unit of cost
    quick: tuple[Options, ...] = (QUICK,)
    asks: tuple[str, ...] = ("callers", "keys", "ops", "rounds")

    def steps(self, options: Options) -> int:
        return (3 if self.against_counter else 2) * (options.rounds + 1)

    def run(self, options: Options, progress: Progress) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            return run(lambda: self._run(Path(folder), options, progress))

    async def _run(self, folder: Path, options: Options, progress: Progress) -> Result:
        ops = options.ops_for(self.weight)
        work = self.work(options.keys, ops)
        async with AsyncExitStack() as stack:
            sides = [await self._own_side(folder, stack)]
            if self.against_counter:
                app = await opened_app(folder / "counter.db", stack)
                sides.append(Side("counter", app.store, counter(app.app)))
            sides.append(await floor_side(folder / "floor.db", stack, self.on_floor))
            await alternate(sides, work.warm_up, work.draw, options.callers, options.rounds, progress)
        own, reference, floor = sides[0].medians(), sides[1], sides[-1].medians()
        found = result(self.name, options, own, floor) | {"keys": work.keys, "ops": ops}
        found["ratios_of_rounds"] = [
            rounded(one.ops_per_s / other.ops_per_s)
            for one, other in zip(sides[0].rounds, sides[-1].rounds, strict=True)
        ]
        if self.against_counter:
            found |= cost_in(own, "counter", reference.medians())
        return found

    async def _own_side(self, folder: Path, stack: AsyncExitStack) -> Side:
        if self.operation is None:
            return await floor_side(folder / "own.db", stack, self.on_floor)
        opened = await opened_app(folder / "own.db", stack)
        return Side(self.name, opened.store, self.operation(opened.app))


@dataclass(frozen=True, slots=True)
class OpenedApp:
    app: App
    store: MeasuredStore


async def opened_app(path: Path, stack: AsyncExitStack) -> OpenedApp:
    store = MeasuredStore(str(path))
    return OpenedApp(await stack.enter_async_context(App(*CLASSES, store=store)), store)


async def floor_side(path: Path, stack: AsyncExitStack, operation: Callable[[Floor], Operation]) -> Side:
    store = MeasuredStore(str(path))
    floor = await stack.enter_async_context(Floor(store))
    return Side("floor", store, operation(floor))


def result(name: str, options: Options, own: Figures, floor: Figures) -> Result:
    """The JSON object of a scenario measured against the floor."""
    found: Result = {"scenario": name, "callers": options.callers, "keys": options.keys}
    found |= {figure: rounded(value) for figure, value in asdict(own).items()}
    found |= {
        "floor_ops_per_s": rounded(floor.ops_per_s),
        "ratio_to_floor": rounded(own.ops_per_s / floor.ops_per_s),
        "floor_p50_ms": rounded(floor.p50_ms),
        "p50_ratio_to_floor": rounded(own.p50_ms / floor.p50_ms),
        "floor_p99_ms": rounded(floor.p99_ms),
        "floor_cpu_us_per_op": rounded(floor.cpu_us_per_op),
        "cpu_ratio_to_floor": rounded(own.cpu_us_per_op / floor.cpu_us_per_op),
        "floor_rows_per_op": rounded(floor.rows_per_op),
        "floor_bytes_per_op": rounded(floor.bytes_per_op),
        "floor_fsyncs_per_s": rounded(floor.fsyncs_per_s),
        "rounds": options.rounds,
    }
    return found | machine.facts()


def cost_in(own: Figures, name: str, other: Figures) -> Result:
    """How many operations of `other` an operation of `own` costs, in time and in CPU time."""
    return {
        f"{name}_ops_per_s": rounded(other.ops_per_s),
        f"cost_in_{name}_calls": rounded(other.ops_per_s / own.ops_per_s),
        f"cpu_cost_in_{name}_calls": rounded(own.cpu_us_per_op / other.cpu_us_per_op),
    }


def rounded(value: float) -> float:
    """Four significant digits: more would only be noise."""
    return float(f"{value:.4g}")


SCENARIOS = (
    Throughput("floor", "A second floor against the floor: how far the machine itself varies", None),
    Throughput(
        "counter",
        "A call that reads and writes one state field and returns it, on random keys",
        counter,
        quick=(QUICK, Options(rounds=3, ops=16_000, callers=1024), Options(rounds=3, ops=500, callers=1, keys=100)),
    ),
    Throughput("one-key", "The same call, all callers on one key", counter, work=one_key),
    Throughput(
        "history",
        "A counter call of a class with history=True: its change is recorded too",
        recorded,
        against_counter=True,
    ),
    Throughput("tell", "A send, until its acceptance is acknowledged", tell),
    Throughput("chain", "Object A calls object B and returns the result", chain, weight=0.5, against_counter=True),
    Throughput(
        "awakeable",
        "Create an awakeable, hand its id out, resolve it from outside, return its value",
        awakeable,
        on_floor=awakeable_on_floor,
        weight=0.25,
        against_counter=True,
        quick=(Options(rounds=3, ops=1500),),
    ),
    Throughput(
        "run-step",
        "A handler with one ctx.run",
        run_step,
        on_floor=step_on_floor,
        weight=0.5,
        against_counter=True,
        quick=(Options(rounds=3, ops=2000),),
    ),
    Throughput(
        "flights",
        "Real skew: flights of 2013 out of New York, each calling its Aircraft and its Airport",
        fly,
        work=flights,
        on_floor=fly_on_floor,
        asks=("callers", "ops", "rounds"),
    ),
)
