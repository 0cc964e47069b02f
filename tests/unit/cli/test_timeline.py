"""The timeline of the command line reads what services and workflows leave in the journal."""

from __future__ import annotations

from pathlib import Path

from actors import App, Context, Service, Workflow, handler, shared
from actors.cli.show.timeline import read_journal, told


class Mailer(Service):
    @handler
    async def deliver(self, to: str) -> str:
        return to


class Signup(Workflow):
    @handler
    async def run(self, ctx: Context, email: str) -> str:
        await ctx.service(Mailer).deliver(email)
        return await ctx.promise("clicked", str)

    @shared
    async def click(self, ctx: Context) -> str | None:
        await ctx.promise("clicked", str).resolve("yes")
        return await ctx.promise("clicked", str).peek()


async def test_a_workflow_and_a_service_read_as_a_story(storage: str) -> None:
    async with App(Mailer, Signup, storage=storage) as app:
        running = await app.object(Signup, "u1").run.send("a@b")
        await app.object(Signup, "u1").click()
        assert await running.result() == "yes"
    lines = read_journal(Path(storage.removeprefix("sqlite:///")))
    sentences = [(line.target, told(line, lines)) for line in lines]
    for expected in [
        ("Signup/u1", 'calls Mailer/deliver("a@b")'),
        ("Mailer", 'accepts deliver("a@b")'),
        ("Mailer", 'returns "a@b"'),
        ("Signup/u1", 'call Mailer/deliver gave "a@b"'),
        ("Signup/u1", "promise clicked"),
        ("Signup/u1", "resolve promise clicked"),
        ("Signup/u1", 'promise clicked gave "yes"'),
        ("Signup/u1", 'peek at promise clicked gave "yes"'),
        ("Signup/u1", 'returns "yes"'),
    ]:
        assert expected in sentences
