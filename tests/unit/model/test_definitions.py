"""Class definitions: what works, and what is refused when the class is made, with a message that says how to fix it."""

from __future__ import annotations

import abc
import copy
import dataclasses
import datetime
import enum
import inspect
import itertools
import uuid
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, NoReturn, TypeVar, cast

import msgspec
import pytest

from actors import App, Context, VirtualObject, field, handler, shared
from actors.errors import DefinitionError, UnknownHandler
from actors.model.definitions import ServiceDefinition, definition_of
from actors.serde.type_names import type_name
from tests.unit.example_types import Item, Money, Point, User
from tests.unit.model import other_module

if TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")


def states(cls: Any) -> dict[str, str]:
    return {field.name: type_name(field.codec.type) for field in definition_of(cls).fields}


def signature(cls: Any, name: str) -> list[str]:
    declared = definition_of(cls).handlers[name]
    return [codec.name for codec in declared.codecs] + [declared.returns.name]


# --- what works -----------------------------------------------------------------------------------------------------------


def test_annotated_attributes_are_state_and_decorated_methods_are_handlers() -> None:
    class Order(VirtualObject):
        """An order."""

        LIMIT: ClassVar[int] = 5
        RATE: Final = 0.5
        NAME: Final[str] = "order"
        constant = "not annotated"
        status: str = "new"
        items: list[str] = []
        total: Annotated[float, msgspec.Meta(ge=0)] = 0.0

        @property
        def size(self) -> int:
            return len(self.items)

        @staticmethod
        def helper() -> int:
            return 1

        @classmethod
        def other(cls) -> str:
            return cls.__name__

        async def plain(self) -> int:
            return self.size

        @handler
        async def add(self, item: str, times: int = 1) -> int:
            """Adds an item."""
            self.items.extend([item] * times)
            return await self.plain()

        @shared
        async def peek(self) -> str:
            return self.status

        @handler(name="check-out")
        async def checkout(self, ctx: Context, amount: float) -> None: ...

    assert states(Order) == {"status": "str", "items": "list[str]", "total": "Annotated[float, Meta(ge=0)]"} | {
        "total": type_name(Annotated[float, msgspec.Meta(ge=0)])
    }
    handlers = definition_of(Order).handlers
    assert {name: declared.shared for name, declared in handlers.items()} == {
        "add": False,
        "peek": True,
        "check-out": False,
    }
    assert signature(Order, "add") == ["str", "int", "int"]
    assert signature(Order, "check-out") == ["float", "None"]
    assert [handlers[name].takes_context for name in handlers] == [False, False, True]
    assert Order.__doc__ == "An order."
    assert inspect.getdoc(Order.add) == "Adds an item."
    assert list(inspect.signature(inspect.unwrap(cast(Any, Order.add))).parameters) == ["self", "item", "times"]


async def test_a_plain_instance_is_enough_for_a_unit_test() -> None:
    class Order(VirtualObject):
        items: list[str] = []

        @handler
        async def add(self, item: str) -> int:
            self.items.append(item)
            return len(self.items)

        @handler
        async def add_twice(self, item: str) -> int:
            await self.add(item)
            return await self.add(item)

        @handler
        async def with_context(self, ctx: Context) -> str:
            return ctx.key

        @handler
        async def passes_on(self) -> str:
            return await self.with_context()

    order = Order()
    assert await order.add("x") == 1
    assert await order.add(item="y") == 2
    assert await order.add_twice("z") == 4
    assert order.items == ["x", "y", "z", "z"]
    assert Order().items == []
    for call in (order.with_context, order.passes_on):
        with pytest.raises(TypeError, match="requires a context"):
            await call()


def test_the_name_of_a_service_is_that_of_the_class_unless_given() -> None:
    class Order(VirtualObject, name="orders.v2"):
        pass

    class Special(Order):
        pass

    class Ordnung_ä(VirtualObject):  # noqa: N801
        pass

    assert definition_of(Order).name == "orders.v2"
    assert definition_of(Special).name == "Special"
    assert definition_of(Ordnung_ä).name == "Ordnung_ä"


