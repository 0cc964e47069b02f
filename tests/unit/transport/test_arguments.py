"""Arguments: bound like those of a function, checked like state, and copied before anybody else sees them."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import App, Context, VirtualObject, handler
from actors.errors import BadArguments, SerializationError
from actors.model.definitions import HandlerDefinition, definition_of
from actors.model.durations import milliseconds, remaining
from actors.model.options import checked_headers
from tests.unit.example_types import Color, Level, Point, Size, User


class Target(VirtualObject):
    @handler
    async def none(self) -> None: ...

    @handler
    async def one(self, n: int) -> int:
        return n

    @handler
    async def mixed(self, ctx: Context, a: int, b: str = "b", c: float = 1) -> list[Any]:
        return [a, b, c]

    @handler
    async def positional(self, a: int, /, b: int = 2) -> int:
        return a + b

    @handler
    async def default(self, items: list[int] = [1]) -> list[int]:  # noqa: B006 - stored with the call, never shared
        items.append(2)
        return items

    @handler
    async def containers(self, items: list[list[int]], points: dict[str, Point], user: User | None = None) -> list[Any]:
        items[0].append(99)
        return items

    @handler
    async def ratio(self, x: float, y: float | None = None) -> str:
        return f"{x!r} {y!r}"

    @handler
    async def tags(self, tags: set[str], at: datetime.datetime | None = None) -> int:
        return len(tags)


def target(name: str) -> HandlerDefinition:
    return definition_of(Target).handlers[name]


def encoded(name: str, *args: Any, **kwargs: Any) -> str:
    return target(name).encode(args, kwargs)[0]


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1,), {}, '[1,"b",1.0]'),
        ((), {"a": 1}, '[1,"b",1.0]'),
        ((1, "x"), {}, '[1,"x",1.0]'),
        ((1,), {"c": 2.5}, '[1,"b",2.5]'),
        ((1,), {"c": 2.5, "b": "y"}, '[1,"y",2.5]'),
        ((), {"c": 2.5, "a": 1}, '[1,"b",2.5]'),
        ((1, "x", 3), {}, '[1,"x",3.0]'),
    ],
)
def test_positions_keywords_and_defaults_mix_as_in_a_call(args: Any, kwargs: Any, text: str) -> None:
    assert encoded("mixed", *args, **kwargs) == text
    assert target("mixed").decode(text)[0] == 1


def test_a_positional_only_parameter_and_no_parameter_work() -> None:
    assert encoded("none") == "[]"
    assert encoded("positional", 1) == "[1,2]"
    assert encoded("positional", 1, b=5) == "[1,5]"
    with pytest.raises(BadArguments, match="positional"):
        encoded("positional", a=1)


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((), {"b": "x"}, "missing a required argument: 'a'"),
        ((1, "b", 1.0, 4), {}, "too many positional arguments"),
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
        ((1,), {"d": 2}, "got an unexpected keyword argument 'd'"),
        ((1,), {"ctx": 2}, "got an unexpected keyword argument 'ctx'"),
        (("1",), {}, "argument 'a': Expected int, got '1' of type str"),
        ((True,), {}, "argument 'a': Expected int, got True of type bool"),
        ((Level.LOW,), {}, "argument 'a': Expected int"),
        ((None,), {}, "argument 'a': Expected int"),
        ((1, 2), {}, "argument 'b': Expected str, got 2 of type int"),
        ((1, Size.SMALL), {}, "argument 'b': Expected str"),
        ((1, "\ud800"), {}, "argument 'b'"),
        ((1,), {"c": math.nan}, "argument 'c': nan has no JSON form"),
        ((1,), {"c": "x"}, "argument 'c'"),
        ((1, "b", 10**400), {}, "argument 'c'"),
    ],
)
def test_what_does_not_fit_names_the_handler_and_the_parameter(args: Any, kwargs: Any, named: str) -> None:
    with pytest.raises(BadArguments) as caught:
        encoded("mixed", *args, **kwargs)
    assert caught.value.message.startswith("Target.mixed")
    assert named in caught.value.message
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("none", (1,), "too many positional"),
        ("one", (), "missing a required argument: 'n'"),
        ("one", ([1],), "argument 'n'"),
        ("containers", ([[1]], {"a": Point(1)}, Point(1)), "argument 'user'"),
        ("containers", ([[1.5]], {}), "argument 'items'"),
        ("containers", ([(1,)], {}), "argument 'items'"),
        ("containers", ([[1]], {"a": Point("x")}), "argument 'points'"),  # type: ignore[arg-type]
        ("tags", (["a"],), "argument 'tags'"),
        ("tags", ({"a", 1},), "argument 'tags'"),
    ],
)
def test_every_other_handler_does_the_same(name: str, args: Any, named: str) -> None:
    with pytest.raises(BadArguments) as caught:
        encoded(name, *args)
    assert named in caught.value.message and f"Target.{name}" in caught.value.message


def test_the_values_themselves_are_kept_only_if_they_are_what_decoding_would_give() -> None:
    one = target("one").encode((5,), {})
    assert one == ("[5]", (5,))
    assert target("mixed").encode((1, "x", 2.0), {}) == ('[1,"x",2.0]', (1, "x", 2.0))
    assert target("mixed").encode((1, "x", 2), {}) == ('[1,"x",2.0]', None)  # the int would be a float after a restart
    assert target("ratio").encode((1.0, 1), {})[1] is None
    assert target("default").encode(([1],), {})[1] is None
    assert target("tags").encode((set(), datetime.datetime(2024, 1, 1)), {})[1] is None


@pytest.mark.parametrize("stored", ["[]", "[1]", "[1,2,3,4]", "{}", "", "[1,2", '["x","b",1.0]', "null"])
def test_stored_arguments_that_no_longer_fit_are_refused(stored: str) -> None:
    with pytest.raises(SerializationError):
        target("mixed").decode(stored)


def test_stored_arguments_are_compared_by_value() -> None:
    same = target("tags").same_arguments
    assert same('[["a","b"],null]', '[["b","a"],null]')
    assert same("[[],null]", "[ [], null ]")
    assert not same('[["a"],null]', '[["b"],null]')
    assert not same('[["a"],null]', '[["a"],"2024-01-01T00:00:00"]')
    assert not same('[["a"],null]', '[["a"]]')


# --- in a running app -----------------------------------------------------------------------------------------------------


async def test_changing_a_value_after_the_call_does_not_change_what_the_handler_sees() -> None:
    async with App(Target, storage="sqlite://") as app:
        items, points = [[1], [2]], {"a": Point(1)}
        call = app.object(Target, "k").containers(items, points)
        items[0].append(5)
        items.clear()
        points["a"].x = 7
        assert await call == [[1, 99], [2]]
        assert items == []


async def test_what_the_handler_changes_does_not_change_the_callers_value() -> None:
    async with App(Target, storage="sqlite://") as app:
        items = [[1]]
        result = await app.object(Target, "k").containers(items, {})
        assert items == [[1]]
        result[0].append(3)
        assert await app.object(Target, "k").containers(items, {}) == [[1, 99]]


async def test_a_mutable_default_is_the_same_in_every_call() -> None:
    async with App(Target, storage="sqlite://") as app:
        for _ in range(3):
            assert await app.object(Target, "k").default() == [1, 2]


async def test_a_handler_sees_a_float_where_it_declares_one() -> None:
    async with App(Target, storage="sqlite://") as app:
        assert await app.object(Target, "k").ratio(1, 2) == "1.0 2.0"
        assert await app.object(Target, "k").mixed(1) == [1, "b", 1.0]


async def test_bad_arguments_are_refused_at_the_call_and_leave_nothing_behind() -> None:
    async with App(Target, storage="sqlite://") as app:
        target = app.object(Target, "k")
        for wrong in (
            lambda: target.one("x"),  # type: ignore[arg-type]
            lambda: target.one.send("x"),  # type: ignore[arg-type]
            lambda: target.one(),  # type: ignore[call-arg]
            lambda: app.call("Target", "k", "one", m=1),
            lambda: app.send("Target", "k", "one", 1, 2),
        ):
            with pytest.raises(BadArguments):
                wrong()
        assert await target.one(3) == 3


# --- options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "ms"),
    [
        (0, 0),
        (1, 1000),
        (0.001, 1),
        (0.0001, 1),
        (0.07, 70),
        (0.29, 290),
        (1.0011, 1002),
        (3e9, 3 * 10**12),
        (datetime.timedelta(0), 0),
        (datetime.timedelta(microseconds=1), 1),
        (datetime.timedelta(milliseconds=1), 1),
        (datetime.timedelta(days=365, microseconds=1), 365 * 86_400_000 + 1),
    ],
)
def test_a_duration_is_rounded_up_to_whole_milliseconds(duration: Any, ms: int) -> None:
    assert milliseconds(duration, "delay") == ms


@given(st.integers(0, 10**12))
def test_a_number_of_milliseconds_survives_being_written_in_seconds(ms: int) -> None:
    assert milliseconds(ms / 1000, "delay") == ms
    assert milliseconds(datetime.timedelta(milliseconds=ms), "delay") == ms


@pytest.mark.parametrize(
    "duration",
    [
        -1,
        -0.0001,
        math.nan,
        math.inf,
        -math.inf,
        1e11,
        10**11,
        10**400,
        10**5000,
        1e300,
        "5",
        "5s",
        None,
        True,
        False,
        decimal.Decimal(1),
        1j,
        [1],
        datetime.timedelta(microseconds=-1),
        datetime.timedelta.max,
        datetime.timedelta.min,
        datetime.datetime(2024, 1, 1),
    ],
    ids=lambda value: f"{type(value).__name__}",
)
async def test_a_duration_that_makes_no_sense_is_refused(duration: Any) -> None:
    with pytest.raises(BadArguments, match=r"delay (must lie between|requires seconds)") as caught:
        milliseconds(duration, "delay")
    assert len(caught.value.message) < 250


PASSED = [-1, -0.0001, -1e11, -(10**400), -1e300, datetime.timedelta(microseconds=-1), datetime.timedelta.min]


@pytest.mark.parametrize("duration", PASSED, ids=lambda value: f"{type(value).__name__}")
async def test_a_delay_that_has_passed_is_no_delay(duration: Any) -> None:
    assert remaining(duration, "delay") == 0
    async with App(Target, storage="sqlite://") as app:
        app.object(Target, "k").one.options(delay=duration)


NONSENSE = [math.nan, math.inf, -math.inf, 1e11, 10**400, "5", "-5", True, False, decimal.Decimal(-1), 1j, [1]]


@pytest.mark.parametrize("duration", NONSENSE, ids=lambda value: f"{type(value).__name__}")
async def test_a_delay_that_makes_no_sense_is_refused(duration: Any) -> None:
    with pytest.raises(BadArguments, match=r"delay (must lie between|requires seconds)"):
        remaining(duration, "delay")
    async with App(Target, storage="sqlite://") as app:
        with pytest.raises(BadArguments):
            app.object(Target, "k").one.options(delay=duration)
        with pytest.raises(BadArguments):
            app.send("Target", "k", "one", 1, delay=duration)


@given(st.one_of(st.floats(0, 1e9), st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=9999))))
def test_what_is_left_to_wait_is_rounded_as_any_duration(duration: Any) -> None:
    assert remaining(duration, "delay") == milliseconds(duration, "delay")


@pytest.mark.parametrize(
    "headers",
    [
        "a",
        [("a", "b")],
        {"a": 1},
        {1: "a"},
        {"a": None},
        {"a": b"b"},
        {b"a": "b"},
        {"a": Size.SMALL},
        {"\ud800": "a"},
        {"a": "\udfff"},
    ],
)
def test_headers_that_are_no_texts_are_refused(headers: Any) -> None:
    with pytest.raises(BadArguments, match="headers="):
        checked_headers(headers)


def test_headers_are_copied() -> None:
    headers = {"a": "ü"}
    copied = checked_headers(headers)
    headers["a"] = "changed"
    assert copied == {"a": "ü"}


class Echo(VirtualObject):
    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return ctx.headers

    @handler
    async def anything(self, value: Any) -> Any:
        return value


async def test_headers_arrive() -> None:
    async with App(Echo, storage="sqlite://") as app:
        echo = app.object(Echo, "k")
        assert await echo.headers() == {}
        assert await echo.headers.options(headers={"a": "ü", "b": ""})() == {"a": "ü", "b": ""}


@pytest.mark.parametrize(
    "make",
    [
        lambda: uuid.UUID(int=1),
        lambda: Color.RED,
        lambda: (1, 2),
        lambda: {1: 2},
        lambda: b"x",
        lambda: math.nan,
        lambda: 10**5000,
        lambda: Point(1),
        lambda: object(),
        lambda: (n for n in range(3)),
    ],
)
async def test_what_json_cannot_say_is_refused_where_no_type_is_declared(make: Callable[[], Any]) -> None:
    async with App(Echo, storage="sqlite://") as app:
        with pytest.raises(BadArguments, match="argument 'value'"):
            app.object(Echo, "k").anything(make())  # pyright: ignore[reportCallIssue] - it takes Any for the context
