"""Random programs on a restate-server whose endpoint is killed at random moments. SIMULATIONS=2000 runs 320 of them.

A program without kills runs on the fake machine. On the server, whatever dies meanwhile: each attempt repeats the decisions of
the attempts before it, the outcome is that of the last one, what does not depend on time is as without kills, and each call and
each message counts once.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.restate.machine_world import World
from tests.restate.programs import Program, answer, programs, taker, trace
from tests.restate_servers.releases import server_in
from tests.restate_servers.servers import ROOT, RestateServer, end, free_port, missing, wait_for

AT_ONCE = 4  # programs
EXAMPLES = max(1, int(os.environ["SIMULATIONS"]) // 50)  # of so many programs each, in each of two modes
WITHIN_S = 30.0  # one example
CERTAIN = ("value", "settle")  # what a decision of these kinds has seen does not depend on time
STATE = ("state", "tags", "keys")  # nor of these, unless branches run at the same time
TIMES = ("now", "gather")  # a gather holds what its branches have seen, which are decisions of their own
CHANGES = ("add", "tag", "assign", "delete", "named")

Decision = list[Any]  # how deep, of which kind, what it has seen

pytestmark = [
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.timeout(300 + 10 * EXAMPLES),
    pytest.mark.may_log("ctx.sleep was called without await"),
]


class Mortal:
    """A server, and an endpoint that dies and comes back."""

    def __init__(self, folder: Path, mode: str, server: RestateServer) -> None:
        self.server = server
        self.seed = SystemRandom().randrange(2**32)
        self.told = folder / "told"
        self.log = folder / "log"
        port = free_port()
        command = [sys.executable, "-m", "tests.restate_servers.dying_endpoint", str(port), mode, str(self.seed)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self.told)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(f"http://127.0.0.1:{port}/health")
        server.register(f"http://127.0.0.1:{port}", http1=mode != "streams")

    def stop(self) -> None:
        end(self._process, signal.SIGTERM)

    def attempts(self, key: str) -> list[list[Decision]]:
        """The decisions of each attempt of the program under this key."""
        found: list[list[Decision]] = []
        for line in self.told.read_text().splitlines():
            told, decision = json.loads(line)
            if told == key and decision is None:
                found.append([])
            elif told == key:
                found[-1].append(decision)
        return found

    def play(self, given: dict[str, list[Any]]) -> dict[str, Any]:
        """The results of programs by their keys."""
        sent = {key: self._answer("POST", f"/Program/{key}/go/send", program) for key, program in given.items()}
        paths = {key: f"/restate/invocation/{accepted['invocationId']}/output" for key, accepted in sent.items()}
        return {key: self._answer("GET", path) for key, path in paths.items()}

    def _answer(self, method: str, path: str, body: Any = None) -> Any:
        """Of the ingress, once it knows the class (until then 404) and the outcome (470)."""
        deadline = time.monotonic() + WITHIN_S
        while (answer := httpx.request(method, self.server.ingress + path, json=body)).status_code in (404, 470):
            assert time.monotonic() < deadline, f"no outcome; the seed is {self.seed}; open are {self._opened()}"
            time.sleep(0.02)  # waits for real processes
        assert answer.is_success, answer.text
        return answer.json()

    def _opened(self) -> list[dict[str, Any]]:
        return self.server.query(
            "SELECT target_service_key, target_handler_name, status, retry_count, last_failure FROM sys_invocation "
            "WHERE status != 'completed'"
        )

    def state(self, key: str) -> dict[str, Any]:
        rows = self.server.query(f"SELECT key, value_utf8 FROM state WHERE service_key = '{key}'")
        return {row["key"]: json.loads(row["value_utf8"]) for row in rows}

    def check_effects(self, key: str, program: list[Any]) -> None:
        """Each call and each message of the program has come, once."""
        effects = Counter(operation[1] for operation in operations(program) if operation[0] in ("call", "send"))
        deadline = time.monotonic() + WITHIN_S
        while (counted := self._counted(key)) != effects or self._opened():
            assert time.monotonic() < deadline, f"{counted}, not {effects}; the seed is {self.seed}"
            time.sleep(0.02)

    def _counted(self, key: str) -> Counter[int]:
        takers = {value: self.state(taker(key, value)) for value in range(10)}
        return Counter({value: state["n"] for value, state in takers.items() if state})


@pytest.fixture(scope="module", params=["streams", "one attempt each"])
def mortal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    folder = tmp_path_factory.mktemp("restate")
    with server_in(folder / "server") as server:
        mortal = Mortal(folder, request.param, server)
        try:
            yield mortal
        finally:
            mortal.stop()


# --- what is expected ---------------------------------------------------------------------------------------------------


async def without_kills(key: str, program: list[Any]) -> tuple[list[Decision], dict[str, Any]]:
    """The decisions and the state on the fake machine."""
    async with World(Program, answer=answer) as world:
        await world.outcome(world.invocation("Program", key, "go", program))
        return list(trace), world.stored("Program", key)


def operations(program: list[Any]) -> Iterator[list[Any]]:
    """Those of the branches too."""
    for operation in program:
        yield operation
        if operation[0] == "gather":
            yield from itertools.chain(*operation[1])


def certain(program: list[Any], decisions: list[Decision]) -> dict[int, list[Decision]]:
    """By depth, the decisions that are the same in each run."""
    kinds = CERTAIN if changed_by_branches(program) else CERTAIN + STATE
    found: dict[int, list[Decision]] = {}
    for decision in decisions:
        if decision[1] in kinds:
            found.setdefault(decision[0], []).append(decision)
    return found


def changed_by_branches(program: list[Any]) -> bool:
    """Whether branches that run at the same time change the state, in an order that is not known."""
    parts = [part for what, *values in program if what == "gather" for part in values[0]]
    return any(operation[0] in CHANGES for part in parts for operation in part)


def check_repeated(attempts: list[list[Decision]]) -> None:
    """Each attempt repeats what the longest one before it has come to.

    A time that an attempt read just before its death is not recorded, so the next one may read another.
    """
    longest: list[Decision] = []
    for attempt in attempts:
        for before, again in zip(longest, attempt, strict=False):
            assert before[:2] == again[:2] and (before[1] in TIMES or before == again), (before, again)
        longest = max(longest, attempt, key=len)


# --- the test -----------------------------------------------------------------------------------------------------------

EVERYTHING: list[Any] = [
    ["step", 1],
    ["call", 3],
    ["add", 2],
    ["send", 4, "await"],
    ["await", [0]],
    ["sleep", 5],
    ["first", [1, 2]],
    ["tag", 1],
    ["add", 3],
    ["now"],
    ["gather", [[["step", 2], ["await", [0]], ["send", 4, ""]], [["call", 7], ["await", [0]]]]],
    ["delete"],
    ["settle", [0, 1, 2]],
    ["add", 4],
    ["named", 5],
    ["random"],
]
numbers = itertools.count()


@given(drawn=st.lists(programs(6), min_size=AT_ONCE, max_size=AT_ONCE))
@example(drawn=[EVERYTHING] * AT_ONCE)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,  # what fails once need not fail again
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
def test_programs_go_on_wherever_their_endpoint_is_killed(mortal: Mortal, drawn: list[list[Any]]) -> None:
    given = {f"p{next(numbers)}": program for program in drawn}
    results = mortal.play(given)
    assert drawn[0] != EVERYTHING or any(len(mortal.attempts(key)) > 1 for key in given), "it was never killed"
    for key, program in given.items():
        attempts = mortal.attempts(key)
        expected, state = asyncio.run(without_kills(key, program))
        check_repeated(attempts)
        assert results[key] == [decision[-1] for decision in attempts[-1] if decision[0] == 0]
        assert certain(program, attempts[-1]) == certain(program, expected)
        if not changed_by_branches(program):
            assert mortal.state(key) == state
        mortal.check_effects(key, program)
