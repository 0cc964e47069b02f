"""What a step in a world reads: the world's clock, and chance from a seed.

Promise: in a step the functions of `time`, `random` and `os.urandom`, and so `uuid.uuid4` and `secrets`, give the same in each run of
the same choices. Everywhere else they are the machine's own, and when no world runs nothing is replaced. What a test has replaced
itself is left alone.

Whether code belongs to a step is a context variable: steps that run at the same time do not meet, and a step that is cancelled leaves
nothing behind. Not seen: `datetime.now()`, and functions of C that were imported by name before the world ran, as by
`from time import time`. Of the clocks for timeouts, `time.monotonic` and `time.perf_counter`, only the user's own code reads the
world's: a library that waits for a real answer would wait for ever.
"""

from __future__ import annotations

import contextvars
import functools
import os
import random
import sys
import time
from collections.abc import Callable
from operator import attrgetter
from random import Random
from types import FrameType
from typing import Any, Final, cast

from actors.tasks.origins import WITH_TIMEOUTS, Origin, origin_of

LOOK_S: Final = (
    1e-6  # that a look at the clock takes: code may divide by the time that has passed, or wait for it to pass
)


class StepSources:
    """The clock and the chance of one execution of a step. Executions with the same seed get the same numbers.

    `now_s` is the time of the step in seconds since 1970, `spend` lets time pass in it.
    """

    __slots__ = ("_generator", "_now_s", "_seed", "_spend")

    def __init__(self, seed: str, now_s: Callable[[], float], spend: Callable[[float], None]) -> None:
        self._seed = seed
        self._now_s = now_s
        self._spend = spend
        self._generator: Random | None = None

    @property
    def generator(self) -> Random:
        if self._generator is None:  # to make it costs more than most steps
            self._generator = Random(self._seed)
        return self._generator

    def seconds(self) -> float:
        self._spend(LOOK_S)
        return self._now_s()

    def nanoseconds(self) -> int:
        return round(self.seconds() * 1e6) * 1000

    def sleep(self, seconds: float, /) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self._spend(seconds)

    def urandom(self, size: int, /) -> bytes:
        return self.generator.randbytes(size)

    def around(self, function: Callable[[], Any], is_async: bool) -> Callable[[], Any]:
        """The function, whose code reads these sources."""
        if not is_async:

            def execute() -> Any:
                token = _current.set(self)
                try:
                    return function()
                finally:
                    _current.reset(token)

            return execute

        async def execute_async() -> Any:
            _current.set(self)  # for good: the task of a step has variables of its own
            return await function()

        return execute_async


_current: contextvars.ContextVar[StepSources | None] = contextvars.ContextVar("actors_testing_step", default=None)


def _replacing(
    original: Callable[..., Any],
    inside: Callable[[StepSources], Callable[..., Any]],
    asks: Callable[[FrameType], bool],
) -> Callable[..., Any]:
    @functools.wraps(original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        sources = _current.get()
        if sources is None or not asks(sys._getframe(1)):
            return original(*args, **kwargs)
        return inside(sources)(*args, **kwargs)

    return replaced


def _of_clock(caller: FrameType) -> bool:
    """Whether code that reads the time is given the world's."""
    module: str = caller.f_globals.get("__name__", "")
    return module.partition(".")[0] not in WITH_TIMEOUTS


def _of_timeouts(caller: FrameType) -> bool:
    return origin_of(caller.f_code.co_filename) is Origin.USERS


def _of_chance(caller: FrameType) -> bool:
    return True


class _Shared(Random):
    """The class of the generator behind `random.choice` and the like while a world runs: these are methods, bound wherever imported."""

    def random(self) -> float:
        sources = _current.get()
        return super().random() if sources is None else sources.generator.random()

    def getrandbits(self, k: int, /) -> int:
        sources = _current.get()
        return super().getrandbits(k) if sources is None else sources.generator.getrandbits(k)

    @property
    def gauss_next(self) -> float | None:
        """The second of two numbers that `gauss` draws at once."""
        return cast("float | None", vars(self._owner()).get("gauss_next"))

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        vars(self._owner())["gauss_next"] = value

    def _owner(self) -> Random:
        sources = _current.get()
        return self if sources is None else sources.generator


_SHARED: Any = vars(random)["_inst"]
_REPLACED: Final = [
    (module, name, original, _replacing(original, attrgetter(inside), asks))
    for module, name, inside, asks in (
        (time, "time", "seconds", _of_clock),
        (time, "time_ns", "nanoseconds", _of_clock),
        (time, "monotonic", "seconds", _of_timeouts),
        (time, "monotonic_ns", "nanoseconds", _of_timeouts),
        (time, "perf_counter", "seconds", _of_timeouts),
        (time, "perf_counter_ns", "nanoseconds", _of_timeouts),
        (time, "sleep", "sleep", _of_clock),
        (os, "urandom", "urandom", _of_chance),
        (random, "_urandom", "urandom", _of_chance),  # by which SystemRandom and `secrets` call it
        *(
            (random, name, f"generator.{name}", _of_chance)
            for name in ("random", "getrandbits", "seed", "getstate", "setstate")
        ),
    )
    for original in [vars(module)[name]]
]
REPLACED_CODE: Final = _REPLACED[0][3].__code__  # of all of them; its variable `original` is the function

_running: list[None] = []  # one for each world that runs


def install() -> None:
    """From now on steps read their own sources."""
    if not _running:
        for module, name, original, replaced in _REPLACED:
            if vars(module)[name] is original:
                setattr(module, name, replaced)
        _turn_shared(Random, _Shared)
    _running.append(None)


def uninstall() -> None:
    """A world runs no more. After the last of them everything is as before."""
    _running.pop()
    if not _running:
        for module, name, original, replaced in _REPLACED:
            if vars(module)[name] is replaced:
                setattr(module, name, original)
        _turn_shared(_Shared, Random)


def _turn_shared(before: type[Random], after: type[Random]) -> None:
    if type(_SHARED) is before:
        _SHARED.__class__ = after
