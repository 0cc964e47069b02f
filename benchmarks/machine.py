"""The facts without which a figure means nothing: the machine and the versions."""

from __future__ import annotations

import importlib.util
import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def facts() -> dict[str, str | int | bool | None]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(terse=True),
        "cpu_model": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "uvloop": importlib.util.find_spec("uvloop") is not None,
        "virtual_actors": _version("virtual-actors"),
        "msgspec": _version("msgspec"),
        "aiosqlite": _version("aiosqlite"),
    }


def rss_bytes() -> int:
    """The memory of this process now; the peak where only that is known."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        raise NotImplementedError(
            "The memory of this process cannot be read here. Run this scenario on Linux or macOS."
        )
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
