"""Names the calls in a handler that a replay does not repeat: reads of the clock, chance, I/O and new threads outside of steps.

Promise: what a handler's own code and the tasks it starts call is noticed with file and line, and nothing else is: not steps, not
what the runtime does to answer a request through the context, not imports, not code outside of handlers. A guard observes. It
forbids nothing, and changes neither results nor the order in which code runs.

The line is the nearest one in the user's own code; if there is none, the nearest one in an installed package. What the standard
library does for itself is not reported: `logging` reads the clock and the process id and writes files, none of which a handler
sees, and asyncio, queues and thread pools read the clock to keep their timeouts. A direct call of `time.time` in a handler is
reported.

Not seen: functions that C code calls (`map(time.ctime, ...)`, `functools.partial(time.time)()`), what C extensions do by themselves
(numpy.random), the environment as a library reads it, and functions that a handler has given to `loop.call_soon` or to a thread.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, CodeType, FrameType, TracebackType
from typing import Any, ClassVar, Final, Self

from actors.attempt.attempt import Attempt
from actors.engine.partition import PARTS, Parts
from actors.tasks.branches import Branches
from actors.tasks.origins import WITH_TIMEOUTS, Origin, origin_of
from actors.testing.sources import (
    BY_ID,
    CALLS,
    CODES,
    EVENTS,
    STEP,
    WITH_EVENTS,
    WITHOUT_EFFECT,
    Source,
    asks,
    called,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A call that no replay repeats. `str(finding)` is the sentence for the author of the handler."""

    handler: str  # Offer.open
    function: str  # time.time
    file: str  # the whole path
    line: int
    advice: str
    through: str | None = None  # the function that the handler calls, if that one only leads to `function`

    def __str__(self) -> str:
        calls = f"{self.function}()" if self.through is None else f"{self.through}(), which calls {self.function}(),"
        return (
            f"{self.handler} calls {calls} outside of a step, at {os.path.basename(self.file)}:{self.line}. "
            f"Use {self.advice}."
        )


# --- looking on -----------------------------------------------------------------------------------------------------------


def _seen(frame: FrameType | None, source: Source) -> None:
    """`source` is being called in this frame. Report it if the frame belongs to the code of a watched handler.

    The way up to the frame in which a guard lets the handler go on tells whether it does. Nothing else marks it, so that a
    thread of a step, which runs at the same time, is not taken for the handler.
    """
    at = inner = within = None  # the frame to name, the frame that it calls, and the one that the current frame calls
    if source.direct and (frame is None or origin_of(frame.f_code.co_filename) is Origin.LIBRARY):
        return  # every turn of a loop reads its clock
    while frame is not None:
        code = frame.f_code
        kind = origin_of(code.co_filename)
        if kind is Origin.RUNTIME and any(code is one for one in _STEPPING):
            break
        if kind is Origin.RUNTIME or kind is Origin.IMPORT:
            return  # also a step that an executor runs at once, and what the runtime calls of a user's class
        if code.co_name == "__del__" or _is_of_collector(code):
            return  # the collector calls it, at whichever line it happens to run
        if kind is Origin.LIBRARY:
            module = frame.f_globals.get("__name__", "").partition(".")[0]
            if module in WITHOUT_EFFECT:
                return
            if at is None:
                if source.clock and module in WITH_TIMEOUTS:
                    return
                if module in WITH_EVENTS and source.advice is STEP and not source.name.startswith(module):
                    return
                watched = BY_ID.get(id(code))
                if watched is not None and watched(frame) is not None:
                    return  # reported under the name of that function
        elif at is None or (kind is Origin.USERS and origin_of(at.f_code.co_filename) is not Origin.USERS):
            at, inner = frame, within
        within, frame = frame, frame.f_back
    if frame is None or at is None or (source.direct and inner is not None):
        return
    stepping: _Stepped = frame.f_locals["self"]
    stepping.guard._report(stepping.handler, source, at, inner)


def _is_of_collector(code: CodeType) -> bool:
    """Whether the garbage collector calls this code when it begins and ends."""
    return any(
        code is getattr(callback, "__code__", None) or code is getattr(type(callback).__call__, "__code__", None)
        for callback in gc.callbacks
    )


