"""The exceptions of a handler or step: an outcome, an error that another attempt may fix, or a signal."""

from __future__ import annotations

import contextlib
import dis
import functools
import os
import signal
import traceback
from collections.abc import Iterator
from typing import Any

from actors.errors import ProgrammingError, TerminalError, printable, short_reason
from actors.model.calls import forgotten

DEBUG_ATTEMPTS = 3  # attempts of code that raises such an error, in an app with debug
MISTAKES = (
    NameError,
    AttributeError,
    TypeError,
    LookupError,
    AssertionError,
    ImportError,
    NotImplementedError,
    SyntaxError,
    ZeroDivisionError,
)


def line_of(error: BaseException) -> str:
    """`, at shop.py:41`: the innermost line of its traceback. Empty for an error that was not raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f", at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def terminal(error: BaseException) -> TerminalError | None:
    """The TerminalError in an exception: itself, or the first in a group of TerminalErrors only, with the rest as `others`.

    None if another attempt may help.
    """
    if isinstance(error, TerminalError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return forgotten(error)
    errors = [forgotten(leaf) or leaf for leaf in _leaves(error)]
    first = errors[0]
    if not isinstance(first, TerminalError) or not all(isinstance(leaf, TerminalError) for leaf in errors):
        return None
    if len(errors) > 1:
        with contextlib.suppress(Exception):  # the class may not allow attributes to be set
            first.others = tuple(errors[1:])  # type: ignore[arg-type]
    return first


def principal(error: BaseException) -> BaseException:
    """The error that matters: of a group, the first error that is not terminal."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    errors = list(_leaves(error))
    return next((leaf for leaf in errors if not isinstance(leaf, TerminalError)), errors[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions in a group and its nested groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def contained(error: BaseException, who: str) -> BaseException:
    """An ordinary error in place of a SystemExit or KeyboardInterrupt that the user's code has raised.

    Otherwise asyncio would end the loop, and so the whole server, at each attempt. An interrupt from outside is kept.
    """
    if interrupted(error):
        return error
    return RuntimeError(f"{who} raised {short_reason(error)}. That ends this attempt, not the process.")


def interrupted(error: BaseException) -> bool:
    """Whether the exception is a signal, Ctrl-C, that came while the code ran, and was not raised by the code."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    handler: Any = signal.getsignal(signal.SIGINT)
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    trace, last = error.__traceback__, None
    while trace is not None:
        if code is not None and trace.tb_frame.f_code is code:
            return True
        trace, last = trace.tb_next, trace
    if last is None:
        return False
    # Python's own handler of the signal raises at the next instruction, whichever that is.
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] != "RAISE_VARARGS"


def reason_of(error: BaseException) -> str:
    """The traceback kept with an invocation. Bounded: it is rewritten at each failed attempt."""
    try:
        text = printable("".join(traceback.format_exception(error)))
    except Exception:  # its class, or one of its causes, may not even be printable
        text = short_reason(error)
    return text if len(text) <= 8000 else text[:4000] + "\n...\n" + text[-4000:]


def programming_error(error: BaseException, reason: str) -> ProgrammingError:
    """The error that a caller receives for a mistake in the handler's code."""
    return ProgrammingError(short_reason(principal(error)), metadata={"traceback": reason.rstrip()})


def place_of(error: BaseException) -> object:
    """What tells errors apart for the log: their class, and the line they come from; a message may contain a time, or a port."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return type(error), None if last is None else (last.tb_frame.f_code.co_filename, last.tb_lineno)
