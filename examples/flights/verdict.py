"""The comparison of every field of every object in the database with the direct computation."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors import VirtualObject
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport
from examples.flights.direct import Objects, expected_messages, expected_state
from examples.flights.feed import Feed
from examples.flights.flight import Flight

CLASSES: dict[str, type[VirtualObject]] = {"Feed": Feed, "Aircraft": Aircraft, "Airport": Airport}


@dataclass(frozen=True)
class Difference:
    """One field that differs from the expected value."""

    where: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected!r}, found {self.found!r}"


@dataclass
class Verdict:
    """`objects` and `fields` count the compared objects and fields by class; `messages` counts messages by handler."""

    objects: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def compare(self, where: str, expected: Any, found: Any) -> None:
        if expected != found:
            self.differences.append(Difference(where, expected, found))


def judge(path: Path, flights: list[Flight]) -> Verdict:
    """Read the database through its public views, as any SQLite tool could, and compare everything."""
    verdict = Verdict()
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        compare_state(verdict, expected_state(flights), _stored_state(connection))
        verdict.messages.update(_messages(connection))
        for handler, count in expected_messages(flights).items():
            verdict.compare(f"messages to {handler}", count, verdict.messages[handler])
        (unfinished,) = connection.execute("SELECT count(*) FROM invocations WHERE status <> 'succeeded'").fetchone()
        verdict.compare("invocations that did not succeed", 0, unfinished)
    return verdict


def compare_state(verdict: Verdict, expected: Objects, found: Objects) -> None:
    """Field by field. State that was never written is absent from the database and counts as its default."""
    for service, key in sorted(expected.keys() | found.keys()):
        defaults = vars(CLASSES[service]())
        wanted, stored = expected.get((service, key), {}), found.get((service, key), {})
        verdict.objects[service] += 1
        for name, default in defaults.items():
            verdict.fields[service] += 1
            verdict.compare(f"{service}/{key}.{name}", wanted.get(name, default), stored.get(name, default))


def _stored_state(connection: sqlite3.Connection) -> Objects:
    objects: Objects = {}
    for service, key, name, value in connection.execute("SELECT service, key, name, value FROM state"):
        objects.setdefault((service, key), {})[name] = json.loads(value)
    return objects


def _messages(connection: sqlite3.Connection) -> dict[str, int]:
    return dict(
        connection.execute(
            "SELECT handler, count(*) FROM invocations WHERE handler IN ('fly', 'depart', 'arrive') GROUP BY handler"
        )
    )
