"""An app in FastAPI under uvicorn itself: what its end does to those who wait."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.serving.server import APP, LIFELINE, ROOT, connected

HOST = (
    APP
    + """
from fastapi import FastAPI
from actors.fastapi import mount
api = FastAPI()
mount(api, app, "/actors")
"""
)


async def test_with_a_limit_uvicorn_ends_and_who_waits_is_answered(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(HOST)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        command = ["-m", "uvicorn", "shop:api", "--fd", str(listening.fileno()), "--timeout-graceful-shutdown", "1"]
        server = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=LIFELINE,
            stderr=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        )
    try:
        async with connected(port) as waiting:
            ask = asyncio.create_task(waiting.ask("POST", "/actors/Flow/w/go"))
            async with connected(port) as other:
                while (await other.ask("POST", "/actors/Flow/w/awakeable")).body == b'""':
                    pass
                assert (await other.ask("POST", "/actors/Account/a/add", "x")).json == 1
            server.terminate()
            answer = await ask
            assert (answer.status, answer.json["error"]) == (503, "outcome_pending")
            assert answer.headers["x-restate-id"].startswith("inv_1") and "retry-after" not in answer.headers
        _, errors = await asyncio.to_thread(server.communicate, None, 30)
        assert server.returncode in (0, -15) and b"Traceback" not in errors, errors.decode()
        assert not (tmp_path / "app.db-wal").exists(), "the file was released"
    finally:
        server.kill()
        server.communicate()
