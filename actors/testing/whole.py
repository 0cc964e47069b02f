"""What whole requests do: each executed alone, several times over, with what the world outside has said in the run.

Promise: what is ruled out cannot have been. Where executions with other clocks, ids, random numbers and delays differ, anything may have
been. An execution is done once for all runs that ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from actors.model.definitions import ServiceDefinition, definition_of
from actors.model.virtual_object import Served
from actors.storage.records import Status
from actors.testing.alone import Alone, Given, Left, Rows
from actors.testing.atomicity import Undecided
from actors.testing.outside import UNKNOWN, Answer, Outside, Question
from actors.testing.requests import Request
from actors.testing.resemblance import fits, fits_failure
from actors.testing.step_faults import Step

YEAR_MS = 365 * 86_400_000
MOST_EXECUTIONS = 1000  # for one run
MOST_WAYS = 64  # that one request may go, by the answers it receives

Answers = tuple[Answer, ...]
States = tuple[Rows, ...]  # of as many machines


class Memory:
    """What executions have shown, by machine, request and the answers given so far: the next question, or what is left.

    An execution is remembered by the state of the objects that it has touched, which may be equal in many states of an app. Requests
    that have read the clock are remembered by their time too.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, dict[Touched, dict[Rows, _Known]]] = {}
        self._peculiar: set[tuple[int, Given]] = set()

    def get(self, number: int, given: Given, answers: Answers) -> _Known | None:
        """What comes after these answers."""
        for touched, known in self._known.get(self._key(number, given, answers), {}).items():
            if (found := known.get(_of(given.state, touched))) is not None:
                return found
        return None

    def put(self, number: int, given: Given, asked: Sequence[_Asked], answers: Answers, left: Left) -> bool:
        """Remember an execution. Whether its request has turned out to be peculiar, so that nothing known of it counts."""
        request = number, _plain(given)
        is_news = left.peculiar and request not in self._peculiar
        if is_news:
            self._peculiar.add(request)
        rows = _of(given.state, left.touched)
        shown: list[_Known] = [*asked, left]
        for count, known in enumerate(shown):
            by_objects = self._known.setdefault(self._key(number, given, answers[:count]), {})
            by_objects.setdefault(left.touched, {})[rows] = known
        return is_news

    def _key(self, number: int, given: Given, answers: Answers) -> _Key:
        plain = _plain(given)
        is_plain = (number, plain) not in self._peculiar
        return number, plain if is_plain else replace(given, state=()), answers


Touched = frozenset[tuple[str, str]]
_Asked = tuple[Question, bool]
_Known = _Asked | Left
_Key = tuple[int, Given, Answers]


def _plain(given: Given) -> Given:
    """All but what is remembered apart, and what does not matter to most."""
    return Given((), given.service, given.key, given.handler, given.args)


def _of(state: Rows, touched: Touched) -> Rows:
    """The state of some objects."""
    return tuple(row for row in state if row[:2] in touched)


def _after(state: Rows, left: Left) -> Rows:
    return tuple(sorted([*(row for row in state if row[:2] not in left.touched), *left.state]))


