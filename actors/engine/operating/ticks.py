"""The ticks of schedules: for each schedule one invocation waits for the next due time.

Promise: a tick that comes due, or is cancelled before, is followed by the next tick in the same batch, so after a crash the
disk holds each schedule once. The idempotency key of a tick names its schedule and its due time.

Life of a tick: it is placed as a message for later; when it is due it is delivered, or skipped because the tick before it has
not ended or because it is too late; it is withdrawn, without a trace, if its schedule changes before that.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator

from actors.attempt.invocation import Invocation, own_key
from actors.engine.background import Background
from actors.engine.clock import Cancellable
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.intake import Intake
from actors.engine.memory.pins import Pins
from actors.engine.operating.retention import Retention
from actors.engine.progress import Progress
from actors.errors import InvocationCancelled, TickSkipped
from actors.model.catalog import Catalog
from actors.model.cron import DUE, GRACE_MS, due_of, line_of
from actors.model.definitions import Schedule
from actors.model.names import address
from actors.storage.port import Store
from actors.storage.records import Flag, InvocationRow, Status

log = logging.getLogger("actors")

# A clock set back by more than this was wrong before, as in Debian's cron; by less, time just stands still for a while.
CORRECTION_MS = 3 * 3_600_000
LOOK_EVERY_MS = 60_000  # for a clock that was set back


class _Series:
    """A schedule at run time. At most one of its ticks is `pending`, and at most one delivered tick is `running`."""

    __slots__ = ("due_ms", "pending", "placed_ms", "running", "schedule", "taken")

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.pending: int | None = None  # seq
        self.due_ms = self.placed_ms = 0  # of the pending tick
        self.running: int | None = None  # seq
        # Due times ahead whose ticks are already over: the clock was wrong then, or the ticks were cancelled.
        self.taken: set[int] = set()

    def __str__(self) -> str:
        return address(self.schedule.handler.service.name, self.schedule.key, self.schedule.handler.name)

    def first(self, after_ms: int) -> int:
        """The first due time after `after_ms` whose tick is not over."""
        return self.schedule.line.first(after_ms, self.taken)

    def missed(self, due_ms: int, now_ms: int) -> bool:
        """Whether it is too late to run this tick under misfire="skip"."""
        return self.schedule.line.missed(due_ms, now_ms)

    def next(self, due_ms: int, now_ms: int) -> int:
        """The due time after a tick that was due at `due_ms` and is handled at `now_ms`."""
        return self.schedule.line.following(due_ms, now_ms, self.schedule.misfire, self.taken)

    def fits(self, now_ms: int) -> bool:
        """Whether the pending tick is the right one. It may be wrong although the schedule has not changed.

        The rules of a time zone change, and a clock that was ahead is set back.
        """
        due_ms = self.due_ms
        if due_ms <= now_ms or due_ms == self.first(now_ms):
            return True
        return self.placed_ms - now_ms <= CORRECTION_MS and due_ms == self.schedule.line.after(due_ms - 1)


class Ticks:
    """Places, delivers, skips and withdraws the ticks of a partition."""

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        store: Store,
        background: Background,
        committer: Committer,
        pins: Pins,
        progress: Progress,
        intake: Intake,
        retention: Retention,
    ) -> None:
        self._ids = env.ids
        self._clock = env.clock
        self._store = store
        self._background = background
        self._committer = committer
        self._pins = pins
        self._progress = progress
        self._intake = intake
        self._retention = retention
        self._series = {
            schedule.identity: _Series(schedule)
            for service in catalog.services.values()
            for schedule in service.schedules
        }
        self._of: dict[int, _Series] = {}  # by seq of each open tick
        self._found: list[InvocationRow] = []
        self._alarm: Cancellable | None = None
        self._correcting = False

    async def open(self) -> None:
        """Read the open ticks, before any timer fires."""
        self._found = await self._store.ticks()
        await self._read_taken(self._series.values())

    def begin(self) -> None:
        """Adapt the ticks that were read to the current schedules."""
        now_ms = self._clock.now_ms()
        found, self._found = self._found, []
        for row in found:
            assert row.idempotency_key is not None
            identity = (row.service, row.shown_key, row.handler, line_of(row.idempotency_key))
            series = self._series.get(identity)
            if row.status != Status.SCHEDULED:
                if series is not None:
                    series.running = row.seq
                    self._of[row.seq] = series
                continue
            if series is not None:
                self._pends(series, row.seq, row.position, row.accepted_ms)
                series.taken.discard(row.position)
                if series.fits(now_ms):
                    continue
            log.warning(
                "%s: its tick of %s is withdrawn, because %s.",
                address(*identity[:3]),
                row.idempotency_key,
                "no schedule of this app places it" if series is None else "of the clock or the rules of its zone",
            )
            self._withdraw(self._pins.restored(row))
        for series in self._series.values():
            if series.pending is None:
                self._place(series, series.first(now_ms))
        self._arm()

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def due(self, tick: Invocation) -> None:
        """The time of a pending tick has come: deliver it or skip it, and place the next tick."""
        series = self._of[tick.seq]
        schedule, due_ms, now_ms = series.schedule, tick.position, self._clock.now_ms()
        reason: str | None = None
        if series.running is not None:
            reason = f"the tick before it, {self._ids.invocation(series.running)}, has not ended"
        elif schedule.misfire == "skip" and series.missed(due_ms, now_ms):
            reason = f"it is {(now_ms - due_ms) / 1000:,.1f} s late, and its schedule says misfire='skip'"
        series.pending = None
        self._place(series, series.next(due_ms, now_ms))
        if reason is not None:
            log.warning("%s: the tick of %s is skipped: %s.", series, schedule.line.local(due_ms).isoformat(), reason)
            self._progress.end(tick, TickSkipped(f"Skipped: {reason}."))
            return
        if now_ms - due_ms > GRACE_MS:
            log.info("%s: the tick of %s runs late.", series, schedule.line.local(due_ms).isoformat())
        series.running = tick.seq
        # The tick was placed by an earlier form of the class.
        tick.args_text, tick.args = schedule.args_text, None
        tick.shared, tick.mode = schedule.handler.shared, schedule.handler.mode
        self._intake.deliver_scheduled(tick)

    def ended(self, tick: Invocation) -> None:
        """A tick has its outcome. A tick that ends before its time is still followed by the next tick."""
        series = self._of.pop(tick.seq, None)
        if series is None:
            return
        if series.running == tick.seq:
            series.running = None
        elif series.pending == tick.seq:
            series.pending = None
            # If the clock was wrong when the tick was placed, so is its successor, and that will be noticed.
            self._place(series, series.next(series.due_ms, self._clock.now_ms()), series.placed_ms)

    # --- placing and withdrawing --------------------------------------------------------------------------------------

    def _place(self, series: _Series, due_ms: int, placed_ms: int = 0) -> None:
        """Make the tick of this due time pending. `placed_ms` is the time of the decision, if not now."""
        schedule = series.schedule
        seq, now_ms = self._intake.next_number(), max(placed_ms, self._clock.now_ms())
        tick = Invocation(seq, schedule.handler, schedule.key or own_key(seq), schedule.args_text, None, now_ms)
        extras = tick.more()
        extras.flags = Flag.TICK
        extras.idempotency_key = schedule.line.tick_key(due_ms)
        extras.headers = json.dumps({DUE: schedule.line.local(due_ms).isoformat()})
        tick.status = Status.SCHEDULED
        tick.position = due_ms
        self._intake.accept_later(tick, due_ms)
        self._pends(series, seq, due_ms, now_ms)

    def _pends(self, series: _Series, seq: int, due_ms: int, placed_ms: int) -> None:
        """Note the pending tick of a schedule."""
        series.pending, series.due_ms, series.placed_ms = seq, due_ms, placed_ms
        self._of[seq] = series

    def _withdraw(self, tick: Invocation) -> None:
        """Withdraw a pending tick without a trace: its due time may come back, with the schedule."""
        series = self._of.pop(tick.seq, None)
        if series is not None:
            series.pending = None
        self._progress.end(tick, InvocationCancelled("The schedule of this tick was changed or removed."))
        self._retention.purge([tick.seq], keyed=False)

    # --- a clock that was wrong -----------------------------------------------------------------------------------------

    def _arm(self) -> None:
        pending = [series.due_ms for series in self._series.values() if series.pending is not None]
        if pending and not self._background.stopped:
            self._alarm = self._clock.call_at(max(min(pending), self._clock.now_ms() + LOOK_EVERY_MS), self._look)

    def _look(self) -> None:
        """Look for ticks that were placed at a time that is still far ahead."""
        self._arm()
        now_ms = self._clock.now_ms()
        ahead = [
            series
            for series in self._series.values()
            if series.pending is not None and series.placed_ms - now_ms > CORRECTION_MS
        ]
        if ahead and not self._correcting:
            self._correcting = True
            self._background.run(self._correct(ahead))

    async def _correct(self, ahead: list[_Series]) -> None:
        """Place ticks anew that no longer fit the clock."""
        try:
            await self._committer.flushed()
            await self._read_taken(ahead)
            for series in ahead:
                series.taken.discard(series.due_ms)
                if series.fits(self._clock.now_ms()):
                    series.placed_ms = self._clock.now_ms()  # looked at
                elif series.pending is not None:
                    await self._place_anew(series, series.pending)
        finally:
            self._correcting = False

    async def _place_anew(self, series: _Series, seq: int) -> None:
        async with self._pins.holding(seq) as tick:
            if tick is None or series.pending != seq:
                return  # the tick was due, or cancelled, meanwhile: the next tick was placed by the new time
            log.warning("%s: the clock was set back, so its next tick is placed anew.", series)
            self._withdraw(tick)
            self._place(series, series.first(self._clock.now_ms()))

    async def _read_taken(self, asked: Iterable[_Series]) -> None:
        wanted = list(asked)
        after_ms = self._clock.now_ms() - GRACE_MS - 1000
        if wanted:
            for place, tick_key in await self._store.tick_keys(list(_ranges(wanted, after_ms))):
                wanted[place].taken.add(due_of(tick_key))


def _ranges(wanted: Iterable[_Series], after_ms: int) -> Iterator[tuple[str, str, str, str, str]]:
    for series in wanted:
        service, key, handler, _ = series.schedule.identity
        yield (service, key, handler, *series.schedule.line.tick_keys_after(after_ms))
