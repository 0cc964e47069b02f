"""`explore(..., atomic=True)`: each request, with all it calls and sends, must look as if it had run alone."""

from __future__ import annotations

import asyncio
import datetime
import os
import random
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Context, Service, TerminalError, VirtualObject, handler, shared
from actors.cli.commands import cli
from actors.errors import BadArguments
from actors.model.virtual_object import Served
from actors.testing import Faults, WorldFailed, explore
from actors.testing.choices import Choices
from actors.testing.exploring import Exploration, exploration
from actors.testing.judge import JUDGED
from actors.testing.simulation import Simulated
from tests.worlds.explored import Clock, Ledger, Trip

NONE = Faults(crash=0, step=0, delay=0, memory=0, prompt=0)


def explored(*classes: type[Served], runs: int = 25, seed: int = 0, **options: Any) -> Simulated:
    return Exploration(runs=runs, seed=seed, atomic=True).run(exploration(classes, atomic=True, **options))


def assert_silent(simulated: Simulated, judged: int = 1) -> None:
    assert simulated.failed is None, f"{simulated.failed.error}\n{simulated.explanation()}"
    assert simulated.reached[JUDGED] >= judged, simulated.summary()


# --- what is found ----------------------------------------------------------------------------------------------------------------


class Account(VirtualObject):
    cents: int = 100

    @handler(private=True)
    async def add(self, cents: int) -> None:
        self.cents += cents

    @shared(private=True)
    async def get(self) -> int:
        return self.cents


class Teller(Service):
    @handler
    async def transfer(self, ctx: Context) -> None:
        await ctx.object(Account, "a").add(-30)
        await ctx.object(Account, "b").add(30)

    @handler
    async def total(self, ctx: Context) -> int:
        return await ctx.object(Account, "a").get() + await ctx.object(Account, "b").get()


def test_an_audit_that_sees_half_of_a_transfer_is_found() -> None:
    simulated = explored(Teller, Account, runs=60)
    assert simulated.failed is not None and len(simulated.failed.choices.unusual) <= 6
    said = str(simulated.failed.error)
    assert re.match(r"Teller/total answered (170|230)\. In no order of whole requests does it\.\n", said), said
    text = str(simulated.failed.choices)
    again = Exploration(atomic=True).once(exploration([Teller, Account], atomic=True), Choices.of(text))
    assert again.failure() == simulated.failed.failure()


class TellerByMessages(Teller):
    @handler
    async def transfer(self, ctx: Context) -> None:
        ctx.object(Account, "a").add.send(-30)
        ctx.object(Account, "b").add.send(30)


def test_messages_belong_to_the_request_that_sends_them() -> None:
    simulated = explored(TellerByMessages, Account, runs=60)
    assert simulated.failed is not None
    assert "In no order of whole requests does it" in str(simulated.failed.error)


class Pair(VirtualObject):
    """One object that is written twice, with a command in between, is seen in between."""

    one: int = 0
    other: int = 0

    @handler
    async def add(self, ctx: Context) -> None:
        self.one += 1
        await ctx.run(int)
        self.other += 1

    @shared
    async def read(self) -> bool:
        return self.one == self.other


def test_a_reader_that_sees_state_between_two_commands_is_found() -> None:
    simulated = explored(Pair, runs=60)
    assert simulated.failed is not None
    assert re.match(r"Pair/./read answered false\.", str(simulated.failed.error))


class Limit(VirtualObject):
    cents: int = 0

    @shared
    async def get(self) -> int:
        return self.cents

    @handler
    async def put(self, cents: int) -> None:
        self.cents = cents


class Clerk(Service):
    @handler
    async def raise_limit(self, ctx: Context) -> None:
        limit = ctx.object(Limit, "ada")
        await limit.put(await limit.get() + 1)


