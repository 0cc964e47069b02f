"""A process that has just begun judges what a test has left on the disk.

In a world the processes of a machine share what a real one would not have: the order of sets, which the hash seed of the interpreter
decides, and the variables of modules and classes. So copies of the disk are given to a process with another hash seed, an empty
memory and a clock a year ahead, in which the code of the classes must explain them, as at the end of each test. Of each copy what has
happened since the copy before is executed again, as if a process had begun there.

Promise: one process serves all tests, and each copy is judged in the memory of a process that has only imported its modules. What that
process cannot do is said, and fails no test: a class that cannot be imported there, a handler that ends it, or does not end.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors.check.explanation import Address, Known
from actors.testing.copies import Answer, Copies, Copy, Looked, Request
from actors.testing.failures import WorldFailed

WITHIN_S = 30.0  # for one copy: the machine may be busy
FORKS = hasattr(os, "fork")


class FreshProcess:
    """Started by the first `look`, and again by the next if it has ended. Close it in the end.

    The handlers of a copy must end within `within_s` seconds, and all imports before in `imports_s`.
    """

    def __init__(self, within_s: float = WITHIN_S, imports_s: float = WITHIN_S) -> None:
        self._within_s = within_s
        self._answers_s = within_s + imports_s
        self._process: subprocess.Popen[bytes] | None = None
        self._files: dict[str, str | None] = {}  # of the modules that it has imported

    def look(self, copies: Copies) -> Looked:
        """Have the copies judged, up to the first that the code does not explain."""
        judged, notes = 0, dict[str, None]()
        known: dict[Address, Known] = {}
        try:
            for copy in copies.all():
                # From where the copy before has come to: what the classes did until then is not in the memory of the next process.
                for address, one in copy.known.items():  # of classes that are served no longer
                    if address not in known or known[address].position < one.position:
                        known[address] = one
                answer = self._ask(replace(copy, known=dict(known)))
                known |= answer.known
                for skipped in answer.skipped:
                    notes[f"not checked in a fresh process: {skipped}"] = None
                if answer.died is not None:
                    notes[
                        f"commits from {copy.commit} on were left out of the check in a fresh process: {answer.died}"
                    ] = None
                    break
                if answer.findings:
                    return Looked(judged, _said(copy, answer.findings), [*notes])
                judged += len(answer.skipped) < len(copy.places)
        finally:
            if not FORKS:
                self.close()
        return Looked(judged, None, [*notes])

    def _ask(self, copy: Copy) -> Answer:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it has ended since
        for place in copy.places:
            if self._files.setdefault(place.module, place.file) != place.file:
                self.close()  # another module of the same name
        self._files.update((place.module, place.file) for place in copy.places)
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        path = [os.path.abspath(folder) for folder in sys.path]
        late = threading.Event()

        def expire() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(self._answers_s, expire)
        timer.start()
        try:
            pickle.dump(Request(copy, os.getcwd(), path, self._within_s), process.stdin)
            process.stdin.flush()
            answer: Answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            _kill(process)
            ended = process.wait()
            self.close()
            why = f"did not answer within {self._answers_s:g} s" if late.is_set() else f"ended with exit code {ended}"
            return Answer(died=f"it {why}")
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
        program = f"import sys; sys.path[:] = {sys.path!r}; from actors.testing.fresh_child import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, *(["-B"] if sys.dont_write_bytecode else []), "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=FORKS,
        )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._files.clear()
        if process is not None:
            if process.poll() is None:  # else its number may be that of another process by now
                _kill(process)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            process.wait()


def _kill(process: subprocess.Popen[Any]) -> None:
    """With the processes that it has made."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL) if FORKS else process.kill()


def _said(copy: Copy, findings: list[str]) -> str:
    return "\n".join(
        [
            f"A fresh process does something else, on the disk after commit {copy.commit}: {findings[0]}",
            *findings[1:],
            "Likely causes: the order of a set, or the memory of the process, such as a variable of a module or class.",
        ]
    )


_shared: list[FreshProcess] = []


def looked_at(copies: Copies) -> list[str]:
    """Have the copies judged by the process that all tests share. Returns lines for a report, or raises WorldFailed."""
    if not copies.commits:
        return ["not checked in a fresh process: it has no commits, or excuses the replay witness"]
    if not _shared:
        _shared.append(FreshProcess())
        atexit.register(_shared[0].close)
    looked = _shared[0].look(copies)
    if looked.finding is not None:
        raise WorldFailed(looked.finding)
    return [f"a fresh process has explained {looked.disks} disks of {copies.commits} commits", *looked.notes]
