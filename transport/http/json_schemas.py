"""The JSON Schemas of the types that handlers take and return.

Promise: every type that a handler may have gets its own schema, even beside other types of the same name, and describing a
type never fails; a type that cannot be described is `{}`.
"""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect as kinds

from actors.serde import codec_for
from actors.serde.pydantic_models import Adapter, encode_model, is_model, schemas_of
from actors.serde.type_names import type_name

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"
# Schemas by kind of type; further keywords are added to a copy.
_PLAIN: dict[type, Schema] = {
    kinds.NoneType: {"type": "null"},
    kinds.BoolType: {"type": "boolean"},
    kinds.IntType: {"type": "integer"},
    kinds.FloatType: {"type": "number"},
    kinds.StrType: {"type": "string"},
    kinds.BytesType: {"type": "string", "contentEncoding": "base64"},
    kinds.ByteArrayType: {"type": "string", "contentEncoding": "base64"},
    kinds.DateTimeType: {"type": "string", "format": "date-time"},
    kinds.DateType: {"type": "string", "format": "date"},
    kinds.TimeType: {"type": "string"},
    kinds.TimeDeltaType: {"type": "string", "format": "duration"},
    kinds.UUIDType: {"type": "string", "format": "uuid"},
    kinds.DecimalType: {"type": "string", "format": "decimal"},
}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {"array": "Items", "object": "Properties", "string": "Length"}


class JsonSchemas:
    """Schemas by type, and under `components` the schemas they refer to. `taken` are names that no component may get."""

    def __init__(self, types: Iterable[Any], taken: Iterable[str] = ()) -> None:
        self.components: dict[str, Schema] = {}
        self._taken = set(taken)
        self._types: list[Any] = []
        for declared in types:
            if not any(declared is known for known in self._types):
                self._types.append(declared)
        adapters = [codec_for(declared, "a type").adapter for declared in self._types]
        infos = [
            None if adapter is not None else kinds.type_info(declared)
            for declared, adapter in zip(self._types, adapters, strict=True)
        ]
        self._names: dict[Any, str] = {}  # components by class
        self._by_pydantic: dict[Any, Schema] = {}  # by model or adapter
        self._describe_all(
            [one for one in adapters if one is not None] + [model for info in infos for model in _models(info)]
        )
        self._schemas = [
            self._by_pydantic[adapter] if adapter is not None else self._schema(info)
            for info, adapter in zip(infos, adapters, strict=True)
        ]

    def of(self, declared: Any) -> Schema:
        """The schema of one of the `types`."""
        place = next(place for place, known in enumerate(self._types) if known is declared)
        return dict(self._schemas[place])

    # --- pydantic's ---------------------------------------------------------------------------------------------------------

    def _describe_all(self, described: list[Any]) -> None:
        """Ask pydantic for all schemas at once: only then does it distinguish classes of the same name."""
        described = list(dict.fromkeys(described))
        schemas, definitions = schemas_of(described, _REF.format(name="{model}"))
        names = {name: self._free_name(name) for name in definitions}
        for name, definition in definitions.items():
            self.components[names[name]] = _renamed(_as_json(definition), names)
        for one, schema in zip(described, schemas, strict=True):
            nothing = {} if isinstance(one, Adapter) else {"title": one.__name__}
            self._by_pydantic[one] = _renamed(_as_json(schema), names) if schema is not None else nothing

    # --- msgspec's ----------------------------------------------------------------------------------------------------------

    def _schema(self, info: Any) -> Schema:
        more: Schema = {}
        while isinstance(info, kinds.Metadata):
            more = {**(info.extra_json_schema or {}), **more}
            info = info.type
        if isinstance(info, kinds.CustomType):
            schema = dict(self._by_pydantic.get(info.cls, {}))
        elif hasattr(info, "cls"):
            schema = {"$ref": _REF.format(name=self._component(info))}
        elif isinstance(info, kinds.UnionType):
            schema = self._union(info)
        elif isinstance(info, kinds.LiteralType):
            schema = {"enum": list(info.values)}
        elif isinstance(info, kinds.TupleType):
            schema = self._items([self._schema(item) for item in info.item_types], len(info.item_types))
        elif isinstance(info, kinds.DictType):
            schema = self._mapping(info)
        elif isinstance(info, kinds.CollectionType):
            schema = {"type": "array", "items": self._schema(info.item_type)}
            if isinstance(info, (kinds.SetType, kinds.FrozenSetType)):
                schema["uniqueItems"] = True
        else:
            schema = dict(_PLAIN.get(type(info), {}))
        _limit(schema, info)
        return {**schema, **_as_json(more)}

    def _items(self, items: list[Schema], least: int) -> Schema:
        schema: Schema = {"type": "array", "minItems": least, "maxItems": len(items), "items": False}
        return {**schema, "prefixItems": items} if items else schema

    def _mapping(self, info: kinds.DictType) -> Schema:
        schema: Schema = {"type": "object", "additionalProperties": self._schema(info.value_type)}
        key = self._schema(info.key_type)
        if key.pop("type", None) == "string" and key:
            schema["propertyNames"] = key
        return schema

    def _union(self, info: kinds.UnionType) -> Schema:
        schema: Schema = {"anyOf": [self._schema(kind) for kind in info.types]}
        tagged = [kind for kind in map(_bare, info.types) if isinstance(kind, kinds.StructType) and not kind.array_like]
        if len(tagged) == len(info.types):
            mapping = {str(kind.tag): _REF.format(name=self._component(kind)) for kind in tagged}
            schema["discriminator"] = {"propertyName": tagged[0].tag_field, "mapping": mapping}
        return schema

    def _component(self, info: Any) -> str:
        """The name of the component that describes a class. The component is created on the first use of its name."""
        cls = info.cls
        name = self._names.get(cls)
        if name is None:
            origin = get_origin(cls) or cls
            title = _title(cls)
            name = self._free_name(title, f"{origin.__module__}.{title}")
            self._names[cls] = name
            self.components[name] = {}  # reserves the place in the order; the class may refer to itself
            self.components[name] = {**_described(origin, title), **self._class(info)}
        return name

    def _class(self, info: Any) -> Schema:
        if isinstance(info, kinds.EnumType):
            if issubclass(info.cls, enum.Flag):  # all combinations are accepted, not only the single flags
                return {"type": "integer"}
            return {"enum": sorted(member.value for member in info.cls)}
        fields = [(field.encode_name, field.required, self._field(field)) for field in info.fields]
        required = [name for name, needed, _ in fields if needed]
        if isinstance(info, kinds.NamedTupleType):
            return self._items([schema for _, _, schema in fields], len(required))
        tag = getattr(info, "tag_field", None)
        if tag is not None:
            fields.insert(0, (tag, True, {"enum": [info.tag]}))
            required.insert(0, tag)
        if getattr(info, "array_like", False):
            schema = self._items([schema for _, _, schema in fields], len(required))
            return schema if info.forbid_unknown_fields else {**schema, "maxItems": None, "items": True}
        found: Schema = {"type": "object", "properties": {name: schema for name, _, schema in fields}}
        if getattr(info, "forbid_unknown_fields", False):
            found["additionalProperties"] = False
        return {**found, "required": required}

    def _field(self, field: kinds.Field) -> Schema:
        schema = self._schema(field.type)
        default = field.default
        if field.default_factory in (list, dict, set, bytearray):
            default = field.default_factory()
        if default is not msgspec.NODEFAULT:
            try:
                schema["default"] = _as_json(msgspec.to_builtins(default, str_keys=True, enc_hook=encode_model))
            except Exception:  # a default without a JSON form, for example one in a pydantic dataclass
                return schema
            if not _is_json(schema["default"]):
                del schema["default"]
        return schema

    def _free_name(self, *names: str) -> str:
        """The first of these names that is not taken, with characters that a reference allows. It is taken from now on."""
        fit = ["".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name) for name in names]
        free = next((name for name in fit if name not in self._taken), fit[-1])
        while free in self._taken:
            free += "_"
        self._taken.add(free)
        return free


