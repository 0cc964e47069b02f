"""How an app behaves over HTTP. Data only, read by `actors.transport`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.errors import DefinitionError
from actors.model.spelling import check_options

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:(\d{1,5}|\*))?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Cors:
    """Which web pages of other origins may use an app: `HttpOptions(cors=Cors(["https://shop.example"]))`.

    `origins` are written as browsers send them: scheme, host, and the port if it is not the usual one. A host may begin
    with `*.` (any subdomain, not the domain itself), a port may be `*`; `"*"` alone is any page. `headers` are request
    headers a page may send besides content-type, idempotency-key and authorization (default: any); `expose` are
    response headers it may read besides those of the app. With `credentials` browsers send cookies, for a middleware
    that reads them; `origins="*"` is then refused. `max_age` is how many seconds a browser may cache a permission.
    """

    origins: str | Sequence[str]
    headers: str | Sequence[str] = "*"
    expose: Sequence[str] = ()
    credentials: bool = False
    max_age: int = 600

    if not TYPE_CHECKING:

        def __new__(cls, *positional: Any, **given: Any) -> Any:
            check_options(cls, positional, given)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        origins = self._normal("origins")
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise DefinitionError(
                    f"Cors: {origin!r} is not an origin. Write scheme, host and port in lower case, without a slash at the end: "
                    "https://shop.example, http://localhost:5173, https://*.shop.example or *."
                )
        if not origins or ("*" in origins and len(origins) > 1):
            raise DefinitionError('Cors: origins= requires at least one origin, and "*" stands alone.')
        for name in ("headers", "expose"):
            for header in self._normal(name):
                if not _TOKEN.fullmatch(header):
                    raise DefinitionError(f"Cors: {name}= holds {header!r}, which is not a valid header name.")
        if type(self.credentials) is not bool:
            raise DefinitionError(f"Cors: credentials={self.credentials!r}. It requires True or False.")
        if self.credentials and "*" in origins:
            raise DefinitionError(
                'Cors: credentials=True with origins="*" would let any web page act for the person who opens it. Name the origins.'
            )
        if type(self.max_age) is not int or not 0 <= self.max_age <= 86_400:
            raise DefinitionError(f"Cors: max_age={self.max_age!r}. It requires whole seconds, from 0 to 86,400.")

    def _normal(self, name: str) -> tuple[str, ...]:
        texts = _texts("Cors", name, getattr(self, name))
        object.__setattr__(self, name, texts)
        return texts


Middleware = Callable[[Any], Any]  # wraps an ASGI application


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """`body_timeout` is how many seconds the body of a request may take to arrive.

    With `token` (or several), all requests must send `authorization: Bearer ...`, except for health, which then does not list
    services. The admin routes require `admin_token`; without it they are for this machine only, and refuse requests from web
    pages or through a proxy. An `admin_token` is accepted as a `token` too. `admin=False` removes the admin routes, and
    `console=False` the page that shows what they say. A path with its query may have `max_url` bytes (414); a request may have
    `max_headers` headers of `max_header_bytes` in total (431).

    `cors` is a Cors, or its origins alone: which web pages of other origins may use the app, its admin routes excepted.
    `middleware` are callables that take an ASGI application and return one, the first outermost; Starlette's `Middleware`
    objects work too. Each request then goes through them, also under `actors serve`.
    """

    body_timeout: float = 30.0
    token: str | Sequence[str] | None = field(default=None, repr=False)
    admin_token: str | Sequence[str] | None = field(default=None, repr=False)
    admin: bool = True
    console: bool = True
    max_url: int = 16_384
    max_headers: int = 128
    max_header_bytes: int = 65_536
    cors: Cors | str | Sequence[str] | None = None
    middleware: Sequence[Any] = ()

    if not TYPE_CHECKING:

        def __new__(cls, *positional: Any, **given: Any) -> Any:
            check_options(cls, positional, given)
            return object.__new__(cls)

    def __post_init__(self) -> None:
        timeout = self.body_timeout
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < 86_400:
            raise DefinitionError(f"HttpOptions: body_timeout={timeout!r}. It must be a number of seconds above 0.")
        for name in ("max_url", "max_headers", "max_header_bytes"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise DefinitionError(f"HttpOptions: {name}={value!r}. It must be an int of at least 1.")
        for name in ("token", "admin_token"):
            _check_tokens(name, getattr(self, name))
        for name in ("admin", "console"):
            if type(getattr(self, name)) is not bool:
                raise DefinitionError(f"HttpOptions: {name}={getattr(self, name)!r}. It requires True or False.")
        if self.cors is not None and not isinstance(self.cors, Cors):
            object.__setattr__(self, "cors", Cors(self.cors))
        if not isinstance(self.middleware, (list, tuple)):
            raise DefinitionError(
                "HttpOptions: middleware= requires a list of callables that take an ASGI application."
            )
        object.__setattr__(self, "middleware", tuple(_factory(one) for one in self.middleware))


def _factory(given: Any) -> Middleware:
    """The callable of a middleware; Starlette's `Middleware(cls, *args, **kwargs)` only records the call."""
    if all(hasattr(given, name) for name in ("cls", "args", "kwargs")) and callable(given.cls):
        return lambda app: given.cls(app, *given.args, **given.kwargs)
    if not callable(given):
        raise DefinitionError(
            f"HttpOptions: middleware= holds {given!r}, which cannot be called with an ASGI application. Write "
            "lambda app: CORSMiddleware(app, ...)."
        )
    return given  # type: ignore[no-any-return]


def _texts(owner: str, name: str, given: object) -> tuple[str, ...]:
    texts = (
        (given,)
        if isinstance(given, str)
        else tuple(given)
        if isinstance(given, (list, tuple, set, frozenset))
        else None
    )
    if texts is None or not all(isinstance(one, str) for one in texts):
        raise DefinitionError(f"{owner}: {name}={given!r}. It requires a str or a list of str.")
    return texts


def _check_tokens(name: str, given: object) -> None:
    """Raises DefinitionError, without showing the token: an empty token, from an unset variable, would admit every client."""
    if given is None:
        return
    tokens = (
        [given] if isinstance(given, str) else list(given) if isinstance(given, (list, tuple, set, frozenset)) else []
    )
    if not tokens or not all(isinstance(one, str) and re.fullmatch(r"[!-~]+", one) for one in tokens):
        raise DefinitionError(
            f"HttpOptions: {name} requires a str of visible ASCII without spaces, or a list of such tokens."
        )
