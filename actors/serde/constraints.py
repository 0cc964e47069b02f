"""Which library must check the values of a type: msgspec, which is quick, or pydantic, for constraints that msgspec ignores.

Promise: every constraint in an annotation, at any depth, is enforced by that library, or the type is refused. Metadata without a
constraint (a text, a `Doc`, a user's own class) is a note.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, NewType, TypeVar, Union, get_args, get_origin

import msgspec

from actors.serde.pydantic_models import has_pydantic_schema, is_model, is_pydantic_dataclass
from actors.serde.type_names import note_text, type_name

# The constraints of msgspec.Meta; its other arguments only describe.
_META = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")
_AT = frozenset(
    {"Gt", "Ge", "Lt", "Le", "MultipleOf", "MinLen", "MaxLen", "Predicate"}
)  # the annotated_types that pydantic enforces
_HOOKS = ("__get_pydantic_core_schema__", "__get_pydantic_json_schema__", "__prepare_pydantic_annotations__")
# Arguments of pydantic.Field that apply only to a field of a class. Elsewhere pydantic ignores them.
_OF_FIELDS = ("default_factory", "alias", "validation_alias", "serialization_alias", "exclude")


# Validators that receive values before conversion. After them pydantic treats JSON as Python values: in strict mode it would not
# accept a text as a datetime, or an array as a set.
_RAW = ("BeforeValidator", "WrapValidator", "PlainValidator", "GetPydanticSchema")


def pydantic_strictness(declared: Any) -> bool | None:
    """None if msgspec can check the values of `declared`; otherwise pydantic must, and the result is whether it may be strict.

    Raises ValueError for a constraint that neither library would enforce.
    """
    found = _Requirements()
    found.look(declared, by_pydantic=False, in_class=False)
    if found.pydantic is None:
        return None
    if found.msgspec is not None:
        raise ValueError(
            f"{found.pydantic} is checked by pydantic and {found.msgspec} by msgspec, but one library must check the whole type. "
            "Write both for one library: pydantic checks dataclasses, TypedDicts and models, with pydantic.Field or annotated_types"
        )
    return not found.raw


class _Requirements:
    """The findings of a walk through a type: the first constraint that only pydantic checks, and the first only for msgspec."""

    def __init__(self) -> None:
        self.pydantic: str | None = None
        self.msgspec: str | None = None
        self.raw = False  # whether a validator receives values before conversion
        self._seen: set[tuple[Any, bool]] = set()

    def look(self, hint: Any, by_pydantic: bool, in_class: bool) -> None:
        """Walk through `hint`. `by_pydantic`: it is inside a model, which checks it. `in_class`: it annotates a class field."""
        origin = get_origin(hint)
        if origin is Annotated:
            self.look(hint.__origin__, by_pydantic, in_class=False)
            for note in hint.__metadata__:
                self._note(note, by_pydantic, in_class)
        elif origin is Union or origin is types.UnionType:
            self._union(hint, by_pydantic)
        elif origin in (Literal, ClassVar):
            pass
        elif origin is not None:
            # Inside a qualifier such as Required[...] the annotation still belongs to the field.
            of_field = in_class and not isinstance(origin, type)
            for inner in _flat(get_args(hint)):
                self.look(inner, by_pydantic, of_field)
            self.look(origin, by_pydantic, in_class=False)
        elif isinstance(hint, NewType):
            self.look(hint.__supertype__, by_pydantic, in_class)
        elif isinstance(hint, TypeVar):
            for inner in (hint.__bound__, *hint.__constraints__):
                self.look(inner, by_pydantic, in_class=False)
        elif type(hint).__name__ == "TypeAliasType":
            self.look(hint.__value__, by_pydantic, in_class)
        elif isinstance(hint, dataclasses.InitVar):
            self.look(hint.type, by_pydantic, in_class)
        elif isinstance(hint, type) and (hint, by_pydantic) not in self._seen:
            self._seen.add((hint, by_pydantic))
            self._class(hint, by_pydantic)

    def _union(self, hint: Any, by_pydantic: bool) -> None:
        options = list(_options(hint))
        models = [one for one in options if is_model(get_origin(one) or one)]
        if models and len([one for one in options if one not in (None, type(None))]) > 1:
            self._needs_pydantic(f"the union {type_name(hint)} of models", by_pydantic)
        for option in get_args(hint):
            self.look(option, by_pydantic, in_class=False)

    def _class(self, cls: Any, by_pydantic: bool) -> None:
        if is_model(cls):
            for field in cls.model_fields.values():
                self.look(field.annotation, True, in_class=True)
                for note in field.metadata:
                    self._note(note, True, in_class=True)
            return
        if is_pydantic_dataclass(cls) or has_pydantic_schema(cls):
            self._needs_pydantic(type_name(cls), by_pydantic)
            self.raw |= cls.__module__.partition(".")[0] != "pydantic" and not is_pydantic_dataclass(cls)
            by_pydantic = True
        elif issubclass(cls, msgspec.Struct) or hasattr(cls, "__attrs_attrs__"):
            self._needs_msgspec(type_name(cls), by_pydantic)
        elif not (dataclasses.is_dataclass(cls) or _is_typed_dict(cls) or _is_named_tuple(cls)):
            return
        if _is_pydantic_field(default := _field_as_default(cls)):
            if not dataclasses.is_dataclass(cls):
                raise ValueError(
                    f"{note_text(default)} is the default of a field of {type_name(cls)}, where nothing enforces it"
                )
            self._needs_pydantic(f"the default {note_text(default)} in {type_name(cls)}", by_pydantic)
        for inner in typing.get_type_hints(cls, include_extras=True).values():
            self.look(inner, by_pydantic, in_class=True)

    def _note(self, note: Any, by_pydantic: bool, in_class: bool) -> None:
        shown = note_text(note)
        if isinstance(note, msgspec.Meta):
            if any(getattr(note, name) is not None for name in _META):
                self._needs_msgspec(shown, by_pydantic)
            return
        itself = isinstance(note, (type, types.FunctionType))
        library = (note if itself else type(note)).__module__.partition(".")[0]
        hooked = any(hasattr(note, hook) for hook in _HOOKS)
        if itself and not hooked and library in ("pydantic", "annotated_types"):
            raise ValueError(f"{shown} in an annotation has no effect: call it with its requirement")
        if _is_pydantic_field(note):
            lost = [name for name in _OF_FIELDS if getattr(note, name, None) is not None]
            if not note.is_required() and note.default_factory is None:
                lost.append("default")
            if lost and not (in_class or by_pydantic):
                raise ValueError(
                    f"{shown} in an annotation: {lost[0]}= has no effect there. Write a default after the annotation; other "
                    "names require a field of a model"
                )
            self._needs_pydantic(shown, by_pydantic)
        elif library == "pydantic" or hooked:
            self._needs_pydantic(shown, by_pydantic)
            self.raw |= library != "pydantic" or type(note).__name__ in _RAW
        elif getattr(note, "__is_annotated_types_grouped_metadata__", False) is True:
            for part in note:
                self._note(part, by_pydantic, in_class)
        elif _is_constraint(note):
            if type(note).__module__ != "annotated_types" or type(note).__name__ not in _AT:
                raise ValueError(
                    f"{shown} is a constraint that neither msgspec nor pydantic enforces. {_instead_of(note)}"
                )
            self._needs_pydantic(shown, by_pydantic)

    def _needs_pydantic(self, what: str, by_pydantic: bool) -> None:
        if not by_pydantic and self.pydantic is None:
            self.pydantic = what

    def _needs_msgspec(self, what: str, by_pydantic: bool) -> None:
        if by_pydantic:
            raise ValueError(
                f"{what} is inside a type of pydantic, which does not enforce it. Use pydantic.Field or a model"
            )
        if self.msgspec is None:
            self.msgspec = what


def _is_constraint(note: Any) -> bool:
    known = sys.modules.get("annotated_types")
    return known is not None and isinstance(note, known.BaseMetadata) and not isinstance(note, known.Unit)


def _instead_of(note: Any) -> str:
    if type(note).__name__ == "Timezone":
        return "Use pydantic.AwareDatetime, pydantic.NaiveDatetime, or msgspec.Meta(tz=...)"
    return "Use pydantic.AfterValidator with a function that checks"


def _is_pydantic_field(value: Any) -> bool:
    fields = sys.modules.get("pydantic.fields")
    return fields is not None and isinstance(value, fields.FieldInfo)


def _field_as_default(cls: Any) -> Any:
    """The first default of a field that is `pydantic.Field(...)`, or None."""
    if dataclasses.is_dataclass(cls):
        defaults: Iterable[Any] = (field.default for field in dataclasses.fields(cls))
    elif issubclass(cls, msgspec.Struct):
        defaults = cls.__struct_defaults__
    else:
        defaults = getattr(cls, "_field_defaults", {}).values()
    return next(filter(_is_pydantic_field, defaults), None)


def _is_typed_dict(cls: type) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__required_keys__")  # also of typing_extensions


def _is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _options(hint: Any) -> Iterable[Any]:
    """The members of a union, with aliases of other unions resolved."""
    while True:
        if get_origin(hint) is Annotated:
            hint = hint.__origin__
        elif isinstance(hint, NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            break
    if get_origin(hint) in (Union, types.UnionType):
        for option in get_args(hint):
            yield from _options(option)
    else:
        yield hint


def _flat(arguments: Iterable[Any]) -> Iterable[Any]:
    for argument in arguments:
        if isinstance(argument, (list, tuple)):  # the parameters of a Callable
            yield from _flat(argument)
        else:
            yield argument
