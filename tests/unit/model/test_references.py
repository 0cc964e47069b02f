"""References: they pretend to be the class, say why they are not, and survive being looked at."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from typing import Any

import pytest

from actors import App, Context, VirtualObject, handler, shared
from actors.errors import AppNotRunning, BadArguments, BadKey, UnknownHandler, UnknownService
from actors.model.bound_handler import BoundHandler
from actors.model.definitions import HandlerDefinition, definition_of
from actors.model.options import Options


class Order(VirtualObject):
    """An order of books."""

    LIMIT = 5
    status: str = "new"
    items: list[str] = []

    @handler
    async def add(self, item: str, times: int = 1) -> int:
        """Adds an item."""
        self.items += [item] * times
        return len(self.items)

    @handler(name="check-out")
    async def checkout(self, ctx: Context, amount: float) -> str:
        return ctx.key

    @shared
    async def peek(self) -> str:
        return self.status

    def helper(self) -> int:
        return 1

    @property
    def size(self) -> int:
        return len(self.items)


class Empty(VirtualObject):
    pass


class Recorder:
    """A dispatcher that only notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, Any, Any, Options]] = []

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Any:
        self.calls.append(("call", target.name, key, args, kwargs, options))

    def dispatch_send(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Any:
        self.calls.append(("send", target.name, key, args, kwargs, options))


def reference(cls: Any = Order) -> Any:
    return definition_of(cls).reference(Recorder(), "o1")


def test_a_call_and_a_send_carry_key_arguments_and_options() -> None:
    ref = reference()
    ref.add("book", times=2)
    ref.add.send("book")
    ref.checkout.options(delay=1.5, headers={"a": "b"}).send(3.0)
    call, send, late = ref._dispatcher.calls
    assert call[:5] == ("call", "add", "o1", ("book",), {"times": 2})
    assert send[:5] == ("send", "add", "o1", ("book",), {})
    assert late[:5] == ("send", "check-out", "o1", (3.0,), {})
    assert (call[5].delay_ms, call[5].headers) == (0, None)
    assert (late[5].delay_ms, late[5].headers) == (1500, {"a": "b"})


def test_options_do_not_collide_with_parameters_and_do_not_stick() -> None:
    ref = reference()
    bound = ref.add
    one = bound.options(delay=1)
    other = one.options(headers={"h": "1"})
    for handler_ in (bound, one, other):
        handler_.send(delay=5, headers=6)
    options = [call[5] for call in ref._dispatcher.calls]
    assert [(o.delay_ms, o.headers) for o in options] == [(0, None), (1000, None), (1000, {"h": "1"})]
    assert all(call[4] == {"delay": 5, "headers": 6} for call in ref._dispatcher.calls)


@pytest.mark.parametrize("name", ["status", "items"])
def test_state_cannot_be_read_or_set_and_the_error_says_why(name: str) -> None:
    ref = reference()
    with pytest.raises(AttributeError, match=rf"Order\.{name} is state and lives with the object.*@shared handler"):
        getattr(ref, name)
    with pytest.raises(AttributeError, match=rf"Order\.{name} is state .* cannot set it"):
        setattr(ref, name, "x")
    assert not hasattr(ref, name)
    assert getattr(ref, name, 5) == 5


@pytest.mark.parametrize("name", ["ad", "check-out", "helper", "size", "LIMIT", "_missing", "__len__", "reader"])
def test_what_is_no_handler_lists_those_that_are(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"Order has no handler '{name}'\. Its handlers: add, checkout, peek\."):
        getattr(reference(), name)


def test_a_class_without_handlers_says_so() -> None:
    with pytest.raises(AttributeError, match=r"Empty has no handler 'x'\. Its handlers: none\."):
        _ = reference(Empty).x


def test_nothing_can_be_set_or_deleted_on_a_reference() -> None:
    ref = reference()
    for name in ("add", "typo", "helper"):
        with pytest.raises(AttributeError):
            setattr(ref, name, 1)
    with pytest.raises(AttributeError):
        del ref.status


def test_a_reference_and_its_handlers_show_what_they_are() -> None:
    ref = reference()
    assert repr(ref) == "<Order/o1>"
    assert str(ref) == "<Order/o1>"
    assert repr(ref.checkout) == "<handler check-out of Order/o1>"


def test_a_reference_can_be_copied_and_stays_the_same() -> None:
    ref = reference()
    assert copy.copy(ref) is ref
    assert copy.deepcopy({"a": [ref]})["a"][0] is ref


def test_a_reference_is_not_pickled() -> None:
    with pytest.raises(TypeError, match=r"<Order/o1> belongs to a running app and cannot be pickled"):
        pickle.dumps(reference())


def test_a_reference_can_be_inspected() -> None:
    ref = reference()
    members = dict(inspect.getmembers(ref))
    assert {"add", "checkout", "peek"} <= set(members)
    assert isinstance(members["add"], BoundHandler)
    assert "status" not in members
    assert dict(inspect.getmembers(type(ref)))["__doc__"] == "An order of books."
    assert {"add", "checkout", "peek", "status"} <= set(dir(ref))
    assert "An order of books." in pydoc.render_doc(ref)
    assert not inspect.isawaitable(ref) and not callable(ref) and not inspect.iscoroutinefunction(ref.add)
    for probe in ("__len__", "__iter__", "__await__", "__wrapped__", "__name__", "_ipython_display_", "__array__"):
        assert not hasattr(ref, probe)
    with pytest.raises(TypeError):
        inspect.signature(ref)


def test_a_reference_without_its_parts_does_not_recurse() -> None:
    bare = object.__new__(definition_of(Order).reference)
    assert not hasattr(bare, "_dispatcher") and not hasattr(bare, "nothing")
    with pytest.raises(AttributeError):
        _ = bare.add


async def test_references_of_an_app_say_what_is_not_served_or_known() -> None:
    async with App(Order, storage="sqlite://") as app:
        with pytest.raises(UnknownService, match=r"Add it: App\(Empty, \.\.\.\)"):
            app.object(Empty, "a")
        with pytest.raises(UnknownService, match="Served: Order"):
            app.call("Nothing", "a", "add")
        with pytest.raises(UnknownHandler, match=r"Its handlers: add, check-out, peek\."):
            app.call("Order", "a", "checkout")
        assert await app.call("Order", "a", "check-out", 1.0) == "a"
        assert await app.call("Order", "a", "add", item="x", times=3) == 3
        with pytest.raises(BadArguments, match="delay= goes with send"):
            app.object(Order, "a").add.options(delay=1)("x")
    with pytest.raises(AppNotRunning):
        app.object(Order, "a").add("x")


@pytest.mark.parametrize("key", ["", None, 5, b"a", "\ud800", "a\x00b", ["a"]])
async def test_a_bad_key_is_refused_before_anything_is_sent(key: Any) -> None:
    async with App(Order, storage="sqlite://") as app:
        with pytest.raises(BadKey):
            app.object(Order, key)


@pytest.mark.parametrize("key", [" ", "/", "a/b?c#d%20", "ü😀", "x" * 10_000, "\n", "'; drop table state; --"])
async def test_any_other_text_is_a_key(key: str) -> None:
    async with App(Order, storage="sqlite://") as app:
        assert await app.object(Order, key).checkout(1) == key
        assert await app.object(Order, key).add("x") == 1
        assert await app.object(Order, key + "2").add("x", 2) == 2
