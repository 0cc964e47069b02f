"""The lock that makes one process the owner of one database file.

The operating system drops it when the owner dies, however it dies; a file that merely held a pid would
have to be removed by hand after every kill -9.

A fork shares the open file, and the lock belongs to that, not to the process: a child would keep the file locked after
its parent has died. So a forked child closes its copy at once, and nothing it does afterwards releases the lock of its
parent. Programs that are executed do not inherit it (os.open sees to that).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from actors.storage.errors import DatabaseInUse

if sys.platform == "win32":
    import msvcrt

    # There is no fork, and a handle is not inherited unless one asks for it.
    _opening = contextlib.nullcontext()

    def _try_lock(descriptor: int) -> bool:
        # The byte lies past the pid, so that a second process can still read who holds it.
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

    def _unlock(descriptor: int) -> None:
        pass  # closing it does

    def is_alive(pid: int) -> bool:
        return True  # nobody inherits the lock of a process that has died
else:
    import fcntl
    import threading
    import weakref

    _held: weakref.WeakSet[FileLock] = weakref.WeakSet()
    _opening = threading.RLock()  # no fork of another thread comes between opening a file and remembering it

    def _try_lock(descriptor: int) -> bool:
        # flock, not lockf: it also keeps a second App of the same process out.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _remember(lock: FileLock) -> None:
        _held.add(lock)

    def _unlock(descriptor: int) -> None:
        # Closing is not enough while a child shares the open file: one forked below Python, where no hook runs.
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # somebody else's
        return True

    def _close_in_child() -> None:
        try:
            for lock in list(_held):
                with contextlib.suppress(OSError):  # closed behind our back: the others must be closed all the same
                    lock._close()
            _held.clear()
        finally:
            _opening.release()

    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child)


_TRIES = 10  # `held` has the lock itself for a moment: whoever fails to get it looks again, a few milliseconds later


def _lock(descriptor: int) -> bool:
    for last in range(_TRIES):
        if _try_lock(descriptor):
            return True
        if last < _TRIES - 1:
            time.sleep(0.005)
    return False


def held(path: str) -> bool:
    """Whether some process owns the file. Nothing is changed or created."""
    try:
        descriptor = os.open(path + ".lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if not _try_lock(descriptor):
            return True
        _unlock(descriptor)
        return False
    finally:
        os.close(descriptor)


class FileLock:
    """Held from construction to `release`. Raises DatabaseInUse, naming the owner's pid, if it is taken."""

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = None
        with _opening:
            self._descriptor = descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
            _remember(self)
        try:
            if not _lock(descriptor):
                text = os.read(descriptor, 32)
                raise DatabaseInUse(path, int(text) if text.strip().isdigit() else None)
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, b"%d\n" % os.getpid())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Free the file. Does nothing if that was done before, or in a child that was forked meanwhile."""
        if self._descriptor is not None:
            try:
                _unlock(self._descriptor)
            finally:
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
