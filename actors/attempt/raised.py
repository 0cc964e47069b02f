"""What the code of a handler or step has raised: an outcome, an error that another attempt may fix, or a signal."""

from __future__ import annotations

import contextlib
import dis
import functools
import signal
import traceback
from collections.abc import Iterator
from typing import Any

from actors.errors import TerminalError, printable, short_reason
from actors.model.calls import forgotten


def terminal(error: BaseException) -> TerminalError | None:
    """The TerminalError that this is: itself, or the first of a group that holds no other errors, with the rest as `others`.

    None if another attempt may help.
    """
    if isinstance(error, TerminalError):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return forgotten(error)
    errors = [forgotten(one) or one for one in _leaves(error)]
    first = errors[0]
    if not isinstance(first, TerminalError) or not all(isinstance(one, TerminalError) for one in errors):
        return None
    if len(errors) > 1:
        with contextlib.suppress(Exception):  # of a class whose attributes cannot be set
            first.others = tuple(errors[1:])  # type: ignore[arg-type]
    return first


def principal(error: BaseException) -> BaseException:
    """What an error comes down to: of a group, the first that is not terminal."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    errors = list(_leaves(error))
    return next((one for one in errors if not isinstance(one, TerminalError)), errors[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def contained(error: BaseException, who: str) -> BaseException:
    """What stands for a SystemExit or KeyboardInterrupt raised by code of the user's: an error like any other.

    asyncio would end the loop, and so the whole server, at each attempt again. An interrupt from outside is left alone.
    """
    if interrupted(error):
        return error
    return RuntimeError(f"{who} raised {short_reason(error)}. That ends this attempt, not the process.")


def interrupted(error: BaseException) -> bool:
    """Whether this is a signal, Ctrl-C, that came while the code ran, and not raised by the code."""
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
    # Python's own handler of the signal raises at whichever instruction is next.
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] != "RAISE_VARARGS"


def reason_of(error: BaseException) -> str:
    """The traceback kept with an invocation. Bounded: it is rewritten at each failed attempt."""
    try:
        text = printable("".join(traceback.format_exception(error)))
    except Exception:  # its class, or one of its causes, cannot even be shown
        text = short_reason(error)
    return text if len(text) <= 8000 else text[:4000] + "\n...\n" + text[-4000:]
