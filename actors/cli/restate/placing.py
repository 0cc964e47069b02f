"""The schedules of a release: placed and withdrawn on a restate-server."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

import msgspec

from actors.errors import TerminalError
from actors.model.catalog import Catalog
from actors.transport.client import Client
from actors.transport.restate.admin import Admin, Deployment
from actors.transport.restate.schedules import NAME, Schedules, Spec, spec_of

LEARNING_S = 10.0  # how long an ingress may not know a class that was registered
LOOK_EVERY_S = 0.1
_PLACED = f"SELECT service_key, key, value_utf8 FROM state WHERE service_name = '{NAME}' AND key IN ('spec', 'waiting')"


@dataclass(frozen=True, slots=True)
class Placed:
    """A schedule on the server. `waiting` is the id of the invocation that waits for the next due time."""

    spec: Spec
    waiting: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done for the schedules of a release."""

    wanted: list[Spec]
    there: dict[str, Placed]
    stale: list[Placed]

    def foreseen(self) -> dict[str, str]:
        """Of each schedule "placed", "kept" or "withdrawn"."""
        done = {str(spec): "kept" if self._is_there(spec) else "placed" for spec in self.wanted}
        return done | {str(one.spec): "withdrawn" for one in self.stale}

    def _is_there(self, spec: Spec) -> bool:
        placed = self.there.get(spec.identity)
        return placed is not None and placed.spec == spec

    async def make(self, client: Client, admin: Admin) -> dict[str, str]:
        """Do it; the result is as of `foreseen`. Raises ActorsError."""
        done = {str(spec): await _place(client, spec) for spec in self.wanted}
        for one in self.stale:
            await _withdraw(client if self.wanted else None, admin, one)
            done[str(one.spec)] = "withdrawn"
        return done


def change_to(catalog: Catalog, there: dict[str, Placed], releases: list[Deployment]) -> Change:
    """From the schedules on the server to those of the release. `releases` are all of the server."""
    wanted = [spec_of(schedule) for service in catalog.services.values() for schedule in service.schedules]
    gone = there.keys() - {spec.identity for spec in wanted}
    own = {name for one in releases if shares(one, catalog) for name in one.services} | set(catalog.services)
    # Another app has placed the schedules of classes that are served with classes of that app only.
    elsewhere = {name for one in releases for name in one.services} - own
    stale = [there[identity] for identity in sorted(gone) if there[identity].spec.service not in elsewhere]
    return Change(wanted, there, stale)


def shares(release: Deployment, catalog: Catalog) -> bool:
    """Whether this is a release of the app: it has classes in common with it."""
    return not (set(release.services) - {NAME}).isdisjoint(catalog.services)


async def placed(admin: Admin) -> dict[str, Placed]:
    """All schedules on the server, by their identities."""
    texts: dict[str, dict[str, str]] = {}
    for row in await admin.query(_PLACED):
        texts.setdefault(row["service_key"], {})[row["key"]] = row["value_utf8"]
    return {
        identity: Placed(msgspec.json.decode(state["spec"], type=Spec), json.loads(state.get("waiting", '""')))
        for identity, state in texts.items()
        if state.get("spec", "null") != "null"
    }


async def _place(client: Client, spec: Spec) -> str:
    deadline = time.monotonic() + LEARNING_S
    while True:
        try:
            return await client.object(Schedules, spec.identity).place(spec)
        except TerminalError as error:
            if error.code != 404 or time.monotonic() > deadline:
                raise
        await asyncio.sleep(LOOK_EVERY_S)  # the ingress does not know the class yet


async def _withdraw(client: Client | None, admin: Admin, placed: Placed) -> None:
    """Without a client no endpoint serves the class of schedules any more: the server itself forgets the schedule."""
    if client is not None:
        await client.object(Schedules, placed.spec.identity).withdraw()
        return
    await admin.kill(placed.waiting)
    await admin.clear_state(NAME, placed.spec.identity)
