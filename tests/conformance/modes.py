"""In which modes a test runs, and how long it may take."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

MODES = ("default", "always-replay", "crash")
# Which engine runs the services: sqlite, restate (one server), or restate3 (a cluster of three). By default sqlite, and in the mode
# default restate too.
ENGINE = os.environ.get("CONFORMANCE_ENGINE", "")
FULL = os.environ.get("CONFORMANCE") == "all"
# Delays are those of Restate's suite in the long run, a fifth of them in the quick one.
SCALE = 1.0 if FULL else 0.2


def only(*modes: str) -> Callable[[F], F]:
    """In these modes, always: the test is about them."""

    def mark(function: F) -> F:
        function.modes = modes  # type: ignore[attr-defined]
        return function

    return mark


def everywhere(function: F) -> F:
    """In the modes default and always-replay also in the quick run. Other tests run in the mode default alone there."""
    return only(*(MODES if FULL else MODES[:2]))(function)


def deadly(function: F) -> F:
    """In every mode also in the quick run. Each death costs the start of a process, so these are few."""
    return only(*MODES)(function)


def modes_of(function: Any) -> tuple[str, ...]:
    chosen: tuple[str, ...] | None = getattr(function, "modes", None)
    return chosen if chosen is not None else MODES if FULL else MODES[:1]


def ways_of(function: Any) -> list[tuple[str, str]]:
    """The engines and modes in which a test runs."""
    modes = modes_of(function)
    if ENGINE:
        return [(ENGINE, mode) for mode in modes if ENGINE != "restate3" or mode in ("default", "crash")]
    return [("sqlite", mode) for mode in modes] + [("restate", mode) for mode in modes if mode == "default"]
