"""State in memory: every change is found, nothing else is, and what is written is what a reload would give."""

from __future__ import annotations

import copy
import datetime
import decimal
import inspect
import math
import operator
import pickle
import uuid
from collections.abc import Callable
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors import VirtualObject, field
from actors.errors import SerializationError, StateDecodeError, StateWriteRefused, UndeclaredState, UnsetState
from actors.model.decoding import materialize
from actors.model.definitions import definition_of
from actors.model.object_state import ObjectState
from actors.model.readers import reader_of, refuse_changes
from tests.unit.example_types import (
    Color,
    Item,
    Level,
    Line,
    Money,
    OpenStruct,
    Pair,
    Point,
    Size,
    Tree,
    User,
    WithPrivate,
)


class Everything(VirtualObject):
    number: int = 0
    text: str = ""
    ratio: float = 0.0
    maybe: float | None = None
    at: datetime.datetime | None = None
    items: list[str] = ["first"]
    nested: dict[str, list[dict[str, int]]] = {}
    tags: set[str] = set()
    ratios: list[float] = []
    point: Point = Point(0)
    line: Line = Line("s", Money(decimal.Decimal(1)))
    item: Item = Item("i")
    tree: Tree = Tree(0)
    pair: Pair = Pair(1)
    color: Color = Color.RED
    user: User | None = None
    private: WithPrivate = WithPrivate(a=1)
    open: OpenStruct = OpenStruct("o")
    unset: int
    unset_list: list[int]


class Small(VirtualObject):
    a: int = 1
    b: int = 2
    c: int


class Twins(VirtualObject):
    a: list[int] = []
    b: list[int] = []


def begun(cls: Any = Everything, stored: dict[str, str] | None = None) -> tuple[ObjectState, Any]:
    state = ObjectState(definition_of(cls), {} if stored is None else stored)
    return state, state.begin(None)


def record(state: ObjectState) -> dict[str, str | None] | None:
    """What the runtime does at a durable point."""
    changes = state.changes()
    for name, text in (changes or {}).items():
        state.put(name, text, apart=False)
    return changes


# --- what is noticed ------------------------------------------------------------------------------------------------------


def change(path: str, *arguments: Any) -> Any:
    """A function that calls the method at the end of `path` on an attribute: change("items.append", "x")."""

    def act(instance: Any) -> None:
        *parts, last = path.split(".")
        for part in parts:
            instance = instance[part] if isinstance(instance, dict) else getattr(instance, part)
        if last.startswith("="):
            setattr(instance, last[1:], *arguments)
        else:
            getattr(instance, last)(*arguments)

    return act


@pytest.mark.parametrize(
    ("act", "changes"),
    [
        (change("=number", 5), {"number": "5"}),
        (change("=text", "ü"), {"text": '"ü"'}),
        (change("=ratio", -0.0), {"ratio": "-0.0"}),
        (change("=ratio", 3), {"ratio": "3.0"}),
        (change("=maybe", 1), {"maybe": "1"}),
        (change("=at", datetime.datetime(2024, 1, 1)), {"at": '"2024-01-01T00:00:00"'}),
        (change("=items", []), {"items": "[]"}),
        (change("items.append", "x"), {"items": '["first","x"]'}),
        (change("items.clear"), {"items": "[]"}),
        (change("nested.update", {"a": []}), {"nested": '{"a":[]}'}),
        (change("tags.add", "t"), {"tags": '["t"]'}),
        (change("ratios.append", 1), {"ratios": "[1]"}),
        (change("point.=x", 5), {"point": '{"x":5,"y":0.0}'}),
        (change("line.tags.add", "t"), {"line": '{"sku":"s","price":{"amount":"1","currency":"EUR"},"tags":["t"],"at":null}'}),
        (change("item.counts.append", 5), {"item": '{"name":"i","counts":[5]}'}),
        (change("tree.children.append", Tree(1)), {"tree": '{"value":0,"children":[{"value":1,"children":[]}]}'}),
        (change("=pair", Pair(2, "x")), {"pair": '[2,"x"]'}),
        (change("=color", Color.GREEN), {"color": '"green"'}),
        (change("=user", User(id=1)), {"user": '{"id":1,"name":"anonymous","born":null,"seen":null}'}),
        (change("private.=a", 2), {"private": '{"a":2}'}),
        (change("=unset", 0), {"unset": "0"}),
        (change("=unset_list", []), {"unset_list": "[]"}),
    ],
)  # fmt: skip
def test_an_assignment_and_a_change_in_place_are_noticed_once(act: Any, changes: dict[str, str]) -> None:
    state, instance = begun()
    assert state.changes() is None
    act(instance)
    assert record(state) == changes
    assert state.changes() is None


