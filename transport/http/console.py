"""The files of the console: a page that shows what the admin routes say. They hold no data, so no token is needed to load them.

Promise: only a name that was in the package when the app started is served, and the page requests nothing from another origin.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from actors.transport.http.replies import Header, Reply
from actors.transport.http.requests import Request
from actors.transport.http.routes import BadRoute

FILES = Path(__file__).parents[1] / "console"
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
}
# Trusted Types turned off altogether: script that makes markup of a text is an error, not a hole.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_COMMON: tuple[Header, ...] = (
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Console:
    """One per app. The files are read on first use."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, Reply]] | None = None

    def reply(self, request: Request, name: str) -> Reply:
        """The file with this name, relative to the page; an empty name means the page. Raises BadRoute."""
        if self._files is None:
            self._files = _read(FILES)
        found = self._files.get(name or "index.html")
        if found is None:
            raise BadRoute(404, "unknown_path", "The console has no such file.")
        tag, reply = found
        if request.header(b"if-none-match") == tag.decode():
            return Reply(304, b"", reply.headers)
        return reply


def moved(to: bytes) -> Reply:
    """To another address, relative to the requested address."""
    return Reply(307, b"", ((b"location", to), (b"cache-control", b"no-cache")))


def _read(folder: Path) -> dict[str, tuple[bytes, Reply]]:
    found: dict[str, tuple[bytes, Reply]] = {}
    for path in sorted(folder.rglob("*")):
        kind = _TYPES.get(path.suffix)
        if kind is None:
            continue
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
        found[path.relative_to(folder).as_posix()] = (
            tag,
            Reply(200, content, ((b"content-type", kind), (b"etag", tag), *_COMMON)),
        )
    return found
