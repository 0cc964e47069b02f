"""What a class body may say about versions, and what each mistake is told."""

from __future__ import annotations

from typing import Any

import pytest

from actors import VirtualObject, handler, migration, shared
from actors.errors import DefinitionError, StateDecodeError
from actors.model.definitions import definition_of

State = dict[str, Any]


def same(state: State) -> State:
    return state


def made(version: Any, *starts: int, bases: tuple[type, ...] = (VirtualObject,), **more: Any) -> Any:
    """A class with a migration from each of these versions, named m1, m2, ..."""
    body = {f"m{start}": migration(from_version=start)(same) for start in starts}
    options = {} if version is None else {"version": version}
    return type(bases[0])("Order", bases, {"__module__": __name__, **body, **more}, **options)


def version_of(cls: Any) -> int:
    return definition_of(cls).version


def test_a_class_is_of_version_1_unless_it_says_more() -> None:
    assert version_of(made(None)) == version_of(made(1)) == 1
    assert version_of(made(3, 1, 2)) == 3


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "2", 2**0.5])
def test_a_version_is_a_whole_number_from_1(version: Any) -> None:
    with pytest.raises(DefinitionError, match=r"class Order: version=.* is not a valid version: use an int from 1"):
        made(version, 1)
    with pytest.raises(DefinitionError, match=r"from_version=.*count from 1"):
        migration(from_version=version)


