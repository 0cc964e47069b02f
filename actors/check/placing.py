"""Readers that ended at once, of which nothing is stored: each must have seen a state that real time allows.

Promise: each reader is placed at the earliest state that explains its answer, and not before the state of a reader that had its answer
when this one was called. A reader that cannot be placed is named, with its caller.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from actors.check.explanation import Explaining, doubt_of, problem_of
from actors.check.retrace import State
from actors.check.seen import States
from actors.model.definitions import ServiceDefinition
from actors.storage.records import InvocationRow

MOST_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class OutsideReader:
    """A reader as its caller knows it. `called` and `answered` are numbered moments.

    `after` is the position of the last invocation that had ended for a caller when it was called, `before` that of the first that was
    called when it had its answer.
    """

    caller: str
    name: str
    row: InvocationRow
    called: int
    answered: int
    after: int | None
    before: int | None


async def misplaced(
    explaining: Explaining,
    definition: ServiceDefinition,
    states: States,
    readers: Sequence[OutsideReader],
    most_tries: int = MOST_TRIES,
) -> AsyncIterator[str]:
    """One line for each reader whose answer no state gives that it may have seen.

    A reader that cannot be judged is listed in the report of `explaining`. `most_tries` are for all readers of one object.
    """
    placed: list[tuple[int, int, OutsideReader]] = []  # with the moments of their answers, and their places
    tries = most_tries
    ordered = sorted(readers, key=lambda one: one.answered)
    for number, reader in enumerate(ordered):
        earlier = [one for one in placed if one[0] < reader.called]
        _, least, first = max(earlier, key=lambda one: one[1]) if earlier else (0, 0, None)
        lowest = states.left_by(reader.after) if reader.after is not None else 0
        highest = states.before(reader.before) if reader.before is not None else None
        lowest = max(least, lowest)
        for place, texts in states.from_to(lowest, highest):
            if tries == 0:
                for left in ordered[number:]:
                    _not_judged(explaining, left, f"the readers of the object were tried in {most_tries:,} states")
                return
            tries -= 1
            retraced = await explaining.retrace(definition, reader.row, [], State(texts, definition.version))
            if problem_of(reader.row, retraced, definition) is None:
                placed.append((reader.answered, place, reader))
                break
            if (doubt := doubt_of(retraced)) is not None:
                _not_judged(explaining, reader, doubt)
                break
        else:
            said = f"{reader.caller} received {reader.row.outcome} from {reader.name}, but no state that it can have read gives this answer"
            if first is not None and least == lowest:
                said += f", after {first.caller} had received {first.row.outcome} from {first.name}"
            yield said + "."


def _not_judged(explaining: Explaining, reader: OutsideReader, reason: str) -> None:
    address = (reader.row.service, reader.row.key)
    explaining.not_judged(address, f"{reader.name}, for {reader.caller}: {reason}")
