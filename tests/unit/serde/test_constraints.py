"""What an annotation requires of a value is enforced at any depth, or the type is refused; it is never dropped."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, NewType, NotRequired, TypeVar

import annotated_types as at
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from typing_extensions import TypeAliasType, TypedDict

from actors.errors import DefinitionError, SerializationError
from actors.serde import Codec, codec_for
from actors.serde.pydantic_models import encode_model
from tests.unit import example_types
from tests.unit.serde.test_codec import KINDS


def codec(declared: Any) -> Codec:
    return codec_for(declared, "Order.field")


def even(n: int) -> int:
    if int(n) % 2:
        raise ValueError("must be even")
    return n


class Even:
    """A user's own metadata, as pydantic documents it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(even, handler(source))


class Grouped(at.GroupedMetadata):
    def __iter__(self) -> Any:
        return iter([at.Gt(2), at.Lt(6)])


# annotation: what it accepts, and what it must refuse though its plain type takes it
ANNOTATIONS: dict[str, tuple[Any, Any, Any]] = {
    "pydantic.PositiveInt": (pydantic.PositiveInt, 4, -4),
    "pydantic.conint": (pydantic.conint(ge=3), 4, -4),
    "pydantic.Field": (Annotated[int, pydantic.Field(gt=3, description="d")], 4, 3),
    "pydantic.Field(pattern)": (Annotated[str, pydantic.Field(pattern="^a")], "ab", "b"),
    "pydantic.StringConstraints": (Annotated[str, pydantic.StringConstraints(max_length=3)], "abc", "abcd"),
    "pydantic.StringConstraints(to_upper)": (Annotated[str, pydantic.StringConstraints(to_upper=True)], "ABC", "abc"),
    "pydantic.AfterValidator": (Annotated[int, pydantic.AfterValidator(even)], 4, 3),
    "pydantic.BeforeValidator": (Annotated[int, pydantic.BeforeValidator(even)], 4, 3),
    "pydantic.PlainValidator": (Annotated[int, pydantic.PlainValidator(even)], 4, 3),
    "pydantic.WrapValidator": (Annotated[int, pydantic.WrapValidator(lambda n, then: even(then(n)))], 4, 3),
    "pydantic.AllowInfNan": (Annotated[float, pydantic.AllowInfNan(False), at.Lt(5)], 4.0, 6.0),
    "a hook of pydantic": (Annotated[int, Even()], 4, 3),
    "annotated_types.Gt": (Annotated[int, at.Gt(3)], 4, 3),
    "annotated_types.Ge": (Annotated[int, at.Ge(4)], 4, 3),
    "annotated_types.Lt": (Annotated[int, at.Lt(5)], 4, 5),
    "annotated_types.Le": (Annotated[int, at.Le(4)], 4, 5),
    "annotated_types.Interval": (Annotated[float, at.Interval(ge=0, lt=1)], 0.5, 1.0),
    "annotated_types.MultipleOf": (Annotated[int, at.MultipleOf(2)], 4, 3),
    "annotated_types.MinLen": (Annotated[str, at.MinLen(2)], "ab", "a"),
    "annotated_types.MaxLen": (Annotated[bytes, at.MaxLen(2)], b"ab", b"abc"),
    "annotated_types.Len": (Annotated[list[int], at.Len(1, 2)], [1], []),
    "annotated_types.Predicate": (Annotated[str, at.Predicate(str.islower)], "a", "A"),
    "annotated_types.LowerCase": (at.LowerCase[str], "a", "A"),
    "constraints in a group": (Annotated[int, Grouped()], 4, 7),
    "Gt of a Decimal": (Annotated[decimal.Decimal, at.Gt(decimal.Decimal(3))], decimal.Decimal("4.10"), decimal.Decimal(3)),
    "Gt of a timedelta": (Annotated[datetime.timedelta, at.Gt(datetime.timedelta(0))], datetime.timedelta(1), -datetime.timedelta(1)),
    "pydantic.AwareDatetime": (
        pydantic.AwareDatetime,
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 1),
    ),
    "msgspec.Meta": (Annotated[int, msgspec.Meta(gt=3)], 4, 3),
    "msgspec.Meta(max_length)": (Annotated[str, msgspec.Meta(max_length=3)], "abc", "abcd"),
    "msgspec.Meta(tz)": (
        Annotated[datetime.datetime, msgspec.Meta(tz=False)],
        datetime.datetime(2026, 1, 1),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    ),
    "a note among constraints": (Annotated[int, "a note", at.Gt(3), at.doc("text")], 4, 3),
}  # fmt: skip

