"""How the tests speak to an engine: plain HTTP, and safe retries where the engine dies under them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import httpx

from tests.conformance.engine import AnyEngine

PATIENCE_S = 60.0


def _does_not_know_yet(answer: httpx.Response) -> bool:
    """A restate-server that has just started is healthy before it has loaded which services there are."""
    return answer.status_code == 404 and "make sure to register the service" in answer.text


class Driver:
    """Calls by service, key and handler. In the mode crash each call has an idempotency key of its own, and is repeated until
    it is answered: without one, nobody can know whether a request that got no answer took effect."""

    def __init__(self, engine: AnyEngine, http: httpx.AsyncClient) -> None:
        self.engine = engine
        self.http = http
        self.dies = engine.mode == "crash"

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        in_doubt = False  # an earlier attempt may have taken effect
        while True:
            try:
                answer = await self.http.request(method, self.engine.ingress + path, **more)
                if not (self.dies and (answer.status_code == 503 or _does_not_know_yet(answer))):
                    answer.extensions["in_doubt"] = in_doubt
                    return answer
                in_doubt = in_doubt or answer.status_code == 503
            except httpx.TransportError:
                in_doubt = True
                if not self.dies or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.02)  # a real server is on its way back

    async def post(self, *parts: str, body: Any = None, once: str | None = None, query: str = "") -> httpx.Response:
        """POST a JSON value, or bytes as they are, to a handler."""
        headers = {}
        content = b""
        if isinstance(body, bytes):
            content, headers["content-type"] = body, "application/octet-stream"
        elif body is not None:
            content, headers["content-type"] = json.dumps(body).encode(), "application/json"
        if once is None and self.dies and parts[0] != "BlockAndWaitWorkflow":
            once = uuid.uuid4().hex
        if once is not None:
            headers["idempotency-key"] = once
        path = "/" + "/".join(quote(part, safe="") for part in parts)
        answer = await self.request("POST", path + query, content=content, headers=headers)
        if (
            answer.extensions["in_doubt"]
            and answer.status_code == 409
            and "workflow method was already invoked" in answer.text
        ):
            return await self.request("GET", f"/restate/workflow/{parts[0]}/{quote(parts[1], safe='')}/attach")
        return answer

    async def call(self, *parts: str, body: Any = None, once: str | None = None) -> Any:
        """The value a handler answers with. Fails unless it is answered with 200."""
        answer = await self.post(*parts, body=body, once=once)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.content else None

    async def send(self, *parts: str, body: Any = None, once: str | None = None, delay: str | None = None) -> str:
        """The id of an invocation that was accepted."""
        answer = await self.post(*parts, "send", body=body, once=once, query=f"?delay={delay}" if delay else "")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["invocationId"])

    async def attach(self, id: str) -> httpx.Response:
        return await self.request("GET", f"/restate/invocation/{id}/attach")

    async def output(self, id: str) -> httpx.Response:
        return await self.request("GET", f"/restate/invocation/{id}/output")

    async def until(self, ask: Callable[[], Coroutine[Any, Any, Any]], wanted: Any) -> None:
        """Ask until the answer is the wanted one."""
        deadline = time.monotonic() + PATIENCE_S
        while (answer := await ask()) != wanted:
            assert time.monotonic() < deadline, f"still {answer!r}, not {wanted!r}\n{self.engine.log()}"
            await asyncio.sleep(0.02)

    async def held(self, key: str) -> str:
        """The id of the awakeable that AwakeableHolder holds, as soon as it holds one."""
        await self.until(lambda: self.call("AwakeableHolder", key, "hasAwakeable"), True)
        return str(await self.call("AwakeableHolder", key, "peek"))

    async def unlock(self, key: str, payload: str = "unlocked") -> None:
        await self.held(key)
        await self.call("AwakeableHolder", key, "unlock", body=payload)

    async def resolve(self, id: str, body: bytes, content_type: str = "application/json") -> httpx.Response:
        headers = {"content-type": content_type}
        return await self.request("POST", f"/restate/awakeables/{id}/resolve", content=body, headers=headers)

    @staticmethod
    def proxied(service: str, handler: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """A request for Proxy."""
        message = list(b"" if body is None else json.dumps(body).encode())
        return {"serviceName": service, "handlerName": handler, "message": message, **more}

    def either(self, *, sqlite: Any, restate: Any) -> Any:
        """What this engine answers, where the engines answer differently. The test says why."""
        return sqlite if self.engine.name == "sqlite" else restate

    @staticmethod
    def error(answer: httpx.Response) -> str | None:
        """The stable code of an error: in the body of ours, in the metadata of a failure that came through Restate."""
        told = answer.json()
        found: str | None = told.get("error") or (told.get("metadata") or {}).get("actors.error")
        return found

    async def status(self, id: str) -> str:
        """The status of an invocation, as an operator sees it."""
        if self.engine.name == "sqlite":
            answer = await self.http.get(f"{self.engine.admin}/restate/admin/invocations/{id}")
            assert answer.status_code == 200, answer.text
            return str(answer.json()["status"])
        sql = f"SELECT status, completion_result FROM sys_invocation WHERE id = '{id}'"
        answer = await self.http.post(
            f"{self.engine.admin}/query", json={"query": sql}, headers={"accept": "application/json"}
        )
        assert answer.status_code == 200, answer.text
        (row,) = answer.json()["rows"]
        ended = {"success": "succeeded", "failure": "failed"}.get(row.get("completion_result") or "", "ended")
        return ended if row["status"] == "completed" else str(row["status"])

    async def operate(self, operation: str, id: str) -> None:
        """Cancel, kill or resume an invocation as an operator."""
        if self.engine.name == "sqlite":
            answer = await self.http.post(f"{self.engine.admin}/restate/admin/invocations/{id}/{operation}")
        else:
            answer = await self.http.patch(f"{self.engine.admin}/invocations/{id}/{operation}")
        assert answer.status_code in (200, 202, 204), answer.text
