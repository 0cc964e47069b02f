"""`@schedule` on Restate: an object for each schedule, which sends itself the next tick and sends this tick to its handler.

Promise: of each schedule one tick waits. A tick that comes due is followed by the next tick in the same invocation, and reaches its
handler at most once.

Life: `actors deploy` places the schedules of a release, and withdraws those that it no longer has. An object without a schedule has no
state. The class is an ordinary class; every app that has schedules serves it. One server has one class of this name, so the
endpoint that was deployed last runs the schedules of all apps: a tick finds its handler by name.
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass

from actors.errors import BadArguments, DefinitionError, TerminalError, UnknownHandler, UnknownService
from actors.model.calls import InvocationHandle
from actors.model.catalog import Catalog
from actors.model.context import Context
from actors.model.cron import DUE, GRACE_MS, CronLine
from actors.model.definitions import Schedule, definition_of
from actors.model.engine_options import EngineOptions
from actors.model.handlers import handler
from actors.model.names import address
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.model.schedules import MISFIRES
from actors.model.virtual_object import VirtualObject
from actors.transport.restate.commands import Commands

NAME = "actors-schedule"
# A paused object would end its schedule silently. Restate's own default replaces a missing limit, so there is one: of two years.
_RETRY = RetryPolicy(max_attempts=1_000_000)
PATIENCE_S = 1.0  # how long a tick waits to learn whether the tick before it has ended


@dataclass(frozen=True, slots=True)
class Spec:
    """A schedule as it is stored. `line` is the name of its cron line."""

    service: str
    key: str
    handler: str
    line: str
    misfire: str

    @property
    def identity(self) -> str:
        """The key of its object."""
        return "/".join((self.service, self.key, self.handler, self.line))

    def __str__(self) -> str:
        return f"{address(self.service, self.key, self.handler)} at {self.line}"

    def cron_line(self) -> CronLine:
        """Raises BadArguments."""
        text, _, zone = self.line.rpartition(" ")
        if self.misfire not in MISFIRES:
            raise BadArguments(f"misfire={self.misfire!r} is not valid. Use {' or '.join(map(repr, MISFIRES))}.")
        try:
            return CronLine(text, zone, str(self))
        except DefinitionError as error:
            raise BadArguments(error.message) from None


class Schedules(VirtualObject, name=NAME, retry=_RETRY):
    """A schedule of `@schedule`. Its key is service/key/handler/line. Placed and withdrawn by `actors deploy`."""

    spec: Spec | None = None
    due: int = 0  # of the tick that waits, in ms since the epoch
    waiting: str = ""  # the id of the tick that waits
    running: str = ""  # the id of the last invocation that was sent to the handler

    @handler
    async def place(self, ctx: Context, spec: Spec) -> str:
        """Begin the schedule, or change it. Returns "kept" if it is in place already, otherwise "placed"."""
        line = spec.cron_line()
        if spec.identity != ctx.key:
            raise BadArguments(f"The schedule {spec.identity!r} cannot be placed under the key {ctx.key!r}.")
        now_ms = _now_ms(ctx)
        if self.spec == spec:
            if (
                now_ms - self.due > GRACE_MS
            ):  # the tick is on its way, or an operator has cancelled it: either of both counts
                await self._wait(ctx, self.due, now_ms)
            return "kept"
        if self.waiting:
            ctx.cancel(self.waiting)
        self.spec = spec
        await self._wait(ctx, line.after(now_ms), now_ms)
        return "placed"

    @handler
    async def withdraw(self, ctx: Context) -> None:
        """End the schedule. A handler that runs goes on."""
        if self.waiting:
            ctx.cancel(self.waiting)
        ctx.clear_all()

    @handler(private=True)
    async def tick(self, ctx: Context, due: int) -> str:
        """The tick of a due time has come: send it to the handler or skip it, after the next tick is placed."""
        spec = self.spec
        if spec is None or due != self.due:
            return "The schedule was changed or withdrawn."
        now_ms = _now_ms(ctx)
        if now_ms < due:  # timers come up to some ms early
            await ctx.sleep(datetime.timedelta(milliseconds=due - now_ms))
            now_ms = max(due, _now_ms(ctx))
        line = spec.cron_line()
        await self._wait(ctx, line.following(due, now_ms, spec.misfire), now_ms)
        skipped: str | None = None
        if spec.misfire == "skip" and line.missed(due, now_ms):
            skipped = f"it is {(now_ms - due) / 1000:,.1f} s late, and its schedule says misfire='skip'"
        elif await self._runs(ctx):
            skipped = f"the tick before it, {self.running}, has not ended"
        else:
            try:
                self.running = (await _sent(ctx, spec, line, due)).id
            except UnknownHandler as error:
                skipped = error.message
        if skipped is None:
            return f"Sent as {self.running}."
        ctx.logger.warning("%s: the tick of %s is skipped: %s", spec, line.local(due).isoformat(), skipped)
        return f"Skipped: {skipped}"

    async def _wait(self, ctx: Context, due_ms: int, now_ms: int) -> None:
        """Let the tick of this due time wait."""
        delay = datetime.timedelta(milliseconds=max(0, due_ms - now_ms))
        sent = ctx.object(Schedules, ctx.key).tick.options(delay=delay).send(due_ms)
        self.due, self.waiting = due_ms, (await sent).id

    async def _runs(self, ctx: Context) -> bool:
        """Whether the invocation that was sent last has not ended."""
        if not self.running:
            return False
        outcome = ctx.attach(self.running)
        try:
            await ctx.first(outcome, ctx.sleep(PATIENCE_S))
        except TerminalError:  # it has failed, or is no longer known; or this tick is cancelled
            if not outcome.done():
                raise
        return not outcome.done()


def _sent(ctx: Context, spec: Spec, line: CronLine, due_ms: int) -> InvocationHandle[object]:
    """The tick as the handler gets it, under the key that the other engine uses. Raises UnknownHandler."""
    options = Options(headers={DUE: line.local(due_ms).isoformat()}, idempotency_key=line.tick_key(due_ms))
    attempt = ctx._attempt
    try:
        target = attempt.target(spec.service, spec.handler)
    except UnknownService:
        if not isinstance(attempt, Commands):
            raise
        return attempt.send_body(spec.service, spec.handler, spec.key, b"", options)  # to another app of this server
    return ctx.dispatch_send(target, spec.key, (), {}, options)


def _now_ms(ctx: Context) -> int:
    return round(ctx.now().timestamp() * 1000)


def spec_of(schedule: Schedule) -> Spec:
    """A schedule of an app, to be placed."""
    return Spec(*schedule.identity, schedule.misfire)


def with_schedules(options: EngineOptions) -> EngineOptions:
    """The options, with the class of this module if any class has schedules. Raises DefinitionError if the name is taken."""
    services = options.catalog.services
    if NAME in services:
        raise DefinitionError(f"The name {NAME!r} belongs to schedules. Give the class another name.")
    if not any(service.schedules for service in services.values()):
        return options
    return dataclasses.replace(options, catalog=Catalog({**services, NAME: definition_of(Schedules)}))
