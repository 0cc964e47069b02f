"""Answers of calls whose handlers left memory while they waited."""

from __future__ import annotations

import asyncio

from actors import App, Context, Limits, VirtualObject, handler
from tests.http.asgi import ask


class Sleeper(VirtualObject):
    @handler
    async def nap(self, ctx: Context, text: str) -> str:
        await ctx.sleep(0.001)
        return text


async def test_a_call_is_answered_with_the_value_although_its_handler_left_memory(storage: str) -> None:
    limits = Limits(suspend_after=0, max_waiting=1, max_objects=1)
    async with App(Sleeper, storage=storage, limits=limits) as app:
        answers = await asyncio.gather(
            *[
                ask(app, "POST", f"/Sleeper/{key}/nap", b'"good morning"', content_type="application/json")
                for key in "abc"
            ]
        )
    assert [(answer.status, answer.body) for answer in answers] == [(200, b'"good morning"')] * 3
