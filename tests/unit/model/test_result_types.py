"""What the function of a step returns is read from its annotation at each call, as typing reads it, but quickly."""

from __future__ import annotations

import datetime
import functools
import gc
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
import pytest

from actors.errors import DefinitionError
from actors.model.result_types import result_codec
from actors.serde import codec_for

T = TypeVar("T")


@dataclass
class Receipt:
    number: int


class Shop:
    def charge(self) -> Receipt:
        raise NotImplementedError

    @classmethod
    def of(cls) -> list[Receipt]:
        raise NotImplementedError

    @staticmethod
    def price() -> float:
        raise NotImplementedError

    __hash__: ClassVar[None] = None  # type: ignore[assignment]


class Caller:
    def __call__(self) -> Receipt:
        raise NotImplementedError


def plain() -> int:
    raise NotImplementedError


def quoted() -> Receipt:
    raise NotImplementedError


def inside() -> list[Receipt]:
    raise NotImplementedError


def by_module() -> datetime.datetime:
    raise NotImplementedError


def either() -> int | None:
    raise NotImplementedError


def union() -> int | str:
    raise NotImplementedError


def marked() -> Annotated[int, "metres"]:
    raise NotImplementedError


def unhashable() -> Annotated[int, []]:
    raise NotImplementedError


def anything() -> Any:
    raise NotImplementedError


def an_object() -> object:
    raise NotImplementedError


def nothing() -> None:
    raise NotImplementedError


def silent(): ...  # type: ignore[no-untyped-def]
def generic(value: T) -> T:
    raise NotImplementedError


@functools.wraps(quoted)
def decorated() -> Any:
    raise NotImplementedError


@typing.no_type_check
def unchecked() -> int:
    raise NotImplementedError


def evaluated(annotation: Any) -> Callable[[], Any]:
    """A function whose module has no `from __future__ import annotations`."""

    def function() -> Any:
        raise NotImplementedError

    function.__annotations__ = {"return": annotation}
    return function


FUNCTIONS = [
    plain, quoted, inside, by_module, either, union, marked, unhashable, anything, an_object, nothing, silent,
    generic, decorated, unchecked, Shop().charge, Shop.of, Shop().price, Caller(), len,
    functools.partial(plain), functools.partial(functools.partial(quoted)), lambda: None,
    *map(evaluated, (int, Receipt, list[int], list["Receipt"], int | None, Annotated[int, "m"], Any, None, T, "Receipt", "NotDefined")),
]  # fmt: skip


