"""The web example: served as its docstring says, killed with SIGKILL, and killed at each of its commits."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from actors.errors import TerminalError
from examples.web import Concert, SoldOut
from tests.acceptance.programs import Program, finish, kills
from tests.world import World


@pytest.fixture
def web(tmp_path: Path) -> Program:
    return Program(tmp_path, "web.py")


@contextmanager
def served(web: Program) -> Iterator[httpx.Client]:
    """A client of a server process, which is killed with SIGKILL at the end of the block."""
    command = [sys.executable, web.name, "--port", "0"]
    process = subprocess.Popen(command, cwd=web.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        running = (re.search(r"Uvicorn running on (\S+)", line) for line in process.stderr)
        (url,) = next(match for match in running if match).groups()
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        process.kill()
        process.communicate()


def documented(web: Program) -> list[list[str]]:
    """The arguments of curl in the docstring."""
    text = (web.folder / web.name).read_text(encoding="utf-8")
    return [shlex.split(command) for command in re.findall(r"^    curl (.*?)(?:  .*)?$", text, re.MULTILINE)]


def ask(client: httpx.Client, address: str, *options: str) -> tuple[int, Any]:
    """What curl would ask: the status and the value of the answer."""
    path = address.removeprefix("localhost:8000")
    given = dict(zip(options[::2], options[1::2], strict=True))
    headers = dict([given["-H"].split(": ")]) if "-H" in given else {}
    if "--json" in given:
        headers["content-type"] = "application/json"
        answer = client.post(path, headers=headers, content=given["--json"])
    else:
        answer = client.get(path, headers=headers)
    return answer.status_code, answer.json()


def test_the_documented_requests_are_answered_also_after_a_kill(web: Program) -> None:
    look, ada, bob, eve, opera, direct = documented(web)
    with served(web) as client:
        assert ask(client, *look) == (200, {"seats": 2, "guests": []})
        assert ask(client, *ada) == (201, 1)
        assert ask(client, *bob) == ask(client, *bob) == (201, 2)
    with served(web) as client:
        assert ask(client, *bob) == (201, 2)
        status, refusal = ask(client, *eve)
        assert (status, refusal["error"], refusal["message"]) == (409, "sold_out", "The concert jazz is sold out.")
        status, refusal = ask(client, *opera)
        assert (status, refusal["message"]) == (404, "There is no concert opera.")
        assert ask(client, *direct) == (200, {"seats": 2, "guests": ["Ada", "Bob"]})
    assert web.lines("tickets.txt") == ["jazz, seat 1: Ada", "jazz, seat 2: Bob"]


def test_mistakes_in_requests_are_answered_with_their_codes(web: Program) -> None:
    with served(web) as client:
        tickets = "localhost:8000/concerts/rock/tickets"
        assert ask(client, tickets, "--json", '{"guest": "Ada"}', "-H", "idempotency-key: 1") == (201, 1)
        status, refusal = ask(client, tickets, "--json", '{"guest": "Bob"}', "-H", "idempotency-key: 1")
        assert (status, refusal["error"]) == (422, "idempotency_key_reused")
        assert ask(client, tickets, "--json", '{"name": "Bob"}')[0] == 422
        status, refusal = ask(client, "localhost:8000/actors/Concert/rock/announce", "--json", "9")
        assert (status, refusal["error"]) == (400, "private_handler")
        assert ask(client, "localhost:8000/concerts/rock") == (200, {"seats": 500, "guests": ["Ada"]})


def test_a_purchase_that_cannot_go_on_holds_up_no_start(web: Program) -> None:
    (web.folder / "tickets.txt").mkdir()  # the printer is out of order
    with served(web) as client:
        sent = client.post("/actors/Concert/rock/buy/send", json="Ada").json()
    with served(web) as client:
        assert ask(client, "localhost:8000/concerts/rock") == (200, {"seats": 500, "guests": ["Ada"]})
        (web.folder / "tickets.txt").rmdir()
        assert client.get(f"/actors/restate/invocation/{sent['invocationId']}/attach").json() == 1
    assert web.lines("tickets.txt") == ["rock, seat 1: Ada"]


@pytest.mark.parametrize("written", [False, True])
async def test_a_concert_killed_at_any_commit_sells_each_seat_once(web: Program, written: bool) -> None:
    for kill in kills(written):
        (web.folder / "tickets.txt").unlink(missing_ok=True)
        with chdir(web.folder):
            async with World(Concert) as world:
                concert = world.app.object(Concert, "jazz")
                await concert.announce(2)
                sent = await asyncio.gather(*[concert.buy.send(guest) for guest in ("Ada", "Bob", "Eve")])
                await finish(world, sent[-1], kill)
                assert [await world.outcome(buy) for buy in sent] == [1, 2, SoldOut]
                assert (await world.app.object(Concert, "jazz").look()).guests == ["Ada", "Bob"]
        tickets = web.lines("tickets.txt")
        # A ticket is printed again only if the process died before that was recorded.
        assert len(tickets) - len(set(tickets)) <= kill.repeats
        assert list(dict.fromkeys(tickets)) == ["jazz, seat 1: Ada", "jazz, seat 2: Bob"]


async def test_a_concert_that_was_not_announced_is_not_there() -> None:
    async with World(Concert) as world:
        for call in (world.app.object(Concert, "opera").buy("Ada"), world.app.object(Concert, "opera").look()):
            with pytest.raises(TerminalError, match="There is no concert opera") as refusal:
                await call
            assert refusal.value.code == 404
