"""`explore`: what it requests of classes alone, what it finds, and what it refuses before anything runs."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from click.testing import CliRunner

from actors import Context, VirtualObject, handler
from actors.cli.commands import cli
from actors.errors import BadArguments
from actors.model.definitions import definition_of
from actors.testing import Faults, World, WorldFailed, explore
from actors.testing.choices import Choices
from actors.testing.crowd import Crowd, Target
from actors.testing.exploring import Exploration, exploration
from actors.testing.rest import restless
from tests.worlds.explored import Clock, Ledger, Post, Trip, note
from tests.worlds.shop import Order
from tests.worlds.test_pytest_plugin import pytest_run

NONE = Faults(crash=0, step=0, delay=0, memory=0, prompt=0)


class Halves(VirtualObject):
    @handler
    async def halve(self, number: int) -> float:
        return 1 / number  # the bug: 0 is paused

    @handler
    async def other(self) -> None: ...


class Odd(VirtualObject):
    code: str = ""

    @handler
    async def set(self, code: Annotated[str, msgspec.Meta(pattern="^x+$")], number: int) -> None:
        self.code = code * number


def test_a_class_without_bugs_passes_and_all_its_handlers_run() -> None:
    simulated = Exploration(runs=12).run(exploration([Ledger]))
    assert simulated.failed is None, simulated.explanation()
    assert simulated.crashed > 3 and simulated.steps_failed > 3
    for name in ("add", "read", "write", "wait", "move", "all_or_nothing"):
        assert simulated.outcomes[f"{name} succeeded"] > 2, simulated.summary()


def test_private_handlers_get_no_requests_and_schedules_run_by_time() -> None:
    simulated = Exploration(runs=5).run(exploration([Post, Clock]))
    assert simulated.failed is None, simulated.explanation()
    assert simulated.outcomes["send succeeded"] and simulated.outcomes["tick succeeded"]
    assert "sort succeeded" not in simulated.outcomes and "sort failed" not in simulated.outcomes


def test_a_workflow_is_explored_although_it_runs_once_for_each_key() -> None:
    simulated = Exploration(runs=7, seed=12).run(exploration([Trip]))  # in 18 a process dies after a refusal
    assert simulated.failed is None, simulated.explanation()
    assert simulated.outcomes["go succeeded"] and simulated.outcomes["come_back succeeded"]
    gc.collect()  # asyncio logs an exception that was never retrieved, and a test that logs fails


def test_what_fails_is_shrunk_and_its_text_gives_it_again() -> None:
    simulated = Exploration(runs=50).run(exploration([Halves]))
    assert simulated.failed is not None
    assert "/halve is paused: ZeroDivisionError" in str(simulated.failed.error)
    assert len(simulated.failed.choices.unusual) == 2 < simulated.unusual
    text = str(simulated.failed.choices)
    again = Exploration().once(exploration([Halves]), Choices.of(text))
    assert again.failure() == simulated.failed.failure()
    assert again.story.digest() == simulated.failed.story.digest()


def test_without_choices_no_caller_asks_for_anything() -> None:
    run = Exploration().once(exploration([Ledger, Post]), Choices())
    assert run.error is None and run.outcomes == []


def test_a_shorter_run_fails_alike_for_another_key_and_not_for_another_reason() -> None:
    body = exploration([Halves], arguments={Halves.halve: [(0,)]})
    one = Exploration().once(body, Choices.of("caller 1 request 1"))
    other = Exploration().once(body, Choices.of("caller 2 request 1; caller 2 request 1 key"))
    assert one.failure() != other.failure() and one.likeness() == other.likeness()
    other.error = WorldFailed("Halves/a/halve is paused: ValueError: no")
    assert one.likeness() != other.likeness()


def test_the_arguments_keys_and_steps_that_are_given_are_taken() -> None:
    texts: list[str] = []

    def fake(text: str) -> str:
        texts.append(text)
        return text

    body = exploration([Ledger], keys=["x"], arguments={Ledger.write: [("given",)]}, fakes={note: fake})
    runs = [Exploration(faults=NONE).once(body, Choices(seed=seed)) for seed in range(5)]
    assert [run.error for run in runs] == [None] * 5
    rows = [row for run in runs for row in run.outcomes]
    assert {row[1] for row in rows} == {"x"}
    assert {row[3] for row in rows if row[2] == "write"} == {'["given"]'} and "given" in texts


def test_nothing_is_cancelled_unless_it_may_be() -> None:
    asked = [
        set(Exploration().once(exploration([Trip], cancels=cancels), Choices(seed=3)).choices.asked)
        for cancels in (True, False)
    ]
    assert [any(name.endswith(" cancels") for name in names) for names in asked] == [True, False]


def test_an_awakeable_of_an_unknown_type_is_rejected() -> None:
    run = Exploration(faults=NONE).once(exploration([_Asking]), Choices.of("caller 1 request 1"))
    assert run.error is None and [row[4] for row in run.outcomes] == ["failed"]


class _NoTexts(Sequence[str]):
    def __getitem__(self, index: Any) -> Any:
        raise OSError("no text for an answer")

    def __len__(self) -> int:
        raise OSError("no text for an answer")


def test_a_failure_of_who_answers_awakeables_fails_the_run() -> None:
    async def body(world: World) -> None:
        await world.serve(Ledger)
        handlers = definition_of(Ledger).handlers
        await Crowd(world, [Target(handlers["wait"], ("a",), ((1,),))], False, _NoTexts()).visit()

    run = Exploration(faults=NONE).once(body, Choices.of("caller 1 request 1"))
    assert isinstance(run.error, OSError), run.error


class _Asking(VirtualObject):
    @handler
    async def ask(self, ctx: Context) -> None:
        await ctx.awakeable(Annotated[str, msgspec.Meta(pattern="^y+$")])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("UPDATE journal_entry SET ref = 0", "Sleeper/a/nap will not go on: its sleep is over."),
        ("UPDATE invocation SET status = 1", "Sleeper/a/nap is the next in its mailbox and does not begin."),
        ("UPDATE invocation SET status = 4 WHERE seq = 1", "Sleeper/a/nap has failed, and is not retried."),
        (
            "DELETE FROM journal_entry",
            "Sleeper/a/nap will not go on: it waits for something that is not durable, or for an answer that has already arrived.",
        ),
    ],
)
async def test_what_will_never_go_on_is_named(world: World, changed: str, said: str) -> None:
    await world.serve(Sleeper)
    for _ in range(2):  # the second waits behind the first
        await world.object(Sleeper, "a").nap.send()
    await world.settle()
    assert list(restless(world.machine)) == []
    world.machine.disk.connection.execute("SAVEPOINT before")
    world.machine.disk.connection.execute(changed)
    assert list(restless(world.machine)) == [said]
    world.machine.disk.connection.execute("ROLLBACK TO before")


def test_an_invocation_that_waits_for_nothing_durable_is_found() -> None:
    run = Exploration(faults=NONE).once(exploration([Idle]), Choices.of("caller 1 request 1"))
    assert "Idle/a/wait will not go on: it waits for something that is not durable" in str(run.error)


class Idle(VirtualObject):
    @handler
    async def wait(self) -> None:
        await asyncio.sleep(3600)


class Sleeper(VirtualObject):
    @handler
    async def nap(self, ctx: Context) -> None:
        await ctx.sleep(30)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runs": 0}, "explore(runs=...) requires a whole number from 1 on, got 0"),
        ({"runs": -1}, "got -1"),
        ({"runs": "10"}, "got '10'"),
        ({"seed": -1}, "explore(seed=...) requires a whole number from 0 on"),
        ({"keys": []}, "explore(keys=[]) requires a list of one key or more"),
        ({"keys": "ab"}, "explore(keys='ab') requires a list"),
        ({"keys": [1]}, "An object key is a non-empty str"),
        ({"faults": 3}, "explore(faults=3) requires Faults(...)"),
        ({"also": ["=0"]}, "is not a valid choice"),
        (
            {"arguments": {Order.add: [("x",)]}},
            "Order.add is not a handler of these classes. Known handlers: Halves.halve",
        ),
        ({"arguments": {"halve": [(1,)]}}, "'halve' is not a handler of these classes"),
        ({"arguments": {Halves.halve: []}}, "requires a list of tuples"),
        ({"arguments": {Halves.halve: [1]}}, "requires tuples of arguments, got 1. A tuple of one value is (value,)"),
        ({"arguments": {Halves.halve: [(1, 2)]}}, "Halves.halve(number: 'int'): too many positional arguments"),
        ({"arguments": {Halves.halve: [("x",)]}}, "argument 'number': Expected int"),
    ],
)
def test_what_cannot_be_explored_is_refused_before_anything_runs(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArguments) as refused:
        explore(Halves, **options)
    assert said in str(refused.value)


def test_a_type_that_cannot_be_made_is_refused_with_what_to_write() -> None:
    with pytest.raises(BadArguments) as refused:
        explore(Odd)
    assert "the parameter 'code' of Odd.set, of type Annotated[str, msgspec.Meta(pattern='^x+$')]" in str(refused.value)
    assert "explore(..., arguments={Odd.set: [(..., ...)]})" in str(refused.value)
    assert callable(explore(Odd, arguments={Odd.set: [("xx", 1)]}))


@pytest.mark.parametrize(("classes", "said"), [((), "requires classes"), ((Post, Post), "Post is given twice")])
def test_classes_are_required_each_of_them_once(classes: Sequence[Any], said: str) -> None:
    with pytest.raises(BadArguments, match=said):
        explore(*classes)


TESTS = """
from order import Order, send_mail

