"""The watcher of a world: it tells the story, counts the executions of steps, and lets steps fail as chosen."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from actors.attempt.invocation import Invocation
from actors.journal.entries import Kind
from actors.model.result_types import is_async
from actors.testing.chances import Chances
from actors.testing.step_faults import StepFaults
from actors.testing.step_sources import StepSources
from actors.testing.story import Story


class WorldWatcher:
    """`executed` says how often each step was executed, by its invocation and its position in the journal. `gate` has a line for each
    step that was executed before its command was on the disk, which `query` reads, or after its result was. `sources` makes what an
    execution reads, of its name.
    """

    def __init__(
        self,
        story: Story,
        steps: StepFaults,
        chances: Chances,
        sources: Callable[[str], StepSources],
        query: Callable[..., list[tuple[Any, ...]]],
    ) -> None:
        self._query = query
        self.gate: list[str] = []
        self._story = story
        self._steps = steps
        self._chances = chances
        self._sources = sources
        self.executed: dict[tuple[int, int], int] = {}

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        again = invocation.journal is not None and bool(invocation.journal.commands)
        arguments = f"({invocation.args_text[1:-1]})"
        self._story.tell("begins", self._story.name_of(invocation) + arguments, "again, by replay" if again else "")

    def ended(self, invocation: Invocation) -> None:
        self._story.tell("ends", self._story.name_of(invocation), "->", invocation.outcome or "")

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        times = self.executed[invocation.seq, index] = self.executed.get((invocation.seq, index), 0) + 1
        self._story.tell("step", f"{self._story.name_of(invocation)}: {name}", "once more" if times > 1 else "")
        self._look(invocation, index, name)
        failing = self._chances.step_fails(name)
        coroutine = is_async(function)
        takes_s = self._chances.step_takes_s() if coroutine else 0.0
        sources = self._sources(f"step {invocation.seq} {index} {times}")
        return sources.around(self._steps.around(name, function, failing, takes_s), coroutine)

    def _look(self, invocation: Invocation, index: int, name: str) -> None:
        kinds = [
            kind
            for (kind,) in self._query(
                "SELECT kind FROM journal_entry WHERE invocation = ? AND (idx = ? OR (kind >= 20 AND ref = ?))",
                invocation.seq,
                index,
                index,
            )
        ]
        step = f"{self._story.name_of(invocation)}: {name}"
        if Kind.RUN not in kinds:
            self.gate.append(f"{step} was executed before its command was on the disk. This is a bug of the runtime.")
        if len(kinds) > 1:
            self.gate.append(f"{step} was executed although its result was on the disk. This is a bug of the runtime.")

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        return None
