"""One request alone, on a machine that begins with a given state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random

from actors import Context, VirtualObject, handler
from actors.storage.records import Status
from actors.testing.alone import Alone, Given, Left, Rows
from actors.testing.outside import EXECUTED, OPEN, UNKNOWN, Answer, Question


class Diary(VirtualObject):
    lines: list[str] = []

    @handler
    async def id(self, ctx: Context) -> str:
        return ctx.invocation_id

    @handler
    async def ask(self, ctx: Context) -> str:
        self.lines.append("asked")
        self.lines.append(await ctx.awakeable(str))
        return self.lines[-1]

    @handler
    async def step(self, ctx: Context, text: str) -> str:
        return await ctx.run(shout, text)

    @handler
    async def forward(self, ctx: Context, to: str) -> int:
        ctx.object(Diary, to).write.send("a letter")
        return ctx.random.randrange(1000)

    @handler
    async def write(self, ctx: Context, line: str) -> None:
        await ctx.sleep(3600)
        self.lines.append(line)


def shout(text: str) -> str:
    return text.upper()


def left_by(
    name: str,
    args: str = "[]",
    decide: Callable[[Question, bool], Answer] = lambda *_: EXECUTED,
    state: Rows = (),
    numbers: tuple[int, ...] = (),
) -> Left:
    with contextlib.closing(Alone([Diary], {}, Random)) as alone:
        return alone.execute(Given(state, "Diary", "a", name, args, numbers=numbers), decide)


def test_it_ends_when_all_that_it_has_sent_has_ended() -> None:
    state = (("Diary", "b", "lines", '["first"]'), ("Diary", "c", "lines", "[]"))
    left = left_by("forward", '["b"]', state=state)
    assert left.state == (("Diary", "b", "lines", '["first","a letter"]'),)
    assert left.touched == {("Diary", "a"), ("Diary", "b")} and left.peculiar


def test_it_draws_the_numbers_of_the_invocation_that_it_imitates() -> None:
    left = left_by("forward", '["b"]', numbers=(17, 18))
    assert left.outcome == (Status.SUCCEEDED, str(Random(17).randrange(1000)))


def test_its_id_is_not_in_the_state_in_which_it_begins() -> None:
    empty, full = left_by("id"), left_by("id", state=(("Diary", "a", "lines", '["first"]'),))
    assert empty.outcome == left_by("id").outcome != full.outcome and not empty.peculiar


def test_it_receives_the_answers_of_the_world_outside() -> None:
    asked: list[Question] = []

    def answer(question: Question, may_wait: bool) -> Answer:
        asked.append(question)
        return Answer("value", '"yes"') if question.kind == "awakeable" else Answer("value", '"hush"')

    assert left_by("ask", decide=answer).outcome == (Status.SUCCEEDED, '"yes"')
    assert left_by("step", '["hi"]', answer).outcome == (Status.SUCCEEDED, '"hush"')
    assert left_by("step", '["hi"]').outcome == (Status.SUCCEEDED, '"HI"')
    assert asked == [
        Question("awakeable", "Diary", "ask", "a", "str"),
        Question("step", "Diary", "step", "", "shout", "(('hi',), [])"),
    ]
    failed = left_by("step", '["hi"]', lambda *_: Answer("failure", '{"code":409,"message":"no"}'))
    assert failed.outcome == (Status.FAILED, '{"code":409,"message":"no"}')
    assert left_by("step", '["hi"]', lambda *_: UNKNOWN).outcome == (Status.FAILED, '{"code":500,"message":"unknown"}')


def test_it_goes_as_far_as_an_answer_that_is_missing() -> None:
    left = left_by("ask", decide=lambda *_: OPEN)
    assert left.outcome is None and left.state == (("Diary", "a", "lines", '["asked"]'),)
