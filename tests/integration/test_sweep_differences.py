"""What a sweep tries, and what it takes for a difference that a crash has made."""

from __future__ import annotations

from actors import Context, VirtualObject, handler
from actors.testing import World
from actors.testing.sweep import Sweep


class Kitchen(VirtualObject):
    cooked: list[str] = []

    @handler
    async def cook(self, dish: str) -> None:
        self.cooked.append(dish)


class Waiter(VirtualObject):
    @handler
    async def order(self, ctx: Context, dishes: list[str]) -> None:
        for dish in dishes:
            ctx.object(Kitchen, "k").cook.options(idempotency_key=dish).send(dish)


class Coin(VirtualObject):
    side: str = ""

    @handler
    async def toss(self, ctx: Context) -> str:
        self.side = ctx.random.choice(["heads", "tails"])
        return self.side


def test_no_crash_divides_what_is_recorded_in_one_callback() -> None:
    async def body(world: World) -> None:
        await world.serve(Waiter, Kitchen)
        await world.object(Waiter, "w").order(["soup", "cake"])
        await world.settle()
        assert world.look(Kitchen, "k").cooked == ["soup", "cake"]

    swept = Sweep().run(body)
    assert swept.points > 6 and not swept.failed, swept.explanation()


def test_what_a_coin_decides_is_not_compared() -> None:
    async def body(world: World) -> None:
        await world.serve(Coin)
        for name in "abcdefgh":
            assert await world.object(Coin, name).toss() in ("heads", "tails")

    swept = Sweep().run(body)
    assert swept.points > 6 and not swept.failed, swept.explanation()
