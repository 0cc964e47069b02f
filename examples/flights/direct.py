"""The expected final state, computed from the flights in plain Python, without objects, messages or increments.

Only the flights themselves are shared with the handlers: each figure is computed from the whole list of an aircraft's or
an airport's flights at once. Values are those in the JSON text of the state.
"""

from __future__ import annotations

import datetime
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from examples.flights.flight import Flight

Fields = dict[str, Any]
Objects = dict[tuple[str, str], Fields]  # (class, key): JSON value by field


def expected_state(flights: list[Flight]) -> Objects:
    by_tailnum: dict[str, list[Flight]] = defaultdict(list)
    outbound: dict[str, list[Flight]] = defaultdict(list)
    inbound: dict[str, list[Flight]] = defaultdict(list)
    for flight in flights:
        if flight.tailnum is not None:
            by_tailnum[flight.tailnum].append(flight)
        outbound[flight.origin].append(flight)
        inbound[flight.destination].append(flight)
    objects: Objects = {("Feed", "new-york"): {"cursor": len(flights)}}
    for tailnum, planned in by_tailnum.items():
        objects["Aircraft", tailnum] = _aircraft(planned)
    for code in outbound.keys() | inbound.keys():
        objects["Airport", code] = _airport(outbound[code], inbound[code])
    return objects


def expected_messages(flights: list[Flight]) -> dict[str, int]:
    """How often the feed must invoke each handler."""
    return {
        "fly": sum(flight.tailnum is not None for flight in flights),
        "depart": len(flights),
        "arrive": len(flights),
    }


def _aircraft(planned: list[Flight]) -> Fields:
    flown = [flight for flight in planned if flight.departure_delay is not None]
    completed = [flight for flight in flown if flight.minutes is not None]
    last = flown[-1] if flown else None
    pauses = [later.departs - earlier.departs for earlier, later in itertools.pairwise(flown)]
    return {
        "flights": len(flown),
        "cancelled": len(planned) - len(flown),
        "minutes_in_the_air": sum(flight.minutes or 0 for flight in completed),
        "miles": sum(flight.miles for flight in completed),
        "last_origin": last.origin if last else None,
        "last_destination": last.destination if last else None,
        "last_departure": f"{last.departs:%Y-%m-%dT%H:%M:%SZ}" if last else None,
        "longest_pause_minutes": max(pauses, default=datetime.timedelta()) // datetime.timedelta(minutes=1),
        "delays": _delays((f"{flight.departs:%Y-%m}", flight.departure_delay) for flight in flown),
    }


def _airport(outbound: list[Flight], inbound: list[Flight]) -> Fields:
    departed = [flight for flight in outbound if flight.departure_delay is not None]
    arrived = [flight for flight in inbound if flight.arrival_delay is not None]
    streaks = [
        len(list(group)) if punctual else 0
        for punctual, group in itertools.groupby((flight.departure_delay or 0) < 15 for flight in departed)
    ]
    return {
        "departures": len(departed),
        "arrivals": len(arrived),
        "cancelled": len(outbound) - len(departed),
        "missed": len(inbound) - len(arrived),
        "punctual_streak": streaks[-1] if streaks else 0,
        "longest_punctual_streak": max(streaks, default=0),
        "last_departed": departed[-1].tailnum if departed else None,
        "last_arrived": arrived[-1].tailnum if arrived else None,
        "departure_delays": _delays((flight.carrier, flight.departure_delay) for flight in departed),
        "arrival_delays": _delays((flight.carrier, flight.arrival_delay) for flight in arrived),
        "destinations": dict(Counter(flight.destination for flight in departed)),
    }


def _delays(delays: Iterable[tuple[str, int | None]]) -> dict[str, Fields]:
    grouped: dict[str, list[int]] = defaultdict(list)
    for group, delay in delays:
        if delay is not None:
            grouped[group].append(delay)
    return {
        group: {
            "flights": len(minutes),
            "late": sum(delay >= 15 for delay in minutes),
            "minutes": sum(minutes),
            "worst": max(minutes),
        }
        for group, minutes in grouped.items()
    }
