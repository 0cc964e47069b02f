"""Whose code it is: the user's, ours, an installed package's or Python's own."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final


class Origin(Enum):
    """Where a piece of code comes from."""

    USERS = auto()
    RUNTIME = auto()
    LIBRARY = auto()  # the standard library
    PACKAGE = auto()  # installed
    GENERATED = auto()  # a dataclass's __init__, for example
    IMPORT = auto()


# Modules of the standard library that read the clock for their timeouts.
WITH_TIMEOUTS: Final = frozenset(
    {"asyncio", "concurrent", "multiprocessing", "queue", "sched", "selectors", "socket", "subprocess", "threading"}
)


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    """These folders with a separator at the end, as they are written and as they are on the disk."""
    return tuple({form(path) + os.sep for path in paths for form in (os.path.abspath, os.path.realpath)})


_OUR_FOLDER: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# In a source tree, storage and transport are links to folders beside the package.
_OURS: Final = _folders([_OUR_FOLDER, *(os.path.join(_OUR_FOLDER, name) for name in ("storage", "transport"))])
_PATHS: Final = sysconfig.get_paths()
_INSTALLED: Final = _folders([_PATHS["purelib"], _PATHS["platlib"]])
_STANDARD: Final = _folders([_PATHS["stdlib"], _PATHS["platstdlib"], os.path.dirname(os.__file__)])
_INSTALLED_NAMES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

_origins: dict[str, Origin] = {}  # by file name, as a code object knows it


def origin_of(file: str) -> Origin:
    """The origin of the code in a file, named as a code object names it."""
    origin = _origins.get(file)
    if origin is None:
        origin = _origins[file] = _classified(file)
    return origin


def _classified(file: str) -> Origin:
    if file.startswith(("<frozen importlib", "<frozen zipimport")):
        return Origin.IMPORT
    if file.startswith("<frozen "):
        return Origin.LIBRARY
    if file.startswith("<"):
        return Origin.GENERATED
    if file.startswith(_OURS):
        return Origin.RUNTIME
    if file.startswith(_INSTALLED) or any(name in file for name in _INSTALLED_NAMES):
        return Origin.PACKAGE
    return Origin.LIBRARY if file.startswith(_STANDARD) else Origin.USERS
