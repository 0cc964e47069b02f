"""What all attempts of an endpoint share: the classes, the options of the app, and the threads for blocking steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from actors.model.catalog import Catalog
from actors.model.decoding import migrated
from actors.model.definitions import ServiceDefinition
from actors.model.engine_options import EngineOptions
from actors.model.limits import Limits
from actors.model.retry import RetryPolicy
from actors.transport.restate.failed_attempts import FailedAttempts
from actors.transport.restate.state import LazyClasses


class ServedClasses:
    """The app as its attempts on Restate see it. `now` is the time in seconds since the epoch."""

    def __init__(self, options: EngineOptions, executor: Executor | None, now: Callable[[], float]) -> None:
        self.catalog: Catalog = options.catalog
        self.limits: Limits = options.limits
        self.retry: RetryPolicy = options.retry
        self.debug: bool = options.debug
        self.executor = executor
        self.now = now
        self.failed = FailedAttempts()
        self.leaving: set[asyncio.Future[Any]] = set()  # tasks of attempts that are over
        self._lazy: dict[str, LazyClasses] = {}
        self._of_lazy: dict[type, ServiceDefinition] = {}

    def lazy(self, definition: ServiceDefinition) -> LazyClasses:
        known = self._lazy.get(definition.name)
        if known is None:
            known = self._lazy[definition.name] = LazyClasses(definition)
            for cls in (known.worker, known.guarded, known.reader):
                self._of_lazy[cls] = definition
        return known

    def definition(self, cls: type) -> ServiceDefinition:
        """The definition of a served class. Raises UnknownService, or DefinitionError for any other class."""
        return self._of_lazy.get(cls) or self.catalog.definition(cls)

    def migrated(self, definition: ServiceDefinition, key: str, texts: dict[str, str], version: int) -> dict[str, str]:
        """Stored state of an older version. Raises StateDecodeError."""
        return migrated(definition, key, texts, version, self.limits.max_payload)