def test_an_update_that_is_lost_is_found_in_the_state_in_the_end() -> None:
    simulated = explored(Clerk, Limit, runs=60, keys=["b"])
    assert simulated.failed is not None
    said = str(simulated.failed.error).split("\n\n")[0].split("\n")
    assert said[0] == "The state in the end is not what any order of whole requests leaves."
    assert said[1] == "Limit/ada.cents is 1, and after whole requests 2."
    assert said[2] == (
        "Clerk/raise_limit asked Limit/ada twice: get() -> 0, then put(1) -> null. Between the two, put(1) for another "
        "Clerk/raise_limit ran there."
    )


# --- what is right ----------------------------------------------------------------------------------------------------------------


class Notes(VirtualObject):
    """All that differs from one execution to the next: ids, times, numbers; decisions by them."""

    seen: list[str] = []
    drawn: list[int] = []
    until: datetime.datetime | None = None

    @handler
    async def once(self, ctx: Context) -> int:
        if ctx.invocation_id in self.seen:
            return -1
        self.seen.append(ctx.invocation_id)
        return len(self.seen)

    @handler
    async def draw(self, ctx: Context) -> bool:
        self.drawn.append(ctx.random.randrange(2))
        return ctx.random.random() < 0.5

    @handler
    async def rest(self, ctx: Context) -> str:
        now = ctx.now()
        if self.until is not None and now < self.until:
            return "asleep"
        self.until = now + datetime.timedelta(seconds=1)
        return str(ctx.uuid())

    @shared
    async def all(self) -> tuple[list[str], list[int]]:
        return self.seen, self.drawn


def test_ids_times_and_random_numbers_raise_no_alarm() -> None:
    assert_silent(explored(Notes, runs=12), judged=12)


class Fussy(VirtualObject):
    """How a request ends depends on the millisecond in which it has looked at the clock."""

    added: int = 0

    @handler
    async def add(self, ctx: Context) -> int:
        if ctx.now().microsecond // 1000 % 2:
            raise TerminalError("not at odd times")
        self.added += 1
        return self.added


@pytest.mark.may_log("never retrieved")  # asyncio, of a caller whose process was killed
def test_an_outcome_that_depends_on_the_time_raises_no_alarm() -> None:
    assert_silent(explored(Fussy, runs=100), judged=100)


class Lottery(VirtualObject):
    won: list[bool] = []

    @handler
    async def play(self, ctx: Context, name: str) -> bool:
        self.won.append(await ctx.run(_is_first, name))
        return self.won[-1]


class LotteryById(VirtualObject):
    won: list[bool] = []

    @handler
    async def play(self, ctx: Context) -> bool:
        self.won.append(await ctx.run(_is_first, ctx.invocation_id))
        return self.won[-1]


def _is_first(name: str) -> bool:
    raise AssertionError("replaced")


def test_a_step_of_the_run_is_not_executed_again_to_judge_it() -> None:
    calls: list[str] = []

    def is_first(name: str) -> bool:
        calls.append(name)
        return len(calls) % 3 == 1  # the world outside remembers

    body = exploration([Lottery], atomic=True, fakes={_is_first: is_first})
    runs = [
        Exploration(faults=Faults(step=0, crash=0), atomic=True).once(body, Choices(seed=seed)) for seed in range(20)
    ]
    assert [run.error for run in runs] == [None] * 20
    assert len(calls) == sum("  step  " in line for run in runs for line in run.story.lines())


def test_a_step_that_is_told_an_id_may_have_returned_what_it_has() -> None:
    calls: list[str] = []

    def is_first(name: str) -> bool:
        calls.append(name)
        return len(calls) % 3 == 1

    assert_silent(explored(LotteryById, runs=12, fakes={_is_first: is_first}), judged=12)


class Failing(VirtualObject):
    tries: int = 0

    @handler
    async def attempt(self, ctx: Context, number: int) -> str:
        try:
            self.tries += await ctx.run(_refuses, number)
        except TerminalError as error:
            return error.message
        if self.tries > 3:
            raise TerminalError(f"{self.tries} are too many", code=409)
        return "done"


