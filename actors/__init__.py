"""Durable virtual objects: keyed objects as classes, one message at a time, on a journal in SQLite."""

from actors.app import App, run
from actors.context import Context
from actors.errors import TerminalError
from actors.futures import Awakeable, Call
from actors.handlers import InvocationHandle, handler, shared
from actors.limits import Limits
from actors.migrations import migration
from actors.retry import RetryPolicy
from actors.schedules import schedule
from actors.storage import ActorsError, StorageError
from actors.virtual_object import VirtualObject, field

__all__ = [
    "ActorsError",
    "App",
    "Awakeable",
    "Call",
    "Context",
    "InvocationHandle",
    "Limits",
    "RetryPolicy",
    "StorageError",
    "TerminalError",
    "VirtualObject",
    "field",
    "handler",
    "migration",
    "run",
    "schedule",
    "shared",
]
