"""Log records that name their invocation, and lines of JSON for log collectors."""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import Any

import msgspec

from actors.attempt.current import ids_of, invocation_of
from actors.attempt.invocation import Invocation
from actors.model.inside import elsewhere, inside_step


class InvocationFilter(logging.Filter):
    """Gives each record `invocation_id`, `service`, `key` and `handler`; None outside of handlers, their tasks and their steps.

    Add it to a handler of the logging module: `handler.addFilter(InvocationFilter())`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = _current()
        if found is None:
            other = elsewhere.get()
            if other is not None:
                record.__dict__.update(other.log_names())
            for name in ("invocation_id", "service", "key", "handler"):
                record.__dict__.setdefault(name, None)
            return True
        ids = ids_of.get()
        record.invocation_id = ids.invocation(found.seq) if ids is not None else None
        record.service, record.key = found.service, found.shown_key
        record.handler = found.handler_name
        return True


class ReplayFilter(logging.Filter):
    """Drops the records of a handler's code during a replay. Records of steps, and from outside of handlers, pass.

    No record is lost; after a crash or a failed attempt a record may appear twice.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = _current()
        if inside_step.get() or record.name.partition(".")[0] == "actors":
            return True
        attempt = found.attempt if found is not None else elsewhere.get()
        return attempt is None or not attempt.replaying()


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
        request = getattr(record, "request", None)  # set by `actors serve --access-log`
        if isinstance(request, dict):
            told["request"] = request
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return _encode(told).decode()


_encode = msgspec.json.Encoder(enc_hook=repr).encode


def _current() -> Invocation | None:
    found = invocation_of.get()
    if found is not None:
        return found
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return getattr(task, "invocation", None)