class Whole:
    """The specification for one run: the requests of classes, on as many machines as `width` says. `close` it in the end.

    `patient`: see `Outside`. `last` is the state in the end of the run, `chance` makes the random numbers of its
    invocations. `unclear` says why something that was ruled out may have been.
    """

    def __init__(
        self,
        classes: Sequence[type[Served]],
        fakes: Mapping[Step, Callable[..., Any]],
        memory: Memory,
        outside: Outside,
        last: Rows,
        chance: Callable[[int], Random],
        width: int,
        patient: bool,
    ) -> None:
        self._chance = chance
        self._classes = classes
        self._definitions = {definition.name: definition for definition in map(definition_of, classes)}
        self._fakes = fakes
        self._memory = memory
        self._outside = outside
        self._last = last
        self._patient = patient
        self._machines: list[Alone | None] = [None] * width
        self._executions = 0
        self.unclear: str | None = None

    def close(self) -> None:
        for machine in self._machines:
            if machine is not None:
                machine.close()

    def first(self) -> States:
        """The state in the beginning."""
        return ((),) * len(self._machines)

    # --- the specification --------------------------------------------------------------------------------------------------

    def after(self, state: States, request: Request) -> Iterator[States]:
        """The states after a request that can end as it has ended. Raises Undecided."""
        ways = [self._ways(number, rows, request) for number, rows in enumerate(state)]
        for answers, first in ways[0].items():
            if UNKNOWN in answers:
                continue
            if first.order.raced and first.order != request.order:
                self.unclear = "what a handler waits for at once came in another order"
            # Another machine that goes another way with the same answers decides by what differs between machines.
            lefts = [first, *(other.get(answers) or next(iter(other.values())) for other in ways[1:])]
            if not any(left.impossible for left in lefts) and self._has_ended(request, lefts):
                yield tuple(_after(rows, left) for rows, left in zip(state, lefts, strict=True))

    def is_last(self, state: States) -> bool:
        """Whether the run may have left this state."""
        return not any(self.others(state))

    def others(self, state: States) -> Iterator[tuple[tuple[str, str, str], str | None, str | None]]:
        """What the run has left otherwise: class, key and name, then what it left, and what is in this state."""
        last = _by_name(self._last)
        states = [_by_name(rows) for rows in state]
        for name in sorted(set().union(last, *states)):
            default = self._default(name)
            value = last.get(name, default)
            results = [known.get(name, default) for known in states]
            if any(result != value for result in results) and not self._may_be(name, value, results):
                yield name, value, results[0]

    def _may_be(self, name: tuple[str, str, str], value: str | None, results: list[str | None]) -> bool:
        if value is None or None in results:
            return len(set(results)) > 1  # it may be there or not
        field = self._definitions[name[0]].fields_by_name.get(name[2])
        return fits(value, [result for result in results if result is not None], field.codec if field else None)

    def _default(self, name: tuple[str, str, str]) -> str | None:
        definition: ServiceDefinition | None = self._definitions.get(name[0])
        field = definition.fields_by_name.get(name[2]) if definition is not None else None
        return field.default_text if field is not None else None

    @staticmethod
    def _has_ended(request: Request, lefts: list[Left]) -> bool:
        if request.outcome is None:
            return True
        outcomes = [left.outcome for left in lefts]
        statuses = {outcome[0] if outcome is not None else None for outcome in outcomes}
        if len(statuses) > 1:
            return True
        status, text = request.outcome
        if statuses != {status}:
            return False
        results = [outcome[1] for outcome in outcomes if outcome is not None]
        if status == Status.FAILED:
            return fits_failure(text, results)
        return fits(text, results, request.target.returns)

    # --- executions ---------------------------------------------------------------------------------------------------------

    def _ways(self, number: int, state: Rows, request: Request) -> dict[Answers, Left]:
        """All that one machine makes of a request, by the answers of the world outside."""
        target = request.target
        given = Given(state, target.service.name, request.key, target.name, request.args)
        # The first machine imitates the run. Others are a year ahead, begin when the request had ended, and draw other numbers.
        if number == 0:
            given = replace(given, start_ms=request.began_ms, numbers=tuple(sorted(request.own)), times=request.times)
        else:
            given = replace(given, start_ms=request.ended_ms + number * YEAR_MS)
        found: dict[Answers, Left] = {}
        prefixes: list[Answers] = [()]
        while prefixes:
            prefix = prefixes.pop()
            known = self._memory.get(number, given, prefix)
            if known is None:
                if self._execute(number, given, prefix, request):
                    prefixes, found = [()], {}
                else:
                    prefixes.append(prefix)
                continue
            if isinstance(known, Left):
                if known.unclear is not None:
                    self.unclear = known.unclear
                found[prefix] = known
                if len(found) > MOST_WAYS:
                    raise Undecided(f"{request.target.target} may receive too many answers from outside")
            else:
                prefixes += [(*prefix, answer) for answer in reversed(self._answers(request, *known))]
        return found

    def _answers(self, request: Request, question: Question, may_wait: bool) -> Answers:
        return self._outside.answers(question, request.own, may_wait, self._patient)

    def _execute(self, number: int, given: Given, prefix: Answers, request: Request) -> bool:
        """Whether the request has turned out to be peculiar, so that nothing known of it counts."""
        self._executions += 1
        if self._executions > MOST_EXECUTIONS:
            raise Undecided(f"more than {MOST_EXECUTIONS:,} executions of a request")
        asked: list[_Asked] = []
        answers: list[Answer] = []

        def decide(question: Question, may_wait: bool) -> Answer:
            count = len(asked)
            answer = prefix[count] if count < len(prefix) else self._answers(request, question, may_wait)[0]
            asked.append((question, may_wait))
            answers.append(answer)
            return answer

        machine = self._machines[number]
        if machine is None:
            machine = self._machines[number] = Alone(self._classes, self._fakes, self._chance, number)
        left = machine.execute(given, decide)
        return self._memory.put(number, given, asked, tuple(answers), left)


def _by_name(rows: Rows) -> dict[tuple[str, str, str], str]:
    return {(service, key, name): value for service, key, name, value in rows}
