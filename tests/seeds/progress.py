"""What a long run has done so far, in a small file.

Promise: the file is whole at any moment, also after kill -9. A run that is killed loses what its workers were doing, and does no seed
that the file names once more.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


class BadProgress(Exception):
    """The file is not the progress of a long run."""


@dataclass(slots=True)
class Failure:
    """A run that failed. `text` are the choices of the shortest run that fails the same way, if there is one."""

    program: str
    seed: int
    error: str
    text: str = ""
    story: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Progress:
    """`code` is a hash of the code that ran. `done` are the numbers of the batches that are over, by program."""

    code: str
    batch: int
    done: dict[str, list[int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def is_done(self, program: str, number: int) -> bool:
        """Whether a batch is over: done, or of a program that has failed."""
        first, *others = self.done.get(program, [0])
        return number < first or number in others or any(failure.program == program for failure in self.failures)

    def add(self, program: str, number: int) -> None:
        """A batch is over. The first number of a list stands for all batches before it."""
        first, *others = self.done.get(program, [0])
        others.append(number)
        while first in others:
            others.remove(first)
            first += 1
        self.done[program] = [first, *sorted(others)]

    def write(self, file: Path) -> None:
        """Take the place of the file, at once."""
        beside = file.with_name(file.name + ".new")
        with open(beside, "w", encoding="utf-8") as new:
            json.dump(asdict(self), new)
            new.flush()
            os.fsync(new.fileno())
        beside.replace(file)

    @classmethod
    def read(cls, file: Path) -> Progress | None:
        """The progress in a file, None if there is none. Raises BadProgress."""
        if not file.exists():
            return None
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            failures = [Failure(**one) for one in found.pop("failures")]
            return cls(**found, failures=failures)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise BadProgress(f"{file} is not the progress of a long run ({error!r}). Remove it.") from None
