"""`@migration`: leads stored state from one version of a class to the next; and the chain of such steps.

Promise: a chain has exactly one step for each version below the version of the class. Its result depends on the stored state
alone, so the same stored texts give the same migrated texts whenever, and however often, they are migrated.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

from actors.errors import DefinitionError, SerializationError, StateDecodeError, printable
from actors.serde import ANY
from actors.serde.type_names import shortened, type_name

State = dict[str, Any]


class Migration:
    """The object that `@migration` leaves in the class body. Calling it calls the function: `Order.cents({"total": "9.90"})`."""

    def __init__(self, function: Callable[[State], State], from_version: int, decorated: str) -> None:
        self.function = function
        self.from_version = from_version
        self.name: str = decorated
        self.__doc__ = function.__doc__

    def __call__(self, state: State) -> State:
        return self.function(state)

    def __repr__(self) -> str:
        return f"<migration {self.name} from version {self.from_version}>"


def migration(*, from_version: int) -> Callable[[Callable[[State], State]], Migration]:
    """A step of state evolution: `@migration(from_version=1)` above `@staticmethod` and a function of one dict.

    The function takes the stored state of one object as `class ...(version=from_version)` left it: a dict of plain JSON values
    by name, sorted. It returns the state for the next version, as a new dict or in the dict it received. Names that were never
    assigned are missing; names that no class declares any more are included. The function must be pure: no clock, no random
    numbers, no I/O. An object may be migrated several times: in memory for each reader, and the initial state of an open
    invocation besides the current state. An exception pauses the invocation that needs the state, and changes nothing.

    Raises DefinitionError for a function that cannot be a migration.
    """
    if not isinstance(from_version, int) or isinstance(from_version, bool) or from_version < 1:
        raise DefinitionError(
            f"@migration(from_version={from_version!r}): versions are whole numbers that count from 1. Give the version "
            "whose state the function takes."
        )

    def decorate(function: Callable[[State], State]) -> Migration:
        return Migration(*_checked(function, from_version))

    return decorate


def _checked(function: Any, from_version: int) -> tuple[Any, int, str]:
    plain: Any = function.__func__ if isinstance(function, staticmethod) else function
    name = str(getattr(plain, "__qualname__", shortened(plain)))
    where = f"@migration(from_version={from_version}) {name}"
    if isinstance(plain, (classmethod, property, Migration)) or not callable(plain) or inspect.isclass(plain):
        raise DefinitionError(
            f"{where}: a migration is a plain function of one dict. Put @migration above @staticmethod, and nothing else."
        )
    if inspect.iscoroutinefunction(plain) or inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise DefinitionError(
            f"{where}: a migration is computed at once, from the state alone. Write 'def' instead of 'async def', without 'yield'."
        )
    parameters = list(inspect.signature(plain).parameters.values())
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if (
        not parameters
        or parameters[0].kind not in _POSITIONAL
        or len(required) > 1
        or (required and required != parameters[:1])
    ):
        raise DefinitionError(
            f"{where}{inspect.signature(plain)}: a migration takes one argument, the state as a dict of JSON values by name, "
            "and no self. Write: def name(state: dict[str, Any]) -> dict[str, Any]"
        )
    return plain, from_version, name


_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


class Migrations:
    """The migrations of a class: `version` is the version of its code, `steps[n]` leads from version n to n + 1."""

    __slots__ = ("steps", "version")

    def __init__(self, version: int, steps: dict[int, Migration]) -> None:
        self.version = version
        self.steps = steps

    @classmethod
    def of(cls, owner: type, version: int) -> Migrations:
        """The steps in the bodies of the class and its bases; a step that is overridden by name does not count.

        Raises DefinitionError unless there is exactly one step for each version below `version`.
        """
        found: dict[str, tuple[type, Migration]] = {}
        for base in reversed(owner.__mro__):
            for attribute, value in base.__dict__.items():
                if isinstance(value, Migration):
                    found[attribute] = (base, value)
                elif isinstance(getattr(value, "__func__", None), Migration):
                    raise DefinitionError(
                        f"class {owner.__qualname__}: put @migration above @staticmethod on {attribute!r}, not below."
                    )
                elif attribute in found:
                    raise DefinitionError(
                        f"class {owner.__qualname__}: {attribute!r} overrides a migration with something else. "
                        "Rename it."
                    )
        steps: dict[int, Migration] = {}
        owners: dict[int, tuple[type, str]] = {}
        for attribute, (base, step) in found.items():
            start = step.from_version
            if start in steps:
                raise _two(owner, start, owners[start], (base, attribute), version)
            if start >= version:
                raise DefinitionError(
                    f"class {owner.__qualname__} is of version {version}, but {base.__qualname__}.{attribute} migrates from "
                    f"version {start}. Raise the version, class {owner.__name__}(..., version={start + 1}), or remove the migration."
                )
            steps[start], owners[start] = step, (base, attribute)
        missing = [str(start) for start in range(1, version) if start not in steps]
        if missing:
            raise DefinitionError(
                f"class {owner.__qualname__} is of version {version}, but nothing leads from version {' or '.join(missing)} "
                f"to the next. Write a function under @migration(from_version={missing[0]}) and @staticmethod; if "
                "nothing changes, return the state as it is."
            )
        return cls(version, steps)

    def applied(self, texts: dict[str, str], version: int, where: str) -> dict[str, str]:
        """`texts`, the JSON by name that an object has stored in `version`, migrated to the newest version. A new dict.

        An object without stored state matches every version. A value that a step leaves equal keeps its exact text. Raises
        StateDecodeError, which names the object, `where`, and the step that failed.
        """
        texts = dict(texts)
        if version > self.version and texts:
            raise StateDecodeError(
                f"The state of {where} is of version {version}, and the class of this process is of version {self.version}: "
                "a newer release has written it. Start that release again; the state is left as it is."
            )
        for start in range(version, self.version):
            if not texts:  # a step has dropped the last value
                break
            texts = self._step(self.steps[start], texts, where)
        return texts

    def _step(self, step: Migration, texts: dict[str, str], where: str) -> dict[str, str]:
        """The texts after one step. Names are sorted.

        A step leads from texts to texts, so that two steps at once give the same as one step today and one step next year.
        """
        failed = (
            f"The state of {where} cannot be migrated: {step.name}, from version {step.from_version} to "
            f"{step.from_version + 1},"
        )
        try:
            state = {name: ANY.decode(texts[name]) for name in sorted(texts)}
        except SerializationError as error:  # the file was edited
            raise StateDecodeError(f"The state of {where} holds a text that is not JSON: {error}") from None
        try:
            migrated: Any = step(state)
        except Exception as error:
            raise StateDecodeError(
                f"{failed} raised {_described(error)}. Fix the migration; the state is left as it is."
            ) from error
        if not isinstance(migrated, dict):
            if inspect.iscoroutine(migrated):
                migrated.close()
            raise StateDecodeError(
                f"{failed} returned {shortened(migrated)}. It must return a dict of JSON values by name; the state is left "
                "as it is."
            )
        return {name: self._text(name, value, texts.get(name), failed) for name, value in migrated.items()}

    def _text(self, name: Any, value: Any, before: str | None, failed: str) -> str:
        try:
            if type(name) is not str or not name.encode():
                raise SerializationError("A name is a non-empty str.")
            text = ANY.encode(value)
        except (SerializationError, UnicodeEncodeError) as error:
            raise StateDecodeError(
                f"{failed} returned a value that is not plain JSON for the name {name!r}: {error} The state is "
                "left as it is."
            ) from None
        return before if before is not None and ANY.encode(ANY.decode(before)) == text else text


def checked_version(version: Any, inherited: int, owner: type) -> int:
    """`version`, if a class whose bases are of version `inherited` may have it. Raises DefinitionError."""
    where = f"class {owner.__qualname__}: version={version!r}"
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DefinitionError(
            f"{where} is not a valid version: use an int from 1 that goes up by one with each change."
        )
    if version < inherited:
        raise DefinitionError(
            f"{where} is below {inherited}, the version of a class it derives from, whose migrations it inherits. Use "
            f"{inherited}, or leave version= out; its own migrations come after the inherited migrations."
        )
    return version


def _two(owner: type, start: int, one: tuple[type, str], other: tuple[type, str], version: int) -> DefinitionError:
    """The error for two migrations that start from the same version."""
    (base, earlier), (cls, later) = one, other
    text = (
        f"class {owner.__qualname__}: {base.__qualname__}.{earlier} and {cls.__qualname__}.{later} both migrate from version "
        f"{start}. "
    )
    if base is cls:
        return DefinitionError(text + "Keep one of them, or give the second the version it takes.")
    return DefinitionError(
        text
        + f"A class and its bases count their versions together: class {owner.__name__}(..., version={version + 1}), and "
        f"from_version={version} for the newer migration. If that is {base.__qualname__}.{earlier}, override it: a function "
        f"{earlier!r} in {owner.__qualname__} that returns {base.__name__}.{earlier}(state)."
    )


def _described(error: BaseException) -> str:
    """The error, and the line that raised it."""
    text = f"{type_name(type(error))}: {printable(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} (line {frames[-1].lineno} of {frames[-1].name})" if frames else text
