"""Durable virtual objects, services and workflows as classes, on a journal in SQLite."""

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
from actors.runner import run
from actors.transport.served import App

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
