"""The approval example: run as its docstring says, killed with SIGKILL, and killed at each of its commits."""

from __future__ import annotations

import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from examples.approval import Expense
from tests.acceptance.programs import TIMEOUT, Program, finish, kills
from tests.world import World


@pytest.fixture
def approval(tmp_path: Path) -> Program:
    return Program(tmp_path, "approval.py")


def asked(approval: Program, *command: str) -> str:
    """The id in the mail to the boss. The process that has sent the mail is killed."""
    with approval.started(*command) as lines:
        mail = next(lines)
    assert mail.startswith("[mail to boss]")
    return mail.split()[-1]


def says(approval: Program, *command: str) -> list[str]:
    """The lines that a run prints, without the mail that it sends again if the process before it died too early."""
    return [line for line in approval.says(*command) if not line.startswith("[mail to boss]")]


def recipients(approval: Program) -> list[str]:
    return [line.partition(":")[0].removeprefix("to ") for line in approval.lines("outbox.txt")]


def test_an_expense_whose_process_is_killed_is_approved_as_documented(approval: Program) -> None:
    ask, waiting, approve, _, show, _ = approval.documented()
    id = asked(approval, *ask)
    assert says(approval, *show) == ["waiting for the boss"]
    (open_until,) = says(approval, *waiting)
    assert open_until.startswith("e-1 until ") and open_until.endswith(f" UTC: {id}")
    outcome = says(approval, *[id if word == "prom_1..." else word for word in approve])
    assert outcome == ["[mail to applicant] 300 euros for e-1: approved by Ada", "approved by Ada"]
    assert says(approval, *show) == says(approval, *ask) == ["approved by Ada"]
    assert says(approval, *waiting) == []
    # Never with another id, however often.
    assert {line.split()[-1] for line in approval.lines("outbox.txt") if line.startswith("to boss")} == {id}
    assert recipients(approval).count("applicant") == 1


def test_an_expense_is_approved_from_a_shell_while_its_process_runs(approval: Program) -> None:
    with approval.started("ask", "e-1", "300") as lines:
        id = next(lines).split()[-1]
        resolve = [sys.executable, "-m", "actors", "awakeables", "resolve", id, "Ada", "--db", "approval.db"]
        done = subprocess.run(resolve, cwd=approval.folder, capture_output=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 0, done.stderr
        assert [line.rstrip() for line in lines][-1] == "approved by Ada"


def test_a_refused_expense_ends_with_the_reason(approval: Program) -> None:
    ask, _, approve, refuse, *_ = approval.documented()
    id = asked(approval, *ask)
    outcome = approval.says(*[id if word == "prom_1..." else word for word in refuse])
    assert outcome[-1] == "refused by the boss: too much"
    opposite = approval.refuses(*[id if word == "prom_1..." else word for word in approve])
    assert "already has another completion" in opposite


def test_without_answers_the_director_is_asked_and_it_ends(approval: Program) -> None:
    lines = approval.says(*approval.documented()[-1])
    assert [line.split()[2] for line in lines[:3]] == ["boss]", "director]", "applicant]"]
    assert lines[3:] == ["refused, because no one has answered"]
    for late in lines[:2]:
        assert "deadline of this awakeable has passed" in approval.refuses("approve", late.split()[-1], "Ada")


def test_mistakes_get_one_line_that_explains_them(approval: Program) -> None:
    with approval.started("ask", "e-1", "300") as lines:
        next(lines)
        assert "is in use by process" in approval.refuses("show", "e-1")
    assert "was run with other arguments" in approval.refuses("ask", "e-1", "301")
    assert "not an awakeable id" in approval.refuses("approve", "e-1", "Ada")


async def test_a_restart_neither_prolongs_a_deadline_nor_repeats_a_mail(approval: Program) -> None:
    with chdir(approval.folder):
        async with World(Expense) as world:
            sent = await world.app.object(Expense, "e-1").ask.send(300, 60)
            await world.settle()
            await world.crash()
            world.clock.advance(50)
            await world.start()
            await world.pass_time(9)
            assert recipients(approval) == ["boss"]
            await world.pass_time(1)
            assert recipients(approval) == ["boss", "director"]
            await world.restart()
            (waiting,) = await world.app.awakeables()
            await world.app.resolve_awakeable(waiting.id, "Eve")
            assert await world.result(sent) == "approved by Eve"
    assert recipients(approval) == ["boss", "director", "applicant"]


@pytest.mark.parametrize("written", [False, True])
async def test_an_expense_killed_at_any_commit_asks_each_person_once(approval: Program, written: bool) -> None:
    async def director_answers(world: World) -> None:
        for waiting in await world.app.awakeables():
            if await world.app.object(Expense, "e-1").look() == "waiting for the director":
                await world.app.resolve_awakeable(waiting.id, "Eve")

    for kill in kills(written):
        (approval.folder / "outbox.txt").unlink(missing_ok=True)
        with chdir(approval.folder):
            async with World(Expense) as world:
                sent = await world.app.object(Expense, "e-1").ask.send(300, 5)
                await finish(world, sent, kill, director_answers)
                assert await world.result(sent) == "approved by Eve"
        mails = approval.lines("outbox.txt")
        # A step is repeated only if the process died before its result was recorded, and then it sends the same mail.
        assert len(mails) - len(set(mails)) <= kill.repeats
        assert [mail.split()[1] for mail in dict.fromkeys(mails)] == ["boss:", "director:", "applicant:"]
