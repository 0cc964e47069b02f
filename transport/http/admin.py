"""The admin routes: the command line's operations on invocations, awakeables and state, over HTTP.

Promise: an answer of 200 or 202 is sent only after the change is durable. `access` decides who may use these routes.
"""

from __future__ import annotations

import datetime
import importlib.metadata

import msgspec

from actors.app.gateway import Gateway
from actors.app.listing import statuses_of
from actors.app.overview import as_texts, facts
from actors.doctor.facts import facts as diagnosis
from actors.engine.operating.state_access import StateInfo, with_cleared
from actors.errors import ActorsError, BadArguments
from actors.storage.records import Wanted
from actors.transport.http.replies import Header, Reply, json_reply, refusal, wrong_method
from actors.transport.http.requests import Request
from actors.transport.http.routes import BadRoute
from actors.transport.http.streams import Stream, Streams

CUT_AT = 4096  # characters of a value that a page shows at first
PAGE = 1000  # at most so many rows in one answer
_OPERATIONS = ("cancel", "kill", "pause", "resume", "restart", "purge")
# The content types that a form on any web page can send.
_SIMPLE = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_PRIVATE: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class _Patch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change of state."""

    set: dict[str, msgspec.Raw] = {}
    clear: list[str] = []
    undeclared: bool = False


_patch = msgspec.json.Decoder(_Patch)
_encode = msgspec.json.Encoder(enc_hook=str).encode  # `str` for values of steps without a declared type


class AdminRoutes:
    """The routes below /restate/admin. Bodies use the names of the command line's --json; errors look as in the ingress."""

    def __init__(self, gateway: Gateway, streams: Streams) -> None:
        self._gateway = gateway
        self._operators = gateway.operators
        self._streams = streams

    async def reply(self, request: Request, segments: tuple[str, ...]) -> Reply | Stream:
        """Raises BadRoute or TerminalError."""
        if segments == ("whoami",):  # answers also when the app has stopped, and says why
            answer = wrong_method(request.method, "GET") or self._whoami(request)
            answer.headers += _PRIVATE
            return answer
        self._gateway.check_running()
        match segments:
            case ("events",):
                return wrong_method(request.method, "GET") or self._events(request)
            case ("overview",):
                answer = wrong_method(request.method, "GET") or await self._overview(request)
            case ("invocations", id, "family"):
                answer = wrong_method(request.method, "GET") or await self._family(request, id)
            case ("invocations",):
                answer = wrong_method(request.method, "GET") or await self._list(request)
            case ("invocations", id):
                answer = wrong_method(request.method, "GET") or await self._show(request, id)
            case ("invocations", id, operation) if operation in _OPERATIONS:
                answer = wrong_method(request.method, "POST") or await self._operate(request, id, operation)
            case ("awakeables",):
                answer = wrong_method(request.method, "GET") or await self._awakeables(request)
            case ("doctor",):
                answer = wrong_method(request.method, "GET") or await self._doctor(request)
            case ("trouble",):
                answer = wrong_method(request.method, "GET") or await self._trouble(request)
            case ("state", service, key):
                answer = wrong_method(request.method, "GET", "PATCH") or await self._state(request, service, key)
            case _:
                raise BadRoute(404, "unknown_path", "Not found.")
        answer.headers += _PRIVATE
        return answer

    def _whoami(self, request: Request) -> Reply:
        request.query()
        stopped = self._operators.why_stopped()
        running = self._gateway.running()
        return json_reply(
            200,
            {
                "app": self._gateway.database(),
                "version": importlib.metadata.version("virtual-actors"),
                "prefix": request.prefix,
                "running": running,
                "stopped": None
                if running or stopped is None
                else {
                    "error": stopped.error if isinstance(stopped, ActorsError) else "internal_error",
                    "message": str(stopped),
                },
            },
        )

    async def _overview(self, request: Request) -> Reply:
        request.query()
        return json_reply(200, await self._operators.situation().facts())

    def _events(self, request: Request) -> Stream:
        asked = request.query("topics")
        names = [name for value in asked.get("topics", ()) for name in value.split(",") if name]
        return Stream(self._streams, self._operators.watched(names))

    async def _family(self, request: Request, id: str) -> Reply:
        request.query()
        return json_reply(200, await self._operators.family(id))

    async def _list(self, request: Request) -> Reply:
        asked = request.query(
            *("service", "key", "handler", "status", "limit", "before", "error", "text", "from", "to", "roots"),
            several=("status",),
        )
        limit = _number(asked, "limit", 100, 1, PAGE)
        statuses = [name for value in asked.get("status", ()) for name in value.split(",")]
        wanted = Wanted(
            _one(asked, "service"),
            _one(asked, "key"),
            _one(asked, "handler"),
            tuple(statuses_of(statuses or None)),
            _one(asked, "error"),
            _one(asked, "text"),
            _instant(asked, "from"),
            _instant(asked, "to"),
            bool(_number(asked, "roots", 0, 0, 1)),
        )
        before = _one(asked, "before")
        if wanted.needs_search():
            part = await self._operators.search(wanted, before, limit)
            shown = [facts(info) for info in part.invocations]
            return json_reply(200, {"invocations": shown, "before": part.before, "searched_to": part.searched_to})
        found = await self._operators.invocations(
            service=wanted.service,
            key=wanted.key,
            handler=wanted.handler,
            status=statuses or None,
            limit=limit + 1,
            before=before,
        )
        more = found[limit - 1].id if len(found) > limit else None
        return json_reply(200, {"invocations": [facts(info) for info in found[:limit]], "before": more})

    async def _show(self, request: Request, id: str) -> Reply:
        asked = request.query("after", "limit", "values")
        limit = _number(asked, "limit", PAGE, 1, PAGE)
        after = _number(asked, "after", -1, -1, 2**31)
        values = _one(asked, "values") or "json"
        if values not in ("json", "text", "whole"):
            raise BadArguments(
                f"values={values[:40]!r} is not valid. Use json, text (each cut) or whole (text, uncut)."
            )
        found = await self._operators.overview(id, after, limit)
        if values != "json":
            found = as_texts(found, cut_at=CUT_AT if values == "text" else None)
        return Reply(200, _encode(found), json_reply(200, None).headers)

    async def _operate(self, request: Request, id: str, operation: str) -> Reply:
        if refused := _from_a_form(request):
            return refused
        if await request.body(self._gateway.max_payload):
            raise BadArguments(f"{operation} takes no body. Pass its options in the query.")
        asked = request.query(*(["keep"] if operation == "restart" else []))
        if operation == "restart":
            restarted = await self._operators.restart(id, keep=_number(asked, "keep", 0, 0, 2**31))
            return json_reply(200, {"id": restarted, "restarted_from": id})
        await self._operators.operate(operation, id)
        return json_reply(202 if operation == "cancel" else 200, {"id": id})

    async def _awakeables(self, request: Request) -> Reply:
        asked = request.query("service", "key", "handler", "limit", "after")
        limit = _number(asked, "limit", 100, 1, PAGE)
        found = await self._operators.awakeables(
            limit + 1,
            service=_one(asked, "service"),
            key=_one(asked, "key"),
            handler=_one(asked, "handler"),
            after=_one(asked, "after"),
        )
        told = {"awakeables": found[:limit], "more": len(found) > limit}
        if len(found) > limit:
            told["after"] = found[limit - 1].id
        return json_reply(200, told)

    async def _doctor(self, request: Request) -> Reply:
        asked = request.query("service", "key", "id")
        service, key, id = (_one(asked, name) for name in ("service", "key", "id"))
        if id is not None and service is None and key is None:
            found = await self._operators.doctor_of(id)
        elif id is None and service and key:
            found = await self._operators.doctor(service, key)
        else:
            raise BadArguments("Name an object with service= and key=, or an invocation with id=.")
        return json_reply(200, diagnosis(found, self._operators.ids()))

    async def _trouble(self, request: Request) -> Reply:
        older_s = _number(request.query("older"), "older", 60, 0, 10**9)
        return json_reply(200, diagnosis(await self._operators.trouble(older_s * 1000), self._operators.ids()))

    async def _state(self, request: Request, service: str, key: str) -> Reply:
        request.query()
        definition = self._operators.stateful(service)
        if request.method == "GET":
            return _state_reply(await self._operators.state(definition, key))
        if request.content_type not in ("application/json", "application/merge-patch+json"):
            return _wrong_type("Send a change of state as application/json.")
        try:
            body = _patch.decode(await request.body(self._gateway.max_payload))
            texts = {name: bytes(raw).decode() for name, raw in body.set.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(
                f'The body must be {{"set": {{name: value}}, "clear": [name], "undeclared": false}}: {error}.'
            ) from None
        tag = request.header(b"if-match")
        if tag is not None:
            tag = tag.strip().strip('"')
        changes = with_cleared({**texts}, body.clear)
        return _state_reply(await self._operators.patch_state(definition, key, changes, tag, body.undeclared))


def _state_reply(info: StateInfo) -> Reply:
    told = {
        "service": info.service,
        "key": info.key,
        "version": info.version,
        "state": {name: msgspec.Raw(text.encode()) for name, text in info.texts.items()},
        "tag": info.tag,
    }
    return json_reply(200, told, (b"etag", f'"{info.tag}"'.encode()))


def _from_a_form(request: Request) -> Reply | None:
    if request.content_type not in _SIMPLE:
        return None
    return _wrong_type(f"Any web page can send {request.content_type}. Send no content-type, or application/json.")


def _wrong_type(message: str) -> Reply:
    return refusal(415, "wrong_content_type", message)


def _one(asked: dict[str, list[str]], name: str) -> str | None:
    return asked[name][0] if name in asked else None


def _instant(asked: dict[str, list[str]], name: str) -> int | None:
    """Milliseconds since the epoch of an instant in ISO 8601."""
    text = _one(asked, name)
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadArguments(
            f"{name}={text[:40]!r} is not a valid instant. Write it with its zone: 2026-01-31T12:00:00Z."
        )
    return int(found.timestamp() * 1000)


def _number(asked: dict[str, list[str]], name: str, default: int, low: int, high: int) -> int:
    text = _one(asked, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high):
        raise BadArguments(f"{name}={text[:40]!r} is not a whole number from {max(low, 0)} to {high:,}.")
    return int(text)
