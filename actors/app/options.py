"""What `App(...)` accepts for its options, and where its database is. Each raises DefinitionError for anything else."""

from __future__ import annotations

import os
import sys
from concurrent.futures import Executor
from typing import TypeVar

from actors.errors import DefinitionError

T = TypeVar("T")

DEBUG_VARIABLE = "ACTORS_DEBUG"


def threads_only(executor: Executor | None) -> Executor | None:
    """The executor, if it can run the functions of steps, which cannot leave this process. Raises DefinitionError."""
    if executor is not None and not isinstance(executor, Executor):
        raise DefinitionError(f"App(executor=...) requires an Executor such as ThreadPoolExecutor(), got {executor!r}.")
    for module, name in (("process", "ProcessPoolExecutor"), ("interpreter", "InterpreterPoolExecutor")):
        loaded = sys.modules.get(f"concurrent.futures.{module}")  # importing it costs time, and it may not be needed
        if loaded is not None and isinstance(executor, getattr(loaded, name)):
            raise DefinitionError(
                f"App(executor={name}(...)) cannot run steps: their functions stay in this process. Leave executor= out, and "
                "in an async step await asyncio.get_running_loop().run_in_executor(pool, function, ...)."
            )
    return executor


def debugging(given: bool | None) -> bool:
    """The argument, or the value in the environment. Raises DefinitionError."""
    if isinstance(given, bool):
        return given
    if given is not None:
        raise DefinitionError(f"App(debug=...) requires True or False, got {given!r}.")
    text = os.environ.get(DEBUG_VARIABLE, "")
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise DefinitionError(f"{DEBUG_VARIABLE}={text[:40]!r} is not a valid value. Use 1 or 0.")


def option(name: str, given: T | None, cls: type[T]) -> T:
    """What was given, or the default. Raises DefinitionError for what is of another class."""
    if given is not None and not isinstance(given, cls):
        raise DefinitionError(f"App({name}=...) requires {cls.__name__}(...), got {given!r}.")
    return given if given is not None else cls()


def database_path(storage: str) -> str:
    """The path in a storage URL, or ":memory:". Raises DefinitionError."""
    prefix = "sqlite:///"
    if storage == "sqlite://":
        return ":memory:"
    if isinstance(storage, str) and storage.startswith(prefix) and len(storage) > len(prefix):
        return storage[len(prefix) :]
    raise DefinitionError(
        f"storage={storage!r} is not a valid storage URL. Use {_example(storage)!r}, or 'sqlite://' for memory only."
    )


def _example(storage: object) -> str:
    plain = isinstance(storage, str) and storage and "://" not in storage
    return f"sqlite:///{storage}" if plain else "sqlite:///file.db"
