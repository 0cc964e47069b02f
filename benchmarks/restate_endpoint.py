"""The two endpoints that are compared on one restate-server, one of them in each process.

    python -m benchmarks.restate_endpoint actors PORT    our classes
    python -m benchmarks.restate_endpoint plain PORT     handlers written for restate-sdk

Both are served by granian in the same way. An endpoint prints its port, and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import restate

from actors import App, Context, VirtualObject, handler, run
from actors.cli.restate.serving import granian
from actors.transport.restate import endpoint


class Counter(VirtualObject):
    value: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.value += n
        return self.value

    @handler
    async def once(self, ctx: Context, n: int) -> int:
        return await ctx.run(one, n)

    @handler
    async def chain(self, ctx: Context, n: int) -> int:
        return await ctx.object(Second, ctx.key).add(n)


class Second(VirtualObject):
    value: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.value += n
        return self.value


async def one(n: int) -> int:
    return n + 1


plain = restate.VirtualObject("PlainCounter")
plain_second = restate.VirtualObject("PlainSecond")


async def _added(ctx: restate.ObjectContext, n: int) -> int:
    value = (await ctx.get("value", type_hint=int) or 0) + n
    ctx.set("value", value)
    return value


@plain.handler("add")
async def plain_add(ctx: restate.ObjectContext, n: int) -> int:
    return await _added(ctx, n)


@plain.handler("once")
async def plain_once(ctx: restate.ObjectContext, n: int) -> int:
    return await ctx.run_typed("one", one, n=n)


@plain.handler("chain")
async def plain_chain(ctx: restate.ObjectContext, n: int) -> int:
    return await ctx.object_call(plain_second_add, ctx.key(), n)


@plain_second.handler("add")
async def plain_second_add(ctx: restate.ObjectContext, n: int) -> int:
    return await _added(ctx, n)


async def main(kind: str, port: int) -> None:
    served: Any = (
        endpoint(App(Counter, Second, storage="sqlite://"))
        if kind == "actors"
        else restate.app([plain, plain_second], protocol="bidi")
    )
    server = granian(served, "127.0.0.1", port, http1=False)
    serving = asyncio.create_task(server.serve())
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.stop()
    await serving


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2])))
