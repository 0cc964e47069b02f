"""The process that judges copies of disks for a test: see `fresh`.

It takes a pickled `Request` after the other on stdin and answers each with a pickled `Answer`. Its clock is a year ahead. It imports
the modules of the classes once. Each copy is judged in a fork, so that handlers find the memory of a process that has just begun.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from actors.errors import short_reason
from actors.testing.copies import Answer, Copy, Place, Request
from actors.testing.disk import Disk
from actors.testing.loop import VirtualLoop
from actors.testing.specification import explain

YEAR_S = 365 * 86_400
FORKS = hasattr(os, "fork")  # else the process judges one test, and ends


def main() -> None:
    """Answer requests until the other process closes its end."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's code prints must not be taken for an answer
    logging.disable()
    _set_ahead()
    while True:
        try:
            request: Request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(_answer(request), answers)
        answers.flush()


def _set_ahead() -> None:
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + YEAR_S
    time.time_ns = lambda: nanoseconds() + YEAR_S * 1_000_000_000


def _answer(request: Request) -> Answer:
    sys.path[:] = request.path
    os.chdir(request.folder)
    classes, skipped = [], []
    for place in request.copy.places:
        found = _class_at(place)
        if isinstance(found, str):
            skipped.append(f"{place.qualname.rpartition('.')[2]}: {found}")
        else:
            classes.append(found)
    if not classes:
        return Answer(skipped=skipped)
    return _apart(lambda: _judged(request.copy, classes, skipped), request.within_s)


def _class_at(place: Place) -> type[Any] | str:
    """The class, or why it cannot be had."""
    if "<locals>" in place.qualname:
        return "it is defined in a function"
    if place.module == "__main__":
        return "it is defined in the main program"
    try:
        found: Any = _module(place)
        for name in place.qualname.split("."):
            found = getattr(found, name)
    except BaseException as error:  # a module may also leave with SystemExit
        return f"it cannot be imported: {short_reason(error)}"
    return found if isinstance(found, type) else "its name stands for something else in its module"


def _module(place: Place) -> Any:
    try:
        return importlib.import_module(place.module)
    except ModuleNotFoundError:
        if place.file is None or (spec := importlib.util.spec_from_file_location(place.module, place.file)) is None:
            raise
    # pytest has imported it by its file, with --import-mode=importlib.
    assert spec.loader is not None
    module = sys.modules[place.module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[place.module]
        raise
    return module


def _judged(copy: Copy, classes: list[type[Any]], skipped: list[str]) -> Answer:
    async def judge() -> Answer:
        disk = Disk(copy.image)
        try:
            report = await explain(
                disk,
                classes,
                copy.limits,
                known=copy.known,
                changed=copy.changed,
                complete=copy.complete,
                one_release=copy.one_release,
            )
        finally:
            disk.close()
        return Answer([str(finding) for finding in report.findings], skipped, known=report.known)

    # As at the end of a test: a handler that sleeps, beside its context, does not take time.
    with contextlib.closing(VirtualLoop()) as loop:
        return loop.run_until_complete(judge())


def _apart(judge: Callable[[], Answer], within_s: float) -> Answer:
    """The answer of a process that has the memory of this one, and ends with it."""
    if not FORKS:
        return _tried(judge)
    reads, writes = os.pipe()
    process = os.fork()
    if not process:
        status = 1
        try:
            os.close(reads)
            signal.setitimer(
                signal.ITIMER_REAL, within_s
            )  # ends the process: code that does not yield cannot be stopped otherwise
            said = pickle.dumps(_tried(judge))
            with os.fdopen(writes, "wb") as pipe:
                pipe.write(said)
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if said and ended == 0:
        answer: Answer = pickle.loads(said)
        return answer
    if ended == -signal.SIGALRM:
        return Answer(died=f"its handlers did not end within {within_s:g} s")
    return Answer(died=f"the process ended with {f'signal {-ended}' if ended < 0 else f'exit code {ended}'}")


def _tried(judge: Callable[[], Answer]) -> Answer:
    """The answer, or that there is none: what this process writes to stderr is not read."""
    try:
        return judge()
    except Exception as error:
        return Answer(died=f"it failed: {short_reason(error)}")
