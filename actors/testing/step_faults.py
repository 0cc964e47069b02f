"""What a test changes about the functions of `ctx.run`: replaced, failing, counted.

Promise: the journal is as without it: the name and the stored form of a result are those of the user's own function.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from actors.errors import BadArguments
from actors.model.result_types import is_async
from actors.testing.checked import whole
from actors.testing.failures import MisusedWorld

When = Literal["before", "after"]
Step = Callable[..., Any] | str

CHOSEN = "failed, as chosen,"  # stands in the reason of an invocation that is paused because of choices alone


class StepFailed(Exception):
    """The default error of a step that `World.fail` lets fail."""


@dataclass(slots=True)
class _Failing:
    left: int
    error: BaseException | type[BaseException]
    when: When


class StepFaults:
    """By step: its function, or its name. Names of steps are recorded, so two functions of one name are one step by name."""

    def __init__(self) -> None:
        self._fakes: dict[Step, Callable[..., Any]] = {}
        self._failing: dict[Step, _Failing] = {}
        self._executed: Counter[Any] = Counter()

    def replace(self, step: Step, fake: Callable[..., Any]) -> None:
        """Call `fake` in the place of a step's function, with the same arguments. Raises MisusedWorld if the step has run."""
        _checked(step)
        if not callable(fake):
            raise BadArguments(f"world.replace({_named(step)}, ...) requires a function, got {fake!r}.")
        if self.executions(step):
            raise MisusedWorld(f"{_named(step)} has run already. Replace it before the first request.")
        self._fakes[step] = fake

    def fail(self, step: Step, times: int, error: BaseException | type[BaseException] | None, when: When) -> None:
        """Let the next `times` executions fail, before their effect or after it."""
        _checked(step)
        if when not in ("before", "after"):
            raise BadArguments(f'when={when!r} is not a valid value. Use "before" or "after".')
        whole("times=", times, 1)
        self._failing[step] = _Failing(times, error or StepFailed(f"{_named(step)} failed, as world.fail says."), when)

    def executions(self, step: Step) -> int:
        """How often the step has been executed, failures included."""
        return self._executed[_checked(step)]

    def unused(self) -> list[str]:
        """One line for each replacement that was never called, and each failure that did not happen."""
        lines = [
            f"{_named(step)} was replaced, and never ran. Is it the function that the handler gives to ctx.run?"
            for step in self._fakes
            if not self._executed[step]
        ]
        lines += [
            f"{_named(step)} was to fail {failing.left} more times, and ran {self._executed[step]} times."
            for step, failing in self._failing.items()
            if failing.left
        ]
        return lines

    def around(
        self, name: str, function: Callable[[], Any], chosen: When | None = None, takes_s: float = 0
    ) -> Callable[[], Any]:
        """The function to execute instead of a step's `function`, a `functools.partial`. Async if `function` is.

        With `chosen` it fails, before its effect or after. An async one takes `takes_s` longer.
        """
        own = function.func if isinstance(function, functools.partial) else function
        fake = self._by_step(self._fakes, own, name)
        called = function
        if fake is not None:
            called = functools.partial(_called, name, fake, function)

        def before() -> _Failing | None:
            self._executed[own] += 1
            self._executed[name] += 1
            failing: _Failing | None = self._by_step(self._failing, own, name)
            if failing is not None and failing.left:
                failing.left -= 1
            elif chosen is not None:
                failing = _Failing(0, StepFailed(f"{name} {CHOSEN} {chosen} its effect."), chosen)
            else:
                return None
            if failing.when == "before":
                raise failing.error
            return failing

        if not is_async(function):

            def execute() -> Any:
                failing = before()
                value = called()
                if inspect.iscoroutine(value):
                    value.close()
                    raise MisusedWorld(
                        f"{name} is not async, and its replacement is. Write the replacement without async."
                    )
                if failing is not None:
                    raise failing.error
                return value

            return execute

        async def execute_async() -> Any:
            failing = before()
            if takes_s:
                await asyncio.sleep(takes_s)
            value = called()
            if inspect.isawaitable(value):
                value = await value
            if failing is not None:
                raise failing.error
            return value

        return execute_async

    @staticmethod
    def _by_step(table: dict[Step, Any], own: Callable[..., Any], name: str) -> Any:
        return table.get(own) if own in table else table.get(name)


def _checked(step: Step) -> Step:
    if not callable(step) and not (isinstance(step, str) and step):
        raise BadArguments(
            f"{step!r} is not a valid step. Give the function that the handler gives to ctx.run, or the step's name."
        )
    return step


def _named(step: Step) -> str:
    return step if isinstance(step, str) else getattr(step, "__qualname__", repr(step))


def _called(name: str, fake: Callable[..., Any], function: Callable[[], Any]) -> Any:
    """Call `fake` with the arguments of the step."""
    args, kwargs = (function.args, function.keywords) if isinstance(function, functools.partial) else ((), {})
    try:
        inspect.signature(fake).bind(*args, **kwargs)
    except TypeError as error:
        raise BadArguments(f"The replacement of the step {name} does not take its arguments: {error}.") from None
    except ValueError:
        pass  # a builtin without a signature
    return fake(*args, **kwargs)