def _refuses(number: int) -> int:
    if number == 2:
        raise TerminalError("not 2")
    return number


@pytest.mark.may_log("never retrieved")  # asyncio, of a caller whose process was killed
def test_failures_of_steps_and_handlers_are_answers() -> None:
    assert_silent(explored(Failing, runs=20), judged=20)


class Asking(VirtualObject):
    """Awakeables: one after the other, several at once, with a deadline."""

    answers: list[str] = []

    @handler
    async def ask(self, ctx: Context) -> str:
        try:
            self.answers.append(await ctx.awakeable(str))
        except TerminalError as error:
            self.answers.append(error.message)
        return self.answers[-1]

    @handler
    async def ask_twice(self, ctx: Context) -> list[str]:
        one, other = ctx.awakeable(str), ctx.awakeable(int)
        try:
            return [await one, str(await other)]
        except TerminalError as error:
            return [error.message]

    @handler
    async def ask_soon(self, ctx: Context) -> str:
        try:
            answer = await ctx.awakeable(str, timeout=0.003)
        except TimeoutError:
            answer = "late"
        except TerminalError as error:
            answer = error.message
        self.answers.append(answer)
        return answer


def test_what_people_answer_raises_no_alarm() -> None:
    assert_silent(explored(Asking, runs=16), judged=8)


class Caller(VirtualObject):
    """Calls and messages that take effect at one object only, after all that it does itself."""

    count: int = 0

    @handler
    async def add(self, ctx: Context, number: int) -> int:
        return await ctx.object(Counter, "c").add(number)

    @handler
    async def count_up(self) -> int:
        self.count += 1
        return self.count


class Counter(VirtualObject):
    number: int = 0
    names: set[str] = set()

    @handler
    async def add(self, number: int) -> int:
        self.number += number
        return self.number

    @handler
    async def name(self, name: str) -> set[str]:
        self.names.add(name)
        return self.names

    @handler(atomic=True)
    async def all_or_nothing(self, ctx: Context, number: int) -> int:
        self.number += 10
        await ctx.run(int)
        if number > 1:
            raise TerminalError("nothing")
        return self.number

    @shared
    async def read(self) -> tuple[int, set[str]]:
        return self.number, self.names


def test_calls_that_end_in_one_object_raise_no_alarm() -> None:
    assert_silent(explored(Caller, Counter, runs=30), judged=30)


class Together(VirtualObject):
    """What a handler waits for at once comes in an order that its code has not decided."""

    came: list[str] = []

    @handler
    async def race(self, ctx: Context) -> str:
        came: list[str] = []

        async def wait(name: str, future: Awaitable[object]) -> None:
            await future
            came.append(name)

        await asyncio.gather(wait("step", ctx.run(int)), wait("nap", ctx.sleep(0.02)))
        self.came.append(came[0])
        return came[0]


@pytest.mark.may_log("never retrieved")  # asyncio, of a gather whose handler fails
def test_the_order_of_what_is_waited_for_at_once_raises_no_alarm() -> None:
    faults = Faults(crash=0, step=0.05, delay=0, memory=0)  # a step that fails ends after the nap
    simulated = Exploration(runs=8, faults=faults, atomic=True).run(exploration([Together], keys=["a"], atomic=True))
    assert_silent(simulated)
    came = "not judged as a whole: what a handler waits for at once came in another order,"
    assert simulated.reached[came], simulated.summary()


PARTS = ("add", "set", "append", "double", "refuse")


