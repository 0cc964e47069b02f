"""Names: parameters of users called like parameters of the framework, and options that are misspelt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, Service, VirtualObject, Workflow, field, handler, schedule, shared
from actors.errors import BadArguments, DefinitionError, TerminalError
from actors.model.calls import InvocationHandle
from actors.transport.client import Client, SyncClient
from tests.http.served_in_thread import serving
from tests.world import World

# What our own parameters, options and locals are called, or might be.
NAMES = [
    *("function", "args", "kwargs", "name", "type", "retry", "service", "key", "handler", "target", "options", "delay"),
    *(
        "headers",
        "idempotency_key",
        "reference",
        "dispatcher",
        "context",
        "client",
        "app",
        "func",
        "bound",
        "cls",
        "method",
    ),
]
PASSED = {name: name.upper() for name in NAMES}


def told(**given: str) -> dict[str, str]:
    return given


async def told_async(**given: str) -> dict[str, str]:
    return given


class Told:
    def __call__(self, **given: str) -> dict[str, str]:
        return given


def with_names(kind: Any) -> Any:
    """A class whose handler has all of these parameters."""
    parameters = ", ".join(f"{name}: str" for name in NAMES)
    values = ", ".join(f"{name!r}: {name}" for name in NAMES)
    namespace: dict[str, Any] = {"kind": kind, "decorator": handler}
    exec(
        f"class Named(kind):\n @decorator\n async def take(this, {parameters}) -> dict[str, str]:\n  return {{{values}}}\n"
        " @decorator\n async def own(this, self: str) -> str:\n  return self\n",
        namespace,
    )
    return namespace["Named"]


Named = with_names(VirtualObject)


class Caller(VirtualObject):
    @handler
    async def ask(self, ctx: Context, how: str) -> Any:
        reference: Any = ctx.object(Named, "k")
        match how:
            case "run":
                return await ctx.run(told, **PASSED, self="SELF")
            case "run async":
                return await ctx.run(told_async, **PASSED, self="SELF")
            case "run object":
                return await ctx.run(Told(), **PASSED)
            case "step":
                return await ctx.step(name="n").run(told, **PASSED, self="SELF")
            case "reference":
                return await reference.take(**PASSED)
            case "options":
                return await reference.take.options(idempotency_key="k")(**PASSED)
            case "call":
                return await ctx.call("Named", "k", "take", **PASSED)
            case "call self":
                return await ctx.call("Named", "k", "own", self="SELF")
            case "reference self":
                return await reference.own(self="SELF")
            case "handler":
                return await ctx.handler("Named", "k", "take")(**PASSED)
            case "send":
                return ctx.send("Named", "k", "take", **{n: v for n, v in PASSED.items() if n != "delay"}, delay=5)
            case "sent":
                handle: InvocationHandle[Any] = ctx.handler("Named", "k", "take").options(delay=5).send(**PASSED)
                return await ctx.attach(handle.id)


@pytest.mark.parametrize(
    "how", ["run", "run async", "run object", "step", "reference", "options", "call", "handler", "sent"]
)
async def test_a_handler_may_pass_keywords_of_any_name(how: str) -> None:
    async with World(Caller, Named) as world:
        handle = await world.app.object(Caller, "c").ask.send(how)
        await world.settle()
        await world.pass_time(5)
        found = await asyncio.wait_for(handle.result(), 5)
        assert found == (PASSED | {"self": "SELF"} if how in ("run", "run async", "step") else PASSED)


@pytest.mark.parametrize("how", ["call self", "reference self"])
async def test_a_parameter_may_be_called_self(how: str) -> None:
    async with World(Caller, Named) as world:
        assert await world.app.object(Caller, "c").ask(how) == "SELF"


async def test_callers_outside_may_pass_keywords_of_any_name() -> None:
    async with World(Named) as world, Client(app=world.app) as client:
        for source in (world.app, client):
            named: Any = source.object(Named, "k")
            assert await named.take(**PASSED) == PASSED
            assert await named.own(self="SELF") == "SELF"
            assert await (await named.take.send(**PASSED)).result() == PASSED
            assert await source.call("Named", "k", "take", **PASSED) == PASSED
            assert await source.call("Named", "k", "own", self="SELF") == "SELF"
            assert await source.handler("Named", "k", "take")(**PASSED) == PASSED
            sent = source.handler("Named", "k", "take").options(delay=5, headers={"a": "b"}).send(**PASSED)
            await sent
            await world.pass_time(5)
            assert await sent.result() == PASSED
            with pytest.raises(BadArguments, match="delay= goes with send"):
                source.handler("Named", "k", "take").options(delay=1)(**PASSED)


def test_a_client_without_a_loop_may_pass_keywords_of_any_name(storage: str) -> None:
    with serving(App(Named, storage=storage)) as url, SyncClient(url) as client:
        named: Any = client.object(Named, "k")
        assert client.call(named.take, **PASSED) == PASSED
        assert client.call("Named", "k", "take", **PASSED) == PASSED
        assert client.call(client.handler("Named", "k", "take"), **PASSED) == PASSED
        assert (
            client.send(client.handler("Named", "k", "take").options(idempotency_key="k"), **PASSED).result() == PASSED
        )
        assert client.send(named.take, **PASSED).result() == PASSED


async def test_an_option_of_a_send_by_name_that_is_a_parameter_too_is_refused() -> None:
    async with World(Caller, Named) as world:
        others = {name: value for name, value in PASSED.items() if name != "delay"}
        with pytest.raises(BadArguments, match=r"\.options\(delay=\.\.\.\)\.send\(delay=\.\.\.\)"):
            world.app.send("Named", "k", "take", **others, delay=5)
        with pytest.raises(BadArguments, match=r"\.options\(delay=\.\.\.\)\.send\(delay=\.\.\.\)"):
            await world.app.object(Caller, "c").ask("send")


async def test_keywords_of_a_send_by_name_are_arguments() -> None:
    class Plain(VirtualObject):
        @handler
        async def take(self, first: str, second: str = "b") -> str:
            return first + second

    async with World(Plain) as world, Client(app=world.app) as client:
        for source in (world.app, client):
            handle = source.send("Plain", "k", "take", "a", second="c", delay=2)
            await handle
            await world.pass_time(2)
            assert await handle.result() == "ac"


# --- options ----------------------------------------------------------------------------------------------------------------


class Box(VirtualObject):
    @handler
    async def take(self, n: int = 0) -> int:
        return n

    @handler
    async def step(self, ctx: Context, what: str) -> Any:
        step: Any = ctx.step
        match what:
            case "step":
                return await step(nmae="a").run(int, "3")
            case "positional":
                return await step("a").run(int, "3")
        options: Any = ctx.object(Box, "other").take.options
        return await options(dely=3).send(1)


def of_class(**options: Any) -> None:
    class Mine(VirtualObject, **options):
        @handler
        async def take(self) -> None: ...


def of_service(**options: Any) -> None:
    class Mine(Service, **options):
        @handler
        async def take(self) -> None: ...


def of_workflow(**options: Any) -> None:
    class Mine(Workflow, **options):
        @handler
        async def run(self) -> None: ...


MISSPELT: dict[str, tuple[Callable[..., Any], dict[str, Any], str, str]] = {
    "@handler": (handler, {"privat": True}, "privat", "private"),
    "@shared": (shared, {"nmae": "a"}, "nmae", "name"),
    "@schedule": (lambda **given: schedule("* * * * *", **given), {"missfire": "once"}, "missfire", "misfire"),
    "class": (of_class, {"verison": 2}, "verison", "version"),
    "service": (of_service, {"retyr": RetryPolicy()}, "retyr", "retry"),
    "workflow": (of_workflow, {"Name": "a"}, "Name", "name"),
    "field": (field, {"defualt": 1}, "defualt", "default"),
    "App": (lambda **given: App(Box, **given), {"storge": "sqlite://"}, "storge", "storage"),
    "RetryPolicy": (RetryPolicy, {"max_attempt": 3}, "max_attempt", "max_attempts"),
    "Client": (Client, {"tokn": "a"}, "tokn", "token"),
    "SyncClient": (SyncClient, {"timout": 1}, "timout", "timeout"),
}


@pytest.mark.parametrize("what", MISSPELT)
def test_an_option_that_is_misspelt_is_named_with_the_one_that_was_meant(what: str) -> None:
    make, given, wrong, right = MISSPELT[what]
    with pytest.raises(DefinitionError, match=rf"no option '{wrong}'\. Did you mean '{right}'\?"):
        make(**given)


@pytest.mark.parametrize(
    ("what", "said"), [("step", "Did you mean 'name'"), ("positional", "by name"), ("options", "Did you mean 'delay'")]
)
async def test_an_option_that_is_misspelt_in_a_handler_is_final(what: str, said: str) -> None:
    async with World(Box) as world:
        with pytest.raises(TerminalError, match=said) as caught:
            await world.app.object(Box, "k").step(what)
        assert isinstance(caught.value, DefinitionError)
        reference: Any = world.app.object(Box, "k")
        with pytest.raises(DefinitionError, match="Did you mean 'delay'"):
            reference.take.options(dely=3)
        async with Client(app=world.app) as client:
            by_name: Any = client.handler("Box", "k", "take")
            with pytest.raises(DefinitionError, match="Did you mean 'delay'"):
                by_name.options(dely=3)


def test_a_base_class_may_take_options_of_its_own() -> None:
    class Tagged:
        tag: str = ""

        def __init_subclass__(cls, *, tag: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)

    class Mine(VirtualObject, Tagged, tag="a", version=1):
        @handler
        async def take(self) -> None: ...

    assert Mine.__actors__.version == 1