def test_defaults_are_copied_for_each_object() -> None:
    class Order(VirtualObject):
        items: list[str] = ["a"]
        tags: set[str] = {"t"}
        by_name: dict[str, list[int]] = {"n": [1]}
        point: Point = Point(1)
        item: Item = Item("i", [1])
        user: User = User(id=1)
        money: Money = field(default_factory=lambda: Money(decimal_one()))
        made: list[int] = field(default_factory=lambda: [1])
        given: list[int] = field(default=[2])

    one, other = Order(), Order()
    for name in states(Order):
        assert getattr(one, name) == getattr(other, name)
        assert getattr(one, name) is not getattr(other, name)
    one.items.append("b")
    one.by_name["n"].append(2)
    one.point.x = 5
    one.item.counts.append(2)
    one.user.id = 9
    one.tags.clear()
    assert (other.items, other.by_name, other.point, other.item.counts) == (["a"], {"n": [1]}, Point(1), [1])
    assert (other.user.id, other.tags, Order().made, Order().given) == (1, {"t"}, [1], [2])
    assert Order.items == ["a"]


def decimal_one() -> Any:
    import decimal

    return decimal.Decimal(1)


def test_a_shared_object_that_a_factory_returns_is_copied_too() -> None:
    everywhere: list[int] = []

    class Order(VirtualObject):
        items: list[int] = field(default_factory=lambda: everywhere)

    Order().items.append(1)
    assert everywhere == [] and Order().items == []


def test_an_int_default_of_a_float_is_a_float() -> None:
    class Account(VirtualObject):
        balance: float = 0
        limit: float | None = 5

    assert (repr(Account().balance), repr(Account().limit)) == ("0.0", "5.0")


def test_reading_a_field_without_a_value_says_what_to_do() -> None:
    class Order(VirtualObject):
        total: int

        @property
        def broken(self) -> int:
            return self.total

    order = Order()
    with pytest.raises(AttributeError, match=r"Order\.total has no value yet and no default\. Assign it first"):
        _ = order.total
    with pytest.raises(AttributeError, match="total has no value yet"):  # not: no attribute 'broken'
        _ = order.broken
    with pytest.raises(AttributeError, match="no attribute 'typo'"):
        _ = order.typo  # type: ignore[attr-defined]
    assert not hasattr(order, "total") and not hasattr(order, "typo")
    order.total = 3
    assert order.total == 3


async def test_state_and_handlers_are_inherited_and_can_be_overridden() -> None:
    class Base(VirtualObject):
        count: int = 0
        label: str = "base"

        @handler
        async def add(self, n: int) -> int:
            self.count += n
            return self.count

        @handler
        async def reset(self) -> None:
            self.count = 0

    class Middle(Base):
        label: str = "middle"
        more: int = 1

        @handler
        async def add(self, n: int) -> int:
            return await super().add(n * 10)

    class Derived(Middle):
        label = "derived"

        @handler(name="plus")
        async def add(self, n: int, times: int = 2) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
            for _ in range(times):
                await super().add(n)
            return self.count

    assert states(Derived) == {"count": "int", "label": "str", "more": "int"}
    assert (Base().label, Middle().label, Derived().label) == ("base", "middle", "derived")
    assert list(definition_of(Derived).handlers) == ["plus", "reset"]
    assert signature(Derived, "plus") == ["int", "int", "int"]
    assert await Middle().add(1) == 10
    assert await Derived().add(1) == 20
    assert await Base().add(1) == 1


async def test_super_works_in_a_running_app_too() -> None:
    class Base(VirtualObject):
        seen: list[str] = []

        @handler
        async def note(self, ctx: Context, text: str) -> str:
            self.seen.append(f"{ctx.key}:{text}")
            return text

    class Derived(Base):
        @handler
        async def note(self, ctx: Context, text: str) -> str:
            return await super().note(text + "!")

        @shared
        async def all(self) -> list[str]:
            return self.seen

    async with App(Derived, storage="sqlite://") as app:
        derived = app.object(Derived, "k")
        assert await derived.note("a") == "a!"
        assert await derived.all() == ["k:a!"]


