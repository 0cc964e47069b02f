"""The routes of an app as an OpenAPI 3.1 document."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import msgspec

from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.transport.http.json_schemas import JsonSchemas, Schema

_KEY = {
    "name": "key",
    "in": "path",
    "required": True,
    "description": "The key of the object, percent-encoded: `a/b` is `a%2Fb`.",
    "schema": {"type": "string", "minLength": 1, "pattern": "^[^\\x00\\x01][^\\x00]*$"},
}
_IDEMPOTENCY_KEY = {
    "name": "idempotency-key",
    "in": "header",
    "description": "Requests with the same key are one invocation: the second gets the outcome of the first.",
    "schema": {"type": "string", "pattern": "^[!-?A-~]([ -~]{0,198}[!-~])?$"},
}
_DELAY = {
    "name": "delay",
    "in": "query",
    "description": "When the handler starts: `5s`, `100ms`, `1h5m`, `PT5S`; a bare number means milliseconds.",
    "schema": {
        "type": "string",
        "pattern": "^([0-9]{1,12}|([0-9]{1,5}(ms|s|m|h|d)){1,4}|PT[0-9]{1,9}S)$",
        "examples": ["5s", "PT5S", "1h5m"],
    },
}
_INVOCATION_ID = {"description": "The id of the invocation.", "schema": {"type": "string"}}
_EXPIRES = {
    "description": "How long the outcome of a request with an idempotency key is kept.",
    "schema": {"type": "string", "format": "date-time"},
}
_RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}

_COMPONENTS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "description": "The error, and where it arose: before the invocation was accepted (`ingress`), or in the invocation.",
        "required": ["code", "message", "source", "error"],
        "properties": {
            "code": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The status."},
            "message": {"type": "string", "description": "What went wrong, and what to do about it."},
            "source": {"enum": ["ingress", "invocation"]},
            "error": {"type": "string", "description": "A stable code.", "examples": ["bad_arguments"]},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
    "Accepted": {
        "type": "object",
        "required": ["invocationId", "status"],
        "properties": {
            "invocationId": {"type": "string"},
            "status": {"enum": ["Accepted", "PreviouslyAccepted"]},
            "executionTime": {
                "type": "string",
                "format": "date-time",
                "description": "For a delayed message: when it is due.",
            },
        },
    },
    "Health": {
        "type": "object",
        "required": ["status", "services"],
        "properties": {
            "status": {"enum": ["ok", "not running"]},
            "services": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "kind", "handlers"],
                    "properties": {
                        "name": {"type": "string"},
                        "kind": {"enum": ["object", "service", "workflow"]},
                        "handlers": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    },
}
_REASONS = {
    "400": "The path, the key, the body or an id is not valid; the message says why.",
    "401": "The token is missing or not valid.",
    "404": "Nothing is stored under this id or key.",
    "408": "The body did not arrive in time.",
    "409": "The request contradicts an earlier request; or the invocation was cancelled, killed, or would deadlock.",
    "413": "The body is larger than the app allows.",
    "422": "The idempotency key, or the key of the workflow's run, was used with other arguments.",
    "429": "The app, or the mailbox of this object, is full. Nothing was accepted.",
    "470": "The invocation has no outcome yet.",
    "500": "The handler failed permanently.",
    "503": "The app is not running, or its database is not available.",
    "4XX": "The handler failed with this code.",
    "5XX": "The handler failed with this code.",
}
_REQUEST = ("400", "408", "413", "429", "503")
_OUTCOME = ("409", "500", "4XX", "5XX")


class OpenApi:
    """The document of one app: computed on first use, then kept as JSON."""

    def __init__(self, services: Iterable[ServiceDefinition], guarded: bool) -> None:
        self._services = services
        self._guarded = guarded
        self._rest: bytes | None = None

    def document(self, prefix: str = "") -> bytes:
        """The document as JSON, for an app that is mounted below `prefix` (percent-decoded)."""
        if self._rest is None:
            # The URL of the server depends on the request, so it goes before the part that is kept.
            self._rest = b"," + msgspec.json.encode(_described(list(self._services), self._guarded))[1:]
        servers = [{"url": quote(prefix.rstrip("/"), safe="/~:@!$&'()*+,;=") or "/"}]
        return b'{"openapi":"3.1.0","servers":' + msgspec.json.encode(servers) + self._rest


def _described(services: list[ServiceDefinition], guarded: bool) -> dict[str, Any]:
    handlers = [one for service in services for one in service.handlers.values() if not one.private]
    schemas = JsonSchemas(
        [codec.type for one in handlers for codec in (*one.codecs, one.returns)], taken=_COMPONENTS.keys()
    )
    paths: dict[str, Any] = {}
    for one in handlers:
        paths.update(_paths(one, schemas))
    paths.update(_fixed_paths())
    shown = {one.service.name for one in handlers}
    tags = [{"name": service.name, "description": _tag_text(service)} for service in services if service.name in shown]
    tags += [
        {"name": "Invocations", "description": "The outcome of an invocation."},
        {"name": "Awakeables", "description": "Complete awakeables that handlers wait for."},
        {"name": "Server", "description": "Health."},
    ]
    document: dict[str, Any] = {
        "info": {
            "title": ", ".join(sorted(shown)) or "actors",
            "version": _version(),
            "description": "Durable virtual objects over HTTP. Handlers are also at `/restate/call/...` and "
            "`/restate/send/...`. An answer of 200 or 202 means that the request is durable.",
        },
        "tags": tags,
        "paths": paths,
        "components": {"schemas": {**_COMPONENTS, **schemas.components}},
    }
    if guarded:
        _guard(document)
    return document


def _guard(document: dict[str, Any]) -> None:
    """Add to the document that all routes except health require a token."""
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path == "/restate/health":
                operation["security"] = []
            elif isinstance(operation, dict):  # not the parameters that all operations share
                operation["responses"].update(_errors("401"))


def _version() -> str:
    metadata = importlib.import_module("importlib.metadata")  # takes as long to load as all of the HTTP layer
    try:
        return str(metadata.version("virtual-actors"))
    except metadata.PackageNotFoundError:  # run from a checkout, without having been installed
        return "0"


def _tag_text(service: ServiceDefinition) -> str:
    kind = {"object": "A keyed object.", "service": "A service without keys.", "workflow": "A workflow."}[service.kind]
    return "\n\n".join(filter(None, (inspect.cleandoc(service.cls.__doc__ or ""), kind)))


# --- handlers -----------------------------------------------------------------------------------------------------------------


def _paths(target: HandlerDefinition, schemas: JsonSchemas) -> dict[str, Any]:
    service = target.service
    keyless = service.kind == "service"
    path = f"/{quote(service.name)}/{'' if keyless else '{key}/'}{quote(target.name)}"
    text = inspect.cleandoc(target.function.__doc__ or "")
    summary, _, rest = text.partition("\n\n")
    body = _body(target, schemas)
    parameters = [*([] if keyless else [_KEY]), _IDEMPOTENCY_KEY]

    def operation(act: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "tags": [service.name],
            # Names do not contain a slash, so these ids are unique.
            "operationId": f"{service.name}/{target.name}" + (f"/{act}" if act != "call" else ""),
            "summary": " ".join(summary.split()) or f"{service.name}.{target.name}",
            "parameters": parameters,
            **more,
            "x-actors": {
                "service": service.name,
                "handler": target.name,
                "kind": service.kind,
                "shared": target.shared,
                "act": act,
            },
        }
        if rest:
            found["description"] = rest.strip()
        if body is not None and act != "get":
            found["requestBody"] = body
        return found

    answers = {"200": _value(target, schemas), **_errors(*_REQUEST, "422", *_OUTCOME)}
    sent = {
        "202": {
            "description": "The message is accepted and durable.",
            "headers": {"x-restate-id": _INVOCATION_ID},
            "content": _json({"$ref": "#/components/schemas/Accepted"}),
        },
        # A send does not wait for the outcome, so it does not fail with it; a 500 here would be an internal error.
        **_errors(*_REQUEST, "422", "500"),
    }
    found = {
        path: {"post": operation("call", responses=answers)},
        f"{path}/send": {"post": operation("send", parameters=[*parameters, _DELAY], responses=sent)},
    }
    if target.shared and (body is None or not body["required"]):
        found[path]["get"] = operation("get", responses=answers)
    return found


def _body(target: HandlerDefinition, schemas: JsonSchemas) -> dict[str, Any] | None:
    if target.arity == 0:
        return None
    defaults = [parameter.default for parameter in target._signature.parameters.values()]
    needed = [name for name, default in zip(target.names, defaults, strict=True) if default is inspect.Parameter.empty]
    if target.arity == 1 and target.codecs[0].type is bytes:
        return {"required": False, "content": {"application/octet-stream": {"schema": {}}}}
    values: list[Schema] = []
    for codec, default in zip(target.codecs, defaults, strict=True):
        schema = schemas.of(codec.type)
        if default is not inspect.Parameter.empty:
            schema["default"] = msgspec.json.decode(codec.encode(default))
        values.append(schema)
    if target.arity == 1:
        return {"required": bool(needed), "content": _json(values[0])}
    arguments = {
        "anyOf": [
            {
                "title": "By name",
                "type": "object",
                "properties": dict(zip(target.names, values, strict=True)),
                "required": needed,
                "additionalProperties": False,
            },
            {
                "title": "In order",
                "type": "array",
                "prefixItems": values,
                "items": False,
                "minItems": len(needed),
                "maxItems": target.arity,
            },
        ]
    }
    return {"required": bool(needed), "content": _json(arguments)}


def _value(target: HandlerDefinition, schemas: JsonSchemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": "The value that the handler returned.",
        "headers": {"x-restate-id": _INVOCATION_ID, "idempotency-expires": _EXPIRES},
    }
    declared = target.returns.type
    if declared is bytes:
        found["content"] = {"application/octet-stream": {"schema": {}}}
    elif declared in (None, type(None)):
        found["description"] = "The handler has ended. It returns no value, so the body is empty."
    else:
        found["content"] = _json(schemas.of(declared))
    return found


# --- routes that are the same for every app ---------------------------------------------------------------------------------


def _fixed_paths() -> dict[str, Any]:
    outcome = {
        "200": {
            "description": "The value that the handler returned; an empty body if it returns no value.",
            "headers": {"x-restate-id": _INVOCATION_ID, "idempotency-expires": _EXPIRES},
            "content": {"application/json": {"schema": {}}, "application/octet-stream": {"schema": {}}},
        },
        **_errors("400", "404", "503", *_OUTCOME),
    }
    found: dict[str, Any] = {}
    for name, path, places in (
        ("invocation", "/restate/invocation/{id}", ("id",)),
        (
            "byKey",
            "/restate/invocation/{service}/{key}/{handler}/{idempotencyKey}",
            ("service", "key", "handler", "idempotencyKey"),
        ),
        (
            "ofService",
            "/restate/invocation/{service}/{handler}/{idempotencyKey}",
            ("service", "handler", "idempotencyKey"),
        ),
        ("workflow", "/restate/workflow/{workflow}/{key}", ("workflow", "key")),
    ):
        parameters = [_path_parameter(place) for place in places]
        for end, summary in (("attach", "Wait for the outcome"), ("output", "Read the outcome, if there is one")):
            found[f"{path}/{end}"] = {
                "get": {
                    "tags": ["Invocations"],
                    "operationId": f"{name}/{end}",
                    "summary": summary,
                    "parameters": parameters,
                    "responses": outcome if end == "attach" else {**outcome, **_errors("470")},
                }
            }
    done = {"202": {"description": "The awakeable is completed, durably; also if the same completion was sent before."}}
    for end, summary, content in (
        ("resolve", "Complete an awakeable with a value", {**_json({}), "application/octet-stream": {"schema": {}}}),
        ("reject", "Reject an awakeable: its handler fails", {"text/plain": {"schema": {"type": "string"}}}),
    ):
        found[f"/restate/awakeables/{{id}}/{end}"] = {
            "post": {
                "tags": ["Awakeables"],
                "operationId": f"awakeable/{end}",
                "summary": summary,
                "parameters": [_path_parameter("id")],
                "requestBody": {"required": False, "content": content},
                "responses": {**done, **_errors("400", "404", "408", "409", "413", "503")},
            }
        }
    health = _json({"$ref": "#/components/schemas/Health"})
    found["/restate/health"] = {
        "get": {
            "tags": ["Server"],
            "operationId": "health",
            "summary": "Whether the app runs, and what it serves",
            "responses": {
                "200": {"description": "It runs.", "content": health},
                "503": {"description": "The app is not running.", "content": health},
            },
        }
    }
    return found


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _errors(*statuses: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in statuses:
        found[status] = {
            "description": _REASONS[status],
            "content": _json({"$ref": "#/components/schemas/Error"}),
        }
        if status in ("429", "503"):
            found[status]["headers"] = {"retry-after": _RETRY_AFTER}
    return found
