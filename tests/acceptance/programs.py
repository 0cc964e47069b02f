"""Examples as people use them: copied into a folder of their own, started there, killed; and on a simulated machine."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from actors.errors import AppNotRunning, StorageError
from actors.handlers import InvocationHandle
from tests.world import World

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 60  # seconds
BUSY = "held the event loop for"  # a warning that any program may print on a busy machine


class Program:
    """One example in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        shutil.copy(EXAMPLES / name, folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.name, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        done.stderr = "".join(line for line in done.stderr.splitlines(keepends=True) if BUSY not in line)
        return done

    def says(self, *arguments: str) -> list[str]:
        """The lines that a run prints. It must end well, without a warning."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()

    def refuses(self, *arguments: str) -> str:
        """The one line that says why a run failed."""
        done = self.run(*arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stdout + done.stderr
        return done.stderr

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Iterator[str]]:
        """The lines of a run, as they come. The process is killed with SIGKILL at the end of the block."""
        command = [sys.executable, self.name, *arguments]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
            process.communicate()

    def documented(self) -> list[list[str]]:
        """The arguments of each command in the docstring."""
        text = (self.folder / self.name).read_text(encoding="utf-8")
        commands = re.findall(rf"^    python {self.name}( .*?)?(?:  .*)?$", text, re.MULTILINE)
        return [shlex.split(command) for command in commands]

    def lines(self, file: str) -> list[str]:
        return (self.folder / file).read_text(encoding="utf-8").splitlines()


@dataclass
class Kill:
    """The end of a process on a simulated machine, at commit number `commit`. `written`: whether the disk has it."""

    commit: int
    written: bool
    came: bool = False

    @property
    def repeats(self) -> int:
        """How many steps may run twice: the one whose result was not on disk yet."""
        return 0 if self.written else 1


def kills(written: bool) -> Iterator[Kill]:
    """A kill at the first commit, at the second, and so on, up to the first that does not come before the end."""
    for commit in itertools.count(1):
        kill = Kill(commit, written)
        yield kill
        if not kill.came:
            assert commit > 2, "no kill came"
            return


async def finish(
    world: World,
    sent: InvocationHandle[object],
    kill: Kill,
    act: Callable[[World], Awaitable[object]] | None = None,
) -> None:
    """`live` until an invocation has ended."""

    async def ended(world: World) -> bool:
        return await world.status(sent) in ("succeeded", "failed")

    await live(world, ended, kill, act)


async def live(
    world: World,
    ended: Callable[[World], Awaitable[bool]],
    kill: Kill,
    act: Callable[[World], Awaitable[object]] | None = None,
) -> None:
    """Let time pass until it has `ended`, with a kill, after which the next process starts.

    `act` is what people do meanwhile, each second.
    """
    world.store.crash_at_commit(kill.commit, written=kill.written)
    for _ in range(30):
        with suppress(AppNotRunning, StorageError):  # of the process that dies
            if act is not None:
                await act(world)
            await world.pass_time(1)
            if await ended(world):
                world.store.crash_at_commit(sys.maxsize, written=True)  # what the test does now is not killed
                return
        if world.store.crashed:
            kill.came = True
            await world.restart()
    raise AssertionError("It has not ended.")
