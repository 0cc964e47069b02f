"""The blocks ```console of a document: one shell that types what a reader would type, and compares what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.documents import BadDocument

_EXIT = re.compile(r"#.*\bexit code (\d+)")
# What bash says of a background process that was killed. A terminal shows it in another form.
_JOB = re.compile(r"^\S*bash: line \d+: +\d+ (?:Killed|Terminated)\b.*\n", re.M)
# Where the sleep comes first (`sleep 1; cat outbox.txt`), the rest is typed again until it prints what the block shows.
_LOOK = re.compile(r"sleep \d+; *")
# Any other `sleep` lasts until what the block shows has been printed: a slow machine waits longer, a fast one does not wait.
_SLEEP = 'sleep() { local n=0; while [ ! -e "$RELEASE" ] && [ $n -lt 400 ]; do command sleep 0.1; n=$((n+1)); done; }'

_SETTLED_S = 0.5  # a process that has printed may have more to do before the next command kills it: to record a step


class Wrong(AssertionError):
    """A command of a document did not do what the document shows."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, from its `$ ` to the next, with the lines that the document shows below it."""

    line: int
    text: str
    shown: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        match = _EXIT.search(self.text)
        return int(match[1]) if match else 0


def commands(text: str, line: int) -> list[Command]:
    """The commands of a block whose text begins in this line. Raises BadDocument."""
    found: list[Command] = []
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        start = position
        if not lines[position].startswith("$ "):
            raise BadDocument(f"line {line + position}: a command begins with '$ '.")
        typed = [lines[position][2:]]
        while typed[-1].endswith("\\") or _open_here_document(typed):
            position += 1
            typed.append(lines[position])
        position += 1
        shown = []
        while position < len(lines) and not lines[position].startswith("$ "):
            shown.append(lines[position])
            position += 1
        found.append(Command(line + start, "\n".join(typed), tuple(shown)))
    return found


def _open_here_document(typed: list[str]) -> bool:
    match = re.search(r"<<'?(\w+)'?", typed[0])
    return match is not None and (len(typed) == 1 or typed[-1] != match[1])


def pattern(shown: tuple[str, ...] | list[str]) -> re.Pattern[str]:
    """What is printed, as a regular expression: `…` in a line stands for any text, a line `…` for any lines."""
    lines = list(shown)
    while lines and not lines[-1].strip():
        lines.pop()
    parts = [
        r"(?:.*\n)*?"
        if line.strip() == "…"
        else ".*".join(re.escape(part.rstrip()) for part in line.split("…")) + r"[ \t]*\n"
        for line in lines
    ]
    return re.compile("".join(parts) + r"\s*")


class Shell:
    """A bash in a folder of its own. Everything it started has ended when the `with` block is left."""

    def __init__(self, folder: Path, environment: dict[str, str], patience_s: float) -> None:
        self._folder = folder
        self._patience_s = patience_s
        self._screen = folder.parent / f"{folder.name}.screen"
        self._release = folder.parent / f"{folder.name}.release"
        self._environment = {**environment, "RELEASE": str(self._release)}
        self._number = 0

    def __enter__(self) -> Self:
        self._output = self._screen.open("wb")
        self._input = self._screen.open("rb")
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._type(_SLEEP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._bash.pid, signal.SIGKILL)
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait()
        self._output.close()
        self._input.close()

    def run(self, command: Command) -> None:
        """Type a command, wait for its end and for what is shown. Raises Wrong."""
        self._number += 1
        ending = f"END-OF-COMMAND-{self._number}"
        self._release.unlink(missing_ok=True)
        if not command.shown:
            self._release.touch()
        expected = pattern(command.shown)
        look = _LOOK.match(command.text) if command.shown else None
        text = command.text[look.end() if look else 0 :]
        typed = f"{text}\n_code=$?; printf '\\n%s %s\\n' {ending} $_code; (exit $_code)"
        self._type(typed)
        deadline = time.monotonic() + self._patience_s
        screen, code, shown_at = "", None, None
        while True:
            screen += self._input.read().decode(errors="replace")
            end = re.search(rf"\n{ending} (\d+)\n", screen)
            code = int(end[1]) if end else None
            before, after = (screen, "") if end is None else (screen[: end.start()], screen[end.end() :])
            if before and not before.endswith("\n"):
                before += "\n"
            printed = _JOB.sub("", before + after)
            done = not command.shown or expected.fullmatch(printed) is not None
            if done and shown_at is None:
                shown_at = time.monotonic()
            if shown_at is not None and time.monotonic() >= shown_at + _SETTLED_S:
                self._release.touch()
            if code is not None and (done or (code != command.exit_code and not look)):
                break
            grace_s = self._patience_s if look and code is None else 0  # what it prints is known when it has ended
            if time.monotonic() > deadline + grace_s or self._bash.poll() is not None:
                break
            if look and code is not None:
                time.sleep(0.1)
                screen = ""
                self._type(typed)
            time.sleep(0.02)
        if code is None:
            raise Wrong(
                f"line {command.line}: $ {command.text}\nhas not ended within {self._patience_s:.0f} s. It printed:\n{screen}"
            )
        if code != command.exit_code:
            raise Wrong(f"line {command.line}: $ {command.text}\nended with exit code {code}. It printed:\n{screen}")
        if not done:
            shown = "\n".join(command.shown)
            raise Wrong(f"line {command.line}: $ {command.text}\nThe document shows:\n{shown}\nIt printed:\n{screen}")

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        try:
            self._bash.stdin.write(text.encode() + b"\n")
            self._bash.stdin.flush()
        except BrokenPipeError:
            raise Wrong(f"The shell has ended before: $ {text}") from None
