"""What a Service and a Workflow may hold is checked when the class is made, and so is how each is addressed."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from actors import App, Context, Service, VirtualObject, Workflow, handler, shared
from actors.errors import BadKey, DefinitionError, UnknownService, WrongKind
from tests.world import World


class Mailer(Service):
    sender: ClassVar[str] = "me"

    @handler
    async def deliver(self, to: str) -> str:
        return f"{self.sender} to {to}"


class Signup(Workflow):
    status: str = "new"

    @handler
    async def begin(self, ctx: Context, email: str) -> str:
        self.status = email
        return await ctx.service(Mailer).deliver(email)

    @shared
    async def peek(self) -> str:
        return self.status


class Order(VirtualObject):
    @handler
    async def address(self, ctx: Context, how: str) -> str:
        wrong: dict[str, Callable[[], Any]] = {
            "object": lambda: ctx.object(Mailer, "k").deliver("a"),  # type: ignore[type-var]
            "service": lambda: ctx.service(Order).address("x"),  # type: ignore[type-var]
            "workflow": lambda: ctx.service(Signup).begin("x"),  # type: ignore[type-var]
            "call": lambda: ctx.call("Mailer", "k", "deliver", "a"),
            "send": lambda: ctx.send("Mailer", "k", "deliver", "a"),
        }
        return str(await wrong[how]())

    @handler
    async def by_name(self, ctx: Context) -> str:
        ctx.send("Mailer", "", "deliver", "x")
        return str(await ctx.call("Mailer", "", "deliver", "b"))


def _refused(make: Callable[[], object]) -> str:
    with pytest.raises(DefinitionError) as caught:
        make()
    return str(caught.value)


def test_a_service_has_no_state() -> None:
    def make() -> None:
        class Bad(Service):
            count: int = 0

            @handler
            async def go(self) -> None: ...

    assert "Bad: a Service has no state, but 'count' is annotated. Make it a ClassVar" in _refused(make)


def test_a_service_has_no_shared_and_no_atomic_handlers() -> None:
    def make_shared() -> None:
        class Bad(Service):
            @shared
            async def look(self) -> None: ...

    def make_atomic() -> None:
        class Bad(Service):
            @handler(atomic=True)
            async def go(self) -> None: ...

    assert "'look' cannot be @shared. Decorate it with @handler" in _refused(make_shared)
    assert "'go' cannot be atomic. Remove atomic=" in _refused(make_atomic)


def test_a_workflow_has_exactly_one_exclusive_handler() -> None:
    def make_none() -> None:
        class Bad(Workflow):
            @shared
            async def look(self) -> None: ...

    def make_two() -> None:
        class Bad(Workflow):
            @handler
            async def one(self) -> None: ...

            @handler
            async def two(self) -> None: ...

    assert "this class has none. Decorate it" in _refused(make_none)
    assert "this class has 2: one, two. Make the others @shared" in _refused(make_two)


def test_a_class_is_of_one_kind() -> None:
    def make_service() -> None:
        class Bad(Service, VirtualObject):
            @handler
            async def go(self) -> None: ...

    def make_workflow() -> None:
        class Bad(Workflow, Mailer): ...

    assert "Bad derives from Service and VirtualObject. Keep one of them." in _refused(make_service)
    assert "Keep one of them." in _refused(make_workflow)


def test_bases_of_services_and_workflows_may_be_abstract_and_are_inherited_from() -> None:
    class Base(Workflow):
        @handler
        @abc.abstractmethod
        async def run(self) -> int: ...

        @shared
        async def look(self) -> str:
            return "base"

    class Concrete(Base):
        @handler
        async def run(self) -> int:
            return 1

    class Special(Mailer):
        @handler
        async def deliver(self, to: str) -> str:
            return await super().deliver(to) + "!"

    assert "abstract (run)" in _refused(lambda: App(Base))
    assert App(Concrete, Special) is not None
    assert _refused(lambda: App(Service)).endswith("is not a class derived from VirtualObject, Service or Workflow.")


async def test_a_plain_instance_of_either_can_be_unit_tested() -> None:
    assert await Mailer().deliver("you") == "me to you"
    assert (Signup().status, await Signup().peek()) == ("new", "new")


async def test_each_kind_is_addressed_in_its_own_way_in_process() -> None:
    async with World(Mailer, Order, Signup) as world:
        app = world.app
        assert await app.service(Mailer).deliver("a") == "me to a"
        assert await app.object(Signup, "s").begin("mail") == "me to mail"
        assert await app.object(Signup, "s").peek() == "mail"
        assert await app.call("Mailer", "", "deliver", "b") == "me to b"
        assert await app.send("Mailer", "", "deliver", "b").result() == "me to b"
        assert repr(app.service(Mailer)) == "<Mailer>"
        assert repr(app.service(Mailer).deliver) == "<handler deliver of Mailer>"
        with pytest.raises(WrongKind, match=r"Mailer is a Service.*Address it with \.service\(Mailer\)"):
            app.object(Mailer, "k")  # type: ignore[type-var]
        with pytest.raises(WrongKind, match=r"Order is a VirtualObject, not a Service.*\.object\(Order, key\)"):
            app.service(Order)  # type: ignore[type-var]
        with pytest.raises(WrongKind, match="Signup is a Workflow, not a Service"):
            app.service(Signup)  # type: ignore[type-var]
        for address in (app.call, app.send):
            with pytest.raises(WrongKind, match="Mailer is a Service, which has no key"):
                address("Mailer", "k", "deliver", "b")
            with pytest.raises(BadKey):
                address("Order", "", "by_name")


@pytest.mark.parametrize("how", ["object", "service", "workflow", "call", "send"])
async def test_a_handler_that_addresses_one_in_the_wrong_way_fails_at_once(how: str) -> None:
    async with World(Mailer, Order, Signup) as world:
        with pytest.raises(WrongKind):
            await world.app.object(Order, "o").address(how)
        assert await world.app.object(Order, "o").by_name() == "me to b"


async def test_a_class_that_is_not_served_is_unknown_whatever_its_kind() -> None:
    async with World(Order) as world:
        with pytest.raises(UnknownService, match="Mailer is not served"):
            world.app.service(Mailer)
