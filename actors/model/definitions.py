"""A class and its handlers as the runtime sees them: data, checked once, when `builder` creates it from a class body."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from actors.errors import BadArguments, DefinitionError, SerializationError, WrongKind
from actors.model.cron import CronLine
from actors.model.fields import FieldDefinition
from actors.model.migrations import Migrations
from actors.model.names import checked_key
from actors.model.retry import RetryPolicy
from actors.serde import Codec, join, split
from actors.storage.records import Mode

Kind = Literal["object", "service", "workflow"]


class ServiceDefinition:
    """A class as the runtime sees it: its handlers and its state by name, with all types checked.

    `annotations` holds the annotations of the class itself. `inline` holds the definition of every handler in the class and its
    bases, also of a handler that is overridden and called through super(). `containers` holds the positions, by name, of the
    fields whose values can change in place. Handlers work on instances of `worker`, which become instances of `guarded` with
    the first step; shared handlers work on instances of `reader`.
    """

    __slots__ = (
        "annotations",
        "cls",
        "containers",
        "fields",
        "fields_by_name",
        "guarded",
        "handlers",
        "history",
        "inline",
        "kind",
        "migrations",
        "name",
        "private",
        "reader",
        "reference",
        "retry",
        "schedules",
        "version",
        "worker",
    )

    def __init__(
        self,
        cls: type,
        *,
        kind: Kind,
        name: str,
        retry: RetryPolicy | None,
        private: bool,
        version: int,
        annotations: dict[str, Any],
        migrations: Migrations,
        fields: list[FieldDefinition],
    ) -> None:
        self.cls = cls
        self.kind = kind
        self.name = name
        self.retry = retry
        self.private = private
        self.history = False  # whether every change of state is recorded
        self.version = version
        self.annotations = annotations
        self.migrations = migrations
        self.fields = fields
        self.fields_by_name = {field.name: field for field in fields}
        # Derived from the fields above, with a reference to this definition: set by `builder`.
        self.inline: dict[Any, HandlerDefinition] = {}
        self.handlers: dict[str, HandlerDefinition] = {}
        self.schedules: list[Schedule] = []
        self.containers: dict[str, int] = {}
        self.worker: Any = cls
        self.guarded: Any = cls
        self.reader: Any = cls
        self.reference: Any = None

    def classes(self) -> tuple[type, ...]:
        """All classes that `type(self)` may be in a handler, and the class as written."""
        return self.cls, self.worker, self.guarded, self.reader

    def handler(self, name: str, run: bool) -> HandlerDefinition | None:
        """The handler that an invocation was accepted for. `run` means as the run of a workflow, whose handler may be renamed."""
        found = self.handlers.get(name)
        if found is None and run:
            return next((handler for handler in self.handlers.values() if handler.once), None)
        return found


class Declaration(Protocol):
    """What `@handler` or `@shared` has left in a class body."""

    function: Callable[..., Any]
    name: str
    shared: bool
    atomic: bool
    private: bool
    retry: RetryPolicy | None


class HandlerDefinition:
    """A handler, ready to use. `parameters` and `codecs` are of its arguments, without self and the context."""

    __slots__ = (
        "_signature",
        "arity",
        "atomic",
        "codecs",
        "function",
        "mode",
        "name",
        "names",
        "once",
        "private",
        "retry",
        "returns",
        "service",
        "shared",
        "takes_context",
        "target",
    )

    def __init__(
        self,
        service: ServiceDefinition,
        declared: Declaration,
        *,
        takes_context: bool,
        parameters: Sequence[inspect.Parameter],
        codecs: list[Codec],
        returns: Codec,
    ) -> None:
        self.service = service
        self.name = declared.name
        self.function = declared.function
        self.shared = declared.shared
        self.mode = Mode.KEYLESS if service.kind == "service" else Mode.SHARED if self.shared else Mode.EXCLUSIVE
        self.once = service.kind == "workflow" and not self.shared  # invoked once for each key: the workflow itself
        self.atomic = declared.atomic
        self.private = declared.private or service.private
        self.retry = declared.retry if declared.retry is not None else service.retry
        self.target = f"{service.name}.{self.name}"
        self.takes_context = takes_context
        self._signature = inspect.Signature(parameters)
        self.names = [parameter.name for parameter in parameters]
        self.arity = len(parameters)
        self.codecs = codecs
        self.returns = returns

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, tuple[Any, ...] | None]:
        """The arguments as a JSON array, and the values themselves if decoding would give the same values.

        Raises BadArguments or SerializationError.
        """
        if kwargs or len(args) != self.arity:
            args = self._bound(args, kwargs)
        codecs = self.codecs
        if self.arity == 1:
            (value,) = args
            try:
                codec = codecs[0]
                return f"[{codec.encode(value)}]", args if type(value) in codec.atoms else None
            except SerializationError as error:
                raise self._bad_argument(0, error) from None
        texts, unchangeable = [], True
        for position, value in enumerate(args):
            codec = codecs[position]
            try:
                texts.append(codec.encode(value))
            except SerializationError as error:
                raise self._bad_argument(position, error) from None
            if type(value) not in codec.atoms:
                unchangeable = False
        return join(texts), args if unchangeable else None

    def _bad_argument(self, position: int, error: SerializationError) -> BadArguments:
        return BadArguments(f"{self.target}: argument {self.names[position]!r}: {error}")

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"{self.target}{self._signature}: {error}.") from None
        bound.apply_defaults()  # stored with the call, so that later attempts see the same defaults
        return tuple(bound.arguments.values())

    def decode(self, array: str) -> tuple[Any, ...]:
        """The arguments in a stored JSON array. Raises SerializationError if they no longer fit the signature."""
        texts = split(array)
        if len(texts) != self.arity:
            raise SerializationError(
                f"{self.target} takes {self.arity} arguments ({', '.join(self.names) or 'none'}); stored are {len(texts)}"
            )
        return tuple([codec.decode(text) for codec, text in zip(self.codecs, texts, strict=True)])

    def same_arguments(self, one: str, other: str) -> bool:
        """Whether two stored argument lists are equal; the order inside a set does not count."""
        if one == other:
            return True
        ones, others = split(one), split(other)
        return len(ones) == len(others) == self.arity and all(
            codec.equal(a, b) for codec, a, b in zip(self.codecs, ones, others, strict=True)
        )


class Schedule:
    """A cron line, the handler that it runs, and the key of the object. `args_text` holds the arguments of its ticks."""

    __slots__ = ("args_text", "handler", "key", "line", "misfire")

    def __init__(self, handler: HandlerDefinition, key: str, line: CronLine, misfire: str, args_text: str) -> None:
        self.handler = handler
        self.key = key
        self.line = line
        self.misfire = misfire
        self.args_text = args_text

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The values by which its ticks are found: if any of them changes, the schedule is a different one."""
        return self.handler.service.name, self.key, self.handler.name, self.line.name


def definition_of(cls: Any) -> ServiceDefinition:
    """The definition of a served class. Raises DefinitionError for anything else, and for an abstract class."""
    definition = getattr(cls, "__actors__", None)
    if type(definition) is not ServiceDefinition or cls not in definition.classes():
        raise DefinitionError(f"{cls!r} is not a class derived from VirtualObject, Service or Workflow.")
    if cls.__abstractmethods__:
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise DefinitionError(f"class {cls.__qualname__} is abstract ({missing}). Serve a subclass that implements it.")
    return definition


def key_for(target: HandlerDefinition, key: str) -> str:
    """`key`, if it can name an object of this handler's class; the key of a Service is empty. Raises BadKey or WrongKind."""
    if target.service.kind != "service":
        return checked_key(key)
    if key == "":
        return ""
    raise WrongKind(f"{target.service.name} is a Service, which has no key. Pass '' as its key.")