def _profile(frame: FrameType, event: str, function: Any) -> None:
    """The profile function while a handler goes on, before Python 3.12."""
    if event == "c_call":
        if function in CALLS or type(function.__self__) is type:
            source = called(function)
            if source is not None and asks(frame.f_code, frame.f_lasti, source):
                _seen(frame, source)
    elif event == "call":
        watched = BY_ID.get(id(frame.f_code))
        if watched is not None and (source := watched(frame)) is not None:
            _seen(frame.f_back, source)


class _Both:
    """A profile function for a guard and for the profile function that was there before."""

    __slots__ = ("_before",)

    def __init__(self, before: Callable[[FrameType, str, Any], object]) -> None:
        self._before = before

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        self._before(frame, event, function)
        _profile(frame, event, function)


class _Monitor:
    """Looks on from Python 3.12 on, where a profile function that comes and goes makes Python change all code that runs next.

    `sys.monitoring` is told which calls are of no interest, and does not report these again: code of the runtime and of libraries
    soon runs as fast as before.
    """

    def __init__(self) -> None:
        # Checkers know the module of Python 3.11.
        self._monitoring: Any = getattr(sys, "monitoring", None)
        self._tool: int | None = None

    def begin(self) -> bool:
        """Whether there was room for another tool beside debuggers, profilers and coverage."""
        monitoring = self._monitoring
        if monitoring is None:
            return False
        tool = self._tool = next((one for one in (4, 3, 2) if monitoring.get_tool(one) is None), None)
        if tool is None:
            return False
        events = monitoring.events
        monitoring.use_tool_id(tool, "actors.testing.guard")
        monitoring.register_callback(tool, events.CALL, self._called)
        monitoring.register_callback(tool, events.PY_START, self._started)
        monitoring.set_events(tool, events.CALL)
        for code in CODES:
            monitoring.set_local_events(tool, code, events.PY_START)
        return True

    def end(self) -> None:
        monitoring, tool = self._monitoring, self._tool
        if tool is not None:
            monitoring.set_events(tool, 0)
            for code in CODES:
                monitoring.set_local_events(tool, code, 0)
            for event in (monitoring.events.CALL, monitoring.events.PY_START):
                monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)
            self._tool = None

    def _called(self, code: CodeType, offset: int, function: Any, _: object) -> Any:
        kind = origin_of(code.co_filename)
        if kind is Origin.RUNTIME:
            return self._monitoring.DISABLE
        source = called(function) if type(function) is BuiltinFunctionType else None
        if source is None:
            return (
                None if kind is Origin.USERS else self._monitoring.DISABLE
            )  # a line of a user may call something else next
        if asks(code, offset, source):
            _seen(sys._getframe(1), source)
        return None

    def _started(self, code: CodeType, _: int) -> None:
        frame = sys._getframe(1)
        source = BY_ID[id(code)](frame)
        if source is not None:
            _seen(frame.f_back, source)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook. Nothing can remove it, so it does nothing while no guard is installed."""
    if not _installed:
        return
    source = EVENTS.get(event)
    if source is None or (event == "open" and (isinstance(arguments[0], int) or arguments[0] == os.devnull)):
        return
    _seen(sys._getframe(1), source)


_installed: list[Guard] = []
_hooks: list[object] = []  # the audit hook, once it is there
_monitor = _Monitor()
_monitored = False  # while a guard is installed: by `_monitor`, not by a profile function


# --- the code of handlers -------------------------------------------------------------------------------------------------


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine of a handler: its frames here are the mark by which `_seen` recognizes a handler's code."""

    __slots__ = ("coroutine", "guard", "handler")

    def __init__(self, coroutine: Any, guard: Guard, handler: Any) -> None:
        self.coroutine = coroutine
        self.guard = guard
        self.handler = handler

    def send(self, value: Any) -> Any:
        if _monitored:
            return self.coroutine.send(value)
        before = _getprofile()
        if before is not None:
            return self._beside(before, self.coroutine.send, value)
        _setprofile(_profile)
        try:
            return self.coroutine.send(value)
        finally:
            _setprofile(None)

    def throw(self, *error: Any) -> Any:
        return self._beside(_getprofile(), self.coroutine.throw, *error)

    def _beside(self, before: Any, go_on: Callable[..., Any], *arguments: Any) -> Any:
        """Go on, and put back the profile function that was there before.

        A profiler in C, such as cProfile on Python 3.11, cannot be put back. It stays, and calls are not seen meanwhile.
        """
        ours = before is _profile or type(before) is _Both  # a task that begins at once, within a step of its handler
        if _monitored or ours or (before is not None and not callable(before)):
            return go_on(*arguments)
        _setprofile(_profile if before is None else _Both(before))
        try:
            return go_on(*arguments)
        finally:
            _setprofile(before)

    def close(self) -> None:
        self.coroutine.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return self.coroutine.__await__()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """The runtime, debuggers and the texts of tasks look at `cr_code` and the like."""
        return getattr(self.coroutine, name)


