"""The current condition of an app, for alerts: open invocations, their waiting times, late timers, the size of the file.

Promise: reading the gauges changes nothing and delays nothing. Values from the file are read beside the commits, and so seldom
that this takes a twentieth of one core at most; `age` says how old they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from actors.engine.clock import Clock
from actors.engine.operating.seldom import Seldom
from actors.engine.timers import Timers
from actors.storage.port import Store
from actors.storage.records import Figures, Status

_OPEN = range(Status.SUCCEEDED)


class Aged(NamedTuple):
    """Figures, and how old they are."""

    value: Figures
    age_s: float


class Gauge(NamedTuple):
    """`values` are keyed by the values of `labels`, in their order."""

    name: str
    what: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], float]


class Gauges:
    """One per partition. A reader waits at most `patience_s` for the file, and otherwise receives the values read before."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        services: Iterable[str],
        timers: Timers,
        patience_s: float = 0.5,
    ) -> None:
        self._clock = clock
        self._services = list(services)
        self._timers = timers
        self._figures = Seldom(store.figures, loop, patience_s)

    async def read(self) -> list[Gauge]:
        """All gauges; without those of the file if they could not be read yet, or cannot be read."""
        figures = await self._figures.current()
        gauges = [
            _gauge(
                "actors_timer_lag_seconds",
                "How late the next timer is, in seconds.",
                self._timers.late_ms() / 1000,
            )
        ]
        if figures is not None:
            gauges += self._of_file(figures)
            gauges.append(
                _gauge(
                    "actors_figures_age_seconds",
                    "Age of the gauges that are read from the file.",
                    self._figures.age_s(),
                )
            )
        return gauges

    async def figures(self) -> Aged | None:
        """What the gauges of the file are made from. None if it could not be read yet, or cannot be read."""
        figures = await self._figures.current()
        return None if figures is None else Aged(figures, self._figures.age_s())

    def _of_file(self, figures: Figures) -> Iterable[Gauge]:
        services, now_ms = self._services, self._clock.now_ms()
        counted: dict[tuple[str, ...], float] = {
            (service, Status.NAMES[status]): 0.0 for service in services for status in _OPEN
        }
        oldest, oldest_awakeable = dict.fromkeys(services, 0.0), dict.fromkeys(services, 0.0)
        for service, status, number, accepted_ms in figures.open:
            counted[service, Status.NAMES[status]] = number
            if accepted_ms is not None:
                oldest[service] = max(0, now_ms - accepted_ms) / 1000
        for service, (_, since_ms) in figures.awakeables.items():
            oldest_awakeable[service] = max(0, now_ms - since_ms) / 1000
        yield Gauge("actors_open_invocations", "Invocations that have not ended.", ("service", "status"), counted)
        for name, what, values in (
            (
                "actors_oldest_pending_seconds",
                "Age of the oldest message in a mailbox, not counting delayed messages.",
                oldest,
            ),
            (
                "actors_open_awakeables",
                "Awakeables that have not been completed.",
                {**dict.fromkeys(services, 0), **{name: count for name, (count, _) in figures.awakeables.items()}},
            ),
            (
                "actors_oldest_awakeable_seconds",
                "Age of the oldest awakeable that has not been completed.",
                oldest_awakeable,
            ),
            (
                "actors_deepest_mailbox",
                "Messages in the fullest mailbox.",
                {**dict.fromkeys(services, 0), **figures.deepest},
            ),
        ):
            yield Gauge(name, what, ("service",), _by_service(values))
        if figures.file_bytes is not None:
            yield _gauge("actors_database_bytes", "Size of the database file.", figures.file_bytes)
            yield _gauge("actors_log_bytes", "Size of the write-ahead log beside it.", figures.log_bytes or 0)


def _gauge(name: str, what: str, value: float) -> Gauge:
    return Gauge(name, what, (), {(): value})


def _by_service(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(service,): value for service, value in values.items()}
