"""Requests of operators: to the admin API of a restate-server, and to an endpoint for its discovery document.

Promise: every failure is an ActorsError with the server's own text, or with the URL that did not answer and what to do.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from actors.errors import ActorsError, ServerUnreachable
from actors.transport.restate.manifest import VERSIONS

try:
    import httpx
except ModuleNotFoundError as missing:
    if missing.name != "httpx":
        raise
    raise ModuleNotFoundError(
        "This command requires httpx. Install it: pip install 'virtual-actors[restate]'", name="httpx"
    ) from None

TIMEOUT_S = 60.0  # the server calls the endpoint meanwhile
STARTING_S = 10.0  # how long a server that has started may have no leader for a partition
LOOK_EVERY_S = 0.1
# It does not know yet which of its partitions it leads, or has not opened them.
_STARTING = ("node lookup for partition", "expecting a partition store", "doesn't exist on this node", "not leader")
OLDEST = (1, 5)  # the first release that reads the discovery document with retry policies

_OPEN = (
    "SELECT coalesce(pinned_deployment_id, last_attempt_deployment_id) AS deployment, target_service_name AS service, "
    "count(*) AS invocations FROM sys_invocation WHERE status != 'completed' GROUP BY 1, 2"
)
_CHANGING = ("deployment_id", "revision")


@dataclass(frozen=True, slots=True)
class Registered:
    """What the server answers to a registration: `new` unless it knew the URL. `services` are the classes by name, as the server
    describes them, without what changes with each registration."""

    id: str
    new: bool
    services: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A release at its URL. `current` are the classes whose new invocations come to it; `open` counts invocations that end on it."""

    id: str
    url: str
    created: str
    services: tuple[str, ...]
    current: tuple[str, ...]
    open: int


@dataclass(frozen=True, slots=True)
class Operated:
    """What the server answers to an operation on an invocation: done, requested (it is done in a moment) or "refused", with the
    server's text. `restarted` is the id of a new invocation."""

    status: Literal["done", "requested", "refused"]
    text: str = ""
    restarted: str | None = None


