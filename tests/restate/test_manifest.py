"""The discovery document: kinds, policies and retentions as a restate-server reads them."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Context, Limits, RetryPolicy, Service, VirtualObject, Workflow, handler, shared
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.transport.restate.manifest import MANY, NO_LIMIT, PROTOCOLS, manifest, refused

LIMITS = Limits(suspend_after=5, retention=7, idempotency_retention=9)
RETRY = RetryPolicy(initial_interval=0.25, factor=3, max_interval=4, max_attempts=6)


class Shop(VirtualObject):
    """Sells.

    Things.
    """

    @handler
    async def buy(self, item: str) -> int:
        """Buy one."""
        return 1

    @shared
    async def look(self) -> bytes:
        return b""

    @handler(private=True, retry=RetryPolicy(max_attempts=None, on_exhausted="fail"))
    async def audit(self, ctx: Context) -> None: ...


class Post(Service):
    @handler
    async def send(self) -> None: ...


class Trip(Workflow):
    @handler
    async def go(self, ctx: Context) -> None: ...

    @shared
    async def where(self, ctx: Context) -> None: ...


def catalog(*classes: type) -> Catalog:
    return Catalog({definition_of(cls).name: definition_of(cls) for cls in classes})


def document(version: int = 4, streams: bool = True, limits: Limits = LIMITS) -> dict[str, Any]:
    return manifest(catalog(Shop, Post, Trip), limits, RETRY, version, streams)


def described(service: str, name: str, **options: Any) -> dict[str, Any]:
    (found,) = [one for one in document(**options)["services"] if one["name"] == service]
    (handler,) = [one for one in found["handlers"] if one["name"] == name]
    assert isinstance(handler, dict)
    return handler


@pytest.mark.parametrize(("streams", "mode"), [(True, "BIDI_STREAM"), (False, "REQUEST_RESPONSE")])
def test_the_document_says_how_requests_go(streams: bool, mode: str) -> None:
    found = document(streams=streams)
    assert found["protocolMode"] == mode
    assert (found["minProtocolVersion"], found["maxProtocolVersion"]) == PROTOCOLS


def test_each_class_has_its_kind_and_its_documentation() -> None:
    services = document()["services"]
    kinds = [(one["name"], one["ty"], one.get("documentation")) for one in services]
    assert kinds == [
        ("Shop", "VIRTUAL_OBJECT", "Sells.\n\nThings."),
        ("Post", "SERVICE", None),
        ("Trip", "WORKFLOW", None),
    ]
    assert described("Shop", "buy")["documentation"] == "Buy one."


@pytest.mark.parametrize(
    ("service", "name", "kind"),
    [
        ("Shop", "buy", "EXCLUSIVE"),
        ("Shop", "look", "SHARED"),
        ("Post", "send", None),
        ("Trip", "go", "WORKFLOW"),
        ("Trip", "where", "SHARED"),
    ],
)
def test_each_handler_has_its_kind(service: str, name: str, kind: str | None) -> None:
    assert described(service, name).get("ty") == kind


def test_retentions_are_those_of_the_app() -> None:
    buy, go = described("Shop", "buy"), described("Trip", "go")
    assert (buy["inactivityTimeout"], buy["journalRetention"], buy["idempotencyRetention"]) == (5000, 7000, 9000)
    assert go["workflowCompletionRetention"] == 9000
    assert "idempotencyRetention" not in go and "workflowCompletionRetention" not in buy
    kept = described("Shop", "buy", limits=Limits(retention=None, idempotency_retention=None))
    assert kept["journalRetention"] == kept["idempotencyRetention"] == NO_LIMIT


def test_a_handler_has_its_own_policy_or_the_one_of_the_app() -> None:
    buy, audit = described("Shop", "buy"), described("Shop", "audit")
    policy = {name.removeprefix("retryPolicy"): value for name, value in buy.items() if name.startswith("retryPolicy")}
    assert policy == {
        "InitialInterval": 250,
        "ExponentiationFactor": 3,
        "MaxInterval": 4000,
        "OnMaxAttempts": "PAUSE",
        "MaxAttempts": 6,
    }
    assert audit["retryPolicyOnMaxAttempts"] == "KILL"
    assert audit["retryPolicyMaxAttempts"] == MANY, "without a number the server has a limit of its own"


def test_an_older_document_has_no_policy() -> None:
    assert not [name for name in described("Shop", "buy", version=3) if name.startswith("retryPolicy")]


def test_private_handlers_are_hidden_from_the_ingress() -> None:
    assert described("Shop", "audit")["ingressPrivate"] is True
    assert "ingressPrivate" not in described("Shop", "buy")


def test_the_type_of_a_result_is_that_of_our_ingress() -> None:
    assert described("Shop", "buy")["output"]["contentType"] == "application/json"
    assert described("Shop", "look")["output"]["contentType"] == "application/octet-stream"
    assert described("Post", "send")["output"] == {"setContentTypeIfEmpty": False}


def test_a_policy_that_restate_does_not_have_is_refused() -> None:
    limited = RetryPolicy(max_duration=5)
    assert refused(catalog(Shop, Post), RETRY) == []
    found = refused(catalog(Shop, Post), limited)
    assert [text.partition(":")[0] for text in found] == ["Shop.buy", "Shop.look", "Post.send"]
    assert all("Use max_attempts" in text for text in found)
