"""The state of one object in memory: the stored texts, and the instance that handlers work on.

Handlers assign plain attributes. What changed is found by comparing, at each durable point: the same
immutable object means unchanged, anything else is encoded and compared with the stored text.

Promise: each invocation begins with an instance that holds what loading the texts would give, to the last type.
Otherwise the same handler could take another branch when it is replayed after a restart.

What is shared in memory is not shared in texts: one list assigned to two fields, to the state of two keys, or kept in a
variable of a module. So the objects a handler assigned are its own until its invocation ends, and never longer:

* Within the invocation it keeps them. Changes through another name for one are noticed, and two fields that were given
  one object stay one. That is the same on each attempt, as each begins with fields that share nothing.
* The next invocation finds every container decoded anew. Also one whose text is the same: another object may be inside
  it now, or someone outside may hold it, and neither shows in a text. Immutable values (ATOMS) stay, which makes no
  difference.

Encoding a container costs what it holds, at each durable point. So an instance has none until its handler reads it: what was not
read cannot have been changed in place, whatever is inside of it, and is neither encoded nor decoded.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, cast

from actors.errors import SerializationError, UndeclaredState
from actors.journal.journal import Journal
from actors.model.containers import ENCODED, Containers
from actors.model.decoding import ABSENT, decoded, materialize
from actors.model.definitions import ServiceDefinition
from actors.model.fields import FieldDefinition
from actors.model.instances import values_of
from actors.model.virtual_object import Served
from actors.serde.exactness import ATOMS
from actors.serde.type_names import type_name

_new = object.__new__

# The name under which the database holds the version of an object's state, as a JSON number. Without such a row it is 1.
# It is written with the first state an object of a class with another version gets, and never among `stored`.
VERSION_NAME = ""

LARGE = 4096  # characters of a text from which on its row may be written later
WRITTEN_AFTER = 4  # its row is written when the changes since then have a fourth of its length


class ObjectState:
    """`stored` is what the database holds, or is about to: JSON by name, declared and undeclared.

    `texts` is what the running handler's writes are compared with. It is the same dict, except while an attempt replays
    from the state its invocation began with, and while an atomic one has written: no other handler may see that before
    it has succeeded. `instance` may be ahead of both.

    `behind` are the names whose row in the database is older than `stored`, and how many characters of differences lead on from
    there. To write a large text anew for each small change costs what it holds; the journal tells what the row does not. Only
    a handler between two steps leaves it so: what waits, pauses or ends has rows that are up to date.

    `version` is that of the texts in the database. While `foreign`, it is not that of the class: what is stored, if
    anything, must be migrated before an attempt begins, and the first write must write the version too.
    """

    __slots__ = (
        "_definition",
        "_present",
        "_seen",
        "behind",
        "containers",
        "foreign",
        "instance",
        "stored",
        "texts",
        "version",
    )

    def __init__(self, definition: ServiceDefinition | None, stored: dict[str, str]) -> None:
        # None if the app does not serve the class: then nothing runs, but completions still reach the journal.
        self._definition = cast(ServiceDefinition, definition)
        recorded = stored.pop(VERSION_NAME, None)
        self.version = 1 if recorded is None else int(recorded)
        self.foreign = definition is not None and self.version != definition.version
        self.stored = stored
        self.texts = stored
        self.behind: dict[str, int] | None = None
        self.instance: Served | None = None
        self._seen: list[Any] = []  # each field's value when it was last compared, ABSENT without one
        self._present = 0  # how many attributes the instance had then
        self.containers: Containers | None = None  # a class that has none, as most have, pays for one slot

    def begin(self, initial: dict[str, str] | None) -> Served:
        """The instance an attempt works on, holding `initial`, or the stored state. Raises StateDecodeError."""
        if initial is not None:
            self.texts = initial
            self.instance = None
        instance = self.instance
        if instance is None:
            instance = self.instance = self._made()
        elif self.containers is not None and self.containers.given:
            self._renew(self.containers, values_of(instance))
        return instance

    def _made(self) -> Served:
        definition, texts = self._definition, self.texts
        if not definition.containers:
            instance = materialize(definition, definition.cls, texts)
        else:
            before = self.containers
            instance = self._made_with(Containers(before.fitting if before is not None else {}))
        values = values_of(instance)
        self._seen = [values.get(field.name, ABSENT) for field in definition.fields]
        self._present = len(values)
        return instance

    def _made_with(self, containers: Containers) -> Served:
        """An instance that has only what is immutable. `containers` holds the rest back."""
        definition, texts, before = self._definition, self.texts, self.containers
        instance: Served = _new(definition.worker)
        instance._actors_keeper = self  # type: ignore[attr-defined]
        values = values_of(instance)
        for field in definition.fields:
            name = field.name
            text = texts.get(name)
            if name not in definition.containers:
                if text is not None:
                    values[name] = decoded(definition, field, text)
                elif field.default_text is not None:
                    values[name] = field.default()
            elif text is not None:
                fitting = containers.fitting.get(name)
                known = before.held.get(name) if before is not None else None
                if fitting is None or fitting[0] != text:
                    known = text, decoded(definition, field, text)
                    again = field.codec.dump(known[1])
                    fitting = containers.fitting[name] = text, again if again != text else None
                elif known is None or known[0] != text:
                    known = text, ENCODED
                if fitting[1] is not None:
                    containers.loaded_as(name, fitting[1])
                containers.held[name] = known
            elif field.default_text is not None:
                containers.held[name] = None, ENCODED
        self.containers = containers
        return instance

    def _renew(self, containers: Containers, values: dict[str, Any]) -> None:
        """Hold the containers that the handler before worked on back again: the next one gets what their texts hold."""
        containers.given = False
        for name, position in self._definition.containers.items():
            value = values.get(name, ABSENT)
            if value is not ABSENT and type(value) not in ATOMS:
                del values[name]
                self._seen[position] = ABSENT
                self._present -= 1
                containers.held[name] = self.texts.get(name), ENCODED

    def held_back(self, instance: Any) -> Container[str]:
        if instance is not self.instance:
            return self._definition.containers
        return self.containers.held if self.containers is not None else ()

    def hand_out(self, instance: Any, name: str) -> Any:
        position = self._definition.containers[name]
        field = self._definition.fields[position]
        values = values_of(instance)
        containers = self.containers
        if instance is not self.instance or containers is None:  # its attempt is over, and has left code running
            text, value = self.stored.get(name), ENCODED
        elif name in values:
            containers.assigned(self._definition, field)
            self._present = -1  # it has not been compared yet, and may be deleted before it is
            return values[name]
        else:
            text, value = containers.held.pop(name)
        if value is ENCODED:
            value = field.default() if text is None else decoded(self._definition, field, text)
        values[name] = value
        if instance is self.instance and containers is not None:
            self._seen[position] = value
            self._present += 1
            containers.given = True
            containers.has_loaded(field, text, value)
        return value

    def hand_out_all(self, instance: Any) -> None:
        containers = self.containers
        for name in list(containers.held) if instance is self.instance and containers is not None else ():
            self.hand_out(instance, name)

    def ahead(self, changes: Mapping[str, str | None]) -> dict[str, str | None]:
        """The values that `texts`, with these changes, has and `stored` has not; None for values that only `stored` has."""
        texts = {**self.texts, **changes}
        return {name: texts.get(name) for name in {**self.stored, **texts} if texts.get(name) != self.stored.get(name)}

    def discard(self) -> None:
        """The attempt is over and left the instance ahead of the stored state: the next attempt starts afresh."""
        self.texts = self.stored
        self.instance = None
        if self.containers is not None:
            self.containers.known = None

    def forget(self) -> None:
        """The database holds nothing of it from now on, not even a version."""
        self.stored.clear()
        self.behind = None
        self.version = 1
        self.foreign = self._definition is not None and self._definition.version != 1
        self.discard()

    def renew(self, stored: dict[str, str], version: int) -> None:
        """What the database holds is of `version` from now on, which is that of the class."""
        self.stored.clear()
        self.stored.update(stored)
        self.behind = None
        self.version, self.foreign = version, False
        self.discard()

    def put(self, name: str, text: str | None, apart: bool) -> None:
        """Take over a recorded write; None deletes. A write that is `apart` is in `stored` already, or must not be there yet."""
        if apart and self.texts is self.stored:
            self.texts = dict(self.stored)
        for texts in (self.texts,) if apart or self.texts is self.stored else (self.texts, self.stored):
            if text is None:
                texts.pop(name, None)
            else:
                texts[name] = text

    def postpones(self, name: str, changed: int, length: int) -> bool:
        """Count a recorded difference of `changed` characters; whether the row of the text, which has `length`, can be written later."""
        if length < LARGE or self.foreign:
            return False
        behind = self.behind or {}
        behind[name] = behind.get(name, 0) + changed
        self.behind = behind
        return behind[name] <= length // WRITTEN_AFTER

    def catch_up(self, journal: Journal) -> None:
        """The object was loaded, and this is the journal of the invocation that wrote it last."""
        for name, text in journal.continued(self.stored).items():
            self.stored[name] = text
            self.behind = self.behind or {}
            self.behind[name] = 0

    def changes(self) -> dict[str, str | None] | None:
        """New JSON text (None: deleted) by name, since the last call, in order of declaration. None if nothing changed.

        Raises SerializationError for a value that cannot be stored and UndeclaredState for an attribute that is not state.
        """
        instance: Any = self.instance
        containers = self.containers
        values: dict[str, Any] = instance.__dict__ if containers is None else values_of(instance)
        changed: dict[str, str | None] | None = None
        gone: dict[str, str | None] | None = None
        seen = self._seen
        if len(values) != self._present:
            changed = gone = self._irregular(values)
        fields = self._definition.fields
        if not fields:
            return None
        name = ""
        try:
            for position, field in enumerate(fields):
                name = field.name
                value = values.get(name, ABSENT)
                if value is seen[position] and (type(value) in ATOMS or value is ABSENT):
                    continue
                if value is ABSENT:  # deleted while another attribute was added, so that their number is the same
                    self._compare_all_anew()
                    return self.changes()
                if gone is not None and name in gone:
                    continue
                codec = field.codec
                text: str | None = None
                if containers is not None:
                    if name in containers.held:
                        containers.assigned(self._definition, field)
                    if containers.known is not None:
                        text = containers.known_text(name, value)
                verified = text is not None
                if text is None:
                    text = codec.dump(value)
                before = self.texts.get(name, field.default_text)
                if text != before and (codec.scalar or before is None or self._differs(field, text, before)):
                    if changed is None:
                        changed = {}
                    changed[name] = text
                elif value is seen[position] and not codec.hidden:
                    if containers is not None:
                        containers.given = True
                    continue  # the same container with the same content
                if codec.scalar:
                    if codec.floats and type(value) is int:
                        value = values[name] = float(value)
                else:
                    restored = value if verified else codec.verify(value, text)
                    if type(value) in ATOMS:
                        value = values[name] = restored
                    elif containers is not None:
                        containers.given = True
                        if changed is not None and name in changed:
                            containers.fitting[name] = text, None
                        if not verified and len(text) >= LARGE:
                            containers.remember(field, value, text)
                seen[position] = value
        except SerializationError as error:
            # The changes found before the bad one are not recorded either. The handler may go on.
            self._compare_all_anew()
            raise SerializationError(f"{self._definition.cls.__qualname__}.{name}: {error}") from None
        if gone is not None and changed is not None:
            return {field.name: changed[field.name] for field in self._definition.fields if field.name in changed}
        return changed

    def _differs(self, field: FieldDefinition, text: str, before: str) -> bool:
        """Whether two different texts hold different values."""
        codec = field.codec
        if codec.equal(text, before):
            return False
        if self.containers is not None:
            loaded = self.containers.loaded_text(field.name)
            if loaded is not None and codec.equal(text, loaded):
                return False
            self.containers.forget_loaded(field.name)  # coming back to what was loaded is a change from now on
        return True

    def _compare_all_anew(self) -> None:
        self._seen = [ABSENT] * len(self._seen)
        self._present = -1

    def _irregular(self, values: dict[str, Any]) -> dict[str, str | None] | None:
        """Attributes came or went: refuse undeclared ones, give deleted ones their default. The deletions to record, or None."""
        definition = self._definition
        for name in values:
            if definition.kind == "service":
                raise UndeclaredState(
                    f"{definition.cls.__qualname__}.{name} was assigned, but a Service keeps nothing between its invocations. "
                    "Use a variable, or a VirtualObject for what belongs to a key."
                )
            if name not in definition.fields_by_name:
                raise UndeclaredState(
                    f"{definition.cls.__qualname__}.{name} was assigned but is not declared, so it would be lost. "
                    f"Declare it in the class body: {name}: {type_name(type(values[name]))} = ..."
                )
        gone: dict[str, str | None] = {}
        containers = self.containers
        for position, field in enumerate(definition.fields):
            if field.name not in values and not (containers is not None and field.name in containers.held):
                if field.has_default:
                    values[field.name] = self._seen[position] = field.default()
                else:
                    self._seen[position] = ABSENT
                if field.name in self.texts:
                    gone[field.name] = None
                if containers is not None:
                    containers.forget_loaded(field.name)
                    if containers.known is not None:
                        containers.known.pop(field.name, None)
        self._present = len(values)
        return gone or None
