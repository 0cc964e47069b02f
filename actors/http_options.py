"""How an app behaves over HTTP. Data only: `actors.transport` reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.errors import DefinitionError


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """`body_timeout` is how many seconds the body of a request may take to arrive.

    `token`, one or several, is what requests must send as `authorization: Bearer ...`; all of them but health, which then
    names no services. `admin_token` is wanted by the admin routes from everybody; without one they are for this machine only,
    and not for what came through a proxy or from a web page. It passes for a `token` too. `admin=False` takes the admin routes
    away. A path with its query may take `max_url` bytes (414), headers `max_header_bytes`, and there may be `max_headers` (431).
    """

    body_timeout: float = 30.0
    token: str | Sequence[str] | None = field(default=None, repr=False)
    admin_token: str | Sequence[str] | None = field(default=None, repr=False)
    admin: bool = True
    max_url: int = 16_384
    max_headers: int = 128
    max_header_bytes: int = 65_536

    def __post_init__(self) -> None:
        if not 0 < self.body_timeout < 86_400:
            raise DefinitionError(f"HttpOptions: body_timeout={self.body_timeout!r}. It wants seconds, more than 0.")
        for name in ("max_url", "max_headers", "max_header_bytes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise DefinitionError(f"HttpOptions: {name}={value!r}. It wants an int from 1.")
        for name in ("token", "admin_token"):
            _check_tokens(name, getattr(self, name))


def _check_tokens(name: str, given: object) -> None:
    """Raises DefinitionError, without showing the token: an empty one, from a variable that is not set, would let in anybody."""
    if given is None:
        return
    tokens = (
        [given] if isinstance(given, str) else list(given) if isinstance(given, (list, tuple, set, frozenset)) else []
    )
    if not tokens or not all(isinstance(one, str) and re.fullmatch(r"[!-~]+", one) for one in tokens):
        raise DefinitionError(f"HttpOptions: {name} wants a str of visible ASCII without spaces, or a list of them.")