async def test_a_handler_can_send_to_its_own_object_and_super_does_not_go_around_an_override() -> None:
    class Base(VirtualObject):
        log: list[str] = []

        @handler
        async def note(self, text: str) -> None:
            self.log.append(f"base {text}")

        @handler
        async def old(self, text: str) -> None:
            self.log.append(f"old {text}")

    class Derived(Base):
        @handler
        async def note(self, text: str) -> None:
            self.log.append(f"derived {text}")

        @handler(name="new")
        async def old(self, text: str) -> None:
            super().old.send(text)

        @handler
        async def start(self) -> None:
            self.note.send("later")
            super().note.send("latest")
            await super().note("now")

        @shared
        async def read(self) -> list[str]:
            return self.log

    async with App(Derived, storage="sqlite://") as app:
        derived = app.object(Derived, "k")
        await derived.start()
        await derived.note("last")
        assert await derived.read() == ["base now", "derived later", "derived latest", "derived last"]
        with pytest.raises(UnknownHandler, match=r"Derived\.old is overridden under another name"):
            await derived.old("x")


def test_a_base_without_handlers_and_an_abstract_base_work() -> None:
    class Named(VirtualObject):
        name: str = ""

    class Shape(Named, abc.ABC):
        @handler
        @abc.abstractmethod
        async def area(self) -> float: ...

        @abc.abstractmethod  # pyright: ignore[reportArgumentType]
        @handler
        async def edges(self) -> int: ...

        @abc.abstractmethod
        def helper(self) -> int: ...

    class Square(Shape):
        side: float = 1

        @handler
        async def area(self) -> float:
            return self.side**2

        @handler
        async def edges(self) -> int:
            return 4

        def helper(self) -> int:
            return 0

    assert states(Square) == {"name": "str", "side": "float"}
    assert list(definition_of(Square).handlers) == ["area", "edges"]
    App(Square, storage="sqlite://")
    with pytest.raises(DefinitionError, match=r"Shape is abstract \(area, edges, helper\)"):
        App(Shape, storage="sqlite://")
    with pytest.raises(TypeError):
        Shape()  # type: ignore[abstract]


@dataclasses.dataclass
class Entry:
    """The same name as a class of the other module, with another meaning."""

    number: int


async def test_annotations_mean_what_they_mean_in_the_module_that_wrote_them() -> None:
    class Diary(other_module.Journal):
        own: Entry = Entry(1)

    assert definition_of(Diary).fields_by_name["entries"].codec.type == list[other_module.Entry]
    assert definition_of(Diary).fields_by_name["own"].codec.type is Entry
    assert definition_of(Diary).handlers["write"].codecs[0].type is other_module.Entry
    async with App(Diary, storage="sqlite://") as app:
        assert await app.object(Diary, "d").write(other_module.Entry("a")) == 1
        assert await app.object(Diary, "d").first() == other_module.Entry("a")


async def test_a_mixin_brings_state_and_handlers() -> None:
    class Order(other_module.Counts, VirtualObject):
        status: str = "new"

    class Other(VirtualObject, other_module.Counts):
        pass

    assert states(Order) == {"count": "int", "status": "str"} and states(Other) == {"count": "int"}
    async with App(Order, Other, storage="sqlite://") as app:
        assert await app.object(Order, "a").increase(2) == 2
        assert await app.object(Other, "a").increase() == 1