from actors import VirtualObject, handler
from actors.testing import explore

test_orders = explore(Order, runs=3, replace={send_mail: lambda to: None})


class Halves(VirtualObject):
    @handler
    async def halve(self, number: int) -> float:
        return 1 / number


test_halves = explore(Halves)
"""


def test_a_failing_exploration_says_in_pytest_how_to_see_it_again(tmp_path: Path) -> None:
    code, output = pytest_run(tmp_path, "-q", "--actors-report", tests=TESTS)
    assert code == 1 and "1 failed, 1 passed" in output, output
    assert "test_orders: 3 runs: " in output
    again = re.search(r"Again: +pytest '(\S+)' --actors '([^']+)'", output)
    assert again is not None and f"Keep it: pass also=[{again[2]!r}] to explore(...)" in output, output


APP = """
from actors import App, VirtualObject, handler


class Halves(VirtualObject):
    @handler
    async def halve(self, number: int) -> float:
        return 1 / number


class Doubles(VirtualObject):
    @handler
    async def double(self, number: int) -> int:
        return 2 * number


halves, doubles = App(Halves), App(Doubles)
"""


def test_the_command_explores_without_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "explored_by_command.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    command = ["explore", "explored_by_command:halves"]
    failed = CliRunner().invoke(cli, command)
    assert failed.exit_code == 1 and "WorldFailed: Halves/" in failed.output, failed.output
    again = re.search(r"Again: +actors explore explored_by_command:halves --choices '([^']+)'", failed.output)
    assert again is not None and "Keep it" not in failed.output
    calm = CliRunner().invoke(cli, [*command, "--no-cancels"])
    assert re.search(r"Again: +actors explore explored_by_command:halves --no-cancels --choices '", calm.output)
    once = CliRunner().invoke(cli, [*command, "--choices", again[1]])
    assert once.exit_code == 1 and "is paused: ZeroDivisionError" in once.output
    passed = CliRunner().invoke(cli, ["explore", "explored_by_command:doubles", "--runs", "2", "--seed", "7"])
    assert passed.exit_code == 0 and passed.output.startswith("2 runs: "), passed.output
    unknown = CliRunner().invoke(cli, [*command, "--choices", "caller 9"])
    assert unknown.exit_code == 2 and "'caller 9' is not a choice of this test" in unknown.output
    missing = CliRunner().invoke(cli, ["explore", "explored_by_command:other"])
    assert missing.exit_code == 2 and "There is no 'other' in the module" in missing.output
    assert not list(tmp_path.glob("*.db"))
