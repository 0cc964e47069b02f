"""`@schedule`: handlers that run by the calendar. Declarations are checked once, when the class is created."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Never, Protocol, TypeVar

from actors.errors import BadArguments, BadKey, DefinitionError
from actors.model.cron import CronLine
from actors.model.definitions import HandlerDefinition, Schedule, ServiceDefinition
from actors.model.handlers import Declared, Handler
from actors.model.names import checked_key
from actors.model.spelling import refuse_unknown
from actors.storage.records import Mode

H = TypeVar("H", bound=Handler[Any, Any, Any])

MISFIRES = ("once", "skip")


class ScheduleDecorator(Protocol):
    """The typed shape of @schedule(...): the type of the handler does not change."""

    def __call__(self, handler: H, /) -> H: ...


def schedule(
    cron: str,
    *,
    key: str | list[str] | tuple[str, ...] | None = None,
    tz: str = "UTC",
    misfire: Literal["once", "skip"] = "once",
    **unknown: Never,
) -> ScheduleDecorator:
    """Run a handler by the calendar: `@schedule("0 3 * * *", key="daily", tz="Europe/Vienna")` above `@handler`.

    `cron` has five fields, or six with the seconds first. `key` names the object, or the objects, of the class; a Service has
    no keys. Several schedules may be stacked. Each due time is at most one invocation, a *tick*: without arguments, and with
    the due time as ISO 8601 in `ctx.headers["schedule-due"]`. A tick whose predecessor has not ended is skipped. `misfire` is
    for ticks that come late because no app ran: "once" runs one of them, at once; "skip" runs no tick that is more than a
    minute late or has been followed by the next tick. Raises DefinitionError for a schedule that cannot work.
    """
    refuse_unknown("@schedule(...)", unknown, ("key", "tz", "misfire"))

    def decorate(declared: H, /) -> H:
        if not isinstance(declared, Handler):
            shown = getattr(declared, "__qualname__", repr(declared))
            raise DefinitionError(f"@schedule {shown}: put it above @handler or @shared; this is not a handler yet.")
        where = f"@schedule {declared.function.__qualname__}"
        line = CronLine(cron, tz, where)
        if misfire not in MISFIRES:
            raise DefinitionError(f"{where}: misfire={misfire!r} is not valid. Use {' or '.join(map(repr, MISFIRES))}.")
        # A copy: the handler may belong to a base class, which keeps its own schedules.
        scheduled = copy.copy(declared)
        scheduled.schedules = (Declared(line, key, misfire), *declared.schedules)
        return scheduled

    return decorate


def schedules_of(service: ServiceDefinition, handlers: Iterable[Handler[Any, Any, Any]]) -> list[Schedule]:
    """The schedules of a class. Raises DefinitionError for a schedule that cannot run."""
    found: dict[tuple[str, str, str, str], Schedule] = {}
    for handler in handlers:
        for declared in handler.schedules:
            target = service.handlers[handler.name]
            try:
                args_text, _ = target.encode((), {})
            except BadArguments as error:
                raise DefinitionError(
                    f"@schedule {target.target}: a tick brings no arguments. Give each parameter a default. {error}"
                ) from None
            for key in _keys(target, declared):
                one = Schedule(target, key, declared.line, declared.misfire, args_text)
                if one.identity in found:
                    raise DefinitionError(
                        f"@schedule {target.target}: {declared.line.name!r} is declared twice for the key "
                        f"{key!r}. Remove one of them."
                    )
                found[one.identity] = one
    return list(found.values())


def _keys(target: HandlerDefinition, declared: Declared) -> Iterator[str]:
    """The keys of a schedule. No other place knows which classes need keys."""
    key = declared.key
    if target.mode == Mode.KEYLESS:
        if key is not None:
            raise DefinitionError(f"@schedule {target.target}: a Service has no keys. Remove key=.")
        yield ""
        return
    if target.service.kind == "workflow":
        raise DefinitionError(
            f"@schedule {target.target}: a workflow runs once for each key. Put the schedule on a handler of an "
            "object or a Service, and let that handler start runs with their own keys."
        )
    if key is None or key == [] or key == ():
        raise DefinitionError(
            f"@schedule {target.target}: key= is missing. Use key='...' for one object, or a list of keys for several."
        )
    for one in key if isinstance(key, (list, tuple)) else [key]:
        try:
            yield checked_key(one)
        except BadKey as error:
            raise DefinitionError(f"@schedule {target.target}: {error}") from None