T = TypeVar("T")


# For checkers: what is made of them here is a type at run time only.
LIST: Any = list
SET: Any = set
TUPLE: Any = tuple
DICT: Any = dict
SEQUENCE: Any = Sequence
MAPPING: Any = Mapping
named_tuple: Any = NamedTuple
typed_dict: Any = TypedDict
type_alias: Any = TypeAliasType
type_variable: Any = TypeVar
new_type: Any = functools.partial(NewType, "Named")


def in_dataclass(declared: Any, value: Any) -> tuple[Any, Any]:
    cls = dataclasses.make_dataclass("Held", [("n", declared), ("text", str)])
    return cls, cls(value, "t")


def in_list_of_dataclasses(declared: Any, value: Any) -> tuple[Any, Any]:
    cls, held = in_dataclass(declared, value)
    return LIST[cls], [held]


def in_typed_dict(declared: Any, value: Any) -> tuple[Any, Any]:
    return typed_dict("Held", {"n": NotRequired[declared], "text": str}), {"n": value, "text": "t"}


def in_named_tuple(declared: Any, value: Any) -> tuple[Any, Any]:
    cls = named_tuple("Held", [("n", declared), ("text", str)])
    return cls, cls(value, "t")


def in_model(declared: Any, value: Any) -> tuple[Any, Any]:
    cls = pydantic.create_model("Held", n=(declared, ...))
    return cls, cls.model_construct(n=value)


def in_pydantic_dataclass(declared: Any, value: Any) -> tuple[Any, Any]:
    cls = pydantic.dataclasses.dataclass(dataclasses.make_dataclass("Held", [("n", declared)]))
    held: Any = object.__new__(cls)
    held.n = value
    return cls, held


def in_generic(declared: Any, value: Any) -> tuple[Any, Any]:
    return example_types.Box[declared], example_types.Box(value)


# How an annotation may stand inside a type, and a value of that type with a value of the annotation inside.
PLACES: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "alone": lambda declared, value: (declared, value),
    "list": lambda declared, value: (LIST[declared], [value]),
    "set": lambda declared, value: (SET[declared], {value}),
    "tuple": lambda declared, value: (TUPLE[int, declared], (1, value)),
    "value of a dict": lambda declared, value: (DICT[str, declared], {"a": value}),
    "key of a dict": lambda declared, value: (DICT[declared, int], {value: 1}),
    "Sequence": lambda declared, value: (SEQUENCE[declared], [value]),
    "Mapping": lambda declared, value: (MAPPING[str, LIST[declared]], {"a": [value]}),
    "optional": lambda declared, value: (declared | None, value),
    "union": lambda declared, value: (declared | list[str], value),
    "NewType": lambda declared, value: (new_type(declared), value),
    "NewType inside": lambda declared, value: (LIST[new_type(declared)], [value]),
    "TypeAliasType": lambda declared, value: (type_alias("Named", declared), value),
    "bound of a type variable": lambda declared, value: (LIST[type_variable("V", bound=declared)], [value]),
    "Annotated again": lambda declared, value: (Annotated[declared, "a note"], value),
    "dataclass": in_dataclass,
    "dataclass in a list": in_list_of_dataclasses,
    "generic dataclass": in_generic,
    "TypedDict": in_typed_dict,
    "NamedTuple": in_named_tuple,
    "pydantic model": in_model,
    "dataclass of pydantic": in_pydantic_dataclass,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_constraint_is_enforced_wherever_it_stands_or_refused(name: str, place: str) -> None:
    declared, good, bad = ANNOTATIONS[name]
    if isinstance(good, list) and place in ("set", "key of a dict", "union"):
        pytest.skip("a list there is another mistake")
    if name == "pydantic.PlainValidator" and place == "key of a dict":
        pytest.skip("its keys are texts, and refused: what it replaces would have made ints of them")
    whole, accepted = PLACES[place](declared, good)
    if name.startswith("msgspec") and place in ("TypeAliasType", "pydantic model", "dataclass of pydantic"):
        with pytest.raises(DefinitionError, match=r"is not supported|does not enforce it|has one checker"):
            codec(whole)
        return
    _, refused = PLACES[place](declared, bad)
    known = codec(whole)
    assert known.decode(known.encode(accepted)) == accepted
    with pytest.raises(SerializationError):
        known.encode(refused)
    if name in CONVERTS:
        return
    with pytest.raises(SerializationError):  # what arrives from outside, or was stored before
        known.decode(msgspec.json.encode(refused, enc_hook=encode_model).decode())


CONVERTS = ("pydantic.StringConstraints(to_upper)",)