def test_a_change_deep_inside_is_noticed_each_time() -> None:
    state, instance = begun(stored={"nested": '{"a":[{"n":1}]}'})
    assert state.changes() is None
    instance.nested["a"][0]["n"] = 2
    assert record(state) == {"nested": '{"a":[{"n":2}]}'}
    alias = instance.nested["a"]
    alias.append({})
    assert record(state) == {"nested": '{"a":[{"n":2},{}]}'}
    alias.pop()
    assert record(state) == {"nested": '{"a":[{"n":2}]}'}


@pytest.mark.parametrize(
    "act",
    [
        change("=number", 0),
        change("=items", ["first"]),
        change("=tags", set()),
        change("=point", Point(0)),
        change("=item", Item("i", [])),
        change("=color", Color.RED),
        change("=user", None),
        change("=ratio", 0),
        change("items.extend", []),
        change("=private", WithPrivate(a=1)),
    ],
)
def test_an_equal_value_is_no_change(act: Any) -> None:
    state, instance = begun()
    act(instance)
    assert state.changes() is None


def test_a_change_that_is_taken_back_is_not_written() -> None:
    state, instance = begun()
    instance.number, instance.text = 5, "x"
    instance.items.append("x")
    instance.tags.add("t")
    instance.number, instance.text = 0, ""
    instance.items.pop()
    instance.tags.clear()
    assert state.changes() is None


def test_going_back_to_the_default_is_written() -> None:
    state, instance = begun(stored={"number": "5", "items": "[]"})
    instance.number, instance.items = 0, ["first"]
    assert record(state) == {"number": "0", "items": '["first"]'}


def test_a_set_in_another_order_is_no_change_and_a_dict_in_another_order_is_one() -> None:
    state, instance = begun(stored={"tags": '["a","b","c"]', "nested": '{"a":[],"b":[]}'})
    instance.tags = {"c", "b", "a"}
    assert state.changes() is None
    instance.nested = {"b": [], "a": []}
    assert record(state) == {"nested": '{"b":[],"a":[]}'}


def test_changes_come_in_order_of_declaration() -> None:
    state, instance = begun(stored={"text": '"x"', "ratio": "1.0"})
    instance.color = Color.GREEN
    instance.items.append("x")
    instance.number = 1
    del instance.ratio
    instance.unset = 1
    del instance.text
    assert list(record(state) or ()) == ["number", "text", "ratio", "items", "color", "unset"]


# --- deleting -------------------------------------------------------------------------------------------------------------


def test_deleting_resets_to_the_default() -> None:
    state, instance = begun(stored={"number": "5", "items": '["x"]', "unset": "1"})
    del instance.number, instance.items, instance.unset
    assert record(state) == {"number": None, "items": None, "unset": None}
    assert (instance.number, instance.items) == (0, ["first"])
    with pytest.raises(AttributeError, match="no value yet"):
        _ = instance.unset
    assert state.changes() is None and state.stored == {}
    instance.items.append("y")
    assert record(state) == {"items": '["first","y"]'}


def test_deleting_what_is_not_stored_is_no_change() -> None:
    state, instance = begun()
    del instance.number, instance.items
    assert state.changes() is None
    assert (instance.number, instance.items) == (0, ["first"])


def test_deleting_and_assigning_again_is_an_assignment() -> None:
    state, instance = begun(stored={"number": "5", "unset": "1"})
    del instance.number, instance.unset
    instance.number, instance.unset = 5, 2
    assert record(state) == {"unset": "2"}


def test_a_deletion_is_noticed_when_another_attribute_came_at_the_same_time() -> None:
    state, instance = begun(Small, {"a": "5"})
    del instance.a
    instance.c = 3
    assert record(state) == {"a": None, "c": "3"}
    assert instance.a == 1
    del instance.c
    instance.b = 7
    assert record(state) == {"b": "7", "c": None}


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_an_undeclared_attribute_is_refused() -> None:
    state, instance = begun()
    instance.typo = [1]
    with pytest.raises(UndeclaredState, match=r"Everything\.typo was assigned but is not declared.*typo: list = "):
        state.changes()
    with pytest.raises(UndeclaredState):
        state.changes()
    del instance.typo
    assert state.changes() is None


def test_an_undeclared_attribute_is_refused_beside_one_that_is_missing() -> None:
    state, instance = begun(Small)  # c has no value, so the number of attributes is that of the fields
    instance.typo = 1
    with pytest.raises(UndeclaredState):
        state.changes()
    del instance.typo, instance.a
    instance.other = 1
    with pytest.raises(UndeclaredState):
        state.changes()


