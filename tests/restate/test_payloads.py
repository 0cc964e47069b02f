"""Values as bodies: what our own HTTP ingress takes and gives, with the same bytes in every process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from typing import Any, NamedTuple

import msgspec
import pytest

from actors import Service, handler
from actors.errors import BadArguments, SerializationError
from actors.model.definitions import HandlerDefinition, definition_of
from actors.serde import ANY, Codec, codec_for
from actors.transport.http.arguments import read_arguments
from actors.transport.restate import payloads


@dataclasses.dataclass
class Box:
    tags: set[str]
    label: str = ""


@dataclasses.dataclass
class Tree:
    tags: set[str]
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Chain:
    next: Chain | None = None


class Pair(NamedTuple):
    left: set[str]
    right: list[int]


class Renamed(msgspec.Struct, rename="camel"):
    all_tags: set[str]


class Sets(msgspec.Struct, tag=True):
    values: set[int]


class Lists(msgspec.Struct, tag=True):
    values: list[int]


class Row(msgspec.Struct, tag=True, array_like=True):
    values: set[int]
    rest: int


class Other(msgspec.Struct, tag=True, array_like=True):
    values: list[int]
    rest: int


class Taker(Service):
    @handler
    async def none(self) -> None: ...

    @handler
    async def one(self, value: list[int]) -> list[int]:
        return value

    @handler
    async def raw(self, value: bytes) -> bytes:
        return value

    @handler
    async def two(self, name: str, tags: set[str]) -> str:
        return name


def target(name: str) -> HandlerDefinition:
    return definition_of(Taker).handlers[name]


def codec(declared: Any) -> Codec:
    return codec_for(declared, "a test")


# --- arguments and results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "body"),
    [
        ("none", (), b""),
        ("one", ([2, 1],), b"[2,1]"),
        ("raw", (b'\xff"[',), b'\xff"['),
        ("two", ("ü", {"b", "a"}), '["ü",["a","b"]]'.encode()),
    ],
)
def test_a_body_of_arguments_is_one_that_the_ingress_reads(name: str, args: tuple[Any, ...], body: bytes) -> None:
    handler = target(name)
    text, _ = handler.encode(args, {})
    assert payloads.body_of(handler, text) == body
    assert read_arguments(handler, body, "application/json") == (args, {})


@pytest.mark.parametrize(
    ("declared", "value", "body"),
    [
        (None, None, b""),
        (bytes, b"\x00\xff", b"\x00\xff"),
        (int, 5, b"5"),
        (str, 'a"b', b'"a\\"b"'),
        (set[str], {"b", "a"}, b'["a","b"]'),
        (int | None, None, b"null"),
        (Any, {"b": [1]}, b'{"b":[1]}'),
    ],
)
def test_a_body_of_a_result_comes_back_as_the_value(declared: Any, value: Any, body: bytes) -> None:
    assert payloads.encoded(codec(declared), value) == body
    assert payloads.decoded(codec(declared), body) == value


def test_an_empty_body_is_null_and_no_bytes() -> None:
    assert payloads.decoded(codec(int | None), b"") is None
    assert payloads.decoded(codec(bytes), None) == b""
    with pytest.raises(SerializationError):
        payloads.decoded(codec(int), b"")


def test_a_body_that_is_not_utf8_is_refused_with_its_type() -> None:
    with pytest.raises(SerializationError, match=r"does not fit list\[int\]: it is not UTF-8"):
        payloads.decoded(codec(list[int]), b"\xff")


def test_an_untyped_completion_may_be_bytes_of_another_program() -> None:
    assert payloads.completed(ANY, b"\xff\x00") == b"\xff\x00"
    assert payloads.completed(ANY, b'{"a":1}') == {"a": 1}
    with pytest.raises(SerializationError):
        payloads.completed(codec(str), b"\xff")


@pytest.mark.parametrize("value", [1, "a", {"x": (1, 2)}, {3, 4}, None])
def test_a_result_of_a_step_comes_back_with_and_without_type(value: Any) -> None:
    assert payloads.of_step(None, payloads.step_result(None, value)) == value


def test_a_result_is_read_by_how_it_was_recorded() -> None:
    typed, untyped = payloads.step_result(codec(int), 5), payloads.step_result(None, 5)
    assert payloads.of_step(None, typed) == payloads.of_step(codec(int), untyped) == 5
    with pytest.raises(SerializationError):
        payloads.of_step(codec(str), typed)


@pytest.mark.parametrize("kind", ["", "application/json", "application/x-www-form-urlencoded", "application/a+json"])
def test_json_and_what_curl_calls_it_are_taken(kind: str) -> None:
    assert read_arguments(target("one"), b"[1]", kind) == (([1],), {})


def test_another_content_type_is_taken_by_bytes_only() -> None:
    assert read_arguments(target("raw"), b"[1]", "text/plain") == ((b"[1]",), {})
    with pytest.raises(BadArguments, match="'text/plain'"):
        read_arguments(target("one"), b"[1]", "text/plain")


# --- sets -----------------------------------------------------------------------------------------------------------------

WORDS = [f"w{n}" for n in range(9)]
NESTED: list[tuple[Any, Any]] = [
    (set[str], set(WORDS)),
    (frozenset[frozenset[str]], frozenset(frozenset(WORDS[n:]) for n in range(5))),
    (list[set[str]], [set(WORDS), set()]),
    (tuple[set[str], ...], (set(WORDS), set(WORDS[2:]))),
    (tuple[int, set[str], str], (1, set(WORDS), "z")),
    (dict[str, set[str]], {"b": set(WORDS), "a": set()}),
    (Box, Box(set(WORDS), "x")),
    (Box | None, Box(set(WORDS))),
    (set[str] | None, set(WORDS)),
    (dict[str, list[Box | None]], {"x": [None, Box(set(WORDS))]}),
    (Tree, Tree(set(WORDS), [Tree(set(WORDS[1:]), [Tree(set())])])),
    (Pair, Pair(set(WORDS), [3, 1, 2])),
    (Pair | None, Pair(set(WORDS), [3, 1, 2])),
    (Renamed, Renamed(set(WORDS))),
    (set[str] | dict[str, int], set(WORDS)),
]


def bodies() -> list[str]:
    return [payloads.stable(codec(declared), codec(declared).encode(value)) for declared, value in NESTED]


def test_sets_stand_in_one_order_in_every_process() -> None:
    program = "from tests.restate.test_payloads import bodies; print(bodies())"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {str(bodies())}


@pytest.mark.parametrize(("declared", "value"), NESTED, ids=[str(declared) for declared, _ in NESTED])
def test_an_arranged_text_holds_the_same_value(declared: Any, value: Any) -> None:
    text = payloads.stable(codec(declared), codec(declared).encode(value))
    assert codec(declared).decode(text) == value
    assert payloads.stable(codec(declared), text) == text


def test_equal_sets_have_equal_texts_however_they_came_about() -> None:
    tags = codec(Tree)
    one, other = '{"tags":["b","a"],"children":[]}', '{"tags":["a","b"],"children":[]}'
    assert payloads.stable(tags, one) == payloads.stable(tags, other) == other


def test_lists_and_objects_keep_their_order() -> None:
    for declared, text in [
        (list[int], "[3,1,2]"),
        (dict[str, set[int]], '{"b":[1],"a":[2]}'),
        (Pair, "[[],[3,1]]"),
        (Chain, '{"next":{"next":null}}'),
    ]:
        assert payloads.stable(codec(declared), text) == text


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        (Sets | Lists, Lists([3, 1]), '{"type":"Lists","values":[3,1]}'),
        (Sets | Lists, Sets({3, 1}), '{"type":"Sets","values":[1,3]}'),
        (Row | Other, Other([3, 1], 5), '["Other",[3,1],5]'),
        (Row | Other, Row({3, 1}, 5), '["Row",[1,3],5]'),
        (Row, Row({3, 1}, 5), '["Row",[1,3],5]'),
    ],
)
def test_a_tag_decides_which_type_of_a_union_a_value_has(declared: Any, value: Any, text: str) -> None:
    assert payloads.stable(codec(declared), codec(declared).encode(value)) == text
    assert codec(declared).decode(text) == value


def test_an_untyped_value_is_left_as_it_is() -> None:
    assert payloads.stable(ANY, '{"b":[2,1]}') == '{"b":[2,1]}'
