"""`explore(http=True)`: callers over HTTP, whose connections break."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actors import VirtualObject, handler
from actors.cli.commands import cli
from actors.errors import BadArguments, UnexpectedAnswer
from actors.model.definitions import definition_of
from actors.testing import Faults, World, explore
from actors.testing.choices import Choices
from actors.testing.exploring import Exploration, exploration
from actors.testing.http_callers import HttpCallers
from actors.transport.client import Client
from tests.worlds.explored import Clock, Ledger, Post, Trip

ROOT = Path(__file__).parents[2]
BREAKS = "its connection breaks (1 before the request, 2 before the answer, 3 meanwhile)"
ALL_BREAK = Faults(crash=0, step=0, delay=0.3, memory=0, prompt=0, connection=0.5)

pytestmark = pytest.mark.may_log("never retrieved")  # asyncio, of a gather in a handler whose process was killed


def test_a_sound_class_passes_although_connections_break() -> None:
    simulated = Exploration(runs=25).run(exploration([Ledger], http=True))
    assert simulated.failed is None, f"{simulated.failed.error}\n{simulated.explanation()}"
    for name in ("add", "write", "wait", "move"):
        assert simulated.outcomes[f"{name} succeeded"] > 2, simulated.summary()


def test_services_schedules_and_workflows_pass_over_http_too() -> None:
    for classes in ([Post, Clock], [Trip]):
        simulated = Exploration(runs=6).run(exploration(classes, http=True))
        assert simulated.failed is None, f"{simulated.failed.error}\n{simulated.explanation()}"


def test_connections_break_at_each_moment() -> None:
    told: set[str] = set()
    values: set[int] = set()
    for seed in range(6):
        run = Exploration(faults=ALL_BREAK).once(exploration([Ledger], http=True), Choices(seed=seed))
        assert run.error is None, run.error
        values |= {one.value for one in run.choices.unusual if one.name.endswith(BREAKS)}
        told |= {line.partition("its connection breaks")[2].strip() for line in run.story.lines()}
    assert values == {1, 2, 3}
    assert {"before the request has arrived", "before the answer has arrived"} <= told


def test_a_request_with_a_key_is_repeated_and_one_without_is_not() -> None:
    body = exploration([Ledger], arguments={Ledger.add: [(1,)]}, cancels=False, http=True)
    lost = f"caller 1 request 1; caller 1: {BREAKS}=2"
    run = Exploration().once(body, Choices.of(lost))
    assert run.error is None and [row[2:5] for row in run.outcomes] == [("add", "[1]", "succeeded")]
    assert any("ServerUnreachable" in line for line in run.story.lines())
    keyed = Exploration().once(body, Choices.of(f"{lost}; caller 1 request 1 how=3"))
    assert keyed.error is None and [row[2:5] for row in keyed.outcomes] == [("add", "[1]", "succeeded")]
    assert any(line.endswith("Ledger/a/add(1) -> 1") for line in keyed.story.lines())
    gone = Exploration().once(body, Choices.of(f"caller 1 request 1; caller 1: {BREAKS}"))
    assert gone.error is None and gone.outcomes == []


def test_a_run_over_http_is_the_same_under_any_hash_seed() -> None:
    program = (
        "from actors.testing.choices import Choices\n"
        "from actors.testing.exploring import Exploration, exploration\n"
        "from tests.worlds.explored import Ledger\n"
        "body = exploration([Ledger], http=True)\n"
        "for seed in range(4): print(Exploration().once(body, Choices(seed=seed)).story.digest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().split()) == 4


def test_an_answer_of_a_server_that_failed_is_found() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        body = b'{"code": 500, "message": "a mistake", "error": "internal_error"}'
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    world = World()

    async def body() -> list[str]:
        await world.serve(Ledger)
        async with Client(app=failing) as client:
            callers = HttpCallers(world.machine, world.clients, client)
            with pytest.raises(UnexpectedAnswer):
                await callers.handler(definition_of(Ledger).handlers["add"], "a")(1)
        return list(callers.findings())

    assert world.run(body()) == ["POST /restate/call/Ledger/a/add: The server failed: a mistake"]
    world.close()


class Halves(VirtualObject):
    @handler
    async def halve(self, number: int) -> float:
        return 1 / number  # the bug: 0 is paused


def test_what_fails_over_http_is_shrunk_and_given_again() -> None:
    body = exploration([Halves], http=True)
    simulated = Exploration(runs=50).run(body)
    assert simulated.failed is not None and "ZeroDivisionError" in str(simulated.failed.error)
    again = Exploration().once(body, Choices.of(str(simulated.failed.choices)))
    assert again.failure() == simulated.failed.failure()


def test_the_command_explores_over_http_and_says_how_to_see_it_again(tmp_path: Path) -> None:
    (tmp_path / "explored_halves.py").write_text(
        "from actors import App, VirtualObject, handler\n"
        "class Halves(VirtualObject):\n"
        "    @handler\n"
        "    async def halve(self, number: int) -> float:\n"
        "        return 1 / number\n"
        "app = App(Halves, storage='sqlite:///never.db')\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(cli, ["explore", "explored_halves:app", "--http", "--runs", "30"])
    sys.modules.pop("explored_halves", None)
    assert result.exit_code == 1 and "actors explore explored_halves:app --http --choices" in result.output


def test_another_value_than_true_or_false_is_refused() -> None:
    with pytest.raises(BadArguments, match="http='yes'"):
        explore(Ledger, http="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("odds", [-1, 2, "often"])
def test_odds_of_a_broken_connection_are_a_probability(odds: object) -> None:
    with pytest.raises(BadArguments, match="connection="):
        Faults(connection=odds)  # type: ignore[arg-type]
