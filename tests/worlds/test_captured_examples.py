"""Every ended invocation of the examples becomes a test: it passes, it is formatted, and it fails with any other journal."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import chdir
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from actors import TerminalError
from actors.cli.replay.captured import Captured
from actors.cli.replay.capturing import executed, proved
from actors.cli.replay.source import module
from actors.cli.replay.subject import read
from actors.errors import DeterminismError
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.testing import entries as e
from actors.testing import replayed
from examples import agent, approval, fleet, orders, rate_limiter, saga, web
from tests.property.test_past import reads_of
from tests.world import World

Scenario = Callable[[World], Awaitable[None]]


async def ordered(world: World) -> None:
    first = await world.app.object(orders.Order, "o-1").checkout.send(3)
    await world.settle(4)
    await world.crash()
    await world.start()
    (waiting,) = await world.app.awakeables()
    await world.app.resolve_awakeable(waiting.id, "the boss")
    await world.result(first)
    for number, quantity in (("o-1", 1), ("o-2", 1000), ("o-3", 2)):
        await world.app.object(orders.Order, number).checkout.send(quantity)
    await world.settle(4)
    for place, waiting in enumerate(await world.app.awakeables()):
        if place:
            await world.app.reject_awakeable(waiting.id, "too many books")
        else:
            await world.app.resolve_awakeable(waiting.id, "the boss")
    await world.app.object(orders.Order, "o-3").finished()
    await world.app.object(orders.Order, "o-3").look()
    await world.app.object(orders.Mailer, "customer").idle()


async def travelled(world: World) -> None:
    trip = world.app.object
    await trip(saga.Trip, "t-1").book()
    await trip(saga.Trip, "t-2").book("car")
    late = await trip(saga.Trip, "t-3").book.send("car", 1)
    for _ in range(8):
        await world.pass_time(1)
    await world.result(late)
    await trip(saga.Trip, "t-1").undo()
    for failing in (trip(saga.Trip, "t-9").undo.send(), trip(saga.Trip, "t-2").book.send()):
        with contextlib.suppress(TerminalError):
            await world.result(await failing)
    await trip(saga.Trip, "t-1").show()


async def asked(world: World) -> None:
    for key, allowed in (("t-1", True), ("t-2", False)):
        task = await world.app.object(agent.Task, key).ask.send("Pay the invoice of ACME")
        await world.settle(4)
        (waiting,) = await world.app.awakeables()
        await world.app.resolve_awakeable(waiting.id, allowed)
        await world.result(task)
        await world.app.object(agent.Task, key).look()


async def approved(world: World) -> None:
    for key, wait, answer in (("e-1", 0, "Eve"), ("e-2", 20, "Eve"), ("e-3", 0, None), ("e-4", 40, None)):
        expense = await world.app.object(approval.Expense, key).ask.send(300, 10)
        await world.settle(4)
        for _ in range(wait // 10):
            await world.pass_time(10)
        for waiting in await world.app.awakeables():
            if answer is not None:
                await world.app.resolve_awakeable(waiting.id, answer)
            else:
                await world.app.reject_awakeable(waiting.id, "too much")
        await world.result(expense)
        await world.app.object(approval.Expense, key).look()


async def patrolled(world: World) -> None:
    devices = ["d-1", "d-2"]
    for second in range(int(fleet.PATIENCE.total_seconds()) + 4):
        for device in devices if second < 3 else devices[:1]:
            await world.app.object(fleet.Device, device).report()
        await world.pass_time(1)
    await world.app.object(fleet.Device, "d-2").report()
    await world.app.object(fleet.Alarm, fleet.FLEET).look()


async def limited(world: World) -> None:
    for _ in range(rate_limiter.CAPACITY + 2):
        with contextlib.suppress(TerminalError):
            await world.app.object(rate_limiter.Bucket, "alice").take()
    await world.pass_time(rate_limiter.INTERVAL / timedelta(seconds=1))
    await world.app.object(rate_limiter.Bucket, "alice").take()


async def sold(world: World) -> None:
    concert = world.app.object(web.Concert, "jazz")
    for guest in (None, "Ann", "Bob", "Cid"):
        with contextlib.suppress(TerminalError):
            await concert.buy(guest or "early")
        if guest is None:
            await concert.announce(2)
    await concert.look()


EXAMPLES: dict[str, tuple[Scenario, tuple[Any, ...]]] = {
    "orders": (ordered, (orders.Order, orders.Stock, orders.Mailer)),
    "saga": (travelled, (saga.Trip,)),
    "agent": (asked, (agent.Task,)),
    "approval": (approved, (approval.Expense,)),
    "fleet": (patrolled, (fleet.Device, fleet.Registry, fleet.Alarm)),
    "rate_limiter": (limited, (rate_limiter.Bucket,)),
    "web": (sold, (web.Concert,)),
}


async def captures(world: World) -> list[tuple[Captured, list[type], str | None]]:
    """All ended invocations on the disk of a world, captured."""
    reads = reads_of(world.disk)
    ((secret,),) = world.disk.query("SELECT value FROM meta WHERE name = 'secret'")
    catalog = Catalog(world.app._services)
    tests = []
    for (seq,) in world.disk.query("SELECT seq FROM invocation WHERE status >= 6 ORDER BY seq"):
        subject = await read(reads, secret, world.app, seq)
        capture = await executed(world.app.engine_options(), subject, large=False)
        tests.append(await proved(catalog, capture, redacted=False))
    return tests


async def again(capture: Captured, calls: list[type], journal: list[e.JournalEntry]) -> bool:
    """Whether the captured test passes with this journal."""
    subject = capture.subject
    cls: Any = subject.definition.cls
    try:
        run = await replayed(
            getattr(cls, subject.row.handler),
            cls=cls,
            key=capture.key,
            arguments=capture.arguments,
            before=capture.before,
            headers=capture.headers,
            seed=capture.seed,
            calls=calls,
            journal=journal,
            ended=capture.ended,
        )
    except DeterminismError:
        return False
    return (run.outcome, run.failure, run.state) == (capture.outcome, capture.failure, capture.state)


def renamed(entry: e.JournalEntry) -> e.JournalEntry | None:
    """Another entry of the same kind. None for an entry that has no name."""
    match entry:
        case e.SetState() | e.ClearState() | e.Run() | e.Promise() | e.Peek() | e.ResolvePromise():
            return dataclasses.replace(entry, name=f"{entry.name}_before")
        case e.Call() | e.Send():
            return dataclasses.replace(entry, target=f"Old{entry.target}")
        case e.Sleep():
            return dataclasses.replace(entry, seconds=entry.seconds + 1)
        case _:
            return None


def others(journal: list[e.JournalEntry]) -> Iterator[tuple[str, list[e.JournalEntry]]]:
    """The journal with one step less, one more, or one renamed."""
    for place in range(len(journal) + 1):
        yield f"added at {place}", [*journal[:place], e.Run("audit", result=None), *journal[place:]]
    for place, entry in enumerate(journal):
        yield f"{entry} removed", [*journal[:place], *journal[place + 1 :]]
        other = renamed(entry)
        if other is not None:
            yield f"{entry} renamed", [*journal[:place], other, *journal[place + 1 :]]


@pytest.mark.may_log("failed", "step")
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_ended_invocation_of_an_example_becomes_a_test(name: str, tmp_path: Path) -> None:
    scenario, classes = EXAMPLES[name]

    async def main() -> list[tuple[Captured, list[type], str | None]]:
        async with World(*classes) as world:
            await scenario(world)
            tests = await captures(world)
            for capture, calls, problem in tests:
                assert problem is None, (capture.subject.name, problem, capture.journal)
                for what, journal in others(capture.journal):
                    assert not await again(capture, calls, journal), (capture.subject.name, what)
            return tests

    with chdir(tmp_path):
        tests = asyncio.run(main())
    assert tests
    source = module(tests)
    file = tmp_path / f"test_{name}.py"
    file.write_text(source, encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    names: dict[str, Any] = {}
    exec(compile(source, str(file), "exec"), names)
    functions = [function for known, function in names.items() if known.startswith("test_")]
    assert len(functions) == len(tests)
    for function in functions:
        function()
    subjects = [capture.subject for capture, *_ in tests]
    ids = IdMint(subjects[0].secret)
    known = [subject.id for subject in subjects]
    known += [ids.awakeable(entry.invocation, entry.idx) for subject in subjects for entry in subject.journal]
    assert not any(id in source for id in known)
