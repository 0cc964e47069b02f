"""Pydantic models, if pydantic is in use at all: msgspec asks here for what it does not know."""

from __future__ import annotations

import sys
from typing import Any, get_args

import msgspec

from actors.type_names import type_name


def encode_model(value: Any) -> Any:
    """What is stored of a model: it is written by field name, whatever its aliases."""
    if is_model(type(value)):
        return value.model_dump(mode="json", round_trip=True, by_alias=False, warnings=False)
    raise TypeError(f"values of type {type(value).__name__} are not supported")


def decode_model(declared: type, value: Any) -> Any:
    """The model in a stored value. Raises ValueError, which names the places, if it is not valid."""
    if not is_model(declared):
        raise TypeError(f"values of type {type_name(declared)} are not supported")
    pydantic = sys.modules["pydantic"]
    # Both spellings: ours has field names, what arrives from outside may have aliases. Older releases know only the latter.
    names = {"by_alias": True, "by_name": True} if _release(pydantic) >= (2, 11) else {}
    try:
        # As JSON, so that a strict model accepts the text forms of dates and the like.
        return declared.model_validate_json(msgspec.json.encode(value), **names)  # type: ignore[attr-defined]
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise ValueError(
            "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".lstrip(": ") for problem in problems)
        ) from None


def is_model(declared: Any) -> bool:
    """Whether this is the class of a model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(declared, type) and issubclass(declared, pydantic.BaseModel)


def _release(pydantic: Any) -> tuple[int, int]:
    major, minor = pydantic.VERSION.split(".")[:2]
    return int(major), int(minor)


def model_hides(declared: Any) -> bool:
    """Whether the model, or one inside it, holds what its JSON does not show."""
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
