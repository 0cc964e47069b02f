"""An app in a process of its own, for tests of the command line: `python -m tests.cli.operated_app FILE DIARY`.

It says "ready" when it runs and ends when its stdin does. Its handlers write a line into the diary for each thing they do.
"""

from __future__ import annotations

import asyncio
import os
import sys

from actors import App, Context, RetryPolicy, VirtualObject, Workflow, handler, run, shared


def note(what: str) -> str:
    with open(os.environ["DIARY"], "a", encoding="utf-8") as diary:
        diary.write(what + "\n")
    return what


class Patient(VirtualObject):
    status: str = "new"

    @handler
    async def treat(self, ctx: Context, what: str) -> str:
        await ctx.run(note, "examined")
        self.status = "waiting"
        answer = await ctx.awakeable(str, timeout=3600)
        await ctx.run(note, f"treated with {answer}")
        self.status = answer
        return f"{what}: {answer}"

    @handler
    async def operate(self, ctx: Context) -> None:
        await ctx.run(note, "operating")
        await ctx.run(_forever)

    @handler
    async def fail(self, ctx: Context) -> None:
        raise OSError("out of order")

    @handler
    async def ask(self, ctx: Context, whom: str) -> None:
        await ctx.object(Patient, whom).operate()

    @shared
    async def look(self) -> str:
        return self.status


class Study(Workflow):
    @handler
    async def run(self, ctx: Context, what: str) -> bool:
        return await ctx.promise("consent", bool)


async def _forever() -> None:
    await asyncio.Event().wait()


async def main(path: str) -> None:
    async with App(Patient, Study, storage=f"sqlite:///{path}", retry=RetryPolicy(max_attempts=1)) as app:
        print("ready", flush=True)
        while line := (await asyncio.to_thread(sys.stdin.readline)).rstrip("\n"):
            handler, key, *args = line.split("\t")
            service, _, name = handler.rpartition(".")
            print((await app.send(service or "Patient", key, name, *args)).id, flush=True)


if __name__ == "__main__":
    os.environ["DIARY"] = sys.argv[2]
    run(main(sys.argv[1]))
