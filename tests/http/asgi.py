"""A client that calls an ASGI application in place, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] = b"",
    *,
    root_path: str = "",
    client: str | None = "127.0.0.1",
    headers: dict[str, str] | None = None,
    pairs: Sequence[tuple[str, str]] = (),
    **more: str,
) -> Answer:
    """One request. Underscores in names of headers stand for hyphens; a body of several pieces comes in as many. A `client`
    of None is one behind a Unix socket. `pairs` are more headers, among which a name may come twice."""
    raw, _, query = target.partition("?")
    pieces = [body] if isinstance(body, bytes) else list(body)
    sent: list[dict[str, Any]] = []
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not pieces:
            if body != []:  # else it hangs up in the middle
                await answered.wait()
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            answered.set()

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in {**(headers or {}), **more}.items()]
    named += [(name.encode(), value.encode()) for name, value in pairs]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": root_path,
        "headers": named,
        "client": (client, 1234) if client is not None else None,
        "server": ("127.0.0.1", 8080) if client is not None else ("actors.sock", None),
    }
    await app(scope, receive, send)
    if not sent:
        raise ConnectionError("the application did not answer")
    start, *rest = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message.get("body", b"") for message in rest))
