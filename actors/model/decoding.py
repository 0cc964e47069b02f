"""Stored texts as the attributes of an object."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from actors.errors import SerializationError, StateDecodeError
from actors.model.definitions import ServiceDefinition
from actors.model.fields import FieldDefinition
from actors.model.instances import values_of
from actors.model.virtual_object import Served

_new = object.__new__
ABSENT: Any = object()  # stands for the value of an attribute without one


def materialize(
    definition: ServiceDefinition, cls: type[Served], texts: dict[str, str], without: Container[str] = ()
) -> Served:
    """An instance of `cls` holding `texts`, defaults for the rest. Raises StateDecodeError."""
    instance: Served = _new(cls)
    values = values_of(instance)
    for field in definition.fields:
        if field.name in without:
            continue
        text = texts.get(field.name)
        if text is not None:
            values[field.name] = decoded(definition, field, text)
        elif field.default_text is not None:
            values[field.name] = field.default()
    return instance


def decoded(definition: ServiceDefinition, field: FieldDefinition, text: str) -> Any:
    try:
        return field.codec.decode(text)
    except SerializationError as error:
        raise StateDecodeError(
            f"The stored state of {definition.cls.__qualname__}.{field.name} no longer fits its type: {error}. "
            + how_to_fix(definition)
        ) from None


def how_to_fix(definition: ServiceDefinition) -> str:
    """What to do about state that does not fit, unless a migration has made it."""
    base = "Workflow" if definition.kind == "workflow" else "VirtualObject"
    return (
        "Change the annotation back, let it accept the stored form too, or raise the version: class "
        f"{definition.cls.__name__}({base}, version={definition.version + 1}) with "
        f"@migration(from_version={definition.version})."
    )


def migrated(
    definition: ServiceDefinition, key: str, texts: dict[str, str], version: int, longest: int | None
) -> dict[str, str]:
    """`texts`, stored by an object in `version`, migrated to the version of the class, which they fit. Raises StateDecodeError.

    `longest` is how many characters a changed value may take.
    """
    where = f"{definition.name}/{key}"
    result = definition.migrations.applied(texts, version, where)
    for name, text in result.items():
        if longest is not None and len(text) > longest and text != texts.get(name):
            raise StateDecodeError(
                f"The state of {where} cannot be migrated from version {version} to {definition.version}: {name!r} would "
                f"take {len(text):,} characters; max_payload of the app allows {longest:,}. The state is left as it is."
            )
    try:
        materialize(definition, definition.cls, result)
    except StateDecodeError as error:
        if version == definition.version:
            raise
        names = [step.name for start, step in sorted(definition.migrations.steps.items()) if start >= version]
        raise StateDecodeError(
            f"The state of {where} was migrated from version {version} to {definition.version}, and does not fit "
            f"then: {str(error).removesuffix(how_to_fix(definition))}Fix the migration {' or '.join(names)}; the "
            "state is left as it is."
        ) from None
    return result