def test_a_value_that_cannot_be_stored_is_refused_with_its_name_and_loses_no_other_change() -> None:
    state, instance = begun(stored={"text": '"x"'})
    instance.number = 5
    instance.ratio = math.nan
    instance.color = Color.GREEN
    del instance.text
    with pytest.raises(SerializationError, match=r"Everything\.ratio: nan has no JSON form"):
        state.changes()
    with pytest.raises(SerializationError, match=r"Everything\.ratio"):
        state.changes()
    instance.ratio = 1.0
    assert record(state) == {"number": "5", "text": '""', "ratio": "1.0", "color": '"green"'}
    assert state.changes() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", True),
        ("number", Level.LOW),
        ("text", Size.SMALL),
        ("text", "\ud800"),
        ("ratio", math.inf),
        ("maybe", math.nan),
        ("items", ("first",)),  # the text would be the same as that of the default
        ("items", ["first", 1]),
        ("tags", ["t"]),
        ("tags", frozenset()),
        ("pair", (1, "r")),
        ("point", {"x": 0, "y": 0.0}),
        ("color", "red"),
        ("at", datetime.datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Paris"))),
        ("user", {"id": 1}),
    ],
)
def test_a_value_of_another_type_is_refused_even_if_its_text_is_the_same(name: str, value: Any) -> None:
    state, instance = begun()
    setattr(instance, name, value)
    with pytest.raises(SerializationError, match=rf"Everything\.{name}"):
        state.changes()


@pytest.mark.parametrize(("path", "name"), [("private._cache", "_cache"), ("open.extra", "extra")])
def test_a_change_that_no_text_shows_is_refused(path: str, name: str) -> None:
    state, instance = begun()
    assert state.changes() is None
    setattr(getattr(instance, path.split(".")[0]), name, 5)
    with pytest.raises(SerializationError, match=name):
        state.changes()


# --- memory and disk ------------------------------------------------------------------------------------------------------


def test_what_is_in_memory_is_what_a_reload_would_give() -> None:
    state, instance = begun()
    parsed = User.model_validate_json('{"id": 1, "seen": "2024-01-01T00:00:00+05:30"}').seen
    instance.ratio, instance.maybe, instance.at = 3, 4, parsed
    assert record(state) == {"ratio": "3.0", "maybe": "4", "at": '"2024-01-01T00:00:00+05:30"'}
    assert repr((instance.ratio, instance.maybe)) == "(3.0, 4.0)"
    assert type(vars(instance)["at"].tzinfo) is datetime.timezone
    instance.ratio = 3  # equal to what is stored, and yet another type
    assert state.changes() is None
    assert repr(instance.ratio) == "3.0"


def test_an_int_inside_a_container_of_floats_is_a_float_in_the_next_invocation() -> None:
    state, instance = begun()
    instance.ratios.append(1)
    instance.point = Point(0, 2)
    assert record(state) == {"ratios": "[1]", "point": '{"x":0,"y":2}'}
    assert repr(instance.ratios) == "[1]"  # the handler keeps its own objects
    instance = state.begin(None)
    assert repr((instance.ratios, instance.point)) == "([1.0], Point(x=0, y=2.0))"  # type: ignore[attr-defined]


def test_the_instance_serves_the_next_invocation_when_nothing_speaks_against_it() -> None:
    state, instance = begun()
    instance.items.append("x")
    instance.ratios.append(1.5)
    record(state)
    assert state.begin(None) is instance
    state.discard()
    again = state.begin(None)
    assert again is not instance and again.items == ["first", "x"]  # type: ignore[attr-defined]


def test_the_next_invocation_shares_no_container_with_anything() -> None:
    state, instance = begun()
    outside = ["x"]
    instance.items, instance.unset_list, instance.tree = outside, [1], Tree(0, [(leaf := Tree(1)), leaf])
    instance.nested = {"a": (inner := [{"n": 1}]), "b": inner}
    record(state)
    state.begin(None)
    outside.append("y")
    inner.append({})
    instance.tree.children[0].value = 5
    assert (instance.items, instance.nested) == (["x"], {"a": [{"n": 1}], "b": [{"n": 1}]})
    assert record(state) == {
        "tree": '{"value":0,"children":[{"value":5,"children":[]},{"value":1,"children":[]}]}',
    }


def test_a_container_is_renewed_also_if_its_text_stayed_the_same() -> None:
    state, instance = begun(stored={"nested": '{"a":[]}', "tags": '["a"]', "private": '{"a":2}'})
    alias: list[dict[str, int]] = []
    instance.nested["a"] = alias
    tags, default, private = instance.tags, instance.items, instance.private
    assert state.changes() is None
    state.begin(None)
    alias.append({})
    tags.add("b")
    default.append("second")
    private.a = 3
    assert (instance.nested, instance.tags, instance.items) == ({"a": []}, {"a"}, ["first"])
    assert instance.private == WithPrivate(a=2)
    assert state.changes() is None