async def test_generic_mixins_and_bases_get_the_types_of_the_class_that_uses_them() -> None:
    class Points(other_module.Keeps[Point], VirtualObject):
        pass

    class Pairs(other_module.Keeps[tuple[int, str]], other_module.Store[datetime.date]):
        pass

    U = TypeVar("U")

    class Middle(other_module.Store[list[U]], Generic[U]):
        pass

    class Numbers(Middle[int]):
        pass

    assert states(Points) == {"kept": "list[Point]", "last": "Point | None"}
    assert signature(Points, "keep") == ["Point", "list[Point]"]
    assert states(Pairs) == {"value": "date | None", "kept": "list[tuple[int, str]]", "last": "tuple[int, str] | None"}
    assert signature(Numbers, "put") == ["list[int]", "list[int] | None"]
    assert states(Numbers) == {"value": "list[int] | None"}
    async with App(Points, Numbers, storage="sqlite://") as app:
        assert await app.object(Points, "a").keep(Point(1)) == [Point(1)]  # pyright: ignore[reportCallIssue]
        assert await app.object(Numbers, "a").put([1]) is None  # pyright: ignore[reportCallIssue]
        assert await app.object(Numbers, "a").put([2]) == [1]  # pyright: ignore[reportCallIssue]


def test_types_defined_in_a_function_or_in_the_class_body_are_found() -> None:
    @dataclasses.dataclass
    class Local:
        n: int

    class Order(VirtualObject):
        class Status(enum.StrEnum):
            NEW = "new"
            DONE = "done"

        status: Status = Status.NEW
        local: Local | None = None
        datetime: datetime.datetime | None = None

        @handler
        async def finish(self, local: Local, status: Status) -> Status:
            return status

    assert states(Order)["status"].endswith("Order.Status")
    assert states(Order)["datetime"] == "datetime | None"
    assert definition_of(Order).handlers["finish"].codecs[0].type is Local
    assert definition_of(Order).handlers["finish"].returns.type is Order.Status


def test_a_hook_of_a_mixin_does_not_hide_the_names_around_the_class() -> None:
    class Registered:
        known: ClassVar[list[str]] = []

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            cls.known.append(cls.__name__)

    @dataclasses.dataclass
    class Local:
        n: int

    class Order(Registered, VirtualObject, name="o"):
        local: Local | None = None

    assert states(Order) == {"local": type_name(Local | None)}


def test_a_private_name_is_state_like_any_other() -> None:
    class Order(VirtualObject):
        _hidden: int = 1
        __secret: int = 2

        def read(self) -> int:
            return self._hidden + self.__secret

    assert states(Order) == {"_hidden": "int", "_Order__secret": "int"}
    assert Order().read() == 3


def test_a_handler_that_only_raises_and_one_without_annotations_work() -> None:
    class Order(VirtualObject):
        @handler
        async def fail(self) -> NoReturn:
            raise RuntimeError("no")

        @handler
        async def anything(self, ctx, value):  # type: ignore[no-untyped-def]
            return value

    assert signature(Order, "fail") == ["None"]
    assert signature(Order, "anything") == ["Any", "Any"]
    assert definition_of(Order).handlers["anything"].takes_context


def test_a_plain_instance_can_be_copied() -> None:
    class Order(VirtualObject):
        items: list[str] = []

    order = Order()
    order.items.append("a")
    assert copy.deepcopy(order).items == ["a"]
    assert copy.copy(order).items is order.items


# --- what is refused ------------------------------------------------------------------------------------------------------


def make_class(class_name: str, **arguments: Any) -> Any:
    metaclass: Any = type(VirtualObject)
    return metaclass(class_name, (VirtualObject,), {}, **arguments)


class Plain:
    pass


def refused(make: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        make()
    return str(caught.value)


def two_handlers() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self) -> None: ...  # pyright: ignore[reportRedeclaration]

        @handler  # type: ignore[no-redef]
        async def add(self) -> None: ...  # noqa: F811


def handler_then_method() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self) -> None: ...  # pyright: ignore[reportRedeclaration]

        def add(self) -> None: ...  # type: ignore[no-redef]  # noqa: F811


def handler_then_value() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self) -> None: ...

        add = 5  # type: ignore[assignment]  # noqa: F811


def two_names() -> None:
    class Order(VirtualObject):
        @handler(name="x")
        async def one(self) -> None: ...

        @shared(name="x")
        async def other(self) -> None: ...


