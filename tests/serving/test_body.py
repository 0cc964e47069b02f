"""How a body is waited for: each way in which it may come, or not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.transport.http.requests import Disconnected, Request
from actors.transport.http.routes import BadRoute

WHOLE = {"type": "http.request", "body": b"abc", "more_body": False}
PIECE = {"type": "http.request", "body": b"ab", "more_body": True}
GONE = {"type": "http.disconnect"}


def asking(queue: asyncio.Queue[dict[str, Any]], timeout_s: float = 30) -> Request:
    return Request({"method": "POST", "headers": []}, queue.get, timeout_s)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("messages", "body"), [([WHOLE], b"abc"), ([PIECE, WHOLE], b"ababc")])
async def test_a_body_is_the_same_before_and_after_it_is_asked_for(
    late: bool, messages: list[dict[str, Any]], body: bytes
) -> None:
    queue = asyncio.Queue[dict[str, Any]]()
    reading = asyncio.create_task(asking(queue).body(100))
    if late:
        await asyncio.sleep(0)
    for message in messages:
        queue.put_nowait(message)
    assert await reading == body


@pytest.mark.parametrize("late", [False, True])
async def test_a_body_too_large_and_a_client_that_is_gone_are_told_apart(late: bool) -> None:
    for message, limit, error in ((WHOLE, 2, BadRoute), (GONE, 2, Disconnected)):
        queue = asyncio.Queue[dict[str, Any]]()
        reading = asyncio.create_task(asking(queue).body(limit))
        if late:
            await asyncio.sleep(0)
        queue.put_nowait(message)
        with pytest.raises(error):
            await reading


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(BadRoute, match="did not arrive within") as refused:
        await asking(asyncio.Queue(), 0.01).body(100)
    assert refused.value.status == 408


async def test_whoever_waits_for_a_body_can_be_cancelled() -> None:
    reading = asyncio.create_task(asking(asyncio.Queue()).body(100))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
