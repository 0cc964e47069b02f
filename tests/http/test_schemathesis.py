"""Schemathesis reads our OpenAPI document and asks whatever it can think of: no 5xx, and every answer as described."""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import CheckFunction
from schemathesis.openapi import checks as _checks  # noqa: F401  registers them
from schemathesis.specs.openapi import checks

from actors import App, Context, Service, VirtualObject, Workflow, handler, shared
from actors.transport.http.openapi import OpenApi
from tests.http.served_in_thread import serving

# What does not hold here: GET is possible where the document tells of POST only, and formats (dates, numbers as text) and
# ids describe more than is accepted, or less.
LEFT_OUT: list[CheckFunction] = [
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.positive_data_acceptance,
    checks.negative_data_rejection,
]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    sku: Annotated[str, msgspec.Meta(max_length=20)]
    price: Decimal
    colours: set[Colour]
    at: datetime.datetime | None = None


class Customer(pydantic.BaseModel):
    name: str
    born: datetime.date | None = None
    friends: list[Customer] = []


class Order(VirtualObject):
    lines: list[Line] = []
    customer: Customer | None = None

    @handler
    async def add(self, line: Line, times: Annotated[int, msgspec.Meta(ge=0, le=3)] = 1) -> int:
        self.lines = ([*self.lines, *[line] * times])[-3:]
        return len(self.lines)

    @handler
    async def assign(self, customer: Customer) -> Customer:
        self.customer = customer
        return customer

    @shared
    async def peek(self) -> list[Line]:
        return self.lines

    @handler
    async def clear(self) -> None:
        self.lines = []


class Tools(Service):
    @handler
    async def flip(self, data: bytes) -> bytes:
        return data[::-1]

    @handler
    async def echo(self, value: Any) -> Any:
        return value

    @handler
    async def pair(self, both: tuple[int, str], share: float = 0.5) -> list[int | str]:
        return [*both]  # no tuple: what schemathesis makes of prefixItems in an answer it then cannot read itself


class Flow(Workflow):
    @handler
    async def run(self, ctx: Context, name: str) -> str:
        return name


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(App(Order, Tools, Flow, storage="sqlite://")) as url:
        yield url


schema = schemathesis.openapi.from_dict(
    json.loads(OpenApi([cls.__actors__ for cls in (Order, Tools, Flow)], guarded=False).document())
)


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_request_is_answered_with_5xx_or_otherwise_than_described(url: str, case: Case[Any]) -> None:
    case.call_and_validate(url, excluded_checks=LEFT_OUT, timeout=10)