def inherited_name() -> None:
    class Base(VirtualObject):
        @handler
        async def one(self) -> None: ...

    class Order(Base):
        @handler(name="one")
        async def other(self) -> None: ...


def sync_handler() -> None:
    class Order(VirtualObject):
        @handler  # type: ignore[arg-type]
        def add(self) -> None: ...


def sync_shared() -> None:
    class Order(VirtualObject):
        @shared(name="x")  # type: ignore[arg-type]
        def add(self) -> None: ...


def generator_handler() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self) -> Any:
            yield 1


def decorated_twice() -> None:
    class Order(VirtualObject):
        @shared
        @handler
        async def add(self) -> None: ...


def static_handler() -> None:
    class Order(VirtualObject):
        @staticmethod  # pyright: ignore[reportArgumentType]
        @handler
        async def add(self: Any) -> None: ...  # pyright: ignore[reportSelfClsParameterName]


def no_self() -> None:
    class Order(VirtualObject):
        @handler  # type: ignore[arg-type]
        async def add() -> None: ...


def bad_state_type() -> None:
    class Order(VirtualObject):
        items: list[Plain] = []


def bad_parameter_type() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, item: Plain) -> None: ...


def bad_return_type() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self) -> dict[tuple[int, int], int]: ...  # type: ignore[empty-body]


def misplaced_context() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, item: str, ctx: Context) -> None: ...


def missing_type() -> None:
    class Order(VirtualObject):
        total: Missing = 0  # type: ignore[name-defined]  # noqa: F821


def missing_parameter_type() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, item: list[Missing]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def type_checking_only() -> None:
    class Order(VirtualObject):
        total: Fraction | None = None


def nonsense_annotation() -> None:
    class Order(VirtualObject):
        total: 1 / 0 = 1  # type: ignore[valid-type]


def state_like_handler() -> None:
    class Order(VirtualObject):
        total: int  # pyright: ignore[reportRedeclaration]

        @handler  # type: ignore[no-redef]
        async def total(self) -> int: ...  # type: ignore[empty-body]


def state_like_inherited_handler() -> None:
    class Base(VirtualObject):
        @handler
        async def total(self) -> int: ...  # type: ignore[empty-body]

    class Order(Base):
        total: int  # type: ignore[assignment]


def state_value_like_inherited_handler() -> None:
    class Base(VirtualObject):
        @handler
        async def total(self) -> int: ...  # type: ignore[empty-body]

    class Order(Base):
        total: int = 0  # type: ignore[assignment]


def handler_like_inherited_state() -> None:
    class Base(VirtualObject):
        total: int = 0

    class Order(Base):
        @handler
        async def total(self) -> int: ...  # type: ignore[empty-body,override]


def state_like_method() -> None:
    class Base(VirtualObject):
        total: int = 0

    class Order(Base):
        def total(self) -> int:  # type: ignore[override]
            return 1


def state_like_property() -> None:
    class Base(VirtualObject):
        total: int = 0

    class Order(Base):
        @property
        def total(self) -> int:  # type: ignore[override]
            return 1


def method_over_handler() -> None:
    class Base(VirtualObject):
        @handler
        async def add(self, n: int) -> None: ...

    class Order(Base):
        async def add(self, n: int) -> None: ...  # type: ignore[override]


def bad_default() -> None:
    class Order(VirtualObject):
        total: int = "0"  # type: ignore[assignment]


def none_default() -> None:
    class Order(VirtualObject):
        total: int = None  # type: ignore[assignment]


def tuple_default() -> None:
    class Order(VirtualObject):
        items: list[int] = ()  # type: ignore[assignment]


def bad_parameter_default() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, item: str = 5) -> None: ...  # type: ignore[assignment]


def foreign_field() -> None:
    class Order(VirtualObject):
        items: list[int] = dataclasses.field(default_factory=list)


def random_factory() -> None:
    class Order(VirtualObject):
        id: uuid.UUID = field(default_factory=uuid.uuid4)


