"""The process that is killed: it works on a database as fast as it can and writes down what it was told.

    python -m tests.crash.child DATABASE DIARY INCARNATION load     until somebody kills it
    python -m tests.crash.child DATABASE DIARY INCARNATION drain    bring everything to an end, then exit

The diary is written with one `write` for each line, so a kill leaves whole lines only. Its lines:

    ready                       the app runs
    called OP RESULT            a call was answered
    sent OP                     a send was acknowledged
    effect OP TOKEN             the step of a flow was executed
    resolved OP                 the completion of a flow's awakeable was acknowledged
    finished OP TOKEN           a flow was answered
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sqlite3
import sys
import threading
import uuid

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.errors import OutcomePending
from actors.storage import StorageError

DIARY = -1


def write(*words: object) -> None:
    os.write(DIARY, (" ".join(map(str, words)) + "\n").encode())


class Account(VirtualObject):
    ops: list[str] = []

    @handler
    async def add(self, op: str) -> int:
        self.ops.append(op)
        return len(self.ops)


class Flow(VirtualObject):
    """One side effect, one answer from outside, one pause, one call, one message: every way to be interrupted."""

    token: str = ""

    @handler
    async def go(self, ctx: Context, op: str, account: str) -> str:
        promise = ctx.awakeable(str)

        def effect() -> str:
            token = uuid.uuid4().hex
            write("effect", op, token)
            return token

        self.token = await ctx.run(effect)
        answer = await promise
        await ctx.sleep(0.002)
        await ctx.object(Account, account).add(f"{op}-called")
        ctx.object(Account, account).add.send(f"{op}-sent")
        return f"{self.token} {answer}"


async def resolve_all(app: App) -> None:
    for info in await app.awakeables():
        await app.resolve_awakeable(info.id, "yes")
        write("resolved", info.key)


async def load(app: App, incarnation: str) -> None:
    async def client(number: int) -> None:
        account = f"{incarnation}.{number % 3}"
        for n in itertools.count():
            op = f"{incarnation}.{number}.{n}"
            if n % 3 == 0:
                write("called", op, await app.object(Account, account).add(op))
            elif n % 3 == 1:
                await app.object(Account, account).add.send(op)
                write("sent", op)
            else:
                result = await app.object(Flow, op).go(op, account)
                write("finished", op, result.split()[0])

    async def resolver() -> None:
        while True:
            await resolve_all(app)
            await asyncio.sleep(0)

    await asyncio.gather(resolver(), *(client(number) for number in range(6)))


async def drain(app: App, database: str) -> None:
    """Work until every invocation has an outcome."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        while True:
            await resolve_all(app)
            (open_ones,) = connection.execute("SELECT count(*) FROM invocations WHERE ended_at IS NULL").fetchone()
            if not open_ones:
                return
            await asyncio.sleep(0.005)


async def main(database: str, incarnation: str, mode: str) -> None:
    retry = RetryPolicy(initial_interval=0.01)
    async with App(Account, Flow, storage=f"sqlite:///{database}", retry=retry) as app:
        write("ready")
        if mode == "load":
            await load(app, incarnation)
        else:
            await drain(app, database)


if __name__ == "__main__":
    database, diary, incarnation, mode = sys.argv[1:]
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(4)), daemon=True).start()
    DIARY = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        asyncio.run(main(database, incarnation, mode))
    except (StorageError, OutcomePending) as error:
        print(error, file=sys.stderr)
        sys.exit(3)
