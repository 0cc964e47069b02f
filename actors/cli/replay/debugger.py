"""The standard debugger, on the code of a handler alone.

Promise: it stops in the user's code and never in the runtime, asyncio or the standard library, whichever way the handler goes on:
at once, after an answer, or in a task of its own. Breakpoints that the user sets hold everywhere.
"""

from __future__ import annotations

import bdb
import contextlib
import dis
import functools
import inspect
import os
import pdb
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from actors.cli.replay.narrated import STEP, code_of
from actors.model.definitions import HandlerDefinition
from actors.tasks.origins import Origin, origin_of

_SUSPENDED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Quit(BaseException):
    """The user has left the debugger. Not an Exception, so that no handler swallows it."""


class Debugger(pdb.Pdb):
    """One debugging session. Life: `begin` or `breakpoint()` in the code, the prompt of the user, `end`.

    `used` is true once it has been in charge: from then on no time limit holds.
    """

    def __init__(self) -> None:
        super().__init__(stdin=sys.stdin, stdout=sys.stdout, nosigint=True)
        self.use_rawinput = sys.stdin.isatty()  # with the history and the keys of a terminal
        self.used = False
        self._own: str | None = None  # the file of the handler, which may be anywhere
        self._first: CodeType | None = None  # stop in this code only, until then

    @property
    def has_quit(self) -> bool:
        """Whether the user has left the debugger."""
        return bool(getattr(self, "quitting", False)) and self.used

    def knows(self, handler: HandlerDefinition) -> None:
        """Code in the file of this handler is the user's."""
        self._own = code_of(handler.function).co_filename

    def begin(self, handler: HandlerDefinition) -> None:
        """Stop at the first line of this handler."""
        self._first = code_of(handler.function)
        self._start()

    def stop_next(self) -> None:
        """Stop at the next line of the user's code that runs."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not STEP:
            if self._theirs(frame):
                frame.f_trace = self.trace_dispatch
            frame = frame.f_back
        self._start()

    def _start(self) -> None:
        if self.used:
            return
        self.used = True
        self.reset()
        self.botframe = sys._getframe(1)  # without it, the first call would begin a session at its caller
        self.set_step()
        sys.settrace(self.trace_dispatch)

    def end(self) -> None:
        """The handler is over: what comes next is not the user's."""
        if self.used and sys.gettrace() is not None and getattr(sys.gettrace(), "__self__", None) is self:
            sys.settrace(None)

    def hook(self, *_: Any, **__: Any) -> None:
        """In place of `sys.breakpointhook`: `breakpoint()` in the code of a handler."""
        self.used = True
        self._first = None
        self.set_trace(sys._getframe(1))

    def _theirs(self, frame: FrameType) -> bool:
        """Whether it is the user's code, or code of a package that the user's code has called."""
        above: FrameType | None = frame
        while above is not None:
            file = above.f_code.co_filename
            if file == self._own:
                return True
            origin = origin_of(file)
            if origin is not Origin.PACKAGE and origin is not Origin.GENERATED:
                return origin is Origin.USERS
            above = above.f_back
        return False

    # --- bdb --------------------------------------------------------------------------------------------------------------

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        try:
            return super().trace_dispatch(frame, event, arg)
        except bdb.BdbQuit:
            raise Quit from None

    def stop_here(self, frame: FrameType) -> bool:
        if self._first is not None:
            if frame.f_code is not self._first:
                return False
        elif not self._theirs(frame):
            return False
        return bool(super().stop_here(frame))

    def get_stack(self, f: FrameType | None, t: Any) -> Any:
        """The frames to move in. Of an exception that arrives with an answer, those in the runtime are left out."""
        stack, index = super().get_stack(f, t)
        while t is not None and index > 0 and not self._theirs(stack[index][0]):
            stack.pop()
            index -= 1
        return stack, index

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        # A coroutine is called each time it goes on; the stop is at its line.
        if not frame.f_code.co_flags & _SUSPENDED:
            super().user_call(frame, argument_list)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        # A coroutine that waits returns to what runs it; the stop is where it goes on.
        code = frame.f_code
        if not code.co_flags & _SUSPENDED or dis.opname[code.co_code[frame.f_lasti]].startswith("RETURN"):
            super().user_return(frame, return_value)

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        if self._theirs(frame):  # not the end of the handler's coroutine, which its runner sees as an exception
            super().user_exception(frame, exc_info)

    def user_line(self, frame: FrameType) -> None:
        self._first = None
        super().user_line(frame)


def takes_breakpoints() -> bool:
    """Whether `breakpoint()` means the standard debugger: no IDE and no environment variable has said otherwise."""
    return sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT")


def is_traced() -> bool:
    """Whether another debugger, such as that of an IDE, is in charge. Coverage is not a debugger."""
    trace = sys.gettrace()
    if trace is not None and not type(trace).__module__.startswith("coverage"):
        return True
    monitoring: Any = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None


_begins: list[Callable[[], None]] = []


@contextlib.contextmanager
def when_asked_for(begins: Callable[[], None]) -> Iterator[None]:
    """Calls `begins` before the code starts a debugger: with `breakpoint()`, or with a `pdb` of its own."""
    _listen()
    _begins.append(begins)
    try:
        yield
    finally:
        _begins.remove(begins)


@functools.cache
def _listen() -> None:
    sys.addaudithook(_audited)  # for good: Python cannot remove it


def _audited(event: str, _: Any) -> None:
    if event in ("builtins.breakpoint", "pdb.Pdb"):
        for begins in _begins:
            begins()