def counting_factory() -> None:
    counter = itertools.count()

    class Order(VirtualObject):
        ids: list[int] = field(default_factory=lambda: [next(counter)])


def failing_factory() -> None:
    class Order(VirtualObject):
        n: int = field(default_factory=lambda: 1 // 0)


def star_args() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, *items: str) -> None: ...


def star_kwargs() -> None:
    class Order(VirtualObject):
        @handler  # type: ignore[arg-type]
        async def add(self, **items: str) -> None: ...


def keyword_only() -> None:
    class Order(VirtualObject):
        @handler
        async def add(self, *, item: str) -> None: ...


def own_init() -> None:
    class Order(VirtualObject):
        def __init__(self) -> None:
            self.x = 1


def own_new() -> None:
    class Order(VirtualObject):
        def __new__(cls) -> Any:
            return object.__new__(cls)


def mixed_in_init() -> None:
    class Mixin:
        def __init__(self) -> None:
            self.x = 1

    class Order(Mixin, VirtualObject):
        pass


def own_setattr() -> None:
    class Order(VirtualObject):
        def __setattr__(self, name: str, value: Any) -> None: ...


def slots() -> None:
    class Order(VirtualObject):
        __slots__ = ("total",)
        total: int


def reserved_state() -> None:
    class Order(VirtualObject):
        _actors_attempt: int = 0


def reserved_handler() -> None:
    class Order(VirtualObject):
        @handler
        async def _key(self) -> None: ...


def bad_handler_name() -> None:
    class Order(VirtualObject):
        @handler(name="a/b")
        async def add(self) -> None: ...


def handler_name_of_another_type() -> None:
    class Order(VirtualObject):
        @handler(name=5)  # type: ignore[call-overload,untyped-decorator]
        async def add(self) -> None: ...


def dynamic_class_name() -> None:
    make_class("bad name")


@pytest.mark.parametrize(
    ("make", "what", "how"),
    [
        (two_handlers, "'add' is defined twice", "Rename one"),
        (handler_then_method, "'add' is defined twice", "Rename one"),
        (handler_then_value, "'add' is defined twice", "Rename one"),
        (two_names, "two handlers are named 'x'", "@handler(name='...')"),
        (inherited_name, "two handlers are named 'one'", "@handler(name='...')"),
        (sync_handler, "add", "Write 'async def'"),
        (sync_shared, "@shared", "Write 'async def'"),
        (generator_handler, "returns one value", "Return a list"),
        (decorated_twice, "decorated twice", "Keep one"),
        (static_handler, "'add'", "is a static or class method"),
        (no_self, "Order.add", "first parameter is 'self'"),
        (bad_state_type, "Order.items", "making it a dataclass"),
        (bad_parameter_type, "Order.add, parameter 'item'", "making it a dataclass"),
        (bad_return_type, "Order.add, return type", "list of pairs"),
        (misplaced_context, "Order.add", "Move 'ctx' right behind 'self'"),
        (missing_type, "'Missing' is not defined", "Define or import the type before"),
        (missing_parameter_type, "Order.add", "Define or import the type before"),
        (type_checking_only, "'Fraction' is not defined", "TYPE_CHECKING"),
        (nonsense_annotation, "division by zero", "annotation cannot be resolved"),
        (state_like_handler, "'total'", "Rename one"),
        (state_like_inherited_handler, "'total' has the name of a handler", "Rename one"),
        (state_value_like_inherited_handler, "'total' overrides a handler", "rename it"),
        (handler_like_inherited_state, "'total' has the name of a handler", "Rename one"),
        (state_like_method, "'total' is annotated as state but is a method", "Rename one"),
        (state_like_property, "'total' is annotated as state but is a method or property", "Rename one"),
        (method_over_handler, "'add' overrides a handler", "Decorate it with @handler"),
        (bad_default, "Order.total: the default does not fit", "change the annotation"),
        (none_default, "Order.total: the default does not fit", "change the annotation"),
        (tuple_default, "Order.items: the default does not fit", "declare the exact type"),
        (bad_parameter_default, "the default of 'item' does not fit", "change the annotation"),
        (foreign_field, "Order.items", "from actors import field"),
        (random_factory, "Order.id: default_factory returns a different value", "ctx.uuid()"),
        (counting_factory, "Order.ids: default_factory returns a different value", "in a handler"),
        (failing_factory, "Order.n: default_factory raised", "ZeroDivisionError"),
        (star_args, "*items", "take one list or dict"),
        (star_kwargs, "*items", "take one list or dict"),
        (keyword_only, "'item' is keyword-only", "remove the '*'"),
        (own_init, "__init__ would not run", "field(default_factory=...)"),
        (own_new, "__new__ would not run", "field(default_factory=...)"),
        (mixed_in_init, "__init__ would not run", "field(default_factory=...)"),
        (own_setattr, "__setattr__ would not run", "field(default_factory=...)"),
        (slots, "__slots__", "Remove them"),
        (reserved_state, "'_actors_attempt'", "Rename one"),
        (reserved_handler, "the runtime uses '_key'", "Rename the handler"),
        (bad_handler_name, "'a/b' is not a usable name", "Use letters"),
        (handler_name_of_another_type, "name= requires a str", "5"),
        (dynamic_class_name, "'bad name' is not a usable name", "Use letters"),
    ],
)
def test_what_cannot_work_is_refused_and_the_message_says_how_to_fix_it(make: Any, what: str, how: str) -> None:
    message = refused(make)
    assert what in message
    assert how in message


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "a b", "a?", "a#", "a%20", ".", "..", "\ud800", "a\n", 5, b"x", ["x"]]
)
def test_a_service_name_that_does_not_fit_into_a_url_is_refused(name: Any) -> None:
    assert "is not a usable name" in refused(lambda: make_class("Order", name=name))