def _title(cls: Any) -> str:
    """The name of a class, with its type arguments."""
    arguments = ", ".join(_title(one) if isinstance(one, type) else type_name(one) for one in get_args(cls))
    name: str = (get_origin(cls) or cls).__name__
    return f"{name}[{arguments}]" if arguments else name


def _described(cls: Any, title: str) -> Schema:
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    made = text.startswith(f"{cls.__name__}(") and text.endswith(")")  # generated by dataclass or NamedTuple
    if not text or made or (issubclass(cls, enum.Enum) and text == "An enumeration."):
        return {"title": title}
    return {"title": title, "description": text}


def _limit(schema: Schema, info: Any) -> None:
    """Add the limits on values of the type."""
    for limit, keyword in _LIMITS.items():
        if (value := getattr(info, limit, None)) is not None:
            schema[keyword] = value
    for end in ("min", "max"):
        length = getattr(info, f"{end}_length", None)
        if length is not None:
            if "contentEncoding" in schema:  # the length of its text in base64
                length = 4 * ((length + 2) // 3)
            schema[end + _LENGTHS[schema["type"]]] = length


def _bare(info: Any) -> Any:
    while isinstance(info, kinds.Metadata):
        info = info.type
    return info


def _models(root: Any) -> list[Any]:
    """The models inside a type, given msgspec's description of the type."""
    found: list[Any] = []
    waiting, seen = [root] if root is not None else [], set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        if isinstance(info, kinds.CustomType) and is_model(info.cls):
            found.append(info.cls)
        for name in info.__struct_fields__:
            value = getattr(info, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, kinds.Field):
                    waiting.append(item.type)
                elif isinstance(item, kinds.Type):
                    waiting.append(item)
    return found


def _as_json(value: Any) -> Any:
    """A copy in plain JSON types: tuples become lists; a default that JSON cannot express is left out."""
    if isinstance(value, dict):
        return {str(name): _as_json(inner) for name, inner in value.items() if name != "default" or _is_json(inner)}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    return value


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_json(inner) for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    return value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    if not isinstance(value, dict):
        return value
    renamed = {name: _renamed(inner, names) for name, inner in value.items()}
    for place in ("$ref", "mapping"):
        target = value.get(place)
        if isinstance(target, str):
            renamed[place] = _reference(target, names)
        elif isinstance(target, dict):
            renamed[place] = {tag: _reference(to, names) if isinstance(to, str) else to for tag, to in target.items()}
    return renamed


def _reference(text: str, names: dict[str, str]) -> str:
    name = text.rpartition("/")[2]
    return _REF.format(name=names[name]) if name in names else text
