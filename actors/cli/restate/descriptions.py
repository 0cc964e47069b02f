"""Classes as an endpoint and a restate-server describe them, and how two descriptions differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from actors.model.engine_options import EngineOptions
from actors.transport.restate.manifest import VERSIONS, manifest

Services = Mapping[str, Any]  # descriptions of classes by name, each with its handlers by name
SHOWN = 5  # differences


def described(options: EngineOptions) -> Services:
    """The classes as the endpoint would describe them."""
    document = manifest(options.catalog, options.limits, options.retry, VERSIONS[0], streams=True)
    return by_name(msgspec.json.decode(msgspec.json.encode(document["services"])))


def by_name(services: list[dict[str, Any]]) -> Services:
    """The classes of a discovery document."""
    return {
        one["name"]: one | {"handlers": {handler["name"]: handler for handler in one["handlers"]}} for one in services
    }


def shape(services: Services) -> Services:
    """The names of classes and handlers, and their kinds in the words of both the document and the admin API."""
    return {
        name: {
            "ty": _word(service),
            "handlers": {handler: {"ty": _word(described)} for handler, described in service["handlers"].items()},
        }
        for name, service in services.items()
    }


def _word(described: dict[str, Any]) -> str:
    return str(described.get("ty", "")).replace("_", "").lower()


def differences(here: Services, there: Services) -> list[str]:
    """How the classes there differ from those here."""
    found = [f"{name} is missing there" for name in here if name not in there]
    found += [f"{name} is there only" for name in there if name not in here]
    for name in here:
        if name in there and here[name] != there[name]:
            ours, theirs = here[name]["handlers"], there[name]["handlers"]
            handlers = [f"{name}/{handler} is missing there" for handler in ours if handler not in theirs]
            handlers += [f"{name}/{handler} is there only" for handler in theirs if handler not in ours]
            handlers += [
                f"{name}/{handler} differs" for handler in ours if theirs.get(handler, ours[handler]) != ours[handler]
            ]
            found += handlers or [f"{name} differs"]
    return found


def listed(differ: list[str]) -> str:
    """The first of them, as a part of a sentence."""
    more = f", and {len(differ) - SHOWN:,} more" if len(differ) > SHOWN else ""
    return ", ".join(differ[:SHOWN]) + more
