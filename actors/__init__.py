"""Durable virtual objects, services and workflows as classes, on a journal in SQLite."""

from actors.context import Context
from actors.errors import ActorsError, TerminalError
from actors.fields import field
from actors.handlers import handler, shared
from actors.limits import Limits
from actors.migrations import migration
from actors.retry import RetryPolicy
from actors.runner import run
from actors.schedules import schedule
from actors.service import Service
from actors.transport.served import App
from actors.virtual_object import VirtualObject
from actors.workflow import Workflow

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
