"""A process that runs batches of seeds: each line of its input is a batch, each line of its output the result.

Promise: it ends when its input ends, so also when the process that started it is killed; and it ends when a batch hangs.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from actors.testing.choices import Choices
from actors.testing.story import SHOWN

if TYPE_CHECKING:
    from tests.seeds.program import Program

HANGS_AFTER_S = 900  # a batch with everything that shrinking takes


def programs_in(module: str) -> Sequence[Program]:
    """The programs of a module."""
    found: Sequence[Program] = importlib.import_module(module).PROGRAMS
    return found


def run_batch(program: Program, seeds: range) -> dict[str, Any]:
    """Run these seeds, until one fails. The result names that seed and the shortest run."""
    for seed in seeds:
        run = program.of(seed).once(program.body, Choices(seed=seed))
        if run.error is None:
            continue
        try:
            shortest = program.shortest(seed)
        except Exception as error:  # NotReproducible, for example
            return {"seed": seed, "error": f"{run.error!r}; and once more: {error!r}"}
        if shortest is None:
            return {"seed": seed, "error": f"{run.error!r}; it has not failed again"}
        return {
            "seed": seed,
            "error": repr(shortest.error),
            "text": str(shortest.choices),
            "story": shortest.story.lines(SHOWN),
        }
    gc.collect()  # a world is a cycle: what is left of it must not wait for the collector
    return {}


def serve(module: str, answers: TextIO) -> None:
    """Run the batches that the standard input names."""
    programs = {program.name: program for program in programs_in(module)}
    gc.collect()
    gc.freeze()  # what is loaded by now stays: the collection after each batch need not look at it
    for line in sys.stdin:
        batch = json.loads(line)
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        result = run_batch(programs[batch["program"]], range(batch["first"], batch["last"]))
        faulthandler.cancel_dump_traceback_later()
        answers.write(json.dumps(result) + "\n")
        answers.flush()


def main(module: str) -> None:
    # What programs print and write is not for the process that reads the answers, nor for its folder.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.path.insert(0, str(Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        serve(module, answers)


if __name__ == "__main__":
    main(sys.argv[1])
