"""An app whose invocations get into each status on a restate-server."""

from __future__ import annotations

import threading

from actors import App, Context, Limits, RetryPolicy, Service, TerminalError, VirtualObject, handler, schedule

given: list[str] = []  # ids of awakeables, as handlers know them
broken = {"is": True}
begun: list[str] = []  # executions of the step of `hold`
going_on = threading.Event()


class Desk(VirtualObject):
    count: int = 0
    note: str = ""

    @handler
    async def add(self, by: int = 1) -> int:
        self.count += by
        return self.count

    @handler
    async def write(self, text: str) -> None:
        self.note = text

    @handler
    async def wait(self, ctx: Context) -> str:
        first, second = ctx.awakeable(str), ctx.awakeable(str)
        given.extend((first.id, second.id))
        return await first + await second

    @handler
    async def sleep(self, ctx: Context) -> None:
        await ctx.sleep(3600)

    @handler
    async def ask(self, ctx: Context, other: str) -> int:
        await ctx.object(Desk, other).sleep()
        return 1

    @handler
    async def refuse(self) -> None:
        raise TerminalError("never", code=409)

    @handler(retry=RetryPolicy(max_attempts=1))
    async def mend(self) -> str:
        if broken["is"]:
            raise ValueError("not now")
        return "mended"

    @handler(retry=RetryPolicy(initial_interval=600))
    async def fail(self) -> None:
        raise ValueError("later")

    @handler
    async def hold(self, ctx: Context) -> int:
        self.count += 1
        await ctx.run(held)
        self.count += 1
        return self.count

    @schedule("0 3 1 1 *", key="yearly")
    @handler
    async def report(self) -> None: ...


def held() -> str:
    """Runs until the test lets it go on."""
    begun.append("")
    going_on.wait(60)
    return "held"


class Mailer(Service):
    @handler
    async def deliver(self, ctx: Context) -> None:
        await ctx.sleep(3600)


app = App(Desk, Mailer, limits=Limits(suspend_after=0.05))
