"""`App(on_trouble=...)`: who is notified of what does not move, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.app.trouble_watch import EVERY_MS, TroubleWatch
from actors.doctor.causes import Cause
from actors.doctor.trouble import Group, Trouble
from actors.errors import DefinitionError
from actors.journal.ids import IdMint
from actors.storage.errors import LookTooLong
from actors.storage.records import InvocationRow, Mode, Status
from actors.testing import ManualClock
from tests.http.asgi import ask
from tests.world import World

EVERY_S = EVERY_MS / 1000


def fails() -> None:
    raise ConnectionError("upstream refused")


class Order(VirtualObject):
    total: int = 0

    @handler(retry=RetryPolicy(max_attempts=1))
    async def charge(self, ctx: Context) -> None:
        await ctx.run(fails)

    @handler
    async def approve(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def add(self) -> int:
        self.total += 1
        return self.total


class Told:
    """What `on_trouble` was called with."""

    def __init__(self) -> None:
        self.causes: list[Mapping[str, Any]] = []

    def __call__(self, cause: Mapping[str, Any]) -> None:
        self.causes.append(cause)

    def names(self) -> list[str]:
        return [f"{cause['cause']} {cause['name']}" for cause in self.causes]


async def pass_time(world: World, seconds: float) -> None:
    """In steps, so that each look that is due comes."""
    for _ in range(round(seconds / EVERY_S)):
        await world.pass_time(EVERY_S)
        await world.settle(3)


pytestmark = pytest.mark.may_log("is paused")


async def test_a_root_cause_is_passed_on_once_when_it_has_lasted() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        sent = await world.app.object(Order, "o").charge.send()
        await pass_time(world, 60)
        assert told.names() == []
        await pass_time(world, 30)
        assert told.names() == ["retries_used_up Order/o/charge"]
        await pass_time(world, 600)
        assert len(told.causes) == 1
        assert told.causes[0]["id"] == sent.id and told.causes[0]["needs_a_person"] is True


async def test_it_is_what_the_admin_route_shows() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        await world.app.object(Order, "o").charge.send()
        await pass_time(world, 90)
        shown = (await ask(world.app, "GET", "/restate/admin/trouble")).json["causes"]
        assert [{**cause, "text": ""} for cause in told.causes] == [{**cause, "text": ""} for cause in shown]


async def test_what_fails_again_after_it_was_resumed_is_passed_on_again() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        sent = await world.app.object(Order, "o").charge.send()
        await pass_time(world, 90)
        await world.app.resume(sent.id)
        await pass_time(world, 90)
        assert told.names() == ["retries_used_up Order/o/charge"] * 2


async def test_an_awakeable_is_trouble_if_something_waits_behind_it() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        await world.app.object(Order, "o").approve.send()
        await pass_time(world, 600)
        assert told.names() == []
        await world.app.object(Order, "o").add.send()
        await pass_time(world, 20)
        assert told.names() == ["awakeable Order/o/approve"]


async def test_a_function_may_be_async_and_use_the_app() -> None:
    seen: list[str] = []

    async def resumes(cause: Mapping[str, Any]) -> None:
        await world.app.kill(cause["id"])
        seen.append(await world.status(sent))

    async with World(Order, on_trouble=resumes) as world:
        sent = await world.app.object(Order, "o").charge.send()
        await pass_time(world, 90)
        assert seen == ["failed"]


@pytest.mark.expects_log(
    "on_trouble raised; 'Order/a/charge' is not passed on again",
    "on_trouble raised; 'Order/b/approve' is not passed on again",
)
async def test_a_function_that_raises_is_called_with_the_next_cause() -> None:
    told: list[str] = []

    def raises(cause: Mapping[str, Any]) -> None:
        told.append(cause["name"])
        raise ValueError("no network")

    async with World(Order, on_trouble=raises) as world:
        await world.app.object(Order, "a").charge.send()
        await world.app.object(Order, "b").approve.send()
        await world.app.object(Order, "b").add.send()
        await pass_time(world, 100)
        assert sorted(told) == ["Order/a/charge", "Order/b/approve"]


async def test_invocations_that_fail_alike_are_one_cause_whoever_comes_first() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        for key in "abc":
            await world.app.object(Order, key).charge.send()
        await pass_time(world, 90)
        for key in "bcbcbc":  # the key with the most messages behind it comes first
            for _ in range(3):
                await world.app.object(Order, key).add.send()
            await pass_time(world, 20)
        assert len(told.causes) == 1


async def test_a_function_that_does_not_return_keeps_nothing_back() -> None:
    began: list[str] = []

    async def hangs(cause: Mapping[str, Any]) -> None:
        began.append(cause["name"])
        await asyncio.Event().wait()

    async with World(Order, on_trouble=hangs) as world:
        await world.app.object(Order, "a").charge.send()
        await pass_time(world, 90)
        await world.app.object(Order, "b").approve.send()
        await world.app.object(Order, "b").add.send()
        await pass_time(world, 90)
        assert began == ["Order/a/charge", "Order/b/approve"]


async def test_a_watch_goes_on_after_a_recovery_of_the_database() -> None:
    told = Told()
    async with World(Order, on_trouble=told) as world:
        await world.app.object(Order, "o").charge.send()
        await world.settle(3)
        await world.restart()
        await pass_time(world, 90)
        assert len(told.causes) == 1


@pytest.mark.parametrize("given", ["log", 1, [print]])
def test_what_cannot_be_called_is_refused(given: Any) -> None:
    with pytest.raises(DefinitionError, match=r"App\(on_trouble=...\) requires a function that takes the cause"):
        App(Order, on_trouble=given)


# --- looks that fail, or are cut ------------------------------------------------------------------------------------------------


class Looks:
    """A watch whose looks find the keys in these texts, such as "ab", stopped for good; None is a look that fails."""

    def __init__(self, *looks: str | None, cut: bool = False) -> None:
        self.left = list(looks)
        self.cut = cut
        self.told = Told()

    async def look(self, older_ms: int) -> Trouble:
        keys = self.left.pop(0)
        if keys is None:
            raise LookTooLong()
        return Trouble(tuple(self.group(key) for key in keys), self.cut)

    @staticmethod
    def group(key: str) -> Group:
        row = InvocationRow(
            ord(key),
            "Order",
            key,
            "charge",
            Mode.EXCLUSIVE,
            Status.PAUSED,
            1,
            "[]",
            None,
            None,
            None,
            1,
            0,
            None,
            None,
            None,
        )
        return Group(row, Cause("held", "is paused.", since_ms=0))

    async def all(self) -> list[str]:
        """The keys that were passed on."""
        watch = TroubleWatch(self.look, lambda: IdMint(bytes(32)), self.told, ManualClock(), asyncio.ensure_future)
        while self.left:
            await watch.look_once()
        return [cause["name"].split("/")[1] for cause in self.told.causes]


class Impatient(ManualClock):
    """Rings early, as the machine's clock does within a minute."""

    def call_at(self, due_ms: int, callback: Callable[[], None]) -> Any:
        return super().call_at(min(due_ms, self.now_ms() + 60_000), callback)