def test_within_an_invocation_the_handler_keeps_its_own_objects() -> None:
    state, instance = begun(Twins)
    instance.a = instance.b = mine = [0]
    assert record(state) == {"a": "[0]", "b": "[0]"}
    mine.append(1)
    assert instance.a is instance.b is mine
    assert record(state) == {"a": "[0,1]", "b": "[0,1]"}
    state.begin(None)
    mine.append(2)
    instance.a.append(3)
    assert record(state) == {"a": "[0,1,3]"}
    assert instance.b == [0, 1]


def test_immutable_values_are_not_replaced() -> None:
    state, instance = begun()
    instance.text = text = "a text of its own"
    instance.at = at = datetime.datetime(2024, 1, 1)
    instance.items = []
    record(state)
    kept = instance.at
    state.begin(None)
    assert instance.text is text and instance.at is kept and instance.at == at


def test_a_set_comes_in_the_order_a_reload_would_give() -> None:
    class Numbers(VirtualObject):
        tags: set[int] = set()

    state, instance = begun(Numbers, {"tags": "[0,8]"})
    instance.tags = {8, 0}  # 0 and 8 collide in a small table, so that the first to come is the first
    assert state.changes() is None
    state.begin(None)
    assert list(instance.tags) == list(begun(Numbers, {"tags": "[0,8]"})[1].tags)


def test_defaults_are_not_shared_between_objects() -> None:
    _, one = begun()
    _, other = begun()
    one.items.append("x")
    one.point.x = 5
    assert (other.items, other.point.x) == (["first"], 0)


def test_a_replay_starts_from_the_initial_state() -> None:
    state, instance = begun(stored={"number": "7"})
    replayed = state.begin({"number": "1"})
    assert (instance.number, replayed.number) == (7, 1)  # type: ignore[attr-defined]
    replayed.number = 7  # type: ignore[attr-defined]
    assert state.changes() == {"number": "7"}
    state.put("number", "7", apart=True)
    assert (state.texts, state.stored) == ({"number": "7"}, {"number": "7"})
    replayed.number = 8  # type: ignore[attr-defined]
    assert record(state) == {"number": "8"}
    assert (state.texts, state.stored) == ({"number": "8"}, {"number": "8"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", '"x"'),
        ("number", "1.5"),
        ("point", "{}"),
        ("color", '"blue"'),
        ("items", "null"),
        ("user", "{}"),
        ("tags", ""),
    ],
)
def test_stored_state_that_no_longer_fits_says_which_attribute_and_what_to_do(name: str, text: str) -> None:
    state = ObjectState(definition_of(Everything), {name: text})
    with pytest.raises(
        StateDecodeError, match=rf"Everything\.{name} no longer fits its type.*Change the annotation back"
    ):
        state.begin(None)


WRITTEN_BEFORE = {  # by earlier releases of the classes, with fewer fields, another order, or ints
    "items": '[ "a" ]',
    "nested": '{"a":[{"n":1}],"b": []}',
    "tags": '["b","a","b"]',
    "ratios": "[1,2]",
    "point": '{"x":1}',
    "line": '{"price":{"amount":"1.0"},"sku":"s"}',
    "item": '{"name":"n","gone":[1]}',
    "tree": '{"value":1}',
    "user": '{"id":1}',
}


def test_loading_what_an_older_class_wrote_is_no_change() -> None:
    state, instance = begun(stored=dict(WRITTEN_BEFORE))
    assert state.changes() is None
    assert (instance.point, instance.item) == (Point(1, 0.0), Item("n"))
    for name in WRITTEN_BEFORE:
        for again in (getattr(instance, name), begun(stored=dict(WRITTEN_BEFORE))[1].__dict__[name]):
            setattr(instance, name, again)
            assert state.changes() is None
    refuse_changes(definition_of(Everything), reader(WRITTEN_BEFORE), WRITTEN_BEFORE)


def test_a_change_of_what_an_older_class_wrote_is_noticed_also_when_it_is_taken_back_later() -> None:
    state, instance = begun(stored=dict(WRITTEN_BEFORE))
    instance.ratios.append(3.0)
    instance.tree.value = 2
    assert record(state) == {"ratios": "[1.0,2.0,3.0]", "tree": '{"value":2,"children":[]}'}
    instance.ratios.pop()
    instance.tree.value = 1
    assert record(state) == {"ratios": "[1.0,2.0]", "tree": '{"value":1,"children":[]}'}
    assert state.changes() is None


