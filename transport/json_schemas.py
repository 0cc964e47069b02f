"""The JSON Schemas of the types that handlers take and return.

Promise: every type that a handler may have gets a schema, and making one never fails; what cannot be described is `{}`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from actors.models import is_model

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"
_STRINGS = {"type": "string"}
_FIELDS = ("DataclassType", "NamedTupleType", "StructType", "TypedDictType")


class JsonSchemas:
    """Schemas by type, and under `components` what they refer to. `taken` are the names of components nobody may get."""

    def __init__(self, types: Iterable[Any], taken: Iterable[str] = ()) -> None:
        self.components: dict[str, Schema] = {}
        self._taken = set(taken)
        self._types: list[Any] = []
        named: dict[int, Any] = {}
        for declared in types:
            if not any(declared is known for known in self._types):
                self._types.append(declared)
                for info in _contained(msgspec.inspect.type_info(declared)):
                    named[id(info)] = info
        infos = list(named.values())
        self._models = self._model_schemas([info.cls for info in infos if isinstance(info, msgspec.inspect.CustomType)])
        # Asked for on their own too: only so is it known which component is whose.
        whose = [info for info in infos if hasattr(info, "cls") and not isinstance(info, msgspec.inspect.CustomType)]
        self._schemas: list[Schema] = self._msgspec_schemas(self._types)
        for info, reference in zip(whose, self._msgspec_schemas([info.cls for info in whose]), strict=True):
            self._complete(info, self.components.get(reference.get("$ref", "").rpartition("/")[2]))
        for declared, schema in zip(self._types, self._schemas, strict=True):
            _add_dates(msgspec.inspect.type_info(declared), schema)

    def of(self, declared: Any) -> Schema:
        """A schema of one of the types this was made with."""
        place = next(place for place, known in enumerate(self._types) if known is declared)
        return dict(self._schemas[place])

    def _msgspec_schemas(self, types: list[Any]) -> list[Schema]:
        try:
            schemas, components = msgspec.json.schema_components(types, schema_hook=self._model, ref_template=_REF)
        except Exception:  # a default that is no JSON, for example: the others are to have theirs nevertheless
            if len(types) == 1:
                return [{}]
            return [schema for declared in types for schema in self._msgspec_schemas([declared])]
        found: list[Schema] = [_as_json(schema) for schema in schemas]
        clashes = {name: self._free_name(name) for name in components if name in self._taken}
        for name, component in components.items():
            self.components.setdefault(clashes.get(name, name), _renamed(_as_json(component), clashes))
        return [_renamed(schema, clashes) for schema in found]

    def _free_name(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        return name

    def _model(self, declared: type) -> Schema:
        return self._models.get(declared, {})

    def _model_schemas(self, models: list[Any]) -> dict[Any, Schema]:
        """Those of pydantic's models, with what is inside them among the components, under names of their own."""
        found: dict[Any, Schema] = {}
        for model in models:
            if not is_model(model):
                continue
            try:
                # By field name and not by alias: so it is answered, and both are read.
                schema = model.model_json_schema(by_alias=False, ref_template=_REF.format(name="{model}"))
            except Exception:  # pydantic has no schema for something inside
                found[model] = {"title": model.__name__}
                continue
            inner = schema.pop("$defs", {})
            own = model.__name__
            if "$ref" not in schema:
                inner[own] = schema
            else:  # it refers to itself
                own = schema["$ref"].rpartition("/")[2]
            names = {name: self._model_name(name, component) for name, component in inner.items()}
            for name, component in inner.items():
                self.components[names[name]] = _renamed(_as_json(component), names)
                self._taken.add(names[name])
            found[model] = {"$ref": _REF.format(name=names[own])}
        return found

    def _model_name(self, name: str, component: Schema) -> str:
        name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
        while name in self._taken and self.components.get(name) != component:
            name += "_"
        return name

    def _complete(self, info: Any, component: Schema | None) -> None:
        if component is None:
            return
        if isinstance(info, msgspec.inspect.EnumType):
            if issubclass(info.cls, enum.Flag):  # msgspec names the single flags only, and takes all combinations
                component.pop("enum", None)
                component["type"] = "integer"
        elif type(info).__name__ in _FIELDS:
            properties = component.get("properties") or {}
            places = component.get("prefixItems") or []
            for place, field in enumerate(info.fields):
                schema = properties.get(field.encode_name) or (places[place] if place < len(places) else None)
                if schema is not None:
                    _add_dates(field.type, schema)


def _add_dates(info: Any, schema: Any) -> None:
    """Say where a string is a point in time: msgspec, which takes one without an offset too, does not."""
    if not isinstance(schema, dict):
        return
    if isinstance(info, msgspec.inspect.DateTimeType):
        if schema.get("type") == "string":
            schema["format"] = "date-time"
    elif isinstance(info, msgspec.inspect.UnionType):
        for kind in info.types:  # at most one of a union is text
            for option in schema.get("anyOf", ()) if isinstance(kind, msgspec.inspect.DateTimeType) else ():
                if option == _STRINGS:
                    option["format"] = "date-time"
    elif isinstance(info, msgspec.inspect.Metadata):
        _add_dates(info.type, schema)
    elif isinstance(info, msgspec.inspect.DictType):
        _add_dates(info.value_type, schema.get("additionalProperties"))
    elif isinstance(info, msgspec.inspect.TupleType):
        for kind, item in zip(info.item_types, schema.get("prefixItems", ()), strict=False):
            _add_dates(kind, item)
    elif hasattr(info, "item_type"):
        _add_dates(info.item_type, schema.get("items"))


def _contained(root: Any) -> list[Any]:
    found, waiting, seen = [], [root], set()
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        found.append(info)
        for name in info.__struct_fields__:
            value = getattr(info, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, msgspec.inspect.Field):
                    waiting.append(item.type)
                elif isinstance(item, msgspec.inspect.Type):
                    waiting.append(item)
    return found


def _as_json(value: Any) -> Any:
    """A copy of plain JSON types: tuples become lists; a default that JSON cannot hold goes."""
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
    if not names:
        return value
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _renamed(inner, names) for name, inner in value.items()}
    for place in ("$ref", "mapping"):
        told = value.get(place)
        if isinstance(told, str):
            found[place] = _reference(told, names)
        elif isinstance(told, dict):
            found[place] = {tag: _reference(to, names) if isinstance(to, str) else to for tag, to in told.items()}
    return found


def _reference(text: str, names: dict[str, str]) -> str:
    name = text.rpartition("/")[2]
    return _REF.format(name=names[name]) if name in names else text
