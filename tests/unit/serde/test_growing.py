"""What is known of a large list or dict is used only for what encoding all of it would give."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.errors import SerializationError
from actors.serde import Codec, codec_for
from actors.serde.growing import KnownText


class Text(str):
    """Equal to a plain text, and not what a plain text is loaded as."""

    __slots__ = ()


ATOMS = st.sampled_from(
    [0, 1, True, False, 1.0, 0.0, -0.0, None, "", "a", "ü😀", b"a", decimal.Decimal("1.0"), decimal.Decimal("1.00")]
) | st.integers(0, 9).map(lambda n: datetime.datetime(2026, 1, 1 + n, tzinfo=datetime.UTC))
ITEMS = ATOMS | st.sampled_from([[1], {"a": 1}, (1, 2), {1}, Text("a"), Text("")])
TYPES: list[Any] = [list[Any], list[str], list[float], list[int | str], list[list[int]], dict[str, Any], dict[str, int]]
TYPES += [dict[int, str], dict[Any, Any], list[Annotated[int, msgspec.Meta(le=5)]], set[int], Any, list[str] | None]
CHANGES = st.tuples(
    st.sampled_from(["add", "add", "add", "put", "insert", "remove", "move", "fill", "replace"]),
    st.integers(0, 9),
    ITEMS,
)


def change(value: Any, what: str, place: int, item: Any) -> Any:
    """The value after a change, mostly in place. Positions are taken as they fit."""
    if not isinstance(value, (list, dict)) or what == "replace":
        return item if place % 2 else {"k": item}
    if isinstance(value, dict):
        keys = list(value)
        key = keys[place % len(keys)] if keys else "k"
        if what in ("add", "insert"):
            value[place if what == "insert" else f"new {place}"] = item
        elif what == "put":
            value[key] = item
        elif what == "remove":
            value.pop(key, None)
        elif what == "move" and keys:
            value[key] = value.pop(key)
        return value
    place = place % (len(value) + 1)
    if what == "add":
        value.append(item)
    elif what == "put":
        value[place : place + 1] = [item]
    elif what == "insert":
        value.insert(place, item)
    elif what == "remove":
        del value[place : place + 1]
    elif what == "move":
        value.reverse()
    elif what == "fill" and len(value) > place and isinstance(value[place], list):
        value[place].append(item)
    return value


@given(
    st.sampled_from(TYPES),
    st.lists(ATOMS, min_size=1, max_size=6) | st.dictionaries(st.text(max_size=2), ATOMS, min_size=1, max_size=6),
    st.lists(CHANGES, max_size=8),
)
@example(list[Any], [1, 2], [("put", 0, True)])
@example(list[Any], ["a"], [("put", 0, Text("a")), ("add", 0, "a")])
@example(list[str], ["a"], [("add", 0, 1)])
@example(list[Any], ["a"], [("add", 0, [1]), ("fill", 1, 2), ("add", 0, "a")])
@example(dict[str, Any], {"a": 1, "b": 1}, [("move", 0, 1), ("add", 0, 1)])
@example(dict[Any, Any], {"1": 1}, [("insert", 1, 1)])
def test_it_gives_the_text_of_the_whole_value_or_nothing(declared: Any, value: Any, changes: list[Any]) -> None:
    codec = codec_for(declared, "a field")
    try:
        known = KnownText.of(codec, value, codec.encode(value))
    except SerializationError:
        return
    for step in changes:
        value = change(value, *step)
        try:
            whole = codec.encode(value)
        except SerializationError:
            whole = None
        if known is not None:
            assert known.text_of(value) in (whole, None)
        if whole is not None and isinstance(value, (list, dict)) and value:
            known = (
                known if known is not None and known.text_of(value) is not None else KnownText.of(codec, value, whole)
            )


def counting(declared: Any) -> tuple[Codec, list[int]]:
    """A codec, and how many items it was given each time."""
    codec = Codec(declared, [msgspec.inspect.type_info(declared)])
    dumped: list[int] = []
    dump: Callable[[Any], str] = codec.dump

    def counted(value: Any) -> str:
        dumped.append(len(value))
        return dump(value)

    codec.dump = counted
    return codec, dumped


def test_only_what_was_added_to_a_list_is_encoded() -> None:
    codec, dumped = counting(list[str])
    value = ["a"] * 1000
    known = KnownText.of(codec, value, codec.dump(value))
    assert known is not None
    for added in (["b"], ["c", "d"], []):
        value += added
        assert known.text_of(value) == codec_for(list[str], "a field").encode(value)
    assert dumped == [1000, 1, 2]
    assert known.text_of([*value, "e"]) is not None, "another list with the same items"
    assert dumped == [1000, 1, 2, 1]


def test_only_what_was_added_to_a_dict_is_encoded() -> None:
    codec, dumped = counting(dict[str, int])
    value = {f"k{n}": n for n in range(1000)}
    known = KnownText.of(codec, value, codec.dump(value))
    assert known is not None
    value["new"] = 1
    assert known.text_of(value) == codec_for(dict[str, int], "a field").encode(value)
    assert dumped == [1000, 1]


@pytest.mark.parametrize(
    "declared",
    [Annotated[list[str], msgspec.Meta(max_length=3)], Annotated[dict[str, int], msgspec.Meta(min_length=1)], set[str]],
)
def test_what_is_valid_only_as_a_whole_is_encoded_as_a_whole(declared: Any) -> None:
    assert not codec_for(declared, "a field").grows


def test_a_list_that_became_too_short_is_encoded_as_a_whole() -> None:
    codec = codec_for(list[str], "a field")
    known = KnownText.of(codec, ["a", "b"], '["a","b"]')
    assert known is not None
    assert known.text_of(["a"]) is None
    assert known.text_of(None) is None
    assert known.text_of(("a", "b")) is None
