"""The entry point: slices of flights with their position in the trace, each taken exactly once."""

from __future__ import annotations

from actors import Context, TerminalError, VirtualObject, handler
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport
from examples.flights.flight import Flight


class Feed(VirtualObject):
    """Turns at-least-once delivery from outside into exactly-once effects inside.

    After a crash the sender of the flights cannot know whether its last slice arrived. So the sender states the position of
    the slice in the trace, and the cursor decides. The cursor and the messages to aircraft and airports become durable
    together: a flight is never passed on without being counted, or counted without being passed on.
    """

    cursor: int = 0

    @handler
    async def take(self, ctx: Context, start: int, flights: list[Flight]) -> int:
        """Pass on the new flights among `flights`, and return how many flights were taken so far."""
        if start > self.cursor:
            raise TerminalError(f"Flights {self.cursor} to {start - 1} are missing before this slice.", code=409)
        for flight in flights[self.cursor - start :]:
            if flight.tailnum is not None:  # None: cancelled before an aircraft was assigned
                ctx.object(Aircraft, flight.tailnum).fly.send(flight)
            ctx.object(Airport, flight.origin).depart.send(flight)
            ctx.object(Airport, flight.destination).arrive.send(flight)
        self.cursor = max(self.cursor, start + len(flights))
        return self.cursor

    @handler
    async def position(self) -> int:
        """Where to continue: the number of flights taken. Queues behind slices that were accepted earlier."""
        return self.cursor
