"""The first days of a real trace through aircraft and airports, straight and with a kill, against plain Python."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from examples.flights.flight import Flight, read_flights
from examples.flights.verdict import judge
from tests.once import once

ROOT = Path(__file__).parents[2]
FLIGHTS = 3000


def run(database: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        "-m",
        "examples.flights",
        "--limit",
        str(FLIGHTS),
        "--database",
        str(database),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in done.stderr.splitlines() if "held the event loop for" not in line]  # a busy machine
    assert not warnings
    assert "EQUAL to the direct computation" in done.stdout
    return done.stdout


def state(database: Path) -> list[tuple[str, str, str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.execute("SELECT service, key, name, value FROM state ORDER BY service, key, name"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "straight", lambda folder: run(folder / "flights.db")) / "flights.db"


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return read_flights(FLIGHTS)


def test_a_kill_in_the_middle_and_a_restart_end_in_the_same_state_as_a_straight_run(
    straight: Path, tmp_path: Path
) -> None:
    told = run(tmp_path / "flights.db", "--kill")
    killed = re.search(r"was killed \(SIGKILL\) at flight ([\d,]+)", told)
    assert killed and FLIGHTS // 2 <= int(killed[1].replace(",", "")) < FLIGHTS
    assert state(tmp_path / "flights.db") == state(straight)


def test_every_field_of_every_object_is_compared(straight: Path, flights: list[Flight]) -> None:
    verdict = judge(straight, flights)
    tailnums = {flight.tailnum for flight in flights} - {None}
    airports = {airport for flight in flights for airport in (flight.origin, flight.destination)}
    assert verdict.differences == []
    assert verdict.objects == {"Feed": 1, "Aircraft": len(tailnums), "Airport": len(airports)}
    assert verdict.fields == {"Feed": 1, "Aircraft": 9 * len(tailnums), "Airport": 11 * len(airports)}


def test_one_changed_field_and_one_lost_message_are_found(
    straight: Path, flights: list[Flight], tmp_path: Path
) -> None:
    database = shutil.copy(straight, tmp_path)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE object_state SET value = value + 1 WHERE service = 'Airport' AND key = 'JFK' AND name = 'departures'"
        )
        connection.execute("DELETE FROM invocation WHERE seq = (SELECT min(seq) FROM invocation WHERE handler = 'fly')")
    found = [difference.where for difference in judge(Path(database), flights).differences]
    assert found == ["Airport/JFK.departures", "messages to fly"]


def test_a_worker_on_a_finished_database_sends_nothing_again(straight: Path, tmp_path: Path) -> None:
    database = Path(shutil.copy(straight, tmp_path))
    command = [sys.executable, "-m", "examples.flights.worker", str(database), str(FLIGHTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["resumed", "done"]
    assert state(database) == state(straight)