@pytest.mark.parametrize("arguments", [{}, {"default": 1, "default_factory": int}])
def test_a_field_wants_one_kind_of_default(arguments: Any) -> None:
    assert "exactly one of default= and default_factory=" in refused(lambda: field(**arguments))


def test_what_is_no_object_class_is_refused_by_the_app() -> None:
    class Order(VirtualObject):
        pass

    wrong: Any
    for wrong in (VirtualObject, int, "Order", None, Order()):
        assert "is not a class derived from VirtualObject" in refused(
            lambda wrong=wrong: App(wrong, storage="sqlite://")
        )


def test_what_a_shared_handler_gets_as_its_own_class_stands_for_the_class() -> None:
    class Order(VirtualObject):
        pass

    assert definition_of(definition_of(Order).reader) is definition_of(Order)


def test_two_classes_of_one_name_are_refused_by_the_app() -> None:
    def make() -> Any:
        class Order(VirtualObject):
            @handler
            async def pay(self) -> None: ...

        return Order

    message = refused(lambda: App(make(), make(), storage="sqlite://"))
    assert "Two classes are named 'Order'" in message and "name='...'" in message


def test_a_definition_belongs_to_its_class_alone() -> None:
    class Order(VirtualObject):
        pass

    class Special(Order):
        pass

    assert isinstance(definition_of(Order), ServiceDefinition)
    assert definition_of(Special) is not definition_of(Order)
    assert definition_of(Special).cls is Special


def test_an_app_refuses_a_class_without_handlers_and_a_list_of_classes() -> None:
    class Empty(VirtualObject):
        n: int = 0

    assert "Empty has no handler" in refused(lambda: App(Empty, storage="sqlite://"))
    assert "not a list of them" in refused(lambda: App([Empty], storage="sqlite://"))  # type: ignore[arg-type]


def test_calling_a_handler_on_the_class_says_how_it_is_called() -> None:
    class Order(VirtualObject):
        @handler
        async def pay(self, amount: int) -> None: ...

    with pytest.raises(TypeError, match=r"app\.object\(Order, key\)\.pay\(\.\.\.\)"):
        Order.pay(1)  # type: ignore[arg-type]
