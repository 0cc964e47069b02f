"""The pages that are the same for every request: the OpenAPI document, and a page to try its routes."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from actors.model.definitions import ServiceDefinition
from actors.transport.http.openapi import OpenApi
from actors.transport.http.replies import JSON, Header, Reply

# One file that loads nothing from elsewhere, so that it works without a network.
_DOCS = Path(__file__).with_name("docs.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_COMMON: tuple[Header, ...] = ((b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff"))


class Pages:
    """One per app; each page is created on first use. `guarded` says that requests require a token."""

    def __init__(self, services: Iterable[ServiceDefinition], guarded: bool) -> None:
        self._openapi = OpenApi(services, guarded)
        self._docs: Reply | None = None

    def page(self, name: str, prefix: str) -> Reply | None:
        """The page, or None if no page has this name. `prefix` is where the app is mounted."""
        if name == "openapi.json":
            return Reply(200, self._openapi.document(prefix), (JSON, *_COMMON))
        if name == "docs":
            if self._docs is None:
                self._docs = _docs_reply(_DOCS.read_text(encoding="utf-8"))
            return self._docs
        return None


def _docs_reply(text: str) -> Reply:
    """The page, with a policy that allows only its own script and connections to its own server."""
    hashes: dict[str, str] = {}
    for kind, inline in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        hashes[kind] = f"'sha256-{digest}'"
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers: tuple[Header, ...] = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        *_COMMON,
    )
    return Reply(200, text.encode(), headers)
