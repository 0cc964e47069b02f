"""The demo's child process: serves the shop from one database until it is stopped or killed.

It takes commands as JSON lines on stdin and answers each command with a line on stdout.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from actors import App, run
from actors.cli.demo.shop import Mailer, Order, Stock

DATABASE = "shop.db"


async def serve() -> None:
    async with App(Order, Stock, Mailer, storage=f"sqlite:///{DATABASE}") as app:
        answer(event="ready", pid=os.getpid())
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            answer(event=command["do"], **await obey(app, command))


async def obey(app: App, command: dict[str, Any]) -> dict[str, Any]:
    match command["do"]:
        case "place":
            handle = await app.object(Order, command["order"]).checkout.send(command["books"])
            return {"invocation": handle.id}
        case "wait until blocked":
            found = await app.describe(command["invocation"])
            while found.status in ("pending", "running"):
                await asyncio.sleep(0.005)
                found = await app.describe(command["invocation"])
            return {"status": found.status}
        case "list awakeables":
            return {"ids": [awakeable.id for awakeable in await app.awakeables()]}
        case "resolve":
            await app.resolve_awakeable(command["id"], command["value"])
            return {}
        case "wait for result":
            result = await app.invocation(command["invocation"]).result()
            await app.object(Mailer, "ann").caught_up()
            return {"result": result}
        case other:
            raise ValueError(f"unknown command {other!r}")


def answer(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]))
    run(serve())
