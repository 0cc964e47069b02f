"""Reads a class body into a definition. Every mistake in a class raises an error here, when the class is created."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from types import UnionType
from typing import Any, Generic, Never, NoReturn, Union, get_args, get_origin

from actors.errors import DefinitionError, SerializationError
from actors.model.annotations import annotations_of, bound, is_constant, resolved, scopes, type_arguments
from actors.model.constants import refuse_mutable_values
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.fields import FieldDefinition, default_of
from actors.model.handlers import Handler
from actors.model.instances import guarded_class, reader_class, worker_class
from actors.model.migrations import Migrations
from actors.model.names import check_declared_name
from actors.model.references import reference_class
from actors.model.schedules import schedules_of
from actors.serde import Codec, codec_for
from actors.serde.exactness import ATOMS

_RESERVED = frozenset(
    {
        "_actors_attempt",
        "_actors_keeper",
        "_bind_inline",
        "_check_kind",
        "__actors__",
        "__kind__",
        "__service_name__",
        "__retry__",
        "__private__",
        "__history__",
    }
    | {"__dict__", "__weakref__"}
    | {"__state_version__", "__actors_advice__", ""}  # the database keeps the version under the empty name
)
_RESERVED_FOR_HANDLERS = _RESERVED | {"_definition", "_dispatcher", "_key"}  # the slots of references


def definition(cls: Any, namespace: dict[str, Any], framework: Collection[type]) -> ServiceDefinition:
    """The definition of a class. Raises DefinitionError.

    `namespace` holds the names around the class statement. `framework` holds the base classes of the framework, which declare
    no state.
    """
    name: str = cls.__dict__.get("__service_name__") or cls.__name__
    check_declared_name(name, f"class {cls.__qualname__}")
    annotations = annotations_of(cls, cls, namespace)
    handlers, owners = _handlers_of(cls)
    version: int = cls.__state_version__
    migrations = Migrations.of(cls, version)
    bindings = type_arguments(cls)
    annotated = {base: _annotated(base, cls, annotations, namespace, framework) for base in reversed(cls.__mro__)}
    states = {
        name: bound(annotation, bindings.get(base))
        for base, declarations in annotated.items()
        for name, annotation in declarations.items()
        if not is_constant(annotation)
    }
    for state in states:
        if state in handlers or state in _RESERVED:
            raise DefinitionError(
                f"class {cls.__qualname__}: the state attribute {state!r} has the name of a handler or of "
                "something the runtime uses. Rename one of them."
            )
    ours = [base for base in cls.__mro__ if base in framework or "__kind__" in base.__dict__]
    refuse_mutable_values(cls, states, ours, annotated)
    service = ServiceDefinition(
        cls,
        kind=cls.__kind__,
        name=name,
        retry=cls.__retry__,
        private=cls.__private__,
        version=version,
        annotations=annotations,
        migrations=migrations,
        fields=[
            FieldDefinition(cls.__qualname__, state, annotation, default_of(cls, state))
            for state, annotation in states.items()
        ],
    )
    for declared, owner in owners.items():
        if declared.hints is None:
            where = declared.function.__qualname__
            declared.hints = resolved(declared.function, scopes(owner, cls, namespace), where)
        hints = {name: bound(hint, bindings.get(owner)) for name, hint in declared.hints.items()}
        service.inline[declared] = _handler(service, declared, hints)
    for declared in handlers.values():
        if declared.name in service.handlers:
            raise DefinitionError(
                f"class {cls.__qualname__}: two handlers are named {declared.name!r}. "
                "Rename one of them, or set another name with @handler(name='...')."
            )
        service.handlers[declared.name] = service.inline[declared]
    service.history = cls.__history__
    service.schedules = schedules_of(service, handlers.values())
    service.containers = {
        field.name: position for position, field in enumerate(service.fields) if _can_change(field.codec.type)
    }
    service.worker = worker_class(cls, service.containers)
    service.guarded = guarded_class(service.worker)
    service.reader = reader_class(service.worker)
    service.reference = reference_class(service, {attribute: declared.name for attribute, declared in handlers.items()})
    return service


def _annotated(
    base: type, cls: type, own: dict[str, Any], namespace: dict[str, Any], framework: Collection[type]
) -> dict[str, Any]:
    """The annotations in the body of `base`. A base that is an object class itself has resolved its annotations already."""
    if base is cls:
        return own
    known = base.__dict__.get("__actors__")
    if isinstance(known, ServiceDefinition):
        return known.annotations
    if base in (object, Generic) or base in framework or "__kind__" in base.__dict__:
        return {}
    return annotations_of(base, cls, namespace)


def _handlers_of(cls: type) -> tuple[dict[str, Handler[Any, Any, Any]], dict[Handler[Any, Any, Any], type]]:
    """The handlers by attribute, inherited handlers included; and the class of each handler, overridden handlers included."""
    handlers: dict[str, Handler[Any, Any, Any]] = {}
    owners: dict[Handler[Any, Any, Any], type] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in base.__dict__.items():
            if isinstance(value, Handler):
                check_declared_name(value.name, f"class {cls.__qualname__}")
                if attribute in _RESERVED_FOR_HANDLERS:
                    raise DefinitionError(
                        f"class {cls.__qualname__}: the runtime uses {attribute!r}. Rename the handler."
                    )
                handlers[attribute] = value
                owners[value] = base
            elif attribute in handlers:
                raise DefinitionError(
                    f"class {cls.__qualname__}: {attribute!r} overrides a handler with something else. Decorate "
                    "it with @handler or @shared, or rename it."
                )
            elif isinstance(getattr(value, "__func__", None), Handler):
                raise DefinitionError(
                    f"class {cls.__qualname__}: the handler {attribute!r} is a static or class method. Make it a "
                    "method."
                )
    return handlers, owners


def _handler(service: ServiceDefinition, declared: Handler[Any, Any, Any], hints: dict[str, Any]) -> HandlerDefinition:
    """The definition of a handler. Raises DefinitionError for a signature whose arguments cannot be stored."""
    where = f"{service.name}.{declared.name}"
    parameters = list(inspect.signature(declared.function).parameters.values())
    if not parameters or parameters[0].kind not in (_POSITIONAL_ONLY, _POSITIONAL):
        raise DefinitionError(f"{where}: a handler is a method. Its first parameter is 'self'.")
    parameters = parameters[1:]
    takes_context = bool(parameters) and _is_context(parameters[0], hints)
    if takes_context:
        parameters = parameters[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(
                f"{where}: *{parameter.name} cannot be stored by name and type. Declare each parameter, or take one list or dict."
            )
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise DefinitionError(
                f"{where}: the parameter {parameter.name!r} is keyword-only. Arguments are stored in order, "
                "so keyword-only parameters are not possible: remove the '*'."
            )
        if _means_context(hints.get(parameter.name)):
            raise DefinitionError(f"{where}: the context comes first. Move {parameter.name!r} right behind 'self'.")
    codecs: list[Codec] = [
        codec_for(hints.get(one.name, Any), f"{where}, parameter {one.name!r}") for one in parameters
    ]
    for parameter, codec in zip(parameters, codecs, strict=True):
        if parameter.default is not parameter.empty:
            try:
                codec.encode(parameter.default)
            except SerializationError as error:
                raise DefinitionError(f"{where}: the default of {parameter.name!r} does not fit: {error}") from None
    returned = hints.get("return", Any)
    return HandlerDefinition(
        service,
        declared,
        takes_context=takes_context,
        parameters=parameters,
        codecs=codecs,
        # A handler that only ever raises returns nothing.
        returns=codec_for(None if returned in (NoReturn, Never) else returned, f"{where}, return type"),
    )


_POSITIONAL_ONLY, _POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


def _is_context(parameter: inspect.Parameter, hints: dict[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return parameter.name in ("ctx", "context") if hint is None else _means_context(hint)


def _means_context(hint: Any) -> bool:
    return isinstance(hint, type) and getattr(hint, "__actors_context__", False)


def _can_change(declared: Any) -> bool:
    """Whether values of this type may change in place."""
    kinds = get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,)
    return not all(kind is None or (isinstance(kind, type) and kind in ATOMS) for kind in kinds)
