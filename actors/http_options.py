"""How an app behaves over HTTP. Data only: `actors.transport` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from actors.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """`body_timeout` is how many seconds the body of a request may take to arrive."""

    body_timeout: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.body_timeout < 86_400:
            raise DefinitionError(f"HttpOptions: body_timeout={self.body_timeout!r}. It wants seconds, more than 0.")