def expected(function: Any) -> Any:
    """By typing alone."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, Caller):
        function = Caller.__call__
    try:
        if getattr(function, "__annotations__", {}).get("return", Any) in (Any, None):
            return None
        declared = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except (NameError, TypeError):
        return None
    if declared is Any or declared is object or isinstance(declared, TypeVar):
        return None
    return codec_for(declared, "here")


@pytest.mark.may_log("cannot be resolved")
@pytest.mark.parametrize("function", FUNCTIONS, ids=range(len(FUNCTIONS)))
@pytest.mark.may_log("cannot be resolved")
def test_a_result_type_is_what_typing_says_at_each_call(function: Any) -> None:
    for _ in range(3):
        found, wanted = result_codec(function), expected(function)
        assert (found and found.type) == (wanted and wanted.type)


def in_module(source: str, **names: Any) -> Any:
    """The function `step` of a module of this source, whose names are those given."""
    module = {"__name__": "elsewhere", **names}
    exec("from __future__ import annotations\n" + source, module)
    return module["step"]


@pytest.mark.expects_log("cannot be resolved")
def test_a_name_that_is_defined_later_counts_from_then_on() -> None:
    step = in_module("def step() -> Late: ...")
    assert result_codec(step) is None
    step.__globals__["Late"] = Receipt
    codec = result_codec(step)
    assert codec is not None and codec.type is Receipt


def test_a_class_that_is_defined_anew_is_the_type_from_then_on() -> None:
    step = in_module("def step() -> list[Thing]: ...", Thing=Receipt)
    assert result_codec(step).type == list[Receipt]  # type: ignore[union-attr]
    step.__globals__["Thing"] = int
    assert result_codec(step).type == list[int]  # type: ignore[union-attr]


def test_an_annotation_that_is_set_later_counts_from_then_on() -> None:
    def step() -> int:
        raise NotImplementedError

    assert result_codec(step).type is int  # type: ignore[union-attr]
    step.__annotations__["return"] = Receipt
    assert result_codec(step).type is Receipt  # type: ignore[union-attr]
    del step.__annotations__["return"]
    assert result_codec(step) is None


def test_one_name_in_two_modules_is_two_types() -> None:
    one, other = (in_module("def step() -> Thing: ...", Thing=thing) for thing in (int, str))
    quoted_one, quoted_other = (in_module("def step() -> 'list[\"Thing\"]': ...", Thing=thing) for thing in (int, str))
    for _ in range(2):
        assert [result_codec(step).type for step in (one, other)] == [int, str]  # type: ignore[union-attr]
        found = [result_codec(step).type for step in (quoted_one, quoted_other)]  # type: ignore[union-attr]
        assert found == [list[int], list[str]]


def test_a_name_of_a_decorated_function_is_looked_up_in_its_own_module() -> None:
    step = in_module("def step() -> Thing: ...", Thing=Receipt)

    @functools.wraps(step)
    def wrapper() -> Any:
        raise NotImplementedError

    assert result_codec(wrapper).type is Receipt  # type: ignore[union-attr]


def test_a_parameter_whose_type_is_unknown_does_not_hide_the_result() -> None:
    for source in ("def step(n: Missing) -> set[bool]: ...", "def step() -> set[bool]: ..."):
        assert result_codec(in_module(source)).type == set[bool]  # type: ignore[union-attr]


@pytest.mark.expects_log("cannot be resolved")
def test_a_type_that_is_not_found_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    step = in_module("def step() -> Missing: return 'told once'")
    assert result_codec(step) is result_codec(step) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "'step' cannot be resolved (name 'Missing' is not defined)" in caplog.text


def test_a_type_that_is_a_variable_of_the_function_around_it_is_found() -> None:
    class Local(msgspec.Struct):
        n: int

    def step() -> list[Local]:
        return [Local(1)]

    assert result_codec(step).type == list[Local]  # type: ignore[union-attr]


def test_what_a_result_is_annotated_with_is_kept() -> None:
    limited = Annotated[int, msgspec.Meta(ge=1)]
    assert result_codec(in_module("def step() -> Limited: ...", Limited=limited)).type == limited  # type: ignore[union-attr]


def test_nothing_is_kept_of_a_function_that_was_made_for_one_call() -> None:
    class Big:
        pass

    def call() -> weakref.ref[Big]:
        big = Big()

        def step() -> list[int]:
            return [id(big)]

        result_codec(step)
        result_codec(functools.partial(step))
        return weakref.ref(big)

    kept = call()
    gc.collect()
    assert kept() is None


def test_the_hints_of_a_function_are_resolved_once() -> None:
    class Step:
        """Tells how often somebody looks at its annotations: typing looks once more."""

        looks = 0
        __globals__: ClassVar[dict[str, Any]] = {}

        @property
        def __annotations__(self) -> dict[str, Any]:  # type: ignore[override]
            type(self).looks += 1
            return {"return": "dict[str, list[int]]"}

        def __call__(self) -> None:
            raise NotImplementedError

    step = Step()
    assert result_codec(step).type == dict[str, list[int]]  # type: ignore[union-attr]
    Step.looks = 0
    assert result_codec(step) is result_codec(step)
    assert Step.looks == 2


def test_a_type_that_cannot_be_stored_is_refused_at_each_call() -> None:
    step = in_module("def step() -> Thing: ...", Thing=FunctionType)
    for _ in range(2):
        with pytest.raises(DefinitionError, match="the return type of step"):
            result_codec(step)
