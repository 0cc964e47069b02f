"""Tests that sweeps and simulations run again and again: a shop that sends mails, and a bank whose transfer may be cancelled."""

from __future__ import annotations

from contextlib import suppress

from actors import Context, Service, VirtualObject, handler
from actors.errors import WrongStatus
from actors.testing import World


def send_mail(to: str) -> None: ...


class Mailer(VirtualObject):
    @handler
    async def deliver(self, ctx: Context) -> None:
        await ctx.run(send_mail, "customer")


class Shop(VirtualObject):
    status: str = "new"

    @handler
    async def checkout(self, ctx: Context) -> str:
        approval = ctx.awakeable(str)
        await ctx.run(send_mail, "boss")
        self.status = await approval
        ctx.object(Mailer, "m").deliver.send()
        return "complete"


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


async def checkout(world: World, most: int) -> None:
    mails: list[str] = []
    world.replace(send_mail, mails.append)
    await world.serve(Shop, Mailer)
    sent = await world.object(Shop, "o").checkout.send()
    await (await world.awakeable()).resolve("yes")
    assert await sent.result() == "complete"
    await world.settle()
    assert set(mails) == {"boss", "customer"} and len(mails) <= most, mails


async def at_least_once(world: World) -> None:
    await checkout(world, 3)


async def exactly_once(world: World) -> None:
    await checkout(world, 2)


async def cancelled(world: World) -> None:
    await world.serve(Teller, Account)
    await world.object(Account, "a").add(100)
    sent = await world.service(Teller).transfer.send(30)
    if world.choose("somebody cancels"):
        await world.pause("after", up_to=0.02)
        with suppress(WrongStatus):
            await sent.cancel()
    await world.settle()
    assert world.look(Account, "a").cents + world.look(Account, "b").cents == 100, "money is not conserved"
