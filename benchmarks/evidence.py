"""What does proof cost: sweeps, simulations, worlds and the witnesses at the end of each test? And is it the same each time?"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from actors import Context, Service, VirtualObject, handler, schedule
from actors.errors import WrongStatus
from actors.testing import Faults, World
from actors.testing.choices import Choices
from actors.testing.runs import Body, Run
from actors.testing.simulation import Simulation
from actors.testing.specification import explain
from actors.testing.sweep import Sweep
from benchmarks import machine
from benchmarks.measure import Progress
from benchmarks.options import Options, Result
from benchmarks.throughput import rounded
from examples.orders import Mailer, Order, Stock, send_mail

USUAL = Faults(crash=0, step=0, delay=0, memory=0, prompt=0)
HASH_SEEDS = ("0", "1", "4711")


class Account(VirtualObject):
    cents: int = 0

    @handler
    async def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents


class Teller(Service):
    @handler
    async def transfer(self, ctx: Context, cents: int) -> None:
        await ctx.object(Account, "a").add(-cents)
        await ctx.object(Account, "b").add(cents)


class Walker(VirtualObject):
    taken: int = 0

    @handler
    async def walk(self, ctx: Context, steps: int) -> int:
        for _ in range(steps):
            self.taken = await ctx.run(next_step, self.taken)
        return self.taken


class Nightly(VirtualObject):
    ticks: int = 0

    @schedule("0 3 * * *", key="daily", tz="Europe/Vienna")
    @handler
    async def tick(self) -> None:
        self.ticks += 1


def next_step(taken: int) -> int:
    return taken + 1


async def order(world: World) -> None:
    """The order of examples/orders.py: two steps, an awakeable, a call and a message."""
    mails: list[str] = []
    world.replace(send_mail, lambda to, text: mails.append(to))
    await world.serve(Order, Stock, Mailer)
    sent = await world.object(Order, "o-1").checkout.send(3)
    await (await world.awakeable()).resolve("boss")
    assert (await sent.result()).startswith("complete")
    await world.settle()
    assert set(mails) == {"boss", "customer"}


async def walk(world: World) -> None:
    """One handler of 20 steps."""
    await world.serve(Walker)
    assert await world.object(Walker, "w").walk(20) == 20


async def transfers(world: World) -> None:
    """Twelve invocations, one of which may be cancelled: money may be lost, no request is."""
    await world.serve(Teller, Account)
    await world.object(Account, "a").add(100)
    sent = [await world.service(Teller).transfer.send(10) for _ in range(3)]
    if world.choose("an operator cancels"):
        await world.pause("after", up_to=0.02)
        with suppress(WrongStatus):
            await sent[0].cancel()
    await asyncio.gather(*(world.object(Account, key).add(1) for key in "ab"))
    await world.settle()


async def a_year(world: World) -> None:
    """365 ticks of a daily schedule."""
    await world.serve(Nightly)
    await world.pass_time(days=365)
    assert 364 <= world.look(Nightly, "daily").ticks <= 366


async def one_call(world: World) -> None:
    await world.serve(Account)
    assert await world.object(Account, "a").add(1) == 1


class Evidence:
    """Times are CPU seconds, medians of `--rounds`. `--ops` is the number of seeds of the simulations, 100 without it.

    `trace` is a digest of the events of seeded runs with crashes, failing steps and evictions, at least 10,000 with `--ops 700`;
    `equal_traces` says whether it is the same under three hash seeds. Run it on several versions of Python to compare them.
    """

    name = "evidence"
    summary = "What sweeps, simulations and witnesses of the test kit cost, and whether a seed is one history"
    asks = ("ops", "rounds")
    quick = (Options(ops=20, rounds=3),)

    def steps(self, options: Options) -> int:
        return 8

    def run(self, options: Options, progress: Progress) -> Result:
        seeds = options.ops or 100
        found: Result = {"scenario": self.name, "seeds": seeds}

        def measured(name: str, work: Callable[[], Any]) -> Any:
            result, times = None, []
            for _ in range(options.rounds):
                began = time.process_time()
                result = work()
                times.append(time.process_time() - began)
            found[name] = rounded(statistics.median(times))
            progress(name.replace("_", " "))
            return result

        measured("hundred_worlds_s", lambda: [plain(one_call) for _ in range(100)])
        found["order_points"] = measured("order_sweep_s", lambda: passed(Sweep().run(order))).points
        found["order_pairs"] = measured("order_pairs_s", lambda: passed(Sweep(crashes=2).run(order))).points
        found["walk_points"] = measured("walk_sweep_s", lambda: passed(Sweep().run(walk))).points
        measured("year_s", lambda: plain(a_year))
        runs: list[Run] = measured(
            "simulation_s", lambda: [Simulation().once(transfers, Choices(seed=seed)) for seed in range(seeds)]
        )
        found["runs_per_cpu_s"] = rounded(seeds / found["simulation_s"])
        found["invocations_per_cpu_s"] = rounded(sum(len(run.outcomes) for run in runs) / found["simulation_s"])
        found["replayed_us"] = rounded(statistics.median(replay_us() for _ in range(options.rounds)))
        progress("replay witness")
        found |= traces(seeds)
        progress("traces under three hash seeds")
        return found | machine.facts()


def plain(body: Body) -> Run:
    """The run in which everything is as usual."""
    run = Simulation(faults=USUAL).once(body, Choices())
    assert run.error is None, run.error
    return run


def passed(swept: Any) -> Any:
    assert swept.failed == [], swept.failed[0].error
    return swept


def replay_us(calls: int = 2000) -> float:
    """CPU time in us that the replay witness takes for each counter call."""
    found: list[float] = []

    async def body(world: World) -> None:
        await world.serve(Account)
        await asyncio.gather(*(world.object(Account, str(call % 50)).add(1) for call in range(calls)))
        began = time.process_time()
        report = await explain(world, [Account])
        found.append(time.process_time() - began)
        assert report.ok and report.invocations == calls
        world.unchecked("replay")

    plain(body)
    return found[0] / calls * 1e6


def traces(seeds: int) -> Result:
    """The same runs in processes with different hash seeds."""
    told: list[Result] = [
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.evidence", str(seeds)],
                env={**os.environ, "PYTHONHASHSEED": hash_seed},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        )
        for hash_seed in HASH_SEEDS
    ]
    return told[0] | {"equal_traces": all(one == told[0] for one in told)}


def trace(seeds: int) -> Result:
    """How many events the runs have, and a digest of all their stories."""
    digest, events = hashlib.sha256(), 0
    for body in (transfers, order):
        for seed in range(seeds):
            run = Simulation().once(body, Choices(seed=seed))
            events += len(run.story)
            digest.update("\n".join(run.story.lines()).encode())
    return {"events": events, "trace": digest.hexdigest()[:16]}


if __name__ == "__main__":
    print(json.dumps(trace(int(sys.argv[1]))))
