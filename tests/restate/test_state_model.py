"""State that is read when it is touched writes what state in memory writes, for the same assignments, changes and flushes."""

from __future__ import annotations

import copy
import dataclasses
import os
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors import VirtualObject, field
from actors.model.definitions import definition_of
from actors.model.object_state import ObjectState
from actors.transport.restate.state import LazyClasses, LazyState

EXAMPLES = int(os.environ["SIMULATIONS"])


@dataclasses.dataclass
class Box:
    label: str = ""
    parts: list[int] = dataclasses.field(default_factory=list)


class Nest(VirtualObject):
    n: int = 0
    ratio: float = 0.5
    text: str
    items: list[int] = [1]
    tree: dict[str, list[int]] = {}
    tags: set[str] = {"a"}
    box: Box = field(default_factory=Box)
    maybe: list[int] | None = None


DEFINITION = definition_of(Nest)
CLASSES = LazyClasses(DEFINITION)
NAMES = list(DEFINITION.fields_by_name)
SMALL = st.integers(0, 3)
WORD = st.sampled_from(["a", "b", "ü"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": SMALL,
    "ratio": st.sampled_from([0.5, 1.5, 2]),
    "text": WORD,
    "items": st.lists(SMALL, max_size=3),
    "tree": st.dictionaries(WORD, st.lists(SMALL, max_size=2), max_size=2),
    "tags": st.sets(WORD),
    "box": st.builds(Box, WORD, st.lists(SMALL, max_size=2)),
    "maybe": st.none() | st.lists(SMALL, max_size=2),
}


def _text(name: str) -> st.SearchStrategy[str]:
    return VALUES[name].map(DEFINITION.fields_by_name[name].codec.encode)


STORED = st.fixed_dictionaries({}, optional={name: _text(name) for name in NAMES})
CHANGES = st.one_of(
    *[st.tuples(st.just("assign"), st.just(name), VALUES[name]) for name in NAMES],
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("read"), st.sampled_from(NAMES)),
    st.tuples(st.just("append"), SMALL),
    st.tuples(st.just("grow"), WORD, SMALL),
    st.tuples(st.just("tag"), WORD),
    st.tuples(st.just("part"), SMALL),
    st.tuples(st.just("share")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("flush")),
)


def change(one: Any, what: str, *values: Any) -> Any:
    """What the code of a handler sees."""
    try:
        match what, *values:
            case "assign", name, value:
                setattr(one, name, copy.deepcopy(value))
            case "delete", name:
                delattr(one, name)
            case "read", name:
                return copy.deepcopy(getattr(one, name))
            case "append", n:
                one.items.append(n)
            case "grow", word, n:
                one.tree.setdefault(word, []).append(n)
            case "tag", word:
                one.tags ^= {word}
            case "part", n:
                one.box.parts.append(n)
            case ("share",):
                one.maybe = one.items
    except AttributeError:
        return "no value"
    return None


def equal(name: str, one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return DEFINITION.fields_by_name[name].codec.equal(one, other)


@example(texts={"n": "5"}, program=[("delete", "n"), ("read", "n"), ("delete", "n")])
@example(texts={"text": '"a"'}, program=[("delete", "text"), ("read", "text"), ("flush",), ("delete", "text")])
@example(texts={"items": "[5]"}, program=[("delete", "items"), ("append", 1), ("flush",), ("delete", "items")])
@given(texts=STORED, program=st.lists(CHANGES, max_size=14))
@settings(max_examples=4 * EXAMPLES, deadline=None)
def test_lazy_state_writes_what_state_in_memory_writes(texts: dict[str, str], program: list[Any]) -> None:
    asked: list[str] = []

    def read(name: str) -> str | None:
        asked.append(name)
        return texts.get(name)

    known, lazy = ObjectState(DEFINITION, dict(texts)), LazyState(DEFINITION, CLASSES.worker, read)
    instance = known.begin(None)
    database = dict(texts)
    for what, *values in [*program, ("flush",)]:
        assert change(lazy.instance, what, *values) == change(instance, what, *values)
        if what != "flush":
            continue
        expected, written = known.changes() or {}, lazy.changes(lambda name, text: None)
        for name, text in written.items():
            if name not in expected:  # the exception: it was never read, and is written without being compared
                stands = _default(name) if text is None else text
                assert name not in asked and equal(name, stands, database.get(name, _default(name)))
        assert list(expected) == [name for name in written if name in expected]
        assert all(equal(name, text, written[name]) for name, text in expected.items())
        for name, text in expected.items():
            known.put(name, text, apart=False)
        for name, text in written.items():
            lazy.texts[name] = text
            database.pop(name, None) if text is None else database.update({name: text})
    assert len(asked) == len(set(asked)), "nothing is read twice"
    assert database.keys() >= known.stored.keys()
    assert all(equal(name, text, known.stored.get(name, _default(name))) for name, text in database.items())


def _default(name: str) -> str | None:
    return DEFINITION.fields_by_name[name].default_text
