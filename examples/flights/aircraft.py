"""The log book of one aircraft."""

from __future__ import annotations

import datetime

from actors import VirtualObject, handler
from examples.flights.delays import Delays
from examples.flights.flight import Flight


class Aircraft(VirtualObject):
    """Keyed by tail number. The last place and the longest pause are right only if the flights arrive in order."""

    flights: int = 0
    cancelled: int = 0
    minutes_in_the_air: int = 0
    miles: int = 0
    last_origin: str | None = None
    last_destination: str | None = None
    last_departure: datetime.datetime | None = None
    longest_pause_minutes: int = 0
    delays: dict[str, Delays] = {}  # by month, "2013-01"

    @handler
    async def fly(self, flight: Flight) -> None:
        if flight.departure_delay is None:
            self.cancelled += 1
            return
        self.flights += 1
        self.minutes_in_the_air += flight.minutes or 0
        if flight.minutes is not None:
            self.miles += flight.miles
        if self.last_departure is not None:
            pause = (flight.departs - self.last_departure) // datetime.timedelta(minutes=1)
            self.longest_pause_minutes = max(self.longest_pause_minutes, pause)
        self.last_departure = flight.departs
        self.last_origin, self.last_destination = flight.origin, flight.destination
        self.delays.setdefault(f"{flight.departs:%Y-%m}", Delays()).add(flight.departure_delay)

    @handler
    async def caught_up(self) -> int:
        """Number of flights. The call queues behind all earlier messages, so when it returns they are done."""
        return self.flights
