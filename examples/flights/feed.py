"""The way in: slices of flights with their place in the trace, each taken exactly once."""

from __future__ import annotations

from actors import Context, TerminalError, VirtualObject, handler
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport
from examples.flights.flight import Flight


class Feed(VirtualObject):
    """Turns at-least-once delivery from outside into exactly-once effects inside.

    The sender of the flights cannot know, after a crash, whether its last slice arrived. So it says where in the trace the
    slice starts, and the cursor decides. The cursor and the messages to aircraft and airports become durable together:
    there is no moment at which a flight was passed on and not counted, or counted and not passed on.
    """

    cursor: int = 0

    @handler
    async def take(self, ctx: Context, start: int, flights: list[Flight]) -> int:
        """Pass on those of `flights` that are new, and say how many flights were taken so far."""
        if start > self.cursor:
            raise TerminalError(f"Flights {self.cursor} to {start - 1} are missing before this slice.", code=409)
        for flight in flights[self.cursor - start :]:
            if flight.tailnum is not None:  # without one it was cancelled before an aircraft was assigned
                ctx.object(Aircraft, flight.tailnum).fly.send(flight)
            ctx.object(Airport, flight.origin).depart.send(flight)
            ctx.object(Airport, flight.destination).arrive.send(flight)
        self.cursor = max(self.cursor, start + len(flights))
        return self.cursor

    @handler
    async def position(self) -> int:
        """Where to go on: the number of flights taken. Queues behind slices that were accepted before."""
        return self.cursor
