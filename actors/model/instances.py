"""The classes that handlers see in place of the class as written: workers, guarded instances, readers.

A worker reports the first read of each container, a guarded instance refuses assignments inside a step, and a reader refuses
all assignments.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Container, Iterable
from typing import Any, Protocol

from actors.errors import StateWriteInStep, StateWriteRefused
from actors.model.definitions import definition_of
from actors.model.inside import inside_step

_inside_step = inside_step.get


def _refuse_in_step(instance: Any, name: str, done: str) -> None:
    """Raise StateWriteInStep, unless the instance is a copy: a copy is not an object of an app."""
    if not hasattr(instance, "_actors_attempt"):
        return
    raise StateWriteInStep(
        f"{type(instance).__name__}.{name} was {done} inside a step. A replay uses the recorded result of the "
        "step and does not repeat this: return the value from the step, and assign it in the handler."
    )


class Instance:
    """The slots of every object: its attributes, and the attempt whose handler works on it."""

    __slots__ = ("__dict__", "__weakref__", "_actors_attempt")


class Keeper(Protocol):
    """Holds containers back until a handler reads them: a container that was never read cannot have changed in place."""

    def held_back(self, instance: Any) -> Container[str]:
        """The names of the containers that the instance has not received yet."""
        ...

    def hand_out(self, instance: Any, name: str) -> Any:
        """Put the value of a field that is held back into the instance."""
        ...

    def hand_out_all(self, instance: Any) -> None: ...


# Sets the attempt without calling the `__setattr__` written in Python that guarded classes and readers have.
set_attempt: Callable[[Any, Any], None] = Instance.__dict__["_actors_attempt"].__set__

# The attributes that an instance really has; `vars(worker)` shows the containers that are held back, too.
values_of: Callable[[Any], dict[str, Any]] = Instance.__dict__["__dict__"].__get__
_set_values = Instance.__dict__["__dict__"].__set__


class _HeldBack:
    """Stands for a container on a worker class. Python finds it there only while the instance has no value of this name."""

    __slots__ = ("_cls", "_name")

    def __init__(self, cls: Any, name: str) -> None:
        self._cls = cls
        self._name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return getattr(self._cls, self._name)  # as without this descriptor
        keeper = getattr(instance, "_actors_keeper", None)
        if keeper is not None and self._name in keeper.held_back(instance):
            return keeper.hand_out(instance, self._name)
        field = self._cls.__actors__.fields_by_name[self._name]
        if not field.has_default:
            raise AttributeError(self._name)
        # The value was deleted. The default in the class body belongs to all objects, and a change of it would not be the
        # state of any object.
        value = values_of(instance)[self._name] = field.default()
        return value


def worker_class(cls: type, containers: Iterable[str]) -> type:
    """The class of `self` in handlers: the same class, which reports the first read of each container.

    All other ways to a container (`vars(self)`, `del self.name`, a copy) hand it out too. A class without containers is its
    own worker.
    """
    members: dict[str, Any] = {name: _HeldBack(cls, name) for name in containers}
    if not members:
        return cls
    members |= {"__slots__": ("_actors_keeper",), "__dict__": property(_all_values, _replace_values)}
    members |= {"__delattr__": _delete, "__reduce_ex__": _reduce, "__actors_runtime__": True}
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    metaclass: Any = type(cls)
    worker: type = metaclass(cls.__name__, (cls,), members)
    return worker


def _all_values(self: Any) -> dict[str, Any]:
    keeper = getattr(self, "_actors_keeper", None)
    if keeper is not None:
        keeper.hand_out_all(self)
    return values_of(self)


def _replace_values(self: Any, values: dict[str, Any]) -> None:
    _all_values(self)
    _set_values(self, values)


def _delete(self: Any, name: str) -> None:
    keeper = getattr(self, "_actors_keeper", None)
    if keeper is not None and name in keeper.held_back(self):
        keeper.hand_out(self, name)
    object.__delattr__(self, name)


def _reduce(self: Any, protocol: Any) -> Any:
    """For copy and pickle. Pickle finds a class by its name, and a worker has the name of the class as written."""
    reduced: Any = object.__reduce_ex__(self, protocol)
    if reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return reduced  # as the user's own class defines
    return _like_a_worker, (type(self).__actors__.cls,), *reduced[2:]


def _like_a_worker(cls: type) -> Any:
    return object.__new__(definition_of(cls).worker)


def guarded_class(cls: Any) -> type:
    """The class of `self` from the first step on: the same class, but an assignment inside a step is refused at its line.

    A separate class, because a `__setattr__` written in Python makes each assignment three times as slow.
    """
    set_attribute, delete_attribute = cls.__setattr__, cls.__delattr__

    def set_unless_in_step(self: Any, name: str, value: Any) -> None:
        if _inside_step():
            _refuse_in_step(self, name, "assigned")
        set_attribute(self, name, value)

    def delete_unless_in_step(self: Any, name: str) -> None:
        if _inside_step():
            _refuse_in_step(self, name, "deleted")
        delete_attribute(self, name)

    members = {"__setattr__": set_unless_in_step, "__delattr__": delete_unless_in_step, "__actors_runtime__": True}
    members |= {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    metaclass: Any = type(cls)
    guarded: type = metaclass(cls.__name__, (cls,), members)
    return guarded


def reader_class(cls: type) -> type:
    """The class of `self` in shared handlers: the same class, but every assignment is refused at its line."""
    members = {"__setattr__": _refuse_set, "__delattr__": _refuse_delete, "__actors_runtime__": True}
    members |= {"__reduce_ex__": _reduce}
    members |= {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    metaclass: Any = type(cls)
    reader: type = metaclass(cls.__name__, (cls,), members)
    return reader


def _refuse_set(self: Any, name: str, value: Any) -> None:
    if name in ("_actors_attempt", "_actors_keeper"):
        object.__setattr__(self, name, value)
        return
    raise StateWriteRefused(
        f"{type(self).__name__}.{name} was assigned in a shared handler. Shared handlers only read; "
        "decorate this handler with @handler if it must write."
    )


def _refuse_delete(self: Any, name: str) -> None:
    raise StateWriteRefused(f"{type(self).__name__}.{name} was deleted in a shared handler. Shared handlers only read.")
