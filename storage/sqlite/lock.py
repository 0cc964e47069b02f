"""The lock that makes one process the owner of one database file, whatever name the process opens the file by.

The operating system drops the lock when the owner dies, however it dies; a file that merely held a pid would have to be removed
by hand after every kill -9.

There are two locks. The lock on the name, on the file `<name>.lock`, also works while there is no database yet, and keeps out
earlier releases. The lock on the database itself, on a range that SQLite never locks, works under every other name too: hard
links, bind mounts. The length of that range is the owner's pid, so that other processes can report it. Where the system has no
such locks (range_locks), a database with several hard links is refused instead.

On Unix, closing any descriptor of a file drops the locks that SQLite has on the file in this process. So a database that this
process owns is never opened and closed a second time: see `owned_here`.

A fork shares the open file, and the lock belongs to the open file, not to the process: a child would keep the file locked after
its parent has died. So a forked child closes its copy at once, and nothing it does afterwards releases the lock of its parent.
Executed programs do not inherit the file (see os.open).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from actors.storage.errors import DatabaseInUse, StorageError
from actors.storage.sqlite import range_locks

_opening = threading.RLock()  # no other thread forks between opening a file and remembering it

if sys.platform == "win32":
    import msvcrt

    # Windows has no fork, and handles are not inherited by default.
    _FLAGS = os.O_BINARY

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        # The locked byte lies past the pid, so that a second process can still read the pid.
        os.lseek(descriptor, 1024, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def _remember(lock: FileLock) -> None:
        pass

    def _is_twin(lock: FileLock) -> bool:
        return True  # no two processes have one pid

    def _unlock(descriptor: int) -> None:
        pass  # closing the file unlocks it

    def is_alive(pid: int) -> bool:
        return True  # the lock of a process that has died is free
else:
    import fcntl
    import weakref

    _FLAGS = 0
    _held: weakref.WeakSet[FileLock] = weakref.WeakSet()

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        # flock, not lockf: it also keeps a second App of the same process out.
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _remember(lock: FileLock) -> None:
        _held.add(lock)

    def _is_twin(lock: FileLock) -> bool:
        """Whether another lock of this process has the same name."""
        return any(other is not lock and other.path == lock.path and other._name is not None for other in list(_held))

    def _unlock(descriptor: int) -> None:
        # Closing is not enough while a child shares the open file: a child forked below Python, where no hook runs.
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # the process of another user
        return True

    def _close_in_child() -> None:
        try:
            for lock in list(_held):
                lock._close()
            _held.clear()
            _owners.clear()
        finally:
            _opening.release()

    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child)


_TRIES = 10  # `held` takes the lock for a moment: try again a few milliseconds later
_OWNER_AT = 1 << 62  # where the locked range of a database begins: beyond all bytes that SQLite locks or writes

_NOTE_AT, _NOTE_BYTES = 64, 192  # in the lock file

# The databases this process owns, by device and inode: what identifies a file under all its names.
_owners: dict[tuple[int, int], FileLock] = {}


def _patiently(attempt: Callable[[], bool | None]) -> bool | None:
    """The result of the attempt, which is repeated a few times while it is False."""
    for number in range(_TRIES):
        if number:
            time.sleep(0.005)
        done = attempt()
        if done is not False:
            return done
    return False


def _owner_here(path: str) -> FileLock | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _owners.get((found.st_dev, found.st_ino))


def _left_to_owner(database: int) -> bool:
    """Whether this process has become the owner of the open file since the last check. Then the owner closes `database`."""
    found = os.fstat(database)
    owner = _owners.get((found.st_dev, found.st_ino))
    if owner is not None:
        owner._to_close.append(database)
    return owner is not None


def owned_here(path: str) -> bool:
    """Whether this process owns the file, under this name or another. Opens nothing."""
    return _owner_here(path) is not None


def held(path: str) -> bool:
    """Whether some process owns the file under this name. Nothing is changed or created."""
    if owned_here(path):
        return True
    try:
        descriptor = _open_beside(path + ".lock")
    except FileNotFoundError:
        return False
    try:
        if not _try_lock(descriptor, shared=False):
            return True
        _unlock(descriptor)
        return False
    finally:
        os.close(descriptor)


def owned_elsewhere(path: str, database: int) -> int | None:
    """The pid of the process that owns `database` (an open file) under another name than `path`; None if there is none."""
    pid = range_locks.holder(database, _OWNER_AT, shared=True)
    if pid is None or held(path):
        return None
    return range_locks.holder(database, _OWNER_AT, shared=True)  # unless the owner closed it between the two checks


def noted(path: str) -> str:
    """The note of the last owner of the file; empty if there is none."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDONLY)
    except OSError:
        return ""
    try:
        os.lseek(descriptor, _NOTE_AT, os.SEEK_SET)
        return os.read(descriptor, _NOTE_BYTES).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)


def _open_beside(path: str) -> int:
    """Open for writing if possible: some systems lock only writable files."""
    try:
        return os.open(path, os.O_RDWR)
    except OSError:
        return os.open(path, os.O_RDONLY)