def test_a_default_that_is_written_another_way_is_no_change() -> None:
    class Loose(VirtualObject):
        ratios: list[float] = [1, 2]
        point: Point = Point(1, 2)

    state, instance = begun(Loose)
    assert state.changes() is None
    assert repr((instance.ratios, instance.point)) == "([1.0, 2.0], Point(x=1, y=2.0))"
    instance.ratios.append(1)
    assert list(record(state) or ()) == ["ratios"]
    state.begin(None)
    assert repr(instance.ratios) == "[1.0, 2.0, 1.0]"
    assert state.changes() is None
    instance.ratios.append(2)
    assert record(state) == {"ratios": "[1.0,2.0,1.0,2]"}


def test_stored_names_that_are_not_declared_are_left_alone() -> None:
    state, instance = begun(stored={"gone": "[1]", "number": "3"})
    assert instance.number == 3 and not hasattr(instance, "gone")
    assert state.changes() is None
    assert state.stored == {"gone": "[1]", "number": "3"}


# --- shared handlers ------------------------------------------------------------------------------------------------------


def reader(stored: dict[str, str]) -> Any:
    definition = definition_of(Everything)
    return materialize(definition, definition.reader, stored)


def test_a_shared_handler_cannot_assign_or_delete() -> None:
    instance = reader({"number": "5"})
    with pytest.raises(StateWriteRefused, match=r"Everything\.number was assigned in a shared handler.*@handler"):
        instance.number = 1
    with pytest.raises(StateWriteRefused, match=r"Everything\.typo was assigned"):
        instance.typo = 1
    with pytest.raises(StateWriteRefused, match="deleted in a shared handler"):
        del instance.number
    assert instance.number == 5
    assert isinstance(instance, Everything)
    assert type(instance).__qualname__ == "Everything"


@pytest.mark.parametrize(
    "act",
    [
        change("items.append", "x"),
        change("nested.update", {"a": []}),
        change("tags.add", "t"),
        change("point.=x", 5),
        change("line.tags.add", "t"),
        change("item.counts.append", 5),
        change("item.counts.append", object()),
        change("tree.children.append", Tree(1)),
    ],
)
@pytest.mark.parametrize("stored", [{}, WRITTEN_BEFORE])
def test_a_shared_handler_that_changes_a_container_is_found_out(act: Any, stored: dict[str, str]) -> None:
    definition, instance = definition_of(Everything), reader(stored)
    refuse_changes(definition, instance, stored)
    act(instance)
    with pytest.raises(StateWriteRefused, match=r"changed in place in a shared handler.*copy the value first"):
        refuse_changes(definition, instance, stored)


