"""The process that owns the database: serves the objects, and sends them the flights not taken yet.

    python -m examples.flights.worker FILE [LIMIT]

It prints its progress as JSON lines for the parent process, and may be killed at any time.
"""

from __future__ import annotations

import json
import sys
from collections import deque

from actors import App, Limits, run
from actors.errors import AppNotRunning, StorageError
from actors.model.calls import Call
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport
from examples.flights.feed import Feed
from examples.flights.flight import Flight, read_flights

SLICE = 200  # flights in one message to the feed
AHEAD = 4  # slices under way at once, so that objects and disk work at the same time


async def send_flights(app: App, flights: list[Flight]) -> None:
    """Send the flights that the feed has not taken yet, and return when all objects have processed them."""
    feed = app.object(Feed, "new-york")
    taken = await feed.position()
    if taken > len(flights):
        sys.exit(f"This database already has {taken:,} flights, more than the requested {len(flights):,}.")
    report(event="resumed", taken=taken)
    under_way: deque[Call[int]] = deque()
    for start in range(taken, len(flights), SLICE):
        if len(under_way) == AHEAD:
            report(event="taken", taken=await under_way.popleft())
        under_way.append(feed.take(start, flights[start : start + SLICE]))
    for call in under_way:
        report(event="taken", taken=await call)
    await caught_up(app, flights)
    report(event="done", taken=len(flights))


async def caught_up(app: App, flights: list[Flight]) -> None:
    tailnums = {flight.tailnum for flight in flights if flight.tailnum is not None}
    airports = {airport for flight in flights for airport in (flight.origin, flight.destination)}
    calls = [app.object(Aircraft, tailnum).caught_up() for tailnum in tailnums]
    calls += [app.object(Airport, airport).caught_up() for airport in airports]
    for call in calls:
        await call


def report(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def main(path: str, limit: int | None) -> None:
    flights = read_flights(limit)
    try:
        limits = Limits(max_retained=None)  # all messages are counted in the end, more than a million
        async with App(Feed, Aircraft, Airport, storage=f"sqlite:///{path}", limits=limits) as app:
            await send_flights(app, flights)
    except (StorageError, AppNotRunning) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