class Struct(msgspec.Struct):
    n: int = 1


class Limited(msgspec.Struct):
    n: Annotated[int, at.Gt(3)]


class WithField(NamedTuple):
    n: int = pydantic.Field(gt=3)


class WithMeta(pydantic.BaseModel):
    n: list[Annotated[int, msgspec.Meta(gt=3)]]


class Own(at.BaseMetadata):
    pass


@pytest.mark.parametrize(
    ("declared", "hint"),
    [
        (Annotated[datetime.datetime, at.Timezone(None)], "pydantic.AwareDatetime"),
        (list[Annotated[int, Own()]], "neither msgspec nor pydantic enforces"),
        (Annotated[int, pydantic.Field(5)], "default= has no effect"),
        (list[Annotated[int, pydantic.Field(default_factory=int)]], "default_factory= has no effect"),
        (Annotated[int, pydantic.Field(alias="m")], "alias= has no effect"),
        (Annotated[str, pydantic.StringConstraints], "call it"),
        (Annotated[str, pydantic.Field], "call it"),
        (Annotated[str, at.MinLen], "call it"),
        (Limited, "Limited by msgspec"),
        (dict[str, Limited | None], "Limited by msgspec"),
        (tuple[Struct, pydantic.PositiveInt], "one library must check the whole type"),
        (tuple[Annotated[int, msgspec.Meta(gt=1)], pydantic.PositiveInt], "one library must check the whole type"),
        (tuple[Struct, example_types.User | int], "the union User | int of models"),
        (WithField, "where nothing enforces it"),
        (WithMeta, "does not enforce it"),
        (list[WithMeta], "does not enforce it"),
        (list[Annotated[example_types.FrozenItem, pydantic.Field()]], "FrozenItem by msgspec"),
        (Annotated[int | None, msgspec.Meta(gt=1)], "numeric"),
        (Annotated[decimal.Decimal, msgspec.Meta(gt=1)], "numeric"),
    ],
)
def test_what_no_library_would_enforce_is_refused_where_it_is_declared(declared: Any, hint: str) -> None:
    with pytest.raises(DefinitionError, match=r"Order\.field") as caught:
        codec(declared)
    assert hint in str(caught.value)


def test_constraints_without_pydantic_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(DefinitionError, match=r"Install it, or use msgspec\.Meta"):
        codec(Annotated[int, at.Gt(12345)])


@dataclasses.dataclass
class Checked:
    n: int = pydantic.Field(gt=3)
    kind: ClassVar[list[Annotated[int, Own()]]] = []
    fixed: Final[Literal["a"]] = "a"


def test_a_field_of_pydantic_as_the_default_in_a_dataclass_is_enforced() -> None:
    assert codec(Checked).decode('{"n": 4}') == Checked(4)
    with pytest.raises(SerializationError):
        codec(Checked).encode(Checked(3))


def test_notes_are_no_constraints() -> None:
    class Marker:
        pass

    for note in ("text", ["a list"], Marker(), Marker, at.Unit("m"), at.doc("text"), msgspec.Meta(description="d")):
        noted: Any = Annotated[int, note]
        assert codec(noted).adapter is None
        assert codec(noted).encode(-3) == "-3"


def test_texts_from_outside_are_converted_once_and_then_stay_as_they_are() -> None:
    upper = codec(Annotated[str, pydantic.StringConstraints(to_upper=True, strip_whitespace=True)])
    assert upper.decode('" abc "') == "ABC"
    with pytest.raises(SerializationError, match="would come back as 'ABC'"):
        upper.encode("abc")
    growing = codec(Annotated[int, pydantic.AfterValidator(lambda n: n + 1)])
    with pytest.raises(SerializationError, match="accept its own result unchanged"):
        growing.encode(growing.decode("1"))


def test_a_constrained_type_is_as_strict_as_the_plain_one() -> None:
    for text in ('"5"', "true", "5.0", "null"):
        with pytest.raises(SerializationError):
            codec(pydantic.PositiveInt).decode(text)


def test_the_constraints_of_one_class_hold_in_a_recursive_one() -> None:
    tree = codec(Branch)
    assert tree.decode('{"n":1,"inner":[{"n":2,"inner":[]}]}') == Branch(1, [Branch(2)])
    with pytest.raises(SerializationError, match=r"inner\.0\.n"):
        tree.decode('{"n":1,"inner":[{"n":-2,"inner":[]}]}')


@dataclasses.dataclass
class Branch:
    n: pydantic.PositiveInt
    inner: list[Branch] = dataclasses.field(default_factory=list)