def test_a_shared_handler_that_reads_everything_is_no_writer() -> None:
    state, instance = begun()
    instance.tags.update("abcdefgh")
    instance.user = User(id=1, seen=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
    instance.at = datetime.datetime(2024, 1, 1)
    instance.ratios, instance.unset_list = [1, 2.5], [1]
    record(state)
    looking = reader(state.stored)
    for name in definition_of(Everything).fields_by_name:
        repr(getattr(looking, name, None))
    refuse_changes(definition_of(Everything), looking, state.stored)


# --- against a model ------------------------------------------------------------------------------------------------------

values = {
    "number": st.integers(-3, 3),
    "text": st.sampled_from(["", "a", "ü"]),
    "ratio": st.sampled_from([0.0, -0.0, 1.5, 2]),
    "maybe": st.sampled_from([None, 0.0, 1]),
    "items": st.lists(st.sampled_from("ab"), max_size=2),
    "tags": st.sets(st.sampled_from("abc")),
    "ratios": st.lists(st.sampled_from([0.5, 1, -0.0]), max_size=2),
    "point": st.builds(Point, st.integers(0, 2), st.sampled_from([0.0, 1])),
    "unset": st.integers(0, 2),
    "unset_list": st.lists(st.integers(0, 1), max_size=2),
}
names = st.sampled_from(sorted(values))


def shown(instance: Any) -> dict[str, str]:
    """All state, as text in which the order in a set does not count."""
    return {
        name: repr(sorted(value) if isinstance(value, set) else value)
        for name, value in vars(instance).items()
        if name in values
    }


class StateMachine(RuleBasedStateMachine):
    """Any order of assignments, changes in place, deletions, durable points and restarts keeps memory and disk together."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.instance = begun()

    @rule(data=st.data(), name=names)
    def assign(self, data: Any, name: str) -> None:
        setattr(self.instance, name, data.draw(values[name]))

    @rule(name=names)
    def delete(self, name: str) -> None:
        if name in vars(self.instance):
            delattr(self.instance, name)

    @rule(text=st.sampled_from("abc"))
    def change_in_place(self, text: str) -> None:
        for name, act in (("items", "append"), ("tags", "add")):
            if name in vars(self.instance):
                getattr(getattr(self.instance, name), act)(text)
        if "point" in vars(self.instance):
            vars(self.instance)["point"].x += 1

    @rule()
    def record(self) -> None:
        before = dict(self.state.stored)
        changes = record(self.state)
        assert changes != {}
        assert all(before.get(name) != text for name, text in (changes or {}).items())
        assert self.state.changes() is None
        loaded = materialize(definition_of(Everything), Everything, self.state.stored)
        for name in values:
            assert getattr(loaded, name, None) == getattr(self.instance, name, None)

    @rule()
    def end(self) -> None:
        record(self.state)
        held = [value for value in vars(self.instance).values() if isinstance(value, (list, set))]
        self.instance = self.state.begin(None)
        for value in held:
            value.clear()  # by someone who kept it: it is no longer state
        loaded = materialize(definition_of(Everything), Everything, self.state.stored)
        assert shown(self.instance) == shown(loaded)

    @rule()
    @precondition(lambda self: self.state.stored)
    def restart(self) -> None:
        self.state.discard()
        self.instance = self.state.begin(None)

    @invariant()
    def names_are_declared(self) -> None:
        assert set(self.state.stored) <= set(definition_of(Everything).fields_by_name)


TestStateMachine = StateMachine.TestCase
TestStateMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(names, st.data()), max_size=6))
def test_fields_that_were_not_touched_are_not_written(touched: list[Any]) -> None:
    state, instance = begun()
    for name, data in touched:
        setattr(instance, name, data.draw(values[name]))
    assert set(state.changes() or ()) <= {name for name, _ in touched}


# --- what nobody reads ----------------------------------------------------------------------------------------------------


class Weighed(pydantic.BaseModel):
    """Counts how often it is encoded and decoded."""

    parts: list[int] = []
    encoded: ClassVar[int] = 0
    decoded: ClassVar[int] = 0

    @pydantic.model_serializer(mode="wrap")
    def _count(self, handler: Any) -> Any:
        Weighed.encoded += 1
        return handler(self)

    def model_post_init(self, context: Any) -> None:
        Weighed.decoded += 1


class Scales(VirtualObject):
    big: list[Weighed] = []
    other: list[int] = [1]
    number: int = 0


BIG = {"big": '[{"parts":[1]}]'}


def work(state: ObjectState) -> tuple[int, int]:
    """How often the big value is encoded and decoded by an invocation with three durable points that changes the others."""
    Weighed.encoded = Weighed.decoded = 0
    instance: Any = state.begin(None)
    for number in range(3):
        instance.number += number
        instance.other.append(number)
        record(state)
    return Weighed.encoded, Weighed.decoded


def test_a_container_that_no_handler_reads_is_neither_encoded_nor_decoded_again() -> None:
    state, _ = begun(Scales, dict(BIG))
    assert [work(state) for _ in range(3)] == [(0, 0)] * 3
    assert Weighed.decoded == 0
    instance: Any = state.begin(None)
    assert instance.big[0].parts == [1]
    record(state)
    assert work(state) == (0, 0)
    assert state.stored["big"] == BIG["big"]


def test_a_retried_attempt_decodes_nothing_that_no_handler_reads() -> None:
    state, _ = begun(Scales, dict(BIG))
    for _ in range(2):
        state.discard()
        Weighed.encoded = Weighed.decoded = 0
        state.begin(dict(state.stored))
        assert (Weighed.encoded, Weighed.decoded) == (0, 0)
        state.discard()


@pytest.mark.parametrize(
    "read",
    [
        lambda one: one.big,
        lambda one: getattr(one, "big"),  # noqa: B009
        lambda one: vars(one)["big"],
        lambda one: one.__dict__["big"],
        lambda one: object.__getattribute__(one, "big"),
        lambda one: next(value for name, value in vars(one).items() if name == "big"),
        lambda one: operator.attrgetter("big")(one),
        lambda one: copy.copy(one).big,
        lambda one: next(value for name, value in inspect.getmembers(one) if name == "big"),
    ],
)
def test_whichever_way_a_container_is_read_its_changes_are_noticed(read: Any) -> None:
    state, instance = begun(Scales, dict(BIG))
    record(state)
    read(instance)[0].parts.append(2)
    assert record(state) == {"big": '[{"parts":[1,2]}]'}
    read(instance)[0].parts.append(3)
    assert record(state) == {"big": '[{"parts":[1,2,3]}]'}
    instance = state.begin(None)
    assert record(state) is None
    read(instance).clear()
    assert record(state) == {"big": "[]"}


def assigned_and_deleted(one: Any) -> None:
    one.big = []
    del one.big


UNREAD: list[tuple[Callable[[Any], object], Any]] = [
    (lambda one: setattr(one, "big", []), {"big": "[]"}),
    (lambda one: setattr(one, "big", [Weighed(parts=[1])]), None),
    (lambda one: delattr(one, "big"), {"big": None}),
    (assigned_and_deleted, {"big": None}),
    (lambda one: one.__dict__.pop("big"), {"big": None}),
    (lambda one: one.__dict__.update(big=[]), {"big": "[]"}),
    (lambda one: setattr(one, "__dict__", {"other": [2], "number": 1}), {"big": None, "other": "[2]", "number": "1"}),
]


@pytest.mark.parametrize(("act", "changes"), UNREAD)
def test_a_container_that_was_not_read_can_be_assigned_and_deleted(act: Any, changes: Any) -> None:
    state, instance = begun(Scales, dict(BIG))
    act(instance)
    assert record(state) == changes
    assert record(state) is None
    again: Any = state.begin(None)
    loaded: Any = materialize(definition_of(Scales), Scales, state.stored)
    assert again.big == loaded.big


LOOKS_AT_ALL: list[Callable[[Any], object]] = [vars, copy.copy, copy.deepcopy, pickle.dumps, inspect.getmembers]


@pytest.mark.parametrize("look", LOOKS_AT_ALL)
@pytest.mark.parametrize("stored", [{}, BIG])
def test_what_was_assigned_unread_stays_whoever_looks_at_all(look: Any, stored: dict[str, str]) -> None:
    state, instance = begun(Scales, dict(stored))
    instance.other = mine = [7]
    look(instance)
    assert instance.other is mine
    assert record(state) == {"other": "[7]"}
    assert record(state) is None
    mine.append(8)
    assert record(state) == {"other": "[7,8]"}


@pytest.mark.parametrize("look", LOOKS_AT_ALL)
def test_what_was_assigned_unread_can_be_deleted_after_a_look_at_all(look: Any) -> None:
    state, instance = begun(Scales, dict(BIG))
    instance.big = []
    look(instance)
    del instance.big
    assert record(state) == {"big": None}
    assert record(state) is None
    assert instance.big == []


def test_a_deleted_container_that_is_read_again_is_a_default_of_its_own() -> None:
    """What is in the class body belongs to all objects: a change of it would be lost, and seen by the others."""

    class Deleting(VirtualObject):
        plain: list[int] = [1]
        made: list[int] = field(default_factory=lambda: [2])
        bare: list[int]

    state, instance = begun(Deleting, {"plain": "[5]", "made": "[6]", "bare": "[7]"})
    del instance.plain, instance.made, instance.bare
    instance.plain.append(3)
    instance.made.append(4)
    with pytest.raises(UnsetState):
        _ = instance.bare
    assert not hasattr(instance, "bare")
    assert record(state) == {"plain": "[1,3]", "made": "[2,4]", "bare": None}
    assert record(state) is None
    assert Deleting.plain == [1]
    assert begun(Deleting)[1].plain == [1]


def _pickled(one: Any) -> Any:
    return pickle.loads(pickle.dumps(one))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, _pickled])
@pytest.mark.parametrize("cls", [Scales, Small])
def test_a_copy_holds_the_values_and_is_no_object_of_an_app(cls: Any, copied: Any) -> None:
    state, instance = begun(cls, dict(BIG) if cls is Scales else {"a": "5"})
    instance._actors_attempt = (one for one in "no copy of this can be made")
    for original in (instance, reader_of(state, dict(state.stored))):
        other = copied(original)
        assert type(other) is type(original) or original is not instance
        assert vars(other) == vars(original)
        assert not hasattr(other, "_actors_attempt") and not hasattr(other, "_actors_keeper")
        vars(other).clear()
    assert record(state) is None


def test_an_attempt_that_is_over_takes_nothing_from_the_next_one() -> None:
    state, old = begun(Scales, dict(BIG))
    state.discard()
    new: Any = state.begin(None)
    old.big.clear()
    assert new.big[0].parts == [1]
    assert record(state) is None


def test_an_instance_without_a_runtime_has_its_defaults() -> None:
    for cls in (Scales, definition_of(Scales).worker):
        one: Any = cls()
        assert (one.big, one.other, one.number) == ([], [1], 0)
        assert one.big is not cls().big
        assert Scales.other == definition_of(Scales).worker.other == [1]


def test_a_class_without_containers_is_worked_on_as_it_is() -> None:
    assert definition_of(Small).worker is Small
    assert issubclass(definition_of(Scales).worker, Scales) and definition_of(Scales).worker is not Scales
    assert definition_of(definition_of(Scales).worker) is definition_of(Scales)


def test_a_reader_decodes_what_it_reads_and_a_change_of_it_is_refused() -> None:
    state, _ = begun(Scales, dict(BIG))
    Weighed.encoded = Weighed.decoded = 0
    looking: Any = reader_of(state, dict(state.stored))
    refuse_changes(definition_of(Scales), looking, state.stored)
    assert (Weighed.encoded, Weighed.decoded) == (0, 0)
    assert looking.big[0].parts == [1] and looking.other == [1]
    looking.big[0].parts.append(2)
    with pytest.raises(StateWriteRefused, match="big was changed in place"):
        refuse_changes(definition_of(Scales), looking, state.stored)
    assert reader_of(state, dict(state.stored)).big[0].parts == [1]  # type: ignore[attr-defined]


def test_a_reader_of_an_older_text_that_does_not_fit_fails_before_it_begins() -> None:
    state, _ = begun(Scales, dict(BIG))
    with pytest.raises(StateDecodeError, match="big"):
        reader_of(state, {"big": '["nonsense"]'})


# --- large containers, whose text is not made anew ------------------------------------------------------------------------

LONG = "a" * 3000  # with two of these a text is large
KEY = uuid.UUID(int=7)


class Large(VirtualObject):
    items: list[str] = []
    mixed: list[Any] = []
    table: dict[str, int | str] = {}
    maybe: list[str] | None = None


PUT = st.sampled_from([LONG, LONG + "b", "x", str(KEY), KEY, 1, True, 1.5, None, [LONG], datetime.date(2026, 1, 2)])
LARGE_CHANGES = st.tuples(
    st.sampled_from(["items", "mixed", "table", "maybe"]),
    st.sampled_from(["add", "add", "put", "swap", "remove", "empty", "delete", "alias", "begin", "discard", "look"]),
    st.integers(0, 5),
    PUT,
)


def change_large(instance: Any, name: str, what: str, place: int, value: Any) -> None:
    held = getattr(instance, name)
    if what == "empty":
        setattr(instance, name, {} if name == "table" else [])
    elif what == "alias":
        setattr(instance, name, instance.mixed if name != "table" else dict(held))
    elif what == "delete":
        delattr(instance, name)
    elif isinstance(held, dict):
        keys = list(held)
        if what == "add":
            held[f"{place}{len(held)}"] = value
        elif what == "put":
            held[value if isinstance(value, (str, int)) else "k"] = value
        elif what == "remove" and keys:
            del held[keys[place % len(keys)]]
    elif isinstance(held, list):
        if what == "add":
            held.append(value)
        elif what == "remove" and held:
            del held[place % len(held)]
        elif what == "put" and held:
            held[place % len(held)] = value
        elif what == "swap" and held:  # another type, which is written as the same text
            there = held[place % len(held)]
            held[place % len(held)] = uuid.UUID(there) if there == str(KEY) else str(there)


def recorded(state: ObjectState) -> Any:
    try:
        return record(state)
    except (SerializationError, UndeclaredState) as error:
        state._compare_all_anew()
        return str(error)


@given(st.lists(LARGE_CHANGES, max_size=14))
@example(
    [
        *[
            ("items", "add", 0, LONG),
            ("items", "add", 0, LONG),
            ("items", "add", 0, str(KEY)),
            ("items", "begin", 0, 0),
        ],
        *[("items", "swap", 2, 0), ("items", "add", 0, "x"), ("items", "look", 0, 0)],
    ]
)
def test_what_is_known_of_a_large_container_changes_no_answer(changes: list[Any]) -> None:
    state, instance = begun(Large)
    other, twin = begun(Large)
    for name, what, place, value in changes:
        if what in ("begin", "discard"):
            for each in state, other:
                if what == "discard":
                    each.discard()
            instance, twin = state.begin(None), other.begin(None)
        else:
            change_large(instance, name, what, place, copy.deepcopy(value))
            change_large(twin, name, what, place, copy.deepcopy(value))
        assert other.containers is not None
        other.containers.known = None  # each time all of it is encoded, and verified where it has changed
        assert recorded(state) == recorded(other)
        assert state.texts == other.texts


@pytest.mark.parametrize("leave", ["empty", "put", "delete", "discard"])
def test_what_is_known_of_a_large_container_is_kept_no_longer_than_that(leave: str) -> None:
    state, instance = begun(Large)
    instance.items += [LONG, LONG]
    record(state)
    assert state.containers is not None and state.containers.known
    if leave == "discard":
        state.discard()
    else:
        change_large(instance, "items", leave, 0, "x")
        record(state)
    assert not state.containers.known
