"""The demo's side of its child processes: start one, talk to it, kill it."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Any

ANSWER_WITHIN = 20.0  # seconds; a slow machine needs one


class ChildFailed(Exception):
    """The child process ended, or did not answer in time."""


class Child:
    """`async with Child(folder) as child:` runs a worker in the folder. The worker never outlives the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def __aenter__(self) -> Child:
        command = (sys.executable, "-m", "actors.cli.demo.worker", str(self._folder))
        # A session of its own: Ctrl-C in the terminal is for the demo, which then ends its child.
        self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        try:
            await self._answer("ready")
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Give a command and return the answer. Raises ChildFailed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        return await self._answer(do)

    async def stop(self) -> int:
        """Let the process close its database and end; returns the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return await asyncio.wait_for(self.process.wait(), ANSWER_WITHIN)
        except TimeoutError:
            raise ChildFailed(f"process {self.pid} did not end within {ANSWER_WITHIN:g} s") from None

    async def kill(self) -> int:
        """kill -9: no code runs in the process any more. Returns the exit code, even if the process had ended before."""
        if self.process.returncode is None:
            self.process.kill()
        return await self.process.wait()

    async def _answer(self, event: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), ANSWER_WITHIN)
        except TimeoutError:
            raise ChildFailed(f"process {self.pid} did not answer {event!r} within {ANSWER_WITHIN:g} s") from None
        if not line:
            raise ChildFailed(f"process {self.pid} ended with code {await self.process.wait()} before {event!r}")
        facts: dict[str, Any] = json.loads(line)
        if facts.get("event") != event:
            raise ChildFailed(f"process {self.pid} answered {facts} instead of {event!r}")
        return facts
