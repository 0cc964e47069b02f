"""Log records that name the invocation they come from, and lines of JSON for those who collect them."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import logging
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from actors.invocation import Invocation
    from actors.partition import Partition

# Set inside steps, which run in tasks and threads of their own. The handler itself is found as the current task.
step_of: contextvars.ContextVar[tuple[Partition, Invocation] | None] = contextvars.ContextVar("step_of", default=None)


class InvocationFilter(logging.Filter):
    """Gives each record `invocation_id`, `service`, `key` and `handler`; None outside of handlers and their steps.

    Add it to a handler of the logging module: `handler.addFilter(InvocationFilter())`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = _current()
        if found is None:
            for name in ("invocation_id", "service", "key", "handler"):
                record.__dict__.setdefault(name, None)
            return True
        partition, invocation = found
        record.invocation_id = partition.ids.invocation(invocation.seq)
        record.service, record.key = invocation.service, invocation.shown_key
        record.handler = invocation.handler_name
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object for each record: time (UTC), level, logger, message, the invocation, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("invocation_id", "service", "key", "handler"):
            value = getattr(record, name, None)
            if value is not None:
                told[name] = value
        request = getattr(record, "request", None)  # of `actors serve --access-log`
        if isinstance(request, dict):
            told["request"] = request
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return _encode(told).decode()


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _current() -> tuple[Partition, Invocation] | None:
    inside = step_of.get()
    if inside is not None:
        return inside
    try:
        task: Any = asyncio.current_task()
    except RuntimeError:
        return None
    invocation = getattr(task, "invocation", None)
    return (task.partition, invocation) if invocation is not None else None
