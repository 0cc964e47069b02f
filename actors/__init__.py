"""Durable virtual objects, services and workflows as classes, on a journal in SQLite."""

import importlib
from typing import TYPE_CHECKING, Any

from actors.errors import ActorsError, TerminalError
from actors.model.context import Context
from actors.model.fields import field
from actors.model.handlers import handler, shared
from actors.model.limits import Limits
from actors.model.migrations import migration
from actors.model.retry import RetryPolicy
from actors.model.schedules import schedule
from actors.model.service import Service
from actors.model.virtual_object import VirtualObject
from actors.model.workflow import Workflow

if TYPE_CHECKING:
    from actors.app.runner import run
    from actors.transport.served import App

    __version__: str

__all__ = [
    "ActorsError",
    "App",
    "Context",
    "Limits",
    "RetryPolicy",
    "Service",
    "TerminalError",
    "VirtualObject",
    "Workflow",
    "field",
    "handler",
    "migration",
    "run",
    "schedule",
    "shared",
]


# Loaded on first use: a module of classes needs no engine, no driver and no HTTP.
_LATER = {"App": "actors.transport.served", "run": "actors.app.runner"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("virtual-actors")
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(module), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