_getprofile, _setprofile = sys.getprofile, sys.setprofile
_STEPPING: Final = (_Stepped.send.__code__, _Stepped.throw.__code__, _Stepped._beside.__code__)


class _Attempt(Attempt):
    """An attempt whose main line and tasks are watched."""

    __slots__ = ()

    guard: ClassVar[Guard]

    def _begin(self) -> bool:
        begun = super()._begin()
        if begun:
            self._coroutine = self.watched(self._coroutine)
        return begun

    def watched(self, coroutine: Any) -> Any:
        return _Stepped(coroutine, self.guard, self.invocation.handler)


class _Branches(Branches):
    """The tasks of a watched handler."""

    __slots__ = ()

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, make: Any, options: dict[str, Any]) -> Any:
        assert isinstance(self._line, _Attempt)
        return super()._make(loop, self._line.watched(coroutine), make, options)


_Attempt.branches_class = _Branches


class Guard:
    """Collects findings, each once, from the apps whose parts are `guard.parts()`, while it is installed.

    class WatchedApp(App):
        _parts = guard.parts()

    with guard:
        async with WatchedApp(Offer, ...) as app: ...
    assert guard.findings == []
    """

    def __init__(self) -> None:
        self._findings: dict[tuple[str, int, str], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order in which the calls were made first."""
        return list(self._findings.values())

    def parts(self, parts: Parts = PARTS) -> Parts:
        """These parts with attempts that the guard watches."""
        return replace(parts, attempt=self.watched(parts.attempt))

    def watched(self, attempt: type[Any]) -> type[Any]:
        """A class of attempts that are watched, and are otherwise like `attempt`."""
        return type("GuardedAttempt", (_Attempt, attempt), {"__slots__": (), "guard": self})

    def install(self) -> None:
        """Look on from now on. Has no effect if the guard is installed."""
        global _monitored
        if self in _installed:
            return
        if not _installed:
            _monitored = _monitor.begin()
        _installed.append(self)
        if not _hooks:
            sys.addaudithook(_audit)
            _hooks.append(_audit)

    def uninstall(self) -> None:
        """Look on no more. The findings stay."""
        global _monitored
        if self in _installed:
            _installed.remove(self)
            if not _installed and _monitored:
                _monitor.end()
                _monitored = False

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()

    def _report(self, handler: Any, source: Source, at: FrameType, inner: FrameType | None) -> None:
        """A handler calls `source` in the frame `at`, by way of the function whose frame is `inner`."""
        key = (at.f_code.co_filename, at.f_lineno, source.name)
        if self not in _installed or key in self._findings:
            return
        through, advice = None, source.advice
        if inner is not None:
            name = f"{inner.f_globals.get('__name__', '')}.{inner.f_code.co_qualname.rpartition('<locals>.')[2]}"
            if name != source.name:
                through = name
                if advice != STEP:
                    advice = f"{advice} or {STEP}"
        self._findings[key] = Finding(handler.target, source.name, key[0], key[1], advice, through)
