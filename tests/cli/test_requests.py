"""Requests that a command line leaves in a file: Ctrl-C at each of their moments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors import App, Context, VirtualObject, handler
from actors.cli.file.database import Database
from actors.cli.file.requests import Request, Verdict, ask
from actors.storage.sqlite.visitor import Visitor


class Patient(VirtualObject):
    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Cut(Visitor):
    """A visitor whose caller is cancelled in one of its operations, when what it does is done."""

    def __init__(self, path: Path, moment: str) -> None:
        super().__init__(str(path))
        self.moment = moment
        self.polled = 0  # times, since the caller was cancelled

    async def _cut(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = "cut"
            self.caller.cancel()
            await asyncio.sleep(0)

    async def verdict(self, request: Request, wait: float = 60) -> Verdict:
        secret = await self.enter(asks=True)
        try:
            self.caller = asyncio.ensure_future(ask(Database(self, secret), [request], wait))
            (verdict,) = await self.caller
            assert self.moment == "cut"
            self.left = await self.requests()
        finally:
            await self.close()
        return verdict

    async def ask(self, requests: Sequence[tuple[str, str, str | None]], asked_ms: int) -> list[int]:
        numbers = await super().ask(requests, asked_ms)
        await self._cut("asked")
        return numbers

    async def answers(self, numbers: Sequence[int]) -> dict[int, str]:
        answers = await super().answers(numbers)
        self.polled += self.moment == "cut"
        await self._cut("answered" if answers else "polled")
        return answers

    async def withdraw(self, numbers: Sequence[int]) -> set[int]:
        gone = await super().withdraw(numbers)
        await self._cut("withdrew")
        return gone


class Deaf(Cut):
    """The same on a file whose owner never takes a request."""

    def owned(self) -> bool:
        return True


class Slow(Deaf):
    """The same on a file whose owner takes each request, and does not answer it."""

    async def ask(self, requests: Sequence[tuple[str, str, str | None]], asked_ms: int) -> list[int]:
        numbers = await super().ask(requests, asked_ms)
        await self._read("UPDATE request SET taken = 1")
        return numbers

    async def withdraw(self, numbers: Sequence[int]) -> set[int]:
        gone = await super().withdraw(numbers)
        self.moment = "polled"
        return gone


async def waiting(app: App) -> str:
    handle = await app.object(Patient, "ann").wait.send()
    return handle.id


@pytest.mark.parametrize(
    ("moment", "wait", "says"),
    [
        ("asked", 60, "interrupted before the app answered; the request is withdrawn, and nothing was done"),
        ("polled", 60, "interrupted before the app answered; the request is withdrawn, and nothing was done"),
        ("withdrew", 0, "the app did not answer within 0 s; the request is withdrawn, and nothing was done"),
    ],
)
async def test_interrupted_at_any_moment_a_request_is_withdrawn(
    moment: str, wait: float, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "patient.db"
    async with App(Patient, storage=f"sqlite:///{path}") as app:
        id = await waiting(app)
    deaf = Deaf(path, moment)
    verdict = await deaf.verdict(Request("kill", id), wait)
    assert (verdict.what, verdict.message, deaf.left) == ("withdrawn", says, [])


async def test_interrupted_while_a_taken_request_is_awaited_it_ends_at_once(tmp_path: Path) -> None:
    path = tmp_path / "patient.db"
    async with App(Patient, storage=f"sqlite:///{path}") as app:
        id = await waiting(app)
    slow = Slow(path, "later")
    assert (await slow.verdict(Request("kill", id), 0)).what == "taken"
    assert slow.polled <= 1, "it went on waiting for the answer"


@pytest.mark.parametrize("moment", ["asked", "answered"])
async def test_interrupted_at_any_moment_what_was_done_is_reported(moment: str, tmp_path: Path) -> None:
    path = tmp_path / "patient.db"
    async with App(Patient, storage=f"sqlite:///{path}") as app:
        id = await waiting(app)
        cut = Cut(path, moment)
        verdict = await cut.verdict(Request("kill", id))
        (found,) = await app.invocations()
    assert (verdict.what, found.status) in [("done", "failed"), ("withdrawn", "blocked")]
    assert cut.left == []
    if moment == "answered":
        assert verdict.what == "done"
