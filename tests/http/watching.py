"""A page that watches: it reads a stream of an ASGI application in place, event by event."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self


class Watching:
    """`async with Watching(app, "overview") as page: await page.next()`. It hangs up at the end of the block."""

    def __init__(
        self, app: Any, topics: str, *, late: asyncio.Event | None = None, version: str = "1.1", **headers: str
    ) -> None:
        """The end of the request arrives when `late` is set."""
        self._app = app
        self._topics = topics
        self._headers = headers
        self._late = late
        self._version = version
        self._gone = asyncio.Event()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reads = asyncio.Event()
        self._reads.set()
        self._text = ""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in self._headers.items()]
        path = "/restate/admin/events"
        scope = {
            "type": "http",
            "http_version": self._version,
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": f"topics={self._topics}".encode(),
            "root_path": "",
            "headers": named,
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 8080),
        }
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            if asked:
                if self._late is not None:
                    await self._late.wait()
                return asked.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await self._reads.wait()
            self._messages.put_nowait(message)

        self._task = asyncio.create_task(self._app(scope, receive, send))
        start = await self._messages.get()
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reads.set()
        self._gone.set()
        await asyncio.wait_for(self._task, 5)

    def stop_reading(self) -> None:
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    async def body(self) -> Any:
        """The body of an answer that is not a stream."""
        return json.loads((await self._messages.get())["body"])

    async def next(self) -> tuple[str, Any] | None:
        """The next event and its value; None at the end of the stream."""
        async with asyncio.timeout(20):
            while True:
                part, found, rest = self._text.partition("\n\n")
                if not found:
                    message = await self._messages.get()
                    if not message.get("more_body"):
                        return None
                    self._text += message["body"].decode()
                    continue
                self._text = rest
                lines = dict(line.split(": ", 1) for line in part.split("\n") if ": " in line)
                if "event" in lines:
                    return lines["event"], json.loads(lines["data"])
