"""The process that replays handlers for `actors check`. It can be killed, because a handler that never yields cannot be stopped.

It takes its orders as one line of JSON on stdin and answers with lines of JSON. The output of handlers goes to stderr.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import struct
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from actors import App
from actors.check.checking import Check, Page, file_of
from actors.check.rehearsal import Misfit
from actors.cli.target import BadTarget, load_app
from actors.errors import DefinitionError
from actors.storage.errors import DatabaseInUse, StorageError
from actors.storage.sqlite.snapshot import Snapshot, take

NUMBER = struct.Struct("=q")


class Orders(msgspec.Struct):
    """The remaining work: of the whole check, or of an earlier process that ended."""

    target: str
    db: bytes | None  # raw bytes: a file name need not be text
    folder: str
    timeout_s: float
    after: tuple[str, str] = ("", "")
    item: int = 0
    dead: list[tuple[int, Misfit]] = []
    timeouts: list[tuple[str, str, int]] = []


class Told(msgspec.Struct, omit_defaults=True):
    """One line: an error of usage, the number of all items, a page of findings, or the end."""

    usage: str | None = None
    total: int | None = None
    page: Page | None = None
    done: bool = False


class Watched:
    """The number of the current item, in a file that the other process can read at any time."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), NUMBER.size)

    def set(self, item: int) -> None:
        NUMBER.pack_into(self._map, 0, item)

    def get(self) -> int:
        (item,) = NUMBER.unpack_from(self._map, 0)
        return int(item)

    def close(self) -> None:
        self._map.close()


class Worker:
    def __init__(self, orders: Orders, out: Any) -> None:
        self._orders = orders
        self._out = out

    def _tell(self, told: Told) -> None:
        self._out.write(msgspec.json.encode(told) + b"\n")
        self._out.flush()

    async def run(self) -> int:
        orders = self._orders
        copy = Path(orders.folder) / "copy.db"
        try:
            app = load_app(orders.target)
            if not copy.exists():
                unfinished = copy.with_suffix(".part")
                take(file_of(app, None if orders.db is None else os.fsdecode(orders.db)), str(unfinished))
                unfinished.rename(copy)
        except DatabaseInUse as error:
            owner = f"process {error.pid}" if error.pid is not None else "another process"
            usage = (
                f"{error.path} is in use by {owner}. Stop it, or check a backup of the file: "
                f"actors backup {error.path} copy.db, then --db copy.db."
            )
            self._tell(Told(usage=usage))
            return 2
        except (BadTarget, StorageError, DefinitionError) as error:
            self._tell(Told(usage=str(error)))
            return 2
        try:
            await self._check(
                app, Snapshot(str(copy), file_of(app, None if orders.db is None else os.fsdecode(orders.db)))
            )
        except (StorageError, DefinitionError) as error:  # a damaged page, or the wrong file
            self._tell(Told(usage=str(error)))
            return 2
        self._tell(Told(done=True))
        return 0

    async def _check(self, app: App, snapshot: Snapshot) -> None:
        orders = self._orders
        watched = Watched(Path(orders.folder) / "item")
        if orders.item == 0:
            await snapshot.open()
            try:
                self._tell(Told(total=sum(await snapshot.totals())))
            finally:
                await snapshot.close()
        check = Check(
            app,
            snapshot,
            timeout_s=orders.timeout_s,
            watch=watched.set,
            dead=dict(orders.dead),
            timeouts=Counter({(service, handler): n for service, handler, n in orders.timeouts}),
        )
        try:
            async for page in check.pages(orders.after, orders.item):
                self._tell(Told(page=page))
        finally:
            watched.close()


def _die_with(stdin: int) -> None:
    """End this process when the other process has ended, even if that was killed: a handler may run for ever."""
    while os.read(stdin, 1):
        pass
    os._exit(1)


def main() -> None:
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)  # stdin stays open: see _die_with
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_die_with, args=(os.dup(0),), daemon=True).start()
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # a handler that reads stdin gets nothing, instead of blocking for ever
    logging.getLogger("actors").setLevel(logging.CRITICAL + 1)  # the report shows what a replay would pause
    sys.exit(asyncio.run(Worker(orders, out).run()))


if __name__ == "__main__":
    main()
