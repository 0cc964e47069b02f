"""A disk that forgets what was not synced: an SQLite VFS in memory, and a store that runs on it.

It is as harsh as a disk may be. Of the writes since a file's last sync any subset survives a power failure, each
whole or torn at a sector. A deleted file may come back until its folder was synced.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, cast

import apsw

from actors.storage import Batch, OpenedDatabase, SqliteStore
from actors.storage.sqlite.database import AsyncConnection, WriterConnection
from actors.storage.sqlite.packed import PackedBatch

SECTOR_BYTES = 512
_names = itertools.count()


class VolatileFile:
    """What the operating system shows (`content`), what is on the platter, and the writes between the two."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # (offset, written) or (length, None) for a truncation

    def change(self, position: int, data: bytes | None) -> None:
        apply(self.content, position, data)
        self.pending.append((position, data))

    def sync(self) -> None:
        self.durable[:] = self.content
        self.pending.clear()

    def after_power_loss(self, rng: Random) -> bytes:
        image = bytearray(self.durable)
        for position, data in self.pending:
            if rng.random() < 0.5:
                if data is not None and rng.random() < 0.2:
                    data = data[: rng.randrange(0, len(data) + 1, SECTOR_BYTES)]
                apply(image, position, data)
        return bytes(image)


def apply(content: bytearray, position: int, data: bytes | None) -> None:
    if data is None:
        del content[position:]
        return
    if len(content) < position:
        content.extend(bytes(position - len(content)))
    content[position : position + len(data)] = data


class VolatileDisk(apsw.VFS):
    """`before_operation` is called before each change and each sync, with how many there were: a moment to look."""

    def __init__(self, before_operation: Callable[[int], None] = lambda count: None) -> None:
        self.name = f"volatile-{next(_names)}"
        self.files: dict[str, VolatileFile] = {}
        self.deleted: dict[str, VolatileFile] = {}  # gone, unless the power fails before the folder is synced
        self.before_operation = before_operation
        self.operations = 0
        super().__init__(self.name, "")

    def count(self) -> None:
        self.before_operation(self.operations)
        self.operations += 1

    def killed(self, folder: Path) -> None:
        """Write what a killed process leaves: everything it wrote, synced or not."""
        for name, file in self.files.items():
            (folder / name).write_bytes(bytes(file.content))

    def unplugged(self, folder: Path, rng: Random) -> None:
        """Write what a power failure leaves."""
        for name, file in self.deleted.items():
            if rng.random() < 0.5:
                (folder / name).write_bytes(file.after_power_loss(rng))
        for name, file in self.files.items():
            (folder / name).write_bytes(file.after_power_loss(rng))

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return pathname in self.files

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.count()
        if filename not in self.files:
            raise apsw.IOError
        self.deleted[filename] = self.files.pop(filename)
        if syncdir:
            self.deleted.clear()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        filename = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        new = filename not in self.files
        if new:
            self.files[filename] = VolatileFile()
        return cast(apsw.VFSFile, OpenFile(self, self.files[filename], new))  # apsw asks for its methods only


class OpenFile:
    """The methods SQLite calls on an open file. Shared memory is missing, so the log needs exclusive locking."""

    def __init__(self, disk: VolatileDisk, file: VolatileFile, new: bool) -> None:
        self.disk = disk
        self.file = file
        self.new = new

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self.file.content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.count()
        self.file.change(offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self.disk.count()
        self.file.change(newsize, None)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.count()
        self.file.sync()
        if self.new:  # SQLite's VFS for Unix syncs the folder with the first sync of a new file
            self.new = False
            self.disk.deleted.clear()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self.file.content)

    def xClose(self) -> None:  # noqa: N802
        pass

    def xLock(self, level: int) -> None:  # noqa: N802
        pass

    def xUnlock(self, level: int) -> None:  # noqa: N802
        pass

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR_BYTES

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False


class VolatileWriter:
    """WriterConnection's own group commit, on apsw's connection: the standard library's cannot use a VFS in Python."""

    commit: Any = WriterConnection.commit
    _write: Any = WriterConnection._write
    gives_way = WriterConnection.gives_way
    _ownership_lost: Any = WriterConnection._ownership_lost
    _insert: Any = WriterConnection._insert

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.handed_over: deque[PackedBatch] = deque()
        self.epoch: int | None = None

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> apsw.Cursor:
        return self.connection.execute(sql, tuple(parameters))

    def executemany(self, sql: str, rows: Iterable[Any]) -> None:
        self.connection.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction


class VolatileConnection:
    def __init__(self, writer: VolatileWriter) -> None:
        self.writer = writer

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ()) -> Iterable[Any]:
        return self.writer.execute(sql, parameters).fetchall()

    async def commit(self) -> None:
        self.writer.commit()

    async def close(self) -> None:
        self.writer.connection.close()


class VolatileStore(SqliteStore):
    """A SqliteStore on a VolatileDisk. Its lock and its inspection see no file; everything else is the real thing."""

    def __init__(self, disk: VolatileDisk, synchronous: str = "FULL") -> None:
        super().__init__(":memory:", synchronous=synchronous)
        self.disk = disk
        self.acknowledged: list[int] = []

    async def _connect(self) -> tuple[AsyncConnection, Any]:
        connection = apsw.Connection("app.db", vfs=self.disk.name)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        writer = VolatileWriter(connection)
        return VolatileConnection(writer), writer

    async def open(self, secret: bytes | None = None) -> OpenedDatabase:
        opened = await super().open(secret)
        await self._read("PRAGMA wal_autocheckpoint = 30")  # many checkpoints, in little time
        return opened

    async def commit(self, batch: Batch) -> None:
        await super().commit(batch)
        self.acknowledged.append(batch.number)
