"""Classes and handlers of an app, found by name and by class."""

from __future__ import annotations

import abc

import pytest

from actors import Context, Service, VirtualObject, Workflow, handler, shared
from actors.errors import DefinitionError, UnknownHandler, UnknownService
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of


class Order(VirtualObject):
    @handler
    async def put(self, note: str) -> None:
        pass

    @shared
    async def look(self) -> int:
        return 1


class Mailer(Service):
    @handler
    async def deliver(self) -> None:
        pass


class Signup(Workflow):
    @handler
    async def begin(self, ctx: Context) -> None:
        pass


class Elsewhere(VirtualObject):
    @handler
    async def put(self) -> None:
        pass


class Abstract(VirtualObject):
    @handler
    @abc.abstractmethod
    async def put(self) -> None: ...


CATALOG = Catalog({cls.__name__: definition_of(cls) for cls in (Order, Mailer, Signup)})


def test_a_handler_is_found_by_name() -> None:
    found = CATALOG.handler("Order", "look")
    assert found.name == "look" and found.service is definition_of(Order) and found.shared


def test_an_unknown_service_is_answered_with_those_that_are_served() -> None:
    with pytest.raises(UnknownService, match=r"'Oder'.* Served: Mailer, Order, Signup\."):
        CATALOG.handler("Oder", "put")
    with pytest.raises(UnknownService, match=r"Served: none\."):
        Catalog({}).handler("Order", "put")


def test_an_unknown_handler_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownHandler, match=r"Order has no handler 'get'\. Its handlers: look, put\."):
        CATALOG.handler("Order", "get")


def test_the_run_of_a_workflow_is_found_although_it_was_renamed() -> None:
    assert CATALOG.handler("Signup", "start", run=True).name == "begin"
    with pytest.raises(UnknownHandler):
        CATALOG.handler("Signup", "start")


def test_only_a_workflow_has_a_run() -> None:
    with pytest.raises(UnknownHandler):
        CATALOG.handler("Order", "start", run=True)


@pytest.mark.parametrize("cls", [Order, Mailer, Signup])
def test_a_class_and_what_its_handlers_see_have_one_definition(cls: type) -> None:
    definition = definition_of(cls)
    assert len(set(definition.classes())) > 1
    assert all(CATALOG.definition(each) is definition for each in definition.classes())


def test_a_class_that_is_not_served_is_refused_with_advice() -> None:
    with pytest.raises(UnknownService, match=r"class Elsewhere is not served .* App\(Elsewhere, \.\.\.\)"):
        CATALOG.definition(Elsewhere)


@pytest.mark.parametrize("other", [int, Abstract, "Order", None])
def test_what_cannot_be_served_is_a_mistake_of_another_kind(other: object) -> None:
    with pytest.raises(DefinitionError):
        CATALOG.definition(other)
