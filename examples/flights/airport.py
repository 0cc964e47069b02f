"""The statistics of one airport."""

from __future__ import annotations

from actors import VirtualObject, handler
from examples.flights.delays import LATE, Delays
from examples.flights.flight import Flight


class Airport(VirtualObject):
    """Keyed by airport code. The streak and the last tail numbers are right only if the flights arrive in order."""

    departures: int = 0
    arrivals: int = 0
    cancelled: int = 0
    missed: int = 0  # flights that should have arrived here but did not
    punctual_streak: int = 0
    longest_punctual_streak: int = 0
    last_departed: str | None = None
    last_arrived: str | None = None
    departure_delays: dict[str, Delays] = {}  # by carrier
    arrival_delays: dict[str, Delays] = {}  # by carrier
    destinations: dict[str, int] = {}

    @handler
    async def depart(self, flight: Flight) -> None:
        if flight.departure_delay is None:
            self.cancelled += 1
            return
        self.departures += 1
        self.last_departed = flight.tailnum
        self.punctual_streak = self.punctual_streak + 1 if flight.departure_delay < LATE else 0
        self.longest_punctual_streak = max(self.longest_punctual_streak, self.punctual_streak)
        self.departure_delays.setdefault(flight.carrier, Delays()).add(flight.departure_delay)
        self.destinations[flight.destination] = self.destinations.get(flight.destination, 0) + 1

    @handler
    async def arrive(self, flight: Flight) -> None:
        if flight.arrival_delay is None:
            self.missed += 1
            return
        self.arrivals += 1
        self.last_arrived = flight.tailnum
        self.arrival_delays.setdefault(flight.carrier, Delays()).add(flight.arrival_delay)

    @handler
    async def caught_up(self) -> int:
        """Departures and arrivals so far; returns when all earlier messages are done."""
        return self.departures + self.arrivals
