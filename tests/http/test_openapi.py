"""The OpenAPI document, from the classes' types, and the page beside it."""

from __future__ import annotations

import datetime
import enum
import re
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import jsonschema_rs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import App, Context, Service, VirtualObject, Workflow, handler, shared
from actors.errors import DefinitionError
from actors.http_options import HttpOptions
from actors.serde import codec_for
from actors.transport.http.json_schemas import JsonSchemas
from actors.transport.http.openapi import OpenApi
from tests.http.asgi import ask
from tests.unit import example_types


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Stamp:
    at: datetime.datetime
    maybe: datetime.datetime | None = None
    several: list[datetime.datetime] = field(default_factory=list)


class Holder(pydantic.BaseModel):
    user: example_types.User
    boss: example_types.StrictUser | None = None


class Order(VirtualObject):
    """One order.

    It is kept for ever.
    """

    lines: list[str] = []

    @handler
    async def add(self, item: str, price: Decimal = Decimal("1.5")) -> int:
        """Add an item.

        The answer is the number of lines.
        """
        return len(self.lines)

    @handler
    async def stamp(self, ctx: Context, when: Stamp) -> None: ...

    @shared
    async def peek(self, user: example_types.User | None = None) -> Holder:
        raise NotImplementedError

    @handler(private=True)
    async def inner(self) -> None: ...


class Tools(Service):
    @handler
    async def flip(self, data: bytes) -> bytes:
        return data


class Hidden(Service, private=True):
    @handler
    async def tell(self) -> None: ...


class Flow(Workflow):
    @handler
    async def run(self, rights: Right) -> tuple[int, str]:
        return 1, ""


@pytest.fixture
async def document() -> dict[str, Any]:
    app = App(Order, Tools, Hidden, Flow, storage="sqlite://")
    answer = await ask(app, "GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found: dict[str, Any] = answer.json
    return found


async def test_it_is_openapi_3_1_whose_references_all_lead_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    text = msgspec.json.encode(document).decode()
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert references and references <= set(document["components"]["schemas"])
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


async def test_every_public_handler_is_there_as_call_and_as_send_and_no_private_one(document: dict[str, Any]) -> None:
    paths = {path for path in document["paths"] if not path.startswith("/restate/")}
    calls = {"/Order/{key}/add", "/Order/{key}/stamp", "/Order/{key}/peek", "/Tools/flip", "/Flow/{key}/run"}
    assert paths == calls | {f"{path}/send" for path in calls}
    assert [path for path, found in document["paths"].items() if "get" in found and path in paths] == [
        "/Order/{key}/peek"
    ]
    assert [tag["name"] for tag in document["tags"]][:3] == ["Order", "Tools", "Flow"]


async def test_docstrings_are_summaries_and_descriptions(document: dict[str, Any]) -> None:
    add = document["paths"]["/Order/{key}/add"]["post"]
    assert (add["summary"], add["description"]) == ("Add an item.", "The answer is the number of lines.")
    assert document["tags"][0]["description"].startswith("One order.\n\nIt is kept for ever.")
    assert "Base class" not in msgspec.json.encode(document["tags"]).decode()


async def test_several_parameters_are_an_object_of_their_names_or_an_array(document: dict[str, Any]) -> None:
    body = document["paths"]["/Order/{key}/add"]["post"]["requestBody"]
    by_name, in_order = body["content"]["application/json"]["schema"]["anyOf"]
    assert body["required"] is True
    assert by_name["required"] == ["item"] and by_name["additionalProperties"] is False
    assert by_name["properties"]["price"]["default"] == "1.5"
    assert (in_order["minItems"], in_order["maxItems"], len(in_order["prefixItems"])) == (1, 2, 2)


async def test_bytes_are_bodies_as_they_are(document: dict[str, Any]) -> None:
    flip = document["paths"]["/Tools/flip"]["post"]
    assert list(flip["requestBody"]["content"]) == ["application/octet-stream"]
    assert list(flip["responses"]["200"]["content"]) == ["application/octet-stream"]


async def test_a_handler_that_returns_nothing_has_no_content_and_a_send_is_accepted(document: dict[str, Any]) -> None:
    assert "content" not in document["paths"]["/Order/{key}/stamp"]["post"]["responses"]["200"]
    send = document["paths"]["/Order/{key}/stamp/send"]["post"]
    assert [parameter["name"] for parameter in send["parameters"]] == ["key", "idempotency-key", "delay"]
    assert "202" in send["responses"] and "200" not in send["responses"]
    assert "retry-after" in send["responses"]["429"]["headers"]


async def test_points_in_time_are_told_from_other_texts_and_flags_may_be_combined(document: dict[str, Any]) -> None:
    stamp = document["components"]["schemas"]["Stamp"]["properties"]
    assert stamp["at"]["format"] == "date-time"
    assert {"type": "string", "format": "date-time"} in stamp["maybe"]["anyOf"]
    assert stamp["several"]["items"]["format"] == "date-time"
    assert document["components"]["schemas"]["Right"]["type"] == "integer"
    assert "enum" not in document["components"]["schemas"]["Right"]


async def test_the_prefix_it_is_served_under_is_its_server() -> None:
    app = App(Order, storage="sqlite://")
    for prefix, url in (("", "/"), ("/api/v1", "/api/v1"), ("/a b", "/a%20b")):
        answer = await ask(app, "GET", f"{url.rstrip('/')}/openapi.json", root_path=prefix)
        assert answer.json["servers"] == [{"url": url}]


def test_it_is_computed_once() -> None:
    services = [Order.__actors__]
    asked = 0

    class Counted(list[Any]):
        def __iter__(self) -> Any:
            nonlocal asked
            asked += 1
            return super().__iter__()

    openapi = OpenApi(Counted(services), guarded=False)
    assert openapi.document() == openapi.document() != openapi.document("/x")
    assert asked == 1


VALUES: list[tuple[Any, Any]] = [
    (int, 7),
    (float, 0.5),
    (bool, True),
    (None, None),
    (str | None, "x"),
    (bytes, b"\x00\xff"),
    (datetime.datetime, datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)),
    (datetime.date, datetime.date(2026, 1, 31)),
    (datetime.timedelta, datetime.timedelta(hours=1, seconds=5)),
    (uuid.UUID, uuid.UUID(int=7)),
    (Decimal, Decimal("1.50")),
    (example_types.Color, example_types.Color.RED),
    (example_types.Size, example_types.Size.LARGE),
    (example_types.Level, example_types.Level.HIGH),
    (Right, Right.READ | Right.WRITE),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (dict[int, Decimal], {1: Decimal(2)}),
    (
        example_types.Line,
        example_types.Line("a", example_types.Money(Decimal(1)), {"t"}, datetime.datetime(2026, 1, 1)),
    ),
    (example_types.Tree, example_types.Tree(1, [example_types.Tree(2)])),
    (example_types.Movie, {"title": "x", "year": 1}),
    (example_types.Pair, example_types.Pair(1, "b")),
    (example_types.Item, example_types.Item("a", [1])),
    (example_types.Cat | example_types.Dog, example_types.Dog(("sit",))),
    (example_types.Box[int], example_types.Box(3)),
    (example_types.User, example_types.User(id=1)),
    (
        example_types.StrictUser,
        example_types.StrictUser(id=uuid.UUID(int=1), boss=example_types.StrictUser(id=uuid.UUID(int=2))),
    ),
    (
        example_types.Team,
        example_types.Team(members=[example_types.User(id=1)], by_role={"a": example_types.User(id=2)}),
    ),
    (example_types.Aliased, example_types.Aliased.model_validate({"orderId": 1})),
    (list[example_types.User], [example_types.User(id=1)]),
    (Any, {"a": [1, None]}),
]


