"""Locks on ranges of an open file that belong to the open file, not to the process (Linux: OFD locks).

SQLite's own locks on Unix belong to the process and the inode: closing *any* descriptor of the file drops all of them. OFD locks
are not dropped that way, work under every name of the file, and conflict with SQLite's locks in other processes and in this
process. Where the operating system has no such locks, `AVAILABLE` is False, and all functions do nothing.
"""

from __future__ import annotations

import errno
import struct
import sys

AVAILABLE = sys.platform == "linux"

if sys.platform == "linux":
    import fcntl

    _FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid
    # The errors of a file system without such locks.
    _MISSING = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})

    def take(descriptor: int, start: int, length: int, *, shared: bool) -> bool | None:
        """Lock the range. False if another open file holds it, None if this file system has no such locks."""
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, 0, start, length, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if error.errno in _MISSING:
                return None
            raise
        return True

    def free(descriptor: int, start: int, length: int) -> None:
        """Unlock the range, also for other processes that share the open file, such as a forked child."""
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, start, length, 0))

    def holder(descriptor: int, start: int, *, shared: bool) -> int | None:
        """The length of a locked range from `start` on that conflicts with this lock; None if there is none."""
        kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
        try:
            answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(kind, 0, start, 1, 0))
        except OSError as error:
            if error.errno in _MISSING:
                return None
            raise
        kind, _, _, length, _ = _FLOCK.unpack(answer)
        return None if kind == fcntl.F_UNLCK else int(length)
else:

    def take(descriptor: int, start: int, length: int, *, shared: bool) -> bool | None:
        return None

    def free(descriptor: int, start: int, length: int) -> None:
        pass

    def holder(descriptor: int, start: int, *, shared: bool) -> int | None:
        return None
