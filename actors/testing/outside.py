"""What the world outside of an app has said in a run: how its awakeables were completed, and what its steps have returned.

Promise: a handler that is executed once more can receive each answer that it may have received there in the run. No answer is made up.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

from actors.attempt.invocation import Invocation
from actors.errors import DurableTimeout
from actors.journal.entries import Kind
from actors.serde.failures import failure_of
from actors.storage.records import Mode

_QUESTIONS = (
    "SELECT e.invocation, e.idx, e.kind, e.name, i.service, i.handler, CASE i.shared WHEN ? THEN '' ELSE i.key END, c.kind, c.value "
    "FROM journal_entry e JOIN invocation i ON i.seq = e.invocation "
    "LEFT JOIN journal_entry c ON c.invocation = e.invocation AND c.kind IN (?, ?) AND c.ref = e.idx "
    "WHERE e.kind IN (?, ?) ORDER BY e.invocation, e.idx"
)


class Question(NamedTuple):
    """What a handler asks the world outside: an awakeable by its type, or a step by its name and its arguments, if they can be shown."""

    kind: Literal["awakeable", "step"]
    service: str
    handler: str
    key: str
    name: str
    arguments: str | None = None


class Answer(NamedTuple):
    """A value or a failure as stored; "open": none yet; "executed": what the step returns when it is executed; "unknown": none."""

    kind: Literal["value", "failure", "open", "executed", "unknown"]
    stored: str | bytes | None = None


OPEN, EXECUTED, UNKNOWN = Answer("open"), Answer("executed"), Answer("unknown")


def arguments_of(function: Callable[[], Any]) -> str | None:
    """The arguments of a step as text; None if they have none."""
    args, kwargs = (function.args, function.keywords) if isinstance(function, functools.partial) else ((), {})
    try:
        return repr((args, sorted(kwargs.items())))
    except Exception:  # of a user's class
        return None


class Asking:
    """A watcher that takes down the `arguments` of steps, by invocation and position, and when invocations `began` and ended.

    These moments are numbered. An invocation that begins again with a journal began before.
    """

    def __init__(self) -> None:
        self.arguments: dict[tuple[int, int], str | None] = {}
        self.began: dict[int, int] = {}
        self.ended_at: dict[int, int] = {}
        self._moments = itertools.count()

    def begins(self, invocation: Invocation, variables: contextvars.Context) -> None:
        if invocation.journal is None or not invocation.journal.commands:
            self.began[invocation.seq] = next(self._moments)

    def ended(self, invocation: Invocation) -> None:
        self.ended_at[invocation.seq] = next(self._moments)  # after a crash it may end once more

    def step(self, invocation: Invocation, index: int, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        self.arguments[invocation.seq, index] = arguments_of(function)
        return function

    def headers(self, caller: Invocation | None) -> dict[str, str] | None:
        return None


class Outside:
    """The answers of a run that has ended: `query` reads its disk, `asking` has watched it.

    An invocation is executed once more for a request, whose own invocations are `own`: it receives what these have received. If they
    have not asked the question, it receives what others have: a step with the same arguments. A step with other arguments, such as an id,
    may return what steps of that name have returned in `own`. If `patient`, it may also return what it returns when it is executed, or
    what steps of that name have returned elsewhere, and an awakeable may also be completed later than something else.
    """

    def __init__(self, query: Callable[..., list[tuple[Any, ...]]], asking: Asking) -> None:
        self._answers: dict[Question, list[tuple[int, Answer]]] = {}
        for seq, index, kind, name, service, handler, key, completion, value in query(
            _QUESTIONS, Mode.KEYLESS, Kind.COMPLETED, Kind.FAILED, Kind.AWAKEABLE, Kind.RUN
        ):
            answer = seq, _answer(completion, value)
            if kind == Kind.AWAKEABLE:
                self._answers.setdefault(Question("awakeable", service, handler, key, name or ""), []).append(answer)
            elif completion is not None:
                arguments = asking.arguments.get((seq, index))
                for known in {arguments, None}:
                    question = Question("step", service, handler, "", name or "", known)
                    self._answers.setdefault(question, []).append(answer)

    def answers(self, question: Question, own: Collection[int], may_wait: bool, patient: bool) -> tuple[Answer, ...]:
        """What may be answered, each once. `may_wait`: something else can happen before an awakeable is completed."""
        if question.kind == "awakeable":
            found = self._found(question, own)
            return _once(*found, *([OPEN] if not found or (patient and may_wait) else []))
        if question.arguments is not None and (found := self._found(question, own)):
            return _once(*found)
        by_name = question._replace(arguments=None)
        if patient:
            return _once(EXECUTED, *self._found(by_name, own))
        return _once(*[answer for seq, answer in self._answers.get(by_name, []) if seq in own]) or (UNKNOWN,)

    def _found(self, question: Question, own: Collection[int]) -> list[Answer]:
        known = self._answers.get(question, [])
        return [answer for seq, answer in known if seq in own] or [answer for _, answer in known]


def _once(*answers: Answer) -> tuple[Answer, ...]:
    return tuple(dict.fromkeys(answers))


def _answer(completion: int | None, value: str | bytes | None) -> Answer:
    if completion is None:
        return OPEN
    if completion == Kind.COMPLETED:
        return Answer("value", value)
    if isinstance(value, str) and failure_of(value).error == DurableTimeout.error:
        return OPEN  # until the time was up
    return Answer("failure", value)
