"""Cross-origin requests of web pages (the Fetch standard's CORS protocol).

Promise: an origin that is not allowed gets no header of this protocol, and the admin routes never send such a header. An
answer that depends on the origin says so in Vary, even if the request has no origin: a cache must not give it to other pages.
"""

from __future__ import annotations

import re

from actors.http_options import Cors
from actors.transport.http.replies import Header, Reply, refusal
from actors.transport.http.requests import Request, Scope, header_of, path_of
from actors.transport.http.routes import BadRoute, segments

_METHODS = ("GET", "HEAD", "POST")
_SENT = ("authorization", "content-type", "idempotency-key")
_READ = ("x-restate-id", "idempotency-expires", "retry-after")
_VARY: Header = (b"vary", b"origin")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


class CrossOrigin:
    """The rules of one app. Without a Cors no headers are added, and OPTIONS is a method like any other."""

    def __init__(self, cors: Cors | None) -> None:
        self.open = cors is not None
        self._cors = cors = cors or Cors("*")
        self._any = "*" in cors.origins
        self._origins = re.compile("|".join(map(_pattern, cors.origins)))
        self._expose = ", ".join([*_READ, *cors.expose]).encode()
        self._headers = None if "*" in cors.headers else {name.lower() for name in (*_SENT, *cors.headers)}

    def headers(self, scope: Scope) -> tuple[Header, ...]:
        """The headers to add to the answer to a request."""
        if not self.open or _is_admin(scope):
            return ()
        origin = header_of(scope, b"origin")
        if origin is None or not self._allows(origin):
            return () if self._any else (_VARY,)
        return (*self._allowed(origin), (b"access-control-expose-headers", self._expose))

    def check(self, request: Request) -> None:
        """Raises BadRoute if a page of another site, which is not allowed, asks for something to be done.

        A form or a picture of any page can send such a request without a preflight, and does harm without reading the answer.
        Browsers say so in Sec-Fetch-Site; programs do not send it.
        """
        origin = request.header(b"origin")
        if not self.open or origin is None or not self._allows(origin):
            raise BadRoute(
                403,
                "cors_refused",
                "A web page of another site may not do this: see HttpOptions(cors=...), which names the pages that may.",
                *(() if self._any and self.open else (_VARY,)),
            )

    def preflight(self, scope: Scope) -> Reply | None:
        """The answer to a browser's preflight request; None for any other request."""
        if not self.open or scope["method"] != "OPTIONS" or _is_admin(scope):
            return None
        origin, method = header_of(scope, b"origin"), header_of(scope, b"access-control-request-method")
        if origin is None or method is None:
            return None
        asked = header_of(scope, b"access-control-request-headers") or ""
        names = [name.strip().lower() for name in asked.split(",") if name.strip()]
        if not self._allows(origin):
            return self._refused(
                f"Pages of the origin {origin[:200]!r} may not use this app: see HttpOptions(cors=...)."
            )
        if method not in _METHODS:
            return self._refused(f"The method {method[:20]} is not allowed here. Use {', '.join(_METHODS)}.")
        known = self._headers
        if unknown := [name for name in names if not (_TOKEN.fullmatch(name) if known is None else name in known)]:
            return self._refused(f"Pages may not send the header {unknown[0][:200]!r}: see Cors(headers=...).")
        return Reply(
            204,
            b"",
            (
                *self._allowed(origin),
                (b"access-control-allow-methods", ", ".join(_METHODS).encode()),
                (b"access-control-allow-headers", ", ".join(sorted({*_SENT, *names})).encode("latin-1")),
                (b"access-control-max-age", str(self._cors.max_age).encode()),
                (b"vary", b"access-control-request-headers"),
            ),
        )

    def _refused(self, message: str) -> Reply:
        return refusal(403, "cors_refused", message, *(() if self._any else (_VARY,)))

    def _allows(self, origin: str) -> bool:
        return self._any or self._origins.fullmatch(origin) is not None

    def _allowed(self, origin: str) -> tuple[Header, ...]:
        if self._any:
            return ((b"access-control-allow-origin", b"*"),)
        allowed: tuple[Header, ...] = ((b"access-control-allow-origin", origin.encode("latin-1")), _VARY)
        return (*allowed, (b"access-control-allow-credentials", b"true")) if self._cors.credentials else allowed


def _pattern(origin: str) -> str:
    scheme, _, rest = origin.partition("://")
    host, star, _ = rest.partition(":*")
    any_below = host.startswith("*.")
    text = re.escape(scheme + "://") + (r"(?:[a-z0-9_-]+\.)+" if any_below else "") + re.escape(host.removeprefix("*."))
    return text + (r"(?::\d{1,5})?" if star else "")


def _is_admin(scope: Scope) -> bool:
    try:
        return segments(path_of(scope))[:2] == ["restate", "admin"]
    except BadRoute:
        return False