def _sound(programs: list[list[str]], asks: list[str]) -> type[VirtualObject]:
    """A class of which no handler calls, or writes before its only command."""

    async def do(self: Any, ctx: Context, which: int, number: int) -> list[int]:
        ask = asks[which]
        if ask == "step":
            number += await ctx.run(abs, number)
        elif ask == "chance":
            number += ctx.random.randrange(3)
        elif ask == "sleep":
            await ctx.sleep(0.01)
        elif ask == "time":
            number += ctx.now().microsecond // 1000
        elif ask == "people":
            number += await ctx.awakeable(int)
        for part in programs[which]:
            if part == "add":
                self.number += number
            elif part == "set":
                self.number = number
            elif part == "append":
                self.numbers.append(self.number)
            elif part == "double":
                self.number *= 2
            elif self.number % 2:
                raise TerminalError(f"{self.number} is odd")
        return [self.number, *self.numbers[-2:]]

    class Sound(VirtualObject):
        number: int = 0
        numbers: list[int] = []

        @handler
        async def first(self, ctx: Context, number: int) -> list[int]:
            return await do(self, ctx, 0, number)

        @handler
        async def second(self, ctx: Context, number: int) -> list[int]:
            return await do(self, ctx, 1, number)

        @shared
        async def read(self) -> tuple[int, list[int]]:
            return self.number, self.numbers

    return Sound


@settings(max_examples=int(os.environ["SIMULATIONS"]) // 3, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PARTS), max_size=4), min_size=2, max_size=2),
    st.lists(st.sampled_from(["step", "chance", "sleep", "time", "people", ""]), min_size=2, max_size=2),
    st.integers(0, 10_000),
)
def test_requests_of_one_object_without_calls_raise_no_alarm(
    programs: list[list[str]], asks: list[str], seed: int
) -> None:
    simulated = Exploration(runs=4, seed=seed, atomic=True)
    body = exploration([_sound(programs, asks)], atomic=True)
    for number in range(seed, seed + 4):
        run = simulated.once(body, Choices(seed=number))
        assert run.error is None, run.error


# --- what is not judged -----------------------------------------------------------------------------------------------------------


class Mutual(VirtualObject):
    @handler
    async def call(self, ctx: Context, other: str) -> None:
        if other != ctx.key:
            await ctx.object(Mutual, other).nothing()

    @handler
    async def nothing(self) -> None: ...


def test_a_run_with_a_refused_deadlock_is_counted_and_not_judged() -> None:
    simulated = explored(Mutual, runs=30)
    assert simulated.failed is None
    summary = simulated.summary()
    assert re.search(r"judged as a whole \d+, .*not judged as a whole: a call was refused: deadlock, \d+", summary)


class Later(VirtualObject):
    count: int = 0

    @handler
    async def begin(self, ctx: Context) -> None:
        ctx.object(Later, ctx.key).add.options(delay=0.01).send()

    @handler(private=True)
    async def add(self) -> None:
        self.count += 1


class Completing(VirtualObject):
    waiting: str = ""

    @handler
    async def complete(self, ctx: Context) -> None:
        one = ctx.awakeable(int)
        await ctx.resolve_awakeable(one.id, 1)
        await one


class Keyed(VirtualObject):
    @handler
    async def begin(self, ctx: Context) -> None:
        await ctx.object(Counter, "c").add.options(idempotency_key="k")(1)


class Dice(VirtualObject):
    numbers: list[int] = []

    @handler
    async def throw(self, ctx: Context) -> int:
        self.numbers = [await ctx.run(_throw) for _ in range(12)]
        return sum(self.numbers)


def _throw() -> int:
    return random.randint(1, 6)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ((Later,), "not judged as a whole: a handler sends with a delay"),
        ((Completing,), "not judged as a whole: a handler completes an awakeable"),
        ((Keyed, Counter), "not judged as a whole: a handler uses an idempotency key"),
        ((Dice,), "undecided: Dice.throw may receive too many answers from outside"),
    ],
)
def test_an_exploration_of_which_no_run_is_judged_fails(classes: tuple[type[Served], ...], reason: str) -> None:
    arguments: dict[Any, Any] = {Counter.add: [(0,)]} if Counter in classes else {}
    targets = classes[:1] if Counter in classes else classes
    with pytest.raises(WorldFailed) as failure:
        Exploration(runs=1, seed=_asks_all(classes, arguments), atomic=True).run(
            exploration(classes, atomic=True, arguments=arguments)
        )
    said = str(failure.value)
    assert said.startswith("None of 1 runs could be judged as a whole, so nothing is known of them."), targets
    assert reason in said


