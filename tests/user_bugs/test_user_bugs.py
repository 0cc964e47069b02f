"""Each bug is invisible to an ordinary test, and found by the tools that its entry names; its fixed twin raises no alarm.

A sweep and a simulation of a bug ask no witness: so the table says what each tool finds by itself. For the twins all of them are asked;
`tests/seeds` runs these from seeds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import pytest

from actors.testing import WorldFailed
from actors.testing.exploring import Exploration
from actors.testing.fresh import FreshProcess
from actors.testing.judge import JUDGED
from actors.testing.witnesses import WITNESSES, Witness
from tests import user_bugs
from tests.user_bugs import BUGS, TOOLS
from tests.user_bugs.corpus import MOST, RUNS, WHOLE_MOST, WHOLE_RUNS, Bug, again, look_afresh, run_plain

JUDGED_RUNS = 5  # of the twins

ALL = [pytest.param(bug, id=bug.name.replace(" ", "_")) for bug in BUGS]


def found_by(*tools: str) -> list[Any]:
    """The bugs that one of these tools finds, each with the tool."""
    return [
        pytest.param(bug, tool, id=f"{bug.name.replace(' ', '_')}-{tool}")
        for bug in BUGS
        for tool in bug.found_by
        if tool in tools
    ]


@pytest.mark.parametrize("bug", ALL)
def test_an_ordinary_test_does_not_see_the_bug(bug: Bug[Any]) -> None:
    run_plain(bug.plain(bug.buggy))


@pytest.mark.parametrize(("bug", "witness"), found_by(*WITNESSES))
def test_a_witness_sees_the_bug_in_an_ordinary_test(bug: Bug[Any], witness: str) -> None:
    with pytest.raises(WorldFailed) as failure:
        run_plain(bug.plain(bug.buggy, cast("Witness", witness)))
    assert bug.found_by[witness] in str(failure.value).partition("\n")[0]


@pytest.mark.parametrize(("bug", "tool"), found_by("sweep"))
def test_a_sweep_finds_the_bug_at_some_points(bug: Bug[Any], tool: str) -> None:
    swept = bug.sweep.run(bug.plain(bug.buggy))
    assert 0 < len(swept.failed) < swept.points
    assert bug.found_by[tool] in str(swept.failed[0].error)


@pytest.mark.parametrize(("bug", "tool"), found_by("simulate"))
def test_a_simulation_finds_the_bug_and_its_text_repeats_it(bug: Bug[Any], tool: str) -> None:
    simulation, body = bug.simulation(), bug.searching(bug.buggy)
    simulated = simulation.run(body)
    failed = simulated.failed
    assert failed is not None and simulated.runs <= RUNS
    assert bug.found_by[tool] in str(failed.error)
    assert len(failed.choices.unusual) <= MOST
    assert again(simulation, body, failed).failure() == failed.failure()


@pytest.mark.parametrize(("bug", "tool"), found_by("explore"))
def test_an_exploration_finds_the_bug_without_a_test(bug: Bug[Any], tool: str) -> None:
    explored = Exploration(runs=RUNS).run(bug.exploring(bug.buggy))
    assert explored.failed is not None and explored.runs <= 2
    assert bug.found_by[tool] in str(explored.failed.error)
    assert len(explored.failed.choices.unusual) <= MOST


@pytest.mark.parametrize(("bug", "tool"), found_by("atomic"))
def test_an_exploration_that_judges_runs_as_a_whole_finds_the_bug(bug: Bug[Any], tool: str) -> None:
    explored = Exploration(runs=WHOLE_RUNS, atomic=True).run(bug.exploring(bug.buggy, atomic=True))
    assert explored.failed is not None and explored.runs <= WHOLE_RUNS
    assert bug.found_by[tool] in str(explored.failed.error).partition("\n")[0]
    assert len(explored.failed.choices.unusual) <= WHOLE_MOST


@pytest.fixture(scope="module")
def process() -> Iterator[FreshProcess]:
    with contextlib.closing(FreshProcess()) as process:
        yield process


@pytest.mark.parametrize(("bug", "tool"), found_by("fresh"))
def test_a_fresh_process_sees_the_bug(bug: Bug[Any], tool: str, process: FreshProcess) -> None:
    looked = look_afresh(bug.plain(bug.buggy, "replay"), process)
    assert looked.finding is not None
    assert bug.found_by[tool] in looked.finding.partition("\n")[0]


@pytest.mark.parametrize("bug", ALL)
def test_the_fixed_twin_passes_in_a_fresh_process(bug: Bug[Any], process: FreshProcess) -> None:
    looked = look_afresh(bug.plain(bug.fixed, "replay"), process)
    assert looked.finding is None and looked.disks > 0 and looked.notes == []


@pytest.mark.parametrize("bug", ALL)
def test_the_fixed_twin_passes_with_all_witnesses(bug: Bug[Any]) -> None:
    run_plain(bug.plain(bug.fixed, *WITNESSES))


@pytest.mark.parametrize("bug", ALL)
def test_the_fixed_twin_passes_at_all_points_of_a_sweep(bug: Bug[Any]) -> None:
    swept = bug.sweep.run(bug.plain(bug.fixed, *WITNESSES))
    assert swept.points > 0
    assert not swept.failed, swept.explanation()


@pytest.mark.parametrize(("bug", "tool"), found_by("atomic"))
def test_the_fixed_twin_passes_when_its_runs_are_judged_as_a_whole(bug: Bug[Any], tool: str) -> None:
    explored = Exploration(runs=JUDGED_RUNS, atomic=True).run(bug.exploring(bug.fixed, atomic=True))
    assert explored.failed is None, f"{explored.failed.error!r}\n{explored.explanation()}"
    assert explored.reached[JUDGED] == JUDGED_RUNS, explored.summary()


def test_the_table_names_each_bug_and_what_finds_it() -> None:
    rows = [line for line in (user_bugs.__doc__ or "").splitlines() if line.startswith("| ")][1:]
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert shown == [[bug.name, *("found" if tool in bug.found_by else "" for tool in TOOLS)] for bug in BUGS]
    assert sum(bool(bug.found_by) for bug in BUGS) >= 25
