"""What an engine is given of an app: its classes and options."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from actors.model.catalog import Catalog
from actors.model.limits import Limits
from actors.model.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """`executor` runs blocking steps; None for the engine's own threads. With `debug` callers get tracebacks."""

    catalog: Catalog
    limits: Limits
    retry: RetryPolicy
    executor: Executor | None
    debug: bool