def test_types_of_a_process_life_are_named_alike_in_the_next_one() -> None:
    named = codec(Annotated[int, pydantic.AfterValidator(even), pydantic.Field(gt=1)]).name
    assert named == "Annotated[int, AfterValidator(func=even), Field(Gt(gt=1))]"


# --- pydantic converts as msgspec does ------------------------------------------------------------------------------------

_NOT_PYDANTICS = {
    "Struct",
    "tagged union of Structs",
    "TypedDict",
    "bytearray",
    "dict of bytes",
    "dict of Literal",
    "Flag",
}
_NOT_PYDANTICS |= {"Annotated"}


_VALIDATORS = {
    "strict": pydantic.AfterValidator(lambda value: value),
    "lax": pydantic.BeforeValidator(lambda value: value),
}


@pytest.mark.parametrize("strictness", _VALIDATORS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in _NOT_PYDANTICS])
def test_what_pydantic_converts_comes_back_exactly_or_is_refused(kind: str, strictness: str) -> None:
    declared, values = KINDS[kind]
    plain, checked = codec(declared), codec(Annotated[declared, _VALIDATORS[strictness]])
    assert checked.adapter is not None
    accepted = 0

    @given(values)
    def comes_back(value: Any) -> None:
        nonlocal accepted
        try:
            text = checked.encode(value)
        except SerializationError:
            return
        accepted += 1
        assert plain.equal(plain.encode(checked.decode(text)), plain.encode(value))
        assert checked.equal(plain.encode(value), text)  # what was stored before the constraint was added

    comes_back()
    # Behind a validator that sees what arrives, a model that is strict takes no JSON.
    assert accepted or (kind, strictness) == ("strict pydantic model", "lax"), "everything is refused"


# --- unions of models ---------------------------------------------------------------------------------------------------------


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str] = []


class Tame(Dog):
    pass


class Whole(pydantic.BaseModel):
    n: int


class Same(pydantic.BaseModel):
    n: int


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


@dataclasses.dataclass
class Home:
    pet: Cat | Dog | None
    others: list[Pet]


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Pet, Dog(tricks=["sit"])),
        (Cat | Dog, Dog()),
        (Cat | Dog | None, None),
        (Cat | Dog | None, Cat(lives=3)),
        (list[Pet], [Cat(), Dog()]),
        (dict[str, Cat | Dog], {"a": Dog()}),
        (Cat | str, "a name"),
        (Cat | str, Cat()),
        (Cat | int, 3),
        (Cat | list[Cat], [Cat()]),
        (Cat | example_types.Point, example_types.Point(1, 2.5)),
        (Home, Home(None, [Cat(), Dog()])),
        (list[Home], [Home(Dog(), [])]),
        (pydantic.HttpUrl, pydantic.HttpUrl("http://a.b/")),
        (type_alias("Pets", list[Cat | Dog]), [Dog()]),
        (new_type(Cat | Dog), Dog()),
    ],
)
def test_a_value_of_a_union_of_models_comes_back_exactly(declared: Any, value: Any) -> None:
    known = codec(declared)
    back = known.decode(known.encode(value))
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Whole | Same, Same(n=1)),  # nothing tells them apart
        (Cat | Dog, Tame()),  # it would lose its class
        (Pet, Tame()),
        (Cat | str, 3),
        (Pet, {"kind": "cat"}),
        (Pet, None),
        (Cat | Dog, example_types.User(id=1)),
    ],
)
def test_a_value_that_a_union_of_models_would_change_is_refused(declared: Any, value: Any) -> None:
    with pytest.raises(SerializationError):
        codec(declared).encode(value)


def test_a_secret_and_bytes_that_are_no_text_are_refused_with_the_way_out() -> None:
    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    class Blob(pydantic.BaseModel):
        data: bytes

    for declared, value, way in (
        (Login, Login(password=pydantic.SecretStr("x")), "writes a mask instead of its secret"),
        (pydantic.SecretStr, pydantic.SecretStr("x"), "writes a mask instead of its secret"),
        (Blob, Blob(data=b"\xff"), "ser_json_bytes='base64'"),
    ):
        with pytest.raises(SerializationError, match=way):
            codec(declared).encode(value)


class Coded(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    data: bytes


def test_the_way_out_for_bytes_in_a_model_works() -> None:
    assert codec(Coded).decode(codec(Coded).encode(Coded(data=b"\xff\x00"))) == Coded(data=b"\xff\x00")


def test_a_module_as_metadata_is_a_note() -> None:
    assert codec(Annotated[int, types, enum]).encode(1) == "1"