def _asks_all(classes: tuple[type[Served], ...], arguments: dict[Any, Any]) -> int:
    """The first seed of which a run makes a request of the first class."""
    names: dict[type[Served], str] = {Later: "begin", Completing: "complete", Keyed: "begin", Dice: "throw"}
    for seed in range(50):
        run = Exploration().once(exploration(classes, arguments=arguments, cancels=False), Choices(seed=seed))
        if any(row[0] == classes[0].__name__ and row[2] == names[classes[0]] for row in run.outcomes):
            return seed
    raise AssertionError("no run makes a request")


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Trip, "explore(atomic=True) does not judge workflows, and Trip is one"),
        (Clock, "explore(atomic=True) does not judge classes with a schedule, and Clock.tick has one"),
    ],
)
def test_workflows_and_schedules_are_refused_before_anything_runs(cls: type[Served], said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        explore(Ledger, cls, atomic=True)
    assert said in str(refused.value) and "Explore the other classes with atomic=True" in str(refused.value)


def test_whether_runs_are_judged_as_a_whole_is_true_or_false() -> None:
    with pytest.raises(BadArguments, match=r"explore\(atomic='yes'\) requires True or False"):
        explore(Counter, atomic="yes")  # type: ignore[arg-type]


def test_requests_over_http_are_not_judged_as_a_whole() -> None:
    with pytest.raises(BadArguments, match="Make two explorations of the classes"):
        explore(Counter, atomic=True, http=True)


def test_nothing_is_cancelled() -> None:
    body = exploration([Counter], atomic=True, cancels=True)
    asked = [set(Exploration().once(body, Choices(seed=seed)).choices.asked) for seed in range(3)]
    assert not any(name.endswith(" cancels") for names in asked for name in names)


APP = """
from actors import App, Context, VirtualObject, Workflow, handler, shared


class Stock(VirtualObject):
    items: int = 1

    @shared
    async def available(self) -> int:
        return self.items

    @handler
    async def take(self) -> int:
        self.items -= 1
        return self.items


class Cart(VirtualObject):
    @handler
    async def buy(self, ctx: Context) -> bool:
        if await ctx.object(Stock, "book").available() < 1:
            return False
        await ctx.object(Stock, "book").take()
        return True


class Run(Workflow):
    @handler
    async def go(self) -> None: ...


shop, runs = App(Cart, Stock), App(Run)
"""


def test_the_command_judges_runs_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "judged_by_command.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["explore", "judged_by_command:shop", "--atomic"]
    failed = CliRunner().invoke(cli, command)
    assert failed.exit_code == 1, failed.output
    assert re.search(r"WorldFailed: Cart/./buy answered true\. In no order of whole requests does it\.", failed.output)
    assert re.search(
        r"Cart/./buy asked Stock/book twice: available\(\) -> 1, then take\(\) -> -1\. "
        r"Between the two, take\(\) for (another )?Cart/./buy ran there\.",
        failed.output,
    )
    again = re.search(r"Again: +actors explore judged_by_command:shop --atomic --choices '([^']+)'", failed.output)
    assert again is not None
    once = CliRunner().invoke(cli, [*command, "--choices", again[1]])
    assert once.exit_code == 1 and "In no order of whole requests does it" in once.output
    calm = CliRunner().invoke(cli, ["explore", "judged_by_command:shop", "--choices", again[1]])
    assert calm.exit_code == 0, calm.output
    refused = CliRunner().invoke(cli, ["explore", "judged_by_command:runs", "--atomic"])
    assert refused.exit_code == 2 and "does not judge workflows" in refused.output
