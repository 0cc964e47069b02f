"""Opening a database without owning it: whether that is allowed, and how SQLite must open the file.

Promise: a file that this process owns is not opened a second time (see lock); a file that another process owns under another
name is refused, because its log lies beside that name; reading requires no permission to write the file or its folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from actors.storage.errors import DatabaseInUse, StorageError
from actors.storage.sqlite.bond import refuse_stale
from actors.storage.sqlite.inspection import immutable
from actors.storage.sqlite.lock import held, noted, owned_elsewhere, owned_here


class Bystander:
    """Access to the file at `path`. Call `close` after SQLite has closed its connections: an earlier close would drop
    SQLite's locks.

    Raises StorageError for a path that is not a file, DatabaseInUse for a file that is owned under another name,
    StaleLog, or OSError.
    """

    def __init__(self, path: str, *, writes: bool = False) -> None:
        self.path = os.path.realpath(path)
        self.descriptor: int | None = None  # None if this process owns the file
        self._writes = writes
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        if os.path.isdir(self.path):
            raise StorageError(f"{self.path} is a folder. Give the path of the app's database file in it.")
        if not os.path.isfile(self.path):
            raise StorageError(f"The file {self.path} does not exist. Give the path of the app's database file.")
        if owned_here(self.path):
            return
        self.descriptor = os.open(self.path, os.O_RDWR if writes else os.O_RDONLY)
        try:
            pid = owned_elsewhere(self.path, self.descriptor)
            if pid is not None:
                raise DatabaseInUse(self.path, pid, another_name=True)
            if not self.owned():
                refuse_stale(self.path, self.descriptor, noted(self.path))
        except BaseException:
            self.close()
            raise

    def owned(self) -> bool:
        """Whether a process owns the file now."""
        return held(self.path)

    def uri(self) -> str:
        """The URI for SQLite.

        To read a database with a log, SQLite creates an index beside it. Where SQLite cannot, an empty log is ignored, and
        otherwise both files are copied; `close` removes the copy. Raises OSError.
        """
        if self._writes:
            return f"{Path(self.path).as_uri()}?mode=rw"
        effective = os.access in os.supports_effective_ids
        if os.path.exists(self.path + "-shm") or os.access(
            os.path.dirname(self.path), os.W_OK, effective_ids=effective
        ):
            return f"{Path(self.path).as_uri()}?mode=ro"
        log = self.path + "-wal"
        if not os.path.exists(log) or os.path.getsize(log) == 0:
            return immutable(self.path)
        self._copies = tempfile.TemporaryDirectory(prefix="actors-look-")
        copy = os.path.join(self._copies.name, "copy.db")
        shutil.copyfile(self.path, copy)
        shutil.copyfile(log, copy + "-wal")
        return f"file:{quote(copy)}?mode=rw"

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        if self._copies is not None:
            with contextlib.suppress(OSError):
                self._copies.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