class Admin:
    """The admin API at `url`: `async with Admin("http://localhost:9070") as admin`. `transport` (of httpx) is a seam."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(transport=transport, trust_env=False, timeout=TIMEOUT_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def check(self) -> str:
        """The version of the server. Raises ActorsError if no restate-server answers, or if its release is too old."""
        answer = await self._answer("GET", "/version")
        body = _object(answer)
        version = body.get("version") if answer.status_code == 200 else None
        if not isinstance(version, str) or "min_admin_api_version" not in body:
            raise ActorsError(
                f"{self.url} is not the admin API of a restate-server. Name the URL of its admin API, usually port 9070, with "
                "--restate; callers use another port."
            )
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if numbers < OLDEST:
            raise ActorsError(f"restate-server {version} at {self.url} is not supported. Install 1.5 or newer.")
        return version

    async def register(
        self, url: str, *, http1: bool = False, force: bool = False, breaking: bool = False, dry_run: bool = False
    ) -> Registered:
        """Let the server discover the endpoint at `url`. A known URL is not looked at again without `force`."""
        request = {"uri": url, "use_http_11": http1, "force": force, "breaking": breaking, "dry_run": dry_run}
        answer = await self._answer("POST", "/deployments", request)
        body = _object(self._done(answer))
        return Registered(body["id"], answer.status_code == 201, {one["name"]: _plain(one) for one in body["services"]})

    async def services(self) -> dict[str, Any]:
        """The classes by name as their current releases describe them, with their handlers by name."""
        listed = _object(self._done(await self._answer("GET", "/services")))["services"]
        return {one["name"]: one | {"handlers": _handlers(one)} for one in listed}

    async def deployments(self) -> list[Deployment]:
        """All releases that the server knows, the oldest first."""
        listed = _object(self._done(await self._answer("GET", "/deployments")))["deployments"]
        current = {name: service["deployment_id"] for name, service in (await self.services()).items()}
        opened: dict[str, int] = {}
        for row in await self.query(_OPEN):
            # An invocation that has not begun goes to the current release.
            id = row.get("deployment") or current.get(row["service"], "")
            opened[id] = opened.get(id, 0) + row["invocations"]
        found = [_deployment(one, current, opened) for one in listed]
        return sorted(found, key=lambda one: one.created)

    async def streams(self, id: str) -> bool | None:
        """Whether the server asks a deployment over HTTP/2, both ways at once. None if it does not say."""
        body = _object(self._done(await self._answer("GET", f"/deployments/{quote(id, safe='')}")))
        return {"BidiStream": True, "RequestResponse": False}.get(str(body.get("protocol_type")))

    async def remove(self, id: str) -> None:
        """Remove a deployment, with the classes that are not served by another deployment."""
        self._done(await self._answer("DELETE", f"/deployments/{quote(id, safe='')}?force=true"))

    async def kill(self, invocation_id: str) -> None:
        """End an invocation, if it is open."""
        answer = await self._answer("PATCH", f"/invocations/{quote(invocation_id, safe='')}/kill")
        if answer.status_code not in (404, 409):
            self._done(answer)

    async def operate(self, operation: str, id: str) -> Operated:
        """Cancel, kill, pause, resume, restart or purge an invocation. Raises ServerUnreachable."""
        path = "restart-as-new" if operation == "restart" else operation
        answer = await self._answer("PATCH", f"/invocations/{quote(id, safe='')}/{path}")
        if not answer.is_success:
            return Operated("refused", _text(answer))
        status: Literal["done", "requested"] = "requested" if answer.status_code == 202 else "done"
        return Operated(status, restarted=_object(answer).get("new_invocation_id"))

    async def clear_state(self, service: str, key: str) -> None:
        """Remove the state of an object."""
        change = {"object_key": key, "new_state": {}}
        self._done(await self._answer("POST", f"/services/{quote(service, safe='')}/state", change))

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query. A column that is null in a row is left out."""
        rows: list[dict[str, Any]] = _object(self._done(await self._answer("POST", "/query", {"query": sql})))["rows"]
        return rows

    async def _answer(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Ask until the server has started: what it refuses before, it has not begun."""
        deadline = time.monotonic() + STARTING_S
        while True:
            answer = await self._sent(method, path, body)
            starting = not answer.is_success and any(text in answer.text for text in _STARTING)
            if not starting or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(LOOK_EVERY_S)

    async def _sent(self, method: str, path: str, body: Any) -> httpx.Response:
        try:
            return await self._http.request(method, self.url + path, json=body, headers={"accept": "application/json"})
        except httpx.TransportError as error:
            raise ServerUnreachable(
                f"No restate-server answers at {self.url} ({_said(error)}). Start it, or name the URL of its admin API with "
                "--restate."
            ) from None

    def _done(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        raise ActorsError(f"The restate-server at {self.url} refuses it ({answer.status_code}): {_text(answer)}")


async def discovered(url: str, transport: httpx.AsyncBaseTransport | None = None) -> dict[str, Any] | None:
    """The newest discovery document of the endpoint at `url`; None if it answers signed requests only. Raises ActorsError."""
    kind = f"application/vnd.restate.endpointmanifest.v{VERSIONS[0]}+json"
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=TIMEOUT_S) as http:
        try:
            answer = await http.get(f"{url.rstrip('/')}/discover", headers={"accept": kind})
        except httpx.TransportError as error:
            raise ServerUnreachable(
                f"No endpoint answers at {url} ({_said(error)}). Start it: actors restate serve MODULE:APP, or correct --at."
            ) from None
    if answer.status_code == 401:
        return None
    document = _object(answer) if answer.headers.get("content-type", "").startswith(kind) else {}
    if answer.status_code != 200 or not isinstance(document.get("services"), list):
        raise ActorsError(
            f"{url} answers, but not as an endpoint of this release ({answer.status_code}). Start the endpoint there: actors "
            "restate serve MODULE:APP, or correct --at."
        )
    return document


def _deployment(listed: dict[str, Any], current: dict[str, str], opened: dict[str, int]) -> Deployment:
    id, services = listed["id"], sorted(service["name"] for service in listed["services"])
    return Deployment(
        id,
        str(listed.get("uri") or listed.get("arn") or ""),
        str(listed.get("created_at", "")),
        tuple(services),
        tuple(name for name in services if current.get(name) == id),
        opened.get(id, 0),
    )


def _plain(service: dict[str, Any]) -> dict[str, Any]:
    """A class as the server describes it, without what changes with each registration."""
    return {name: value for name, value in service.items() if name not in _CHANGING} | {"handlers": _handlers(service)}


def _handlers(service: dict[str, Any]) -> dict[str, Any]:
    return {handler["name"]: handler for handler in service.get("handlers", [])}


def _object(answer: httpx.Response) -> dict[str, Any]:
    """The body, if it is a JSON object; otherwise an empty dict."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(answer: httpx.Response) -> str:
    """What the server says about a failure."""
    try:
        return str(answer.json()["message"])
    except (ValueError, LookupError, TypeError):
        return answer.text.strip() or answer.reason_phrase


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