async def looks_left(clock: ManualClock, durations_s: Sequence[float], seconds: int, set_ahead_s: int = 0) -> list[int]:
    """How many looks are left after each ten seconds, if looks take so long."""
    durations, passed_s, left = list(durations_s), 0.0, []

    async def look(older_ms: int) -> Trouble:
        nonlocal passed_s
        passed_s += durations.pop(0)
        clock.set_to(clock.now_ms() + 1000 * set_ahead_s)
        return Trouble((), False)

    watch = TroubleWatch(look, lambda: IdMint(bytes(32)), Told(), clock, asyncio.ensure_future, lambda: passed_s)
    running = asyncio.ensure_future(watch.run())
    for _ in range(seconds // 10):
        await asyncio.sleep(0)
        clock.advance(EVERY_S)
        passed_s += EVERY_S
        for _ in range(9):
            await asyncio.sleep(0)
        left.append(len(durations))
    running.cancel()
    return left


async def test_a_look_that_takes_long_is_followed_by_a_longer_pause() -> None:
    assert await looks_left(ManualClock(), [2] * 9, 60) == [8, 8, 8, 8, 7, 7]


async def test_the_longest_pause_is_kept_by_a_clock_that_rings_early() -> None:
    assert await looks_left(Impatient(), [10] * 9, 220) == [8] * 20 + [7] * 2


async def test_a_clock_set_ahead_during_a_look_makes_no_pause_longer() -> None:
    assert await looks_left(ManualClock(), [0.1] * 9, 30, set_ahead_s=86_400) == [8, 7, 6]


@pytest.mark.expects_log("Looking for trouble failed, and is tried again: ")
async def test_a_look_that_fails_is_followed_by_the_next() -> None:
    assert await Looks("a", None, "ab", "ab").all() == ["a", "b"]


async def test_what_one_look_has_found_may_be_over() -> None:
    assert await Looks("a", "", "a", "").all() == []


async def test_what_was_over_and_comes_again_is_passed_on_again() -> None:
    assert await Looks("aa", "a", "", "a", "a").all() == ["a", "a"]


async def test_what_a_look_that_was_cut_left_out_is_known() -> None:
    assert await Looks("a", "a", "b", "b", "a", "a", cut=True).all() == ["a", "b"]
