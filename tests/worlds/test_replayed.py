"""`replayed`: a handler against a journal that a test has written."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from actors import Context, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import BadArguments, DeterminismError, DurableTimeout
from actors.testing import Replayed, WorldFailed, replayed
from actors.testing.entries import (
    Attach,
    Awakeable,
    Call,
    Cancel,
    Cancelled,
    ClearState,
    JournalEntry,
    Now,
    Peek,
    Promise,
    Resolve,
    ResolvePromise,
    Run,
    Send,
    SetState,
    Sleep,
)
from examples.orders import Mailer, Order, Stock

CHECKOUT: list[JournalEntry] = [
    SetState("status", "waiting for approval"),
    SetState("quantity", 4),
    Awakeable("str", answer="boss", position=6),
    Run("send_mail", result=None),
    Call("Stock/books/reserve", [4], result=93),
    Send("Mailer/customer/deliver", ["Order o-1 is on its way."]),
    SetState("status", "complete, approved by boss, 93 books left"),
]


def checkout(journal: Sequence[JournalEntry] = CHECKOUT, **changed: Any) -> Replayed:
    options: dict[str, Any] = {"key": "o-1", "arguments": [4], "before": {}, "calls": [Stock, Mailer]}
    return asyncio.run(replayed(Order.checkout, journal=journal, **{**options, **changed}))


def test_a_handler_ends_as_its_journal_says() -> None:
    run = checkout()
    assert run.outcome == "complete, approved by boss, 93 books left"
    assert run.state == {"status": "complete, approved by boss, 93 books left", "quantity": 4}
    assert run.failure is None and run.waits_for is None


def test_a_failure_is_shown_as_clients_receive_it() -> None:
    run = checkout([], before={"status": "complete", "quantity": 1})
    assert run.failure == {
        "code": 409,
        "message": "Order o-1 was placed before. It is complete.",
        "error": "terminal_error",
    }
    assert run.outcome is None and run.state == {"status": "complete", "quantity": 1}


def test_a_recorded_failure_takes_the_other_branch() -> None:
    refused = {"code": 409, "message": "only 3 in stock", "error": "terminal_error"}
    run = checkout(
        [
            *CHECKOUT[:4],
            Call("Stock/books/reserve", [4], failure=refused),
            SetState("status", "refused: only 3 in stock"),
        ]
    )
    assert run.outcome == "refused: only 3 in stock"


@pytest.mark.parametrize("place", range(len(CHECKOUT)))
def test_a_journal_without_one_of_its_steps_does_not_fit(place: int) -> None:
    with pytest.raises(DeterminismError):
        checkout([*CHECKOUT[:place], *CHECKOUT[place + 1 :]])


@pytest.mark.parametrize("place", range(len(CHECKOUT) + 1))
def test_a_journal_with_another_step_does_not_fit(place: int) -> None:
    with pytest.raises(DeterminismError, match="The code no longer fits the journal at entry"):
        checkout([*CHECKOUT[:place], Run("audit", result=None), *CHECKOUT[place:]])


def test_a_renamed_step_fails_with_the_message_of_the_runtime() -> None:
    with pytest.raises(DeterminismError) as caught:
        checkout([*CHECKOUT[:3], Run("send_letter", result=None), *CHECKOUT[4:]])
    assert str(caught.value).startswith(
        "The code no longer fits the journal at entry 4: recorded was run 'send_letter'; requested now was run 'send_mail'."
    )
    assert (caught.value.index, caught.value.recorded, caught.value.asked) == (
        4,
        "run 'send_letter'",
        "run 'send_mail'",
    )


def test_an_answer_that_is_missing_is_waited_for() -> None:
    journal = [*CHECKOUT[:2], Awakeable("str"), Run("send_mail", result=None)]
    with pytest.raises(DeterminismError, match="waits for awakeable 'str' and does not come to its end"):
        checkout(journal)
    run = checkout(journal, ended=False)
    assert run.waits_for == "awakeable 'str'" and run.outcome is None
    assert run.state == {"status": "waiting for approval", "quantity": 4}


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadArguments, match="takes 1 arguments"):
        checkout(arguments=[])
    with pytest.raises(BadArguments, match=r"replayed\(\) requires a handler"):
        asyncio.run(replayed("checkout"))
    with pytest.raises(BadArguments, match="is not an entry of a journal"):
        checkout(["run"])  # type: ignore[list-item]
    with pytest.raises(BadArguments, match="is not a time"):
        checkout([Now("yesterday")])
    with pytest.raises(BadArguments, match=r"replayed\(seed='xyz'\) requires hexadecimal digits"):
        checkout(seed="xyz")
    with pytest.raises(BadArguments, match=r"Attach\('x'\) is not valid: 'x' is not an invocation id"):
        checkout([Attach("x")])


# --- all commands ---------------------------------------------------------------------------------------------------------


class Shelf(VirtualObject):
    items: list[str] | None = None

    @handler
    async def put(self, item: str) -> int:
        self.items = [*(self.items or []), item]
        return len(self.items)


def tell() -> Any: ...


class Everything(VirtualObject):
    seen: list[str] = []
    extra: str | None = None

    @handler
    async def ask(self, ctx: Context, other: str, question: str) -> list[str]:
        seen = [ctx.now().isoformat(), str(ctx.uuid()), ctx.headers.get("who", "")]
        await ctx.resolve_awakeable(question, 42)
        await ctx.cancel(other)
        seen.append(str(await ctx.attach(other, int)))
        seen.append(repr(await ctx.run(tell)))
        del self.extra
        await ctx.object(Shelf, "a").put.options(idempotency_key="k")("x")
        handle = await ctx.object(Shelf, "a").put.options(idempotency_key="k").send("x")
        seen.append(handle.id)
        ctx.object(Shelf, "b").put.options(delay=60).send("y")
        try:
            await ctx.awakeable(str, timeout=30)
        except DurableTimeout:
            seen.append("too late")
        await ctx.sleep(1.5)
        return seen

    @handler
    async def first(self, ctx: Context) -> list[str]:
        async def one(name: str) -> str:
            return name + str(await ctx.awakeable(int))

        done, _ = await asyncio.wait([asyncio.create_task(one(name)) for name in "ab"], return_when="FIRST_COMPLETED")
        return sorted(task.result() for task in done)

    @handler
    async def stubborn(self, ctx: Context) -> str:
        try:
            await ctx.sleep(10)
        finally:
            await ctx.run(tell)
        return "slept"

    @shared
    async def look(self, ctx: Context) -> str:
        return f"{self.extra} {await ctx.run(tell)}"


class Vote(Workflow):
    @handler
    async def run(self, ctx: Context) -> str:
        open_ = await ctx.promise("yes", bool).peek()
        return f"{open_} {await ctx.promise('yes', bool)}"

    @shared
    async def vote(self, ctx: Context) -> None:
        await ctx.promise("yes", bool).resolve(True)


class Twice(Service):
    @handler
    async def twice(self, ctx: Context, what: int) -> int:
        return 2 * what


OTHER = "inv_1AAAAAAAAAAAABw8AAAAAAAAAAAAA"


def test_every_command_can_be_written() -> None:
    from actors.journal.ids import IdMint
    from actors.testing.replay import SECRET

    ids = IdMint(SECRET)
    other, question = ids.invocation(7), ids.awakeable(8, 3)
    run = asyncio.run(
        replayed(
            Everything.ask,
            key="e",
            arguments=[other, question],
            before={"extra": "x"},
            headers={"who": "me"},
            seed="00ff",
            calls=[Shelf],
            journal=[
                Now(datetime.datetime(2026, 11, 30, 4, 21, 42, tzinfo=datetime.UTC)),
                Resolve(question, 42),
                Cancel(other),
                Attach(other, result=5),
                Run("tell", result=(1, {2}, datetime.date(2026, 1, 1))),
                ClearState("extra"),
                Call("Shelf/a/put once as 'k'", ["x"], result=1, placed=True),
                Send("Shelf/a/put once as 'k'", ["x"], placed=True, number=2),
                Send("Shelf/b/put after 60000 ms", ["y"]),
                Awakeable("str", timeout=30, failure={"code": 408, "message": "late", "error": "timeout"}),
                Sleep(1.5),
            ],
        )
    )
    import random

    drawn = uuid.UUID(int=random.Random(bytes.fromhex("00ff")).getrandbits(128), version=4)
    assert run.outcome == [
        "2026-11-30T04:21:42+00:00",
        str(drawn),
        "me",
        "5",
        "(1, {2}, datetime.date(2026, 1, 1))",
        ids.invocation(2),
        "too late",
    ]
    assert run.state == {}


@pytest.mark.parametrize(("first", "second", "outcome"), [(4, 5, ["a1"]), (5, 4, ["b2"])])
def test_the_positions_of_answers_decide_the_branch(first: int, second: int, outcome: list[str]) -> None:
    journal: list[JournalEntry] = [
        Awakeable("int", answer=1, position=first),
        Awakeable("int", answer=2, position=second),
    ]
    assert asyncio.run(replayed(Everything.first, key="e", journal=journal)).outcome == outcome


def test_a_cancellation_reaches_the_handler_at_its_place() -> None:
    run = asyncio.run(
        replayed(Everything.stubborn, key="e", journal=[Sleep(10, over=False), Cancelled(), Run("tell", result=None)])
    )
    assert run.failure is not None and run.failure["error"] == "cancelled"


def test_a_reader_reads_the_state_before_it() -> None:
    run = asyncio.run(replayed(Everything.look, key="e", before={"extra": "x"}, journal=[Run("tell", result=3)]))
    assert run.outcome == "x 3" and run.state == {"extra": "x"}


def test_promises_of_a_workflow_are_read_and_resolved() -> None:
    run = asyncio.run(
        replayed(Vote.run, key="v", journal=[Peek("yes", result=None), Promise("yes", "bool", answer=True)])
    )
    assert run.outcome == "None True"
    run = asyncio.run(replayed(Vote.vote, key="v", journal=[ResolvePromise("yes", True)]))
    assert run.outcome is None and run.failure is None


def test_a_service_has_no_key() -> None:
    assert asyncio.run(replayed(Twice.twice, arguments=[4])).outcome == 8


def test_an_inherited_handler_requires_its_class() -> None:
    class Loud(Everything, name="Loud"):
        pass

    assert (
        asyncio.run(replayed(Everything.look, cls=Loud, key="e", journal=[Run("tell", result=3)])).outcome == "None 3"
    )


def test_an_error_that_is_not_terminal_fails_the_test() -> None:
    class Broken(VirtualObject):
        @handler
        async def act(self, ctx: Context) -> None:
            raise OSError("out of order")

        @handler
        async def refuse(self) -> None:
            raise TerminalError("no")

    with pytest.raises(WorldFailed, match="out of order"):
        asyncio.run(replayed(Broken.act, key="b"))
    failed = asyncio.run(replayed(Broken.refuse, key="b")).failure
    assert failed is not None and failed["message"] == "no"
