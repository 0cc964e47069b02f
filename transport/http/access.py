"""Who may use which route: tokens, addresses, browsers, and how large a request's head may be.

Without an admin token the admin routes accept only users of this machine. The address alone does not identify them:

* A reverse proxy on the same host makes all clients look local. A request with a header that proxies add is refused. A
  proxy that adds none cannot be detected: behind such a proxy, set an admin token.
* A browser on the same machine runs whatever page is open in it. It sends Origin or Sec-Fetch-Site, and a request without
  a preflight (a form) has one of three content types. A foreign name that leads to this machine (DNS rebinding) shows in
  Host. All of these requests are refused; a page that has the token may send it.
* The console is a web page too. It is recognised by a header that no page of another origin can send without a preflight,
  which is refused, and by what browsers say about themselves. The header holds the origin that the page sees, which is not
  that of this server if a proxy has changed Host. Where other code than this app's may answer under the same origin, its
  pages could send the same, so there the console requires a token: only `actors serve` knows that it serves this app alone.
* A server that does not know the address of a client, because the client has already hung up, reports None, as it does
  for a Unix socket. So a Unix socket is recognised by the server's own address, which then has no port.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from actors.http_options import HttpOptions
from actors.transport.http.replies import Reply, refusal
from actors.transport.http.requests import Request, Scope, is_loopback

_OF_PROXIES = (
    b"forwarded",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"x-real-ip",
    b"x-client-ip",
    b"x-envoy-external-address",
    b"cf-connecting-ip",
    b"true-client-ip",
)
_CHALLENGE = b'Bearer realm="actors"'


class Access:
    """The rules of one app. `guarded`: requests require a token."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._admin = [token.encode() for token in _several(options.admin_token)]
        self._tokens = [token.encode() for token in _several(options.token)]
        self.guarded = bool(self._tokens)
        self._open = bool(options.admin)
        self._console = options.admin and options.console
        self.alone = False  # whether all pages of this origin are this app's

    def oversized(self, scope: Scope) -> Reply | None:
        """The refusal of a request whose URL or headers are too large, before they are parsed."""
        options = self._options
        url = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string") or b"")
        if url > options.max_url:
            return refusal(414, "url_too_long", f"The URL is longer than {options.max_url:,} bytes.")
        headers = scope["headers"]
        if len(headers) > options.max_headers:
            return refusal(431, "headers_too_large", f"There are more than {options.max_headers:,} headers.")
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
        if size > options.max_header_bytes:
            return refusal(431, "headers_too_large", f"The headers take more than {options.max_header_bytes:,} bytes.")
        return None

    def unknown(self, request: Request) -> Reply | None:
        """The refusal of a request without a required token: before the path is looked up, which would reveal names.

        Health is open to all clients, and so are the pages that ask for a token; the admin routes have their own rules.
        """
        parts = request.path.split(b"/")
        if parts[1:3] in ([b"restate", b"admin"], [b"restate", b"console"]):
            return None
        if parts[1:] in ([b"restate", b"health"], [b"docs"], [b"console"]):
            return None
        return None if self.knows(request) else _unauthorized(request)

    def knows(self, request: Request) -> bool:
        """Whether the request has a valid token, or requires none. The admin token is accepted too."""
        return not self.guarded or _given(request, [*self._tokens, *self._admin])

    def console(self) -> Reply | None:
        """The refusal of a request for the console's page, if this app has none."""
        return None if self._console else refusal(404, "unknown_path", "Not found.")

    def admin(self, request: Request) -> Reply | None:
        """The refusal of a request that may not use the admin routes."""
        if not self._open:
            return refusal(404, "unknown_path", "Not found.")
        if self._admin:
            return None if _given(request, self._admin) else _unauthorized(request)
        why = _not_at_the_machine(request, self._console, self.alone)
        if why is None:
            return None
        return refusal(
            403, "admin_refused", f"{why} Set HttpOptions(admin_token=...) and send `Authorization: Bearer TOKEN`."
        )


def _not_at_the_machine(request: Request, console: bool, alone: bool) -> str | None:
    if not request.local:
        return "Without a token the admin routes accept requests from this machine only."
    if any(request.header(name) is not None for name in _OF_PROXIES):
        return "The request came through a proxy, so its address does not identify the client."
    if request.client is not None and not all(_is_local_name(host) for host in request.headers(b"host")):
        return "The Host header does not name this machine."
    if request.header(b"origin") is not None or request.header(b"sec-fetch-site") not in (None, "none"):
        if not (console and request.header(b"x-actors-console") is not None):
            return "The request comes from a web page."
        if request.prefix or not alone:
            return (
                "Other pages than the console's may come from this origin, as the app is not served by `actors serve`."
            )
        if not _is_of_this_origin(request):
            return "The request comes from a web page of another origin."
    return None


def _is_of_this_origin(request: Request) -> bool:
    """Whether a browser says that the page which asks was loaded from this server, under the name in Host."""
    hosts = request.headers(b"host")
    if request.headers(b"sec-fetch-site") != ["same-origin"] or len(hosts) != 1:
        return False
    own = f"{request.scheme}://{hosts[0]}"
    return request.headers(b"origin") in ([], [own]) and request.headers(b"x-actors-console") == [own]


def _is_local_name(host: str) -> bool:
    name = host.strip().lower()
    if name.startswith("["):
        name, _, port = name[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = name.partition(":")
    if port and not port.isdecimal():
        return False
    return name == "localhost" or is_loopback(name)


def _given(request: Request, tokens: Sequence[bytes]) -> bool:
    scheme, _, token = (request.header(b"authorization") or "").partition(" ")
    guess = token.strip().encode()
    matches = False
    for valid in tokens:  # all of them, so that the time taken does not reveal how much of a guess is right
        matches |= hmac.compare_digest(valid, guess)
    return matches and scheme.lower() == "bearer"


def _unauthorized(request: Request) -> Reply:
    if request.header(b"authorization") is None:
        return refusal(
            401,
            "token_missing",
            "Authentication required: send `Authorization: Bearer TOKEN`.",
            (b"www-authenticate", _CHALLENGE),
        )
    challenge = _CHALLENGE + b', error="invalid_token"'
    return refusal(401, "token_wrong", "The token is not valid.", (b"www-authenticate", challenge))


def _several(token: str | Sequence[str] | None) -> Sequence[str]:
    return () if token is None else (token,) if isinstance(token, str) else token