@pytest.mark.parametrize(
    ("version", "starts", "says"),
    [
        (2, (), r"nothing leads from version 1 .*Write a function under @migration\(from_version=1\)"),
        (3, (1,), r"nothing leads from version 2 "),
        (4, (2,), r"nothing leads from version 1 or 3 "),
        (1, (1,), r"is of version 1, but Order.m1 migrates from version 1. Raise the version, .*version=2\)"),
        (None, (1,), r"version=2\), or remove the migration"),
        (2, (1, 2), r"Order.m2 migrates from version 2"),
    ],
)
def test_a_chain_has_one_step_for_each_version_below_the_class(
    version: Any, starts: tuple[int, ...], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        made(version, *starts)


def test_two_steps_from_one_version_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Order.m1 and Order.other both migrate from version 1. Keep one"):
        made(2, 1, other=migration(from_version=1)(same))


def test_two_steps_of_one_name_are_refused_where_the_second_is_written() -> None:
    body = """
class Order(VirtualObject, version=3):
    step = migration(from_version=1)(same)
    step = migration(from_version=2)(same)
"""
    with pytest.raises(DefinitionError, match=r"'step' is defined twice .* the first is a migration"):
        exec(body, globals())


async def _async(state: State) -> State:
    return state


def _generator(state: State) -> Any:
    yield state


def _two(self: Any, state: State) -> State:
    return state


def _none() -> State:
    return {}


def _keyword_only(*, state: State) -> State:
    return state


def _keyword_too(state: State, *, strict: bool) -> State:
    return state


NO_FUNCTIONS: list[tuple[Any, str]] = [
    (_async, "Write 'def' instead of 'async def'"),
    (_generator, "without 'yield'"),
    (_two, r"_two\(self: .*takes one argument.*and no self"),
    (_none, "takes one argument"),
    (_keyword_only, "takes one argument"),
    (_keyword_too, "takes one argument"),
    (classmethod(_two), "plain function of one dict"),
    (property(same), "plain function of one dict"),
    (dict, "plain function of one dict"),
    ("text", "plain function of one dict"),
    (staticmethod(_async), "Write 'def'"),
    (migration(from_version=1)(same), "plain function of one dict"),
]


@pytest.mark.parametrize(("function", "says"), NO_FUNCTIONS)
def test_what_is_no_plain_function_of_one_dict_is_refused_at_once(function: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=rf"@migration\(from_version=7\).*{says}"):
        migration(from_version=7)(function)


def _optional(state: State, factor: int = 100) -> State:
    return state


def _any_number(*states: State) -> State:
    return states[0]


@pytest.mark.parametrize("function", [same, staticmethod(same), _optional, _any_number, lambda state: state])
def test_any_function_that_can_be_called_with_one_dict_will_do(function: Any) -> None:
    step = migration(from_version=1)(function)
    assert step({"a": 1}) == {"a": 1}


def test_a_migration_can_be_called_on_the_class_and_on_an_object_without_self() -> None:
    class Order(VirtualObject, version=2):
        @migration(from_version=1)
        @staticmethod
        def doubled(state: State) -> State:
            """Twice as much."""
            return {"total": state["total"] * 2}

    assert Order.doubled({"total": 2}) == Order().doubled({"total": 2}) == {"total": 4}
    assert (Order.doubled.__doc__, repr(Order.doubled).split(".")[-1]) == (
        "Twice as much.",
        "doubled from version 1>",
    )


def test_the_two_decorators_the_wrong_way_round_are_told_so() -> None:
    with pytest.raises(DefinitionError, match="put @migration above @staticmethod on 'step'"):
        made(2, step=staticmethod(migration(from_version=1)(same)))


def test_names_of_migrations_handlers_and_state_do_not_meet() -> None:
    async def go(self: Any) -> None: ...

    with pytest.raises(DefinitionError, match="annotated as state but is a method"):
        made(2, 1, __annotations__={"m1": int})
    base = made(2, 1)
    with pytest.raises(DefinitionError, match="'m1' overrides a migration with something else"):
        made(None, bases=(base,), m1=handler(go))
    served = made(None, go=shared(go))
    with pytest.raises(DefinitionError, match="'go' overrides a handler"):
        made(2, bases=(served,), go=migration(from_version=1)(same))


def test_the_name_of_the_version_in_the_database_is_no_name_of_state() -> None:
    with pytest.raises(DefinitionError, match="''"):
        made(None, __annotations__={"": int})


# --- subclasses ------------------------------------------------------------------------------------------------------


def test_a_subclass_has_the_version_and_the_migrations_of_its_bases_and_counts_on_from_there() -> None:
    base = made(2, 1)
    plain, further = made(None, bases=(base,)), made(3, 2, bases=(base,))
    assert version_of(plain) == 2 and definition_of(plain).migrations.steps == {1: base.m1}
    assert version_of(further) == 3 and definition_of(further).migrations.steps == {1: base.m1, 2: further.m2}
    assert version_of(made(None, bases=(further,))) == 3


def test_a_subclass_may_not_go_below_its_base() -> None:
    with pytest.raises(DefinitionError, match=r"version=1 is below 2.* Use 2, or leave version= out"):
        made(1, bases=(made(2, 1),))


def test_of_several_bases_the_newest_version_counts_and_their_steps_must_not_clash() -> None:
    two, one = made(2, 1), made(None)
    assert version_of(made(None, bases=(one, two))) == 2
    other = made(2, other=migration(from_version=1)(same))
    with pytest.raises(DefinitionError, match="both migrate from version 1"):
        made(None, bases=(two, other))


def test_a_plain_mixin_can_bring_a_step() -> None:
    class Mixin:
        @migration(from_version=1)
        @staticmethod
        def step(state: State) -> State:
            return state

    class Order(Mixin, VirtualObject, version=2): ...

    assert definition_of(Order).migrations.steps == {1: Mixin.step}


def test_a_base_that_takes_a_version_its_subclass_has_used_is_told_how_both_go_on() -> None:
    """And what the message says works: the subclass keeps its step, and the one of the base comes after it."""

    class Base(VirtualObject, version=2):
        @migration(from_version=1)
        @staticmethod
        def of_base(state: State) -> State:
            return {**state, "base": True}

    with pytest.raises(DefinitionError) as caught:

        class Order(Base, version=2):
            @migration(from_version=1)
            @staticmethod
            def own(state: State) -> State:
                return {**state, "own": True}

    assert "version=3" in str(caught.value) and "from_version=2" in str(caught.value)
    assert "a function 'of_base' in" in str(caught.value) and "returns Base.of_base(state)" in str(caught.value)

    class Mended(Base, version=3):
        @migration(from_version=1)
        @staticmethod
        def own(state: State) -> State:
            return {**state, "own": True}

        @migration(from_version=2)
        @staticmethod
        def of_base(state: State) -> State:
            return Base.of_base(state)

    migrations = definition_of(Mended).migrations
    assert migrations.applied({"a": "1"}, 1, "x") == {"a": "1", "own": "true", "base": "true"}
    assert migrations.applied({"a": "1", "own": "true"}, 2, "x") == {"a": "1", "own": "true", "base": "true"}


# --- what a chain does with texts ----------------------------------------------------------------------------------------


def test_what_is_left_equal_keeps_its_text_to_the_letter() -> None:
    chain = definition_of(made(2, 1)).migrations
    texts = {"a": "1.50e3", "b": '{"x": 1 ,"y":[ ]}', "c": '"\\u00e4"', "d": "123456789012345678901234567890"}
    assert chain.applied(texts, 1, "Order/k") == texts


def test_the_texts_handed_in_are_not_changed_whatever_the_function_does_with_its_dict() -> None:
    def rude(state: State) -> State:
        state["items"].append(3)
        del state["a"]
        return state

    chain = definition_of(made(2, m=migration(from_version=1)(rude))).migrations
    texts = {"a": "1", "items": "[1]"}
    assert chain.applied(texts, 1, "Order/k") == {"items": "[1,3]"}
    assert texts == {"a": "1", "items": "[1]"}


def test_nothing_stored_is_not_handed_to_a_migration() -> None:
    def picky(state: State) -> State:
        raise AssertionError

    assert definition_of(made(2, m=migration(from_version=1)(picky))).migrations.applied({}, 1, "Order/k") == {}


def test_a_coroutine_that_was_returned_is_refused_and_closed() -> None:
    forgot: Any = lambda state: _async(state)  # noqa: E731
    chain = definition_of(made(2, m=migration(from_version=1)(forgot))).migrations
    with pytest.raises(StateDecodeError, match="returned <coroutine"):
        chain.applied({"a": "1"}, 1, "Order/k")


def test_a_text_somebody_has_broken_is_named() -> None:
    with pytest.raises(StateDecodeError, match="Order/k holds a text that is not JSON"):
        definition_of(made(2, 1)).migrations.applied({"a": "{"}, 1, "Order/k")
