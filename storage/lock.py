"""The lock that makes one process the owner of one database file.

The operating system drops it when the owner dies, however it dies; a file that merely held a pid would
have to be removed by hand after every kill -9.
"""

from __future__ import annotations

import os
import sys

from actors.storage.errors import DatabaseInUse

if sys.platform == "win32":
    import msvcrt

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
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        # flock, not lockf: it also keeps a second App of the same process out.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class FileLock:
    """Held from construction to `release`. Raises DatabaseInUse, naming the owner's pid, if it is taken."""

    def __init__(self, path: str) -> None:
        self._descriptor: int | None = os.open(path + ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _try_lock(self._descriptor):
                text = os.read(self._descriptor, 32)
                raise DatabaseInUse(path, int(text) if text.strip().isdigit() else None)
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"%d\n" % os.getpid())
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
