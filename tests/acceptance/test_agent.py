"""The agent example: run as its docstring says, killed with SIGKILL, and killed at each of its commits."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest

from examples.agent import Task
from tests.acceptance.programs import Program, finish, kills
from tests.world import World

QUESTION = "Pay the invoice of ACME"
REQUESTS = [
    "[model] reads 1 messages",
    f"[tool] looks for: {QUESTION}",
    "[model] reads 3 messages",
    "[tool] pays: ACME: 120 euros to pay",
    "[model] reads 5 messages",
]
OWN_MODEL = """
import sys
import agent

async def own(messages):
    if len(messages) == 1 or "for ever" in messages[0].text:
        return agent.Turn("to the moon", tool="fly")
    return agent.Turn(messages[-1].text)

agent.MODEL = own
try:
    agent.run(agent.main(sys.argv[1:]))
except agent.ActorsError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def agent(tmp_path: Path) -> Program:
    return Program(tmp_path, "agent.py")


def asked(agent: Program) -> str:
    """The id of the permission that the agent asks for. Its process is killed then."""
    with agent.started(*agent.documented()[0]) as lines:
        for expected in REQUESTS[:3]:
            assert next(lines) == f"{expected}\n"
        question = next(lines)
    assert question.startswith("[person] pay: ACME: 120 euros to pay? The id of the permission: prom_1")
    return question.split()[-1]


def says(agent: Program, *command: str) -> list[str]:
    """The lines that a run prints, without the question that it asks again if the process before it died too early."""
    return [line for line in agent.says(*command) if not line.startswith("[person]")]


def test_a_killed_agent_goes_on_without_asking_the_model_again(agent: Program) -> None:
    _, allow, _, show = agent.documented()
    id = asked(agent)
    assert says(agent, *[id if word == "prom_1..." else word for word in allow]) == [
        *REQUESTS[3:],
        "The outcome is: paid.",
    ]
    assert says(agent, *show) == [
        f"user: {QUESTION}",
        f"model: find_invoice: {QUESTION}",
        "tool: ACME: 120 euros to pay",
        "model: pay: ACME: 120 euros to pay",
        "tool: paid",
        "model: The outcome is: paid.",
    ]
    (payment,) = agent.lines("payments.txt")
    assert payment.startswith("ACME: 120 euros to pay, reference ")


def test_a_tool_that_a_person_denies_is_not_used(agent: Program) -> None:
    ask, allow, deny, _ = agent.documented()
    id = asked(agent)
    outcome = ["[model] reads 5 messages", "The outcome is: not permitted."]
    assert says(agent, *[id if word == "prom_1..." else word for word in deny]) == outcome
    assert says(agent, *ask) == outcome[1:]
    assert not (agent.folder / "payments.txt").exists()
    opposite = agent.refuses(*[id if word == "prom_1..." else word for word in allow])
    assert "already has another completion" in opposite


def test_a_model_of_ones_own_hears_of_its_mistakes_and_is_stopped(agent: Program) -> None:
    (agent.folder / "own.py").write_text(OWN_MODEL, encoding="utf-8")
    agent.name = "own.py"
    assert agent.says("ask", "t-1", "Go") == ["Unknown tool fly. Known tools: find_invoice, pay."]
    assert agent.refuses("ask", "t-2", "Go for ever") == "The model did not answer within 10 turns.\n"


def test_without_a_command_it_shows_its_docstring(agent: Program) -> None:
    done = agent.run()
    assert done.returncode == 1 and "python agent.py ask t-1" in done.stderr


@pytest.mark.parametrize("written", [False, True])
async def test_an_agent_killed_at_any_commit_requests_each_answer_once(
    agent: Program, written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def allow(world: World) -> None:
        for waiting in await world.app.awakeables():
            await world.app.resolve_awakeable(waiting.id, True)

    for kill in kills(written):
        (agent.folder / "payments.txt").unlink(missing_ok=True)
        with chdir(agent.folder):
            async with World(Task) as world:
                sent = await world.app.object(Task, "t-1").ask.send(QUESTION)
                await finish(world, sent, kill, allow)
                assert await world.result(sent) == "The outcome is: paid."
                assert len(await world.app.object(Task, "t-1").look()) == 6
        lines = capsys.readouterr().out.splitlines()
        # A step is repeated only if the process died before its result was recorded.
        assert len(lines) - len(set(lines)) <= kill.repeats
        assert [line for line in dict.fromkeys(lines) if not line.startswith("[person]")] == REQUESTS
        assert len(set(agent.lines("payments.txt"))) == 1, "a repeated payment has the same reference"
