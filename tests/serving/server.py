"""`actors serve` in a process of its own, and a client of raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.log_guard import from_process

ROOT = Path(__file__).resolve().parents[2]
LIFELINE, _held = os.pipe()  # its reading end closes when this process ends, however that is; see `APP`

# Every served module begins with this: a server ends when the tests that started it have.
APP = """
import logging, os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(4)), daemon=True).start()
from actors import App, Context, VirtualObject, handler, shared

class Account(VirtualObject):
    ops: list[str] = []

    @handler
    async def add(self, op: str) -> int:
        self.ops.append(op)
        return len(self.ops)

class Flow(VirtualObject):
    waits_for: str = ""

    @handler
    async def note(self, text: str) -> None:
        logging.getLogger("shop").info(text)

    @handler
    async def go(self, ctx: Context) -> str:
        promise = ctx.awakeable(str)
        self.waits_for = promise.id
        return await promise

    @shared
    async def awakeable(self) -> str:
        return self.waits_for

app = App(Account, Flow, storage="sqlite:///app.db")
"""


@contextlib.contextmanager
def serving(folder: Path, *words: str, port: int = 0) -> Iterator[Serving]:
    """Serve `APP` from the folder, once it listens. It is killed at the end, if it has not ended by then."""
    module = folder / "shop.py"
    if not module.exists():
        module.write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "actors", "serve", "shop:app", "--port", str(port), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdin=LIFELINE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving "), process.communicate(timeout=30)[1]
        at = line.split(" at ")[1].split(" from ")[0]
        yield Serving(process, line, int(at.rpartition(":")[2]) if at.startswith("http") else 0)
    finally:
        if process.poll() is None:
            process.kill()
        from_process(process.communicate()[1])


@dataclass(frozen=True, slots=True)
class Serving:
    process: subprocess.Popen[str]
    line: str
    port: int

    def end(self) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it said on stderr."""
        errors = self.process.communicate(timeout=30)[1]
        from_process(errors)
        return self.process.returncode, errors


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """Requests one after another on one connection. Raises ConnectionError when no answer comes any more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, method: str, path: str, value: Any = None, **headers: str) -> Answer:
        body = b"" if value is None else json.dumps(value).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            "host: x",
            "content-type: application/json",
            f"content-length: {len(body)}",
        ]
        lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        self.writer.write("\r\n".join((*lines, "", "")).encode() + body)
        return await self.answer()

    async def answer(self) -> Answer:
        try:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in fields}
            body = await self.reader.readexactly(int(headers["content-length"]))
        except asyncio.IncompleteReadError:
            raise ConnectionError("the server closed the connection") from None
        return Answer(int(head[0].split()[1]), headers, body)


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(happened: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    while True:
        if happened():
            return
        await asyncio.sleep(0.01)