def _open_quietly(path: str) -> int:
    """Open for reading without updating the access time, if the system allows that.

    The access time would be written with the next commit, which then takes twice as many disk operations.
    """
    quietly = getattr(os, "O_NOATIME", 0)
    try:
        return os.open(path, os.O_RDONLY | _FLAGS | quietly)
    except PermissionError:  # only the file's owner may do that
        return os.open(path, os.O_RDONLY | _FLAGS)


class FileLock:
    """Held from construction to `release`. Raises DatabaseInUse, with the owner's pid, if another process holds the lock.

    `database` is the open file, or None while there is no file. Call `release` after SQLite has closed the file. A `reader`
    shares the file with other readers, creates no file and needs no permission to write.
    """

    def __init__(self, path: str, *, reader: bool = False) -> None:
        self.path = path
        self.database: int | None = None
        self._reader = reader
        self._name: int | None = None
        self._identity: tuple[int, int] | None = None
        self._to_close: list[int] = []
        try:
            with _opening:
                owner = _owner_here(path)
                if owner is not None:
                    raise DatabaseInUse(path, os.getpid(), another_name=owner.path != path)
                self._open_name()
                _remember(self)
            self._lock_name()
            with _opening, contextlib.suppress(FileNotFoundError):
                self._hold(os.open(path, (os.O_RDONLY if reader else os.O_RDWR) | _FLAGS))
            self._write_pid()
        except BaseException:
            self.release()
            raise

    def create(self) -> int:
        """Create an empty file if there is no file, and lock it; returns its descriptor."""
        if self.database is None:
            with _opening:
                self._hold(os.open(self.path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644))
        assert self.database is not None
        return self.database

    def open_beside(self, suffix: str) -> int:
        """A descriptor for reading a file beside the database. It is closed by `release`, and in a forked child."""
        with _opening:
            descriptor = _open_quietly(self.path + suffix)
            self._to_close.append(descriptor)
        return descriptor

    def release(self) -> None:
        """Release the file. Has no effect the second time, or in a child that was forked meanwhile."""
        try:
            # The file before the name: a process that finds the file owned but the name free would assume another name.
            if self._identity is not None and self.database is not None:
                range_locks.free(self.database, _OWNER_AT, os.getpid())
            if self._name is not None:
                _unlock(self._name)
        finally:
            if self._identity is not None and _owners.get(self._identity) is self:
                del _owners[self._identity]
            self._close()

    def _open_name(self) -> None:
        if not self._reader:
            self._name = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
            return
        with contextlib.suppress(FileNotFoundError):
            self._name = _open_beside(self.path + ".lock")

    def _lock_name(self) -> None:
        name = self._name
        if name is None or _patiently(lambda: _try_lock(name, shared=self._reader)):
            return
        text = os.read(name, 32)
        pid = int(text) if text.strip().isdigit() else None
        with _opening, contextlib.suppress(OSError):  # readers leave no pid
            database = os.open(self.path, os.O_RDONLY | _FLAGS)
            if not _left_to_owner(database):
                try:
                    pid = range_locks.holder(database, _OWNER_AT, shared=self._reader) or pid
                finally:
                    os.close(database)
        raise DatabaseInUse(self.path, self._known(pid))

    def _known(self, pid: int | None) -> int | None:
        """The pid of the owner; None for a process of another container, which has the pid of this process there."""
        return None if pid == os.getpid() and not _is_twin(self) else pid

    def _write_pid(self) -> None:
        if self._name is not None and not self._reader:
            os.lseek(self._name, 0, os.SEEK_SET)
            os.write(self._name, (b"%d\n" % os.getpid()).ljust(_NOTE_AT))

    def note(self, text: str) -> None:
        """Write a text after the pid, for the next owner: see `noted`."""
        if self._name is not None and not self._reader:
            os.lseek(self._name, _NOTE_AT, os.SEEK_SET)
            os.write(self._name, text.encode().ljust(_NOTE_BYTES))

    def _hold(self, database: int) -> None:
        if _left_to_owner(database):
            raise DatabaseInUse(self.path, os.getpid(), another_name=True)
        self.database = database
        found = os.fstat(database)
        locked = _patiently(lambda: range_locks.take(database, _OWNER_AT, os.getpid(), shared=self._reader))
        if locked is False:
            pid = range_locks.holder(database, _OWNER_AT, shared=self._reader)
            raise DatabaseInUse(self.path, self._known(pid), another_name=True)
        if locked is None and found.st_nlink > 1 and not self._reader:
            raise StorageError(
                f"{self.path} has {found.st_nlink} names (hard links), and this system cannot lock it under all "
                "of them, so two apps could own it at the same time. Remove the other names, or give this app a "
                "copy."
            )
        self._identity = found.st_dev, found.st_ino
        _owners[self._identity] = self

    def _close(self) -> None:
        descriptors = [*self._to_close, self.database, self._name]
        self._to_close, self.database, self._name = [], None, None
        for descriptor in descriptors:
            if descriptor is not None:
                with contextlib.suppress(OSError):  # closed by other code: still close the remaining descriptors
                    os.close(descriptor)
