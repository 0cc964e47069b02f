"""A file with invocations of `past_app` of every sort, and their ids by name."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from actors import TerminalError
from tests.cli.past_app import CLASSES, Chimes, Letters, Order, Stock, Trip
from tests.world import World


async def records(file: Path) -> dict[str, str]:
    """Write the file; returns the ids."""
    ids: dict[str, str] = {}
    async with World(*CLASSES) as world:

        async def ended(id: str) -> None:
            for _ in range(3):
                await world.settle()
                await world.pass_time(1)
            with contextlib.suppress(TerminalError):
                await world.app.invocation(id).result()

        app = world.app
        order = app.object(Order, "o-1")
        ids["checkout"] = (await order.checkout.send(4)).id
        await ended(ids["checkout"])
        sent = {name: getattr(order, name).send() for name in ("both", "odd", "stops", "tries", "lingers")}
        sent["reader"] = order.look.send()
        sent["service"] = app.service(Chimes).ring.send(3)
        sent["run"] = app.object(Trip, "t-1").run.send("Rome")
        sent["refused"] = app.object(Stock, "books").reserve.send(1000)
        sent["huge"] = app.object(Letters, "l").fill.send(1_000_015)
        sent["letters"] = app.object(Letters, "a").write.send("alice@example.org", 4711)
        sent["killed"] = app.object(Order, "o-2").waits.send()
        ids |= {name: (await handle).id for name, handle in sent.items()}
        await world.settle(4)
        await app.kill(ids["killed"])
        (letter,) = [found for found in await app.awakeables() if found.service == "Letters"]
        await app.resolve_awakeable(letter.id, "thanks")
        await world.pass_time(1)
        for name in sent:
            with contextlib.suppress(TerminalError):
                await app.invocation(ids[name]).result()
        ids["restarted"] = (await app.restart(ids["checkout"], keep=3)).id
        await ended(ids["restarted"])
        await world.pass_time(26 * 3600)
        await world.settle(4)
        found = world.disk.query("SELECT invocation FROM invocations WHERE handler = 'yearly' AND status = 'succeeded'")
        ids["tick"] = str(found[0][0])
        ids["open"] = (await app.object(Order, "o-3").waits.send()).id
        await world.settle(4)
        file.write_bytes(world.disk.image())
    return ids


if __name__ == "__main__":
    import sys

    print(asyncio.run(records(Path(sys.argv[1]))))
