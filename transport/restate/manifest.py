"""The discovery document, which describes the classes of an app to a restate-server. Pure."""

from __future__ import annotations

import inspect
from typing import Any

from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.limits import Limits
from actors.model.retry import RetryPolicy

_KINDS = {"object": "VIRTUAL_OBJECT", "service": "SERVICE", "workflow": "WORKFLOW"}
PROTOCOLS = (5, 7)  # of invocations: the oldest and the newest that the machine may be asked to speak
VERSIONS = (4, 3)  # of the document, the newest first
MANY = 2**31 - 1  # attempts
NO_LIMIT = 100 * 365 * 86_400_000  # ms


def manifest(catalog: Catalog, limits: Limits, retry: RetryPolicy, version: int, streams: bool) -> dict[str, Any]:
    """The document in one of VERSIONS. With `streams` a request and its response go both ways at once (HTTP/2)."""
    return {
        "protocolMode": "BIDI_STREAM" if streams else "REQUEST_RESPONSE",
        "minProtocolVersion": PROTOCOLS[0],
        "maxProtocolVersion": PROTOCOLS[1],
        "services": [_service(service, limits, retry, version) for service in catalog.services.values()],
    }


def _service(service: ServiceDefinition, limits: Limits, retry: RetryPolicy, version: int) -> dict[str, Any]:
    handlers = [_handler(handler, limits, handler.retry or retry, version) for handler in service.handlers.values()]
    described = {"name": service.name, "ty": _KINDS[service.kind], "handlers": handlers}
    own = service.cls.__dict__.get("__doc__")
    if own:
        described["documentation"] = inspect.cleandoc(own)
    return described


def _handler(handler: HandlerDefinition, limits: Limits, retry: RetryPolicy, version: int) -> dict[str, Any]:
    kind = handler.service.kind
    described: dict[str, Any] = {
        "name": handler.name,
        # What a body may be is decided where the types of the handler are known.
        "input": {"required": False, "contentType": "*/*"},
        "output": _output(handler),
        "inactivityTimeout": limits.suspend_after_ms,
        "journalRetention": _kept(limits.retention_ms),
    }
    if kind != "service":
        described["ty"] = "SHARED" if handler.shared else "WORKFLOW" if kind == "workflow" else "EXCLUSIVE"
    retention = "workflowCompletionRetention" if handler.once else "idempotencyRetention"
    described[retention] = _kept(limits.idempotency_retention_ms)
    if handler.function.__doc__:
        described["documentation"] = inspect.cleandoc(handler.function.__doc__)
    if handler.private:
        described["ingressPrivate"] = True
    if version >= 4:
        described |= {
            "retryPolicyInitialInterval": round(retry.initial_interval * 1000),
            "retryPolicyExponentiationFactor": retry.factor,
            "retryPolicyMaxInterval": round(retry.max_interval * 1000),
            "retryPolicyOnMaxAttempts": "PAUSE" if retry.on_exhausted == "pause" else "KILL",
        }
        # Without a number the server has a limit of its own.
        described["retryPolicyMaxAttempts"] = retry.max_attempts if retry.max_attempts is not None else MANY
    return described


def _output(handler: HandlerDefinition) -> dict[str, Any]:
    returns = handler.returns.type
    if returns in (None, type(None)):
        return {"setContentTypeIfEmpty": False}
    kind = "application/octet-stream" if returns is bytes else "application/json"
    return {"contentType": kind, "setContentTypeIfEmpty": False}


def _kept(retention_ms: int | None) -> int:
    return NO_LIMIT if retention_ms is None else retention_ms


def refused(catalog: Catalog, retry: RetryPolicy) -> list[str]:
    """What these classes ask for that Restate cannot give, each with what to do."""
    found = []
    for service in catalog.services.values():
        for handler in service.handlers.values():
            policy = handler.retry or retry
            if policy.max_duration is not None:
                found.append(
                    f"{handler.target}: RetryPolicy(max_duration=...) is not supported on Restate. Use max_attempts."
                )
    return found