@pytest.mark.parametrize(("declared", "value"), VALUES, ids=[str(declared) for declared, _ in VALUES])
def test_what_is_written_of_a_value_conforms_to_the_schema_of_its_type(declared: Any, value: Any) -> None:
    schemas = JsonSchemas([other for other, _ in VALUES])
    schema = {**schemas.of(declared), "components": {"schemas": schemas.components}}
    written = msgspec.json.decode(codec_for(declared, "here").encode(value))
    jsonschema_rs.validate(schema, written)
    if declared is not Any:
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, [{"no": []}, [[]], None])


def test_classes_of_one_name_from_different_modules_are_two_components() -> None:
    class Error(msgspec.Struct):  # a name that the document itself uses
        mine: int

    def other() -> Any:
        class User(pydantic.BaseModel):
            other: int

        return User

    theirs = other()
    schemas = JsonSchemas([Error, example_types.User, theirs, example_types.Team], taken=["Error"])
    named = {
        declared: schemas.of(declared)["$ref"].rpartition("/")[2] for declared in (Error, example_types.User, theirs)
    }
    assert len(set(named.values())) == 3 and "Error" not in named.values()
    assert "other" in schemas.components[named[theirs]]["properties"]
    assert "born" in schemas.components[named[example_types.User]]["properties"]
    members = schemas.components["Team"]["properties"]["members"]["items"]["$ref"]
    assert members.rpartition("/")[2] == named[example_types.User]


T = TypeVar("T")


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Listing(msgspec.Struct, Generic[T]):
    items: list[T]


@dataclass
class Answer(Generic[T]):
    value: T


def made(kind: str, attribute: str) -> Any:
    """A class called Thing with one attribute of this name, as another module may have one too."""
    if kind == "model":
        return pydantic.create_model("Thing", **{attribute: (int, ...)})  # type: ignore[call-overload]
    if kind == "struct":
        return msgspec.defstruct("Thing", [(attribute, int)])
    if kind == "enum":
        return enum.Enum("Thing", {attribute: attribute})
    if kind == "checked dataclass":
        return make_dataclass("Thing", [(attribute, pydantic.PositiveInt)])
    return make_dataclass("Thing", [(attribute, int)])


