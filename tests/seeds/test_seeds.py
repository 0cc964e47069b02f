"""The first seeds of all programs of the long run: of each program one with full disks, and one without.

`SEEDS=2000` runs so many in all; `python -m tests.seeds` runs a million, on all cores.
"""

from __future__ import annotations

import os

import pytest

from tests.seeds.program import Program
from tests.seeds.programs import PROGRAMS
from tests.seeds.worker import run_batch

SEEDS = int(os.environ.get("SEEDS", str(2 * len(PROGRAMS))))


@pytest.mark.may_log("never retrieved")  # asyncio, of a gather in a handler whose process was killed
@pytest.mark.parametrize("program", [pytest.param(one, id=one.name.replace(" ", "_")) for one in PROGRAMS])
def test_a_sound_program_passes_with_all_seeds(program: Program) -> None:
    result = run_batch(program, range(-(-SEEDS // len(PROGRAMS))))
    assert not result, "\n".join([result["error"], result.get("text", ""), *result.get("story", ())])


def test_each_program_has_a_name_of_its_own() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS) > 60
