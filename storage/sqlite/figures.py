"""Figures about a whole file, for monitoring an app: its open invocations, and its size."""

from __future__ import annotations

import os
import shutil

from actors.storage.records import Figures
from actors.storage.sqlite.examination import Examination


async def read_figures(records: Examination) -> Figures:
    """Read the figures. Raises StorageError."""
    return Figures(
        await records.open_counts(),
        await records.awakeable_counts(),
        await records.longest_mailboxes(),
        *_sizes(records.path),
    )


def _sizes(path: str) -> tuple[int | None, int | None, int | None]:
    """Of the file, of its log, and of what is free on its disk."""
    if path == ":memory:":
        return None, None, None
    try:
        size = os.stat(path).st_size
        free = shutil.disk_usage(os.path.dirname(path) or ".").free
    except OSError:
        return None, None, None
    try:
        return size, os.stat(path + "-wal").st_size, free
    except OSError:  # there is no log before the first commit
        return size, 0, free
