"""Pydantic, if it is in use: models, which msgspec delegates to this module, and types that pydantic must check as a whole."""

from __future__ import annotations

import importlib
import sys
from typing import Any, get_args

import msgspec

from actors.serde.type_names import type_name


def encode_model(value: Any) -> Any:
    """The stored form of a model: by field name, whatever its aliases."""
    if not is_model(type(value)):
        raise TypeError(f"values of type {type(value).__name__} are not supported")
    try:
        return value.model_dump(mode="json", round_trip=True, by_alias=False, warnings=False)
    except UnicodeDecodeError as error:
        raise ValueError(f"{error}. {_BYTES}") from None
    except ValueError as error:  # pydantic's own
        raise ValueError(f"{error}. {_BYTES}" if "utf-8" in str(error) else str(error)) from None


_BYTES = "For bytes that are not text give the model model_config = ConfigDict(ser_json_bytes='base64', val_json_bytes='base64')"


def decode_model(declared: type, value: Any) -> Any:
    """The model in a stored value. Raises ValueError, which names the places, if it is not valid."""
    if not is_model(declared):
        raise TypeError(f"values of type {type_name(declared)} are not supported")
    pydantic = sys.modules["pydantic"]
    try:
        # As JSON, so that a strict model accepts the text forms of dates and the like.
        return declared.model_validate_json(msgspec.json.encode(value), **_both_names(pydantic))  # type: ignore[attr-defined]
    except pydantic.ValidationError as error:
        raise ValueError(_problems(error)) from None


class Adapter:
    """JSON conversion of one type by pydantic. Raises TypeError for a type that pydantic cannot convert, ValueError for a value.

    Texts look as msgspec would write or accept them, for example bytes in base64. `strict`: values outside of models must have
    exactly their type: "5" is not an int.
    """

    def __init__(self, declared: Any, strict: bool) -> None:
        try:
            pydantic = importlib.import_module("pydantic")
        except ModuleNotFoundError:
            raise TypeError(
                f"{type_name(declared)} has constraints that pydantic enforces, which is not installed. Install it, or use msgspec.Meta"
            ) from None
        config = {"strict": strict, "ser_json_bytes": "base64", "val_json_bytes": "base64"}
        try:
            # In a tuple, because pydantic refuses a configuration for a type that can have its own.
            self._adapter = pydantic.TypeAdapter(tuple[declared], config=config)
        except pydantic.errors.PydanticUserError as error:
            raise TypeError(str(error).partition("\n\nFor further")[0].replace("\n", " ").rstrip(" .")) from None
        self._names = _both_names(pydantic)
        self._invalid: type[Exception] = pydantic.ValidationError

    def decode(self, text: str) -> Any:
        try:
            return self._adapter.validate_json(f"[{text}]", **self._names)[0]
        except self._invalid as error:
            raise ValueError(_problems(error, 1)) from None

    def encode(self, value: Any) -> bytes:
        text: bytes = self._adapter.dump_json((value,), round_trip=True, by_alias=False, warnings=False)
        return text[1:-1]


def schemas_of(types: list[Any], ref_template: str) -> tuple[list[dict[str, Any] | None], dict[str, Any]]:
    """The JSON Schemas of models and adapters, and their definitions. None for a type that pydantic cannot describe."""
    if not types:
        return [], {}
    adapter: Any = sys.modules["pydantic"].TypeAdapter
    adapters = [one._adapter if isinstance(one, Adapter) else adapter(tuple.__class_getitem__(one)) for one in types]

    def described(places: list[int]) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
        # By field name, not by alias: values are written by field name, and both are accepted.
        inputs = [(place, "validation", adapters[place]) for place in places]
        found, rest = adapter.json_schemas(inputs, by_alias=False, ref_template=ref_template)
        return {place: schema["prefixItems"][0] for (place, _), schema in found.items()}, rest.get("$defs", {})

    def is_described(place: int) -> bool:
        try:
            described([place])
            return True
        except Exception:
            return False

    everything = list(range(len(types)))
    try:
        schemas, definitions = described(everything)
    except Exception:  # pydantic has no schema for something inside one of them
        schemas, definitions = described(list(filter(is_described, everything)))
    return [schemas.get(place) for place in range(len(types))], definitions


def _both_names(pydantic: Any) -> dict[str, bool]:
    """The options to accept field names (stored data) and aliases (data from outside). Older releases accept aliases only."""
    return {"by_alias": True, "by_name": True} if _release(pydantic) >= (2, 11) else {}


def _problems(error: Any, skipped: int = 0) -> str:
    """The problems in a ValidationError, in one line, without the first `skipped` parts of each location."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'][skipped:]))}: {problem['msg']}".lstrip(": ") for problem in problems
    )


def is_model(declared: Any) -> bool:
    """Whether this is the class of a model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel)


def is_pydantic_dataclass(declared: Any) -> bool:
    """Whether this is a dataclass of pydantic, which checks its values when it is called."""
    return "__pydantic_validator__" in getattr(declared, "__dict__", {}) and not is_model(declared)


def has_pydantic_schema(declared: Any) -> bool:
    """Whether this is a class that tells pydantic how its values are checked, such as HttpUrl."""
    hooks = ("__get_pydantic_core_schema__", "__get_validators__", "__pydantic_config__")
    return any(hasattr(declared, hook) for hook in hooks) and not is_model(declared)


def _release(pydantic: Any) -> tuple[int, int]:
    major, minor = pydantic.VERSION.split(".")[:2]
    return int(major), int(minor)


def model_hides(declared: Any) -> bool:
    """Whether the model, or a nested model, has private or excluded fields."""
    seen: set[Any] = set()

    def look(hint: Any) -> bool:
        if not is_model(hint):
            return any(map(look, get_args(hint)))
        if hint in seen:
            return False
        seen.add(hint)
        fields = hint.model_fields.values()
        return bool(hint.__private_attributes__) or any(f.exclude or look(f.annotation) for f in fields)

    return look(declared)
