"""Pages that watch a server: it stops, and starts anew, without waiting for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from actors import App, VirtualObject, handler
from actors.http_options import HttpOptions
from actors.transport.http.streams import MOST
from tests.http.served_in_thread import serving as uvicorn_serving
from tests.serving.server import serving, until
from tests.serving.test_plain_requests import running

STOPPING = ["event: end", 'data: {"because":"stopping"}']


class Door(VirtualObject):
    @handler
    async def open(self) -> int:
        return 1


async def watching(stack: AsyncExitStack, url: str, topics: str = "trouble", **headers: str) -> httpx.Response:
    """A stream whose first event has arrived."""
    client = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
    asked = client.stream("GET", f"{url}/restate/admin/events", params={"topics": topics}, headers=headers)
    answer = await stack.enter_async_context(asked)
    assert answer.status_code == 200
    return answer


async def begun(answers: list[httpx.Response]) -> list[asyncio.Task[list[str]]]:
    """The last lines of each stream, once each has had an event."""
    arrived = [asyncio.Event() for _ in answers]

    async def last(answer: httpx.Response, event: asyncio.Event) -> list[str]:
        lines = []
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                event.set()
            if line:
                lines.append(line)
        return lines[-2:]

    tasks = [asyncio.create_task(last(answer, event)) for answer, event in zip(answers, arrived, strict=True)]
    async with asyncio.timeout(20):
        for event in arrived:
            await event.wait()
    return tasks


@pytest.mark.parametrize("words", [(), ("--reload",)], ids=["serve", "reload"])
async def test_a_server_that_stops_ends_all_streams_at_once(words: tuple[str, ...], tmp_path: Path) -> None:
    with serving(tmp_path, *words) as server:
        async with AsyncExitStack() as stack:
            url = f"http://127.0.0.1:{server.port}"
            tasks = await begun([await watching(stack, url) for _ in range(MOST)])
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                assert await asyncio.gather(*tasks) == [STOPPING] * MOST
        code, errors = await asyncio.to_thread(server.end)
        assert code == 0 and "Stopping" not in errors, "it waited for an open stream"


async def test_a_page_that_leaves_makes_room_for_another() -> None:
    async with running(short=False, half_open_s=1e6) as server:
        streams = server.app._served().streams
        streams.life_s = streams.every_s = 1e6  # nothing is sent to it that would fail
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /restate/admin/events?topics=trouble HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"event: trouble")
        assert len(streams.open) == 1
        writer.close()
        async with asyncio.timeout(20):
            await until(lambda: not streams.open)


async def test_a_page_that_leaves_with_a_request_behind_its_stream_makes_room() -> None:
    async with running(short=False, half_open_s=1e6) as server:
        streams = server.app._served().streams
        streams.life_s = streams.every_s = 1e6
        asked = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(asked % b"/restate/admin/events?topics=trouble" + asked % b"/restate/health")
        await reader.readuntil(b"event: trouble")
        writer.close()
        async with asyncio.timeout(20):
            await until(lambda: not streams.open)


async def test_a_reload_ends_all_streams_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--reload") as server:
        async with AsyncExitStack() as stack:
            tasks = await begun([await watching(stack, f"http://127.0.0.1:{server.port}") for _ in range(3)])
            module = tmp_path / "shop.py"
            module.write_text(module.read_text().replace("len(self.ops)", "-len(self.ops)"))
            changed_at = 2e9
            while not all(task.done() for task in tasks):  # it had not looked yet when the file was changed
                os.utime(module, (1e9, changed_at))
                changed_at += 10
                await asyncio.wait(tasks, timeout=2)
            assert [task.result() for task in tasks] == [STOPPING] * 3
        server.process.send_signal(signal.SIGTERM)
        assert (await asyncio.to_thread(server.end))[0] == 0


async def test_a_stream_works_behind_uvicorn_and_below_a_prefix(tmp_path: Path) -> None:
    app = App(Door, storage=f"sqlite:///{tmp_path / 'door.db'}", http=HttpOptions(admin_token="a"))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app:
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/actors", app)
    with uvicorn_serving(outer) as url:
        async with AsyncExitStack() as stack:
            app._served().streams.life_s = 0.3
            answer = await watching(stack, f"{url}/actors", authorization="Bearer a")
            (task,) = await begun([answer])
            assert await task == ["event: end", 'data: {"because":"turn"}']