def described(schemas: JsonSchemas, schema: Any) -> set[str]:
    """All that a schema says, with what it refers to: names of properties, and values."""
    text, seen = "", set[str]()
    waiting = [schema]
    while waiting:
        part = msgspec.json.encode(waiting.pop()).decode()
        text += part
        for name in set(re.findall(r'"#/components/schemas/([^"]+)"', part)) - seen:
            seen.add(name)
            waiting.append(schemas.components[name])
    return set(re.findall(r'"(one|other)"', text))


LIST: Any = list  # for checkers: what is made of these here is a type at run time only
PAGE: Any = Page
LISTING: Any = Listing
ANSWER: Any = Answer
WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "alone": lambda cls: cls,
    "list": lambda cls: LIST[cls],
    "generic model": lambda cls: PAGE[cls],
    "generic dataclass": lambda cls: ANSWER[cls],
    "generic struct": lambda cls: LISTING[cls],
    "generics in each other": lambda cls: ANSWER[LIST[ANSWER[cls]]],
    "dataclass": lambda cls: make_dataclass("Holder", [("thing", cls), ("page", LIST[cls])]),
    "constrained": lambda cls: Annotated[LIST[cls], pydantic.Field(max_length=5)],
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("kind", ["model", "struct", "dataclass", "enum", "checked dataclass"])
def test_two_types_of_one_name_have_a_schema_each(kind: str, wrapping: str) -> None:
    try:
        pair = [WRAPPINGS[wrapping](made(kind, attribute)) for attribute in ("one", "other")]
        for declared in pair:
            codec_for(declared, "a type")
    except (DefinitionError, pydantic.errors.PydanticSchemaGenerationError):
        pytest.skip("no library converts this")
    for types_ in (pair, pair[::-1]):
        schemas = JsonSchemas(types_, taken=["Thing"])
        assert [described(schemas, schemas.of(declared)) for declared in pair] == [{"one"}, {"other"}]


def test_two_types_of_one_name_inside_one_type_have_a_schema_each() -> None:
    for kind in ("model", "struct", "dataclass", "checked dataclass"):
        one, other = made(kind, "one"), made(kind, "other")
        both = make_dataclass("Both", [("left", ANSWER[one]), ("right", ANSWER[other])])
        schemas = JsonSchemas([both])
        found = schemas.of(both)
        while "$ref" in found:
            found = schemas.components[found["$ref"].rpartition("/")[2]]
        sides = [described(schemas, found["properties"][side]) for side in ("left", "right")]
        assert sides == [{"one"}, {"other"}]


def test_a_default_that_json_cannot_hold_is_left_out() -> None:
    @dataclass
    class Endless:
        much: float = float("inf")
        some: tuple[float, ...] = (float("nan"),)
        fine: float = 1.5

    properties = JsonSchemas([Endless]).components["Endless"]["properties"]
    assert "default" not in properties["much"] and "default" not in properties["some"]
    assert properties["fine"]["default"] == 1.5


def test_a_type_that_cannot_be_described_does_not_keep_the_others_from_it() -> None:
    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

        thing: types.ModuleType

    schemas = JsonSchemas([Odd, int])
    assert schemas.of(Odd) == {"title": "Odd"} and schemas.of(int) == {"type": "integer"}


@settings(deadline=None)  # the first example computes the document
@given(st.binary(max_size=40))
def test_no_prefix_breaks_the_document(prefix: bytes) -> None:
    document = msgspec.json.decode(OpenApi([Order.__actors__], guarded=False).document("/" + prefix.decode("latin-1")))
    assert document["servers"][0]["url"].isascii()


async def test_the_page_runs_its_own_script_only_and_loads_nothing_from_elsewhere() -> None:
    app = App(Order, storage="sqlite://")
    answer = await ask(app, "GET", "/docs")
    text = answer.body.decode()
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy and "unsafe" not in policy and policy.count("'sha256-") == 2
    assert len(re.findall(r"<script[^>]*>", text)) == len(re.findall(r"<style[^>]*>", text)) == 1
    assert not re.search(r"https?://(?!localhost)", text), "it refers to another host"
    # A policy by hashes runs no handlers and no styles in attributes, and nothing may be written as markup.
    assert not re.search(r"\s(on[a-z]+|style)=|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
    head = await ask(app, "HEAD", "/docs")
    assert (head.status, head.body) == (200, b"")


async def test_a_document_of_an_app_with_tokens_says_that_all_but_health_wants_one_and_the_page_is_open() -> None:
    async with App(Order, storage="sqlite://", http=HttpOptions(token="t")) as app:
        assert (await ask(app, "GET", "/docs")).status == 200
        assert (await ask(app, "GET", "/openapi.json")).status == 401
        document = (await ask(app, "GET", "/openapi.json", authorization="Bearer t")).json
    (scheme,) = document["components"]["securitySchemes"]
    assert document["security"] == [{scheme: []}]
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post")
    }
    assert operations.pop(("/restate/health", "get"))["security"] == []
    assert all("401" in operation["responses"] for operation in operations.values())
    async with App(Order, storage="sqlite://") as app:
        assert "security" not in (await ask(app, "GET", "/openapi.json")).json
