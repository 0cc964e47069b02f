"""Constraints of annotations, wherever a handler meets a value: what does not fit is refused there, and OpenAPI says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import annotated_types as at
import jsonschema_rs
import msgspec
import pydantic
import pytest

from actors import Context, TerminalError, VirtualObject, Workflow, handler, shared
from actors.engine.operating.state_access import StateInfo
from actors.errors import BadArguments, DefinitionError, SerializationError
from actors.http_options import HttpOptions
from actors.serde.pydantic_models import encode_model
from tests.http.asgi import ask
from tests.world import World


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


@dataclasses.dataclass
class Line:
    count: pydantic.PositiveInt


# annotation: a value that fits, and one that its plain type would take
KINDS: dict[str, tuple[Any, Any, Any]] = {
    "pydantic.PositiveInt": (pydantic.PositiveInt, 1, -1),
    "pydantic.StringConstraints": (Annotated[str, pydantic.StringConstraints(max_length=3)], "abc", "abcd"),
    "pydantic.AfterValidator": (Annotated[str, pydantic.AfterValidator(str.strip)], "a", " a "),
    "annotated_types.Gt": (Annotated[float, at.Gt(1)], 1.5, 1.0),
    "annotated_types.Len": (Annotated[list[int], at.Len(1, 2)], [1], []),
    "msgspec.Meta": (Annotated[int, msgspec.Meta(le=3)], 3, 4),
    "in a list": (list[pydantic.PositiveInt], [1], [1, -1]),
    "in a dataclass": (Line, Line(1), Line(-1)),
    "union with a discriminator": (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], Dog(), {"kind": "cow"}),
    "union of models": (list[Cat | Dog], [Cat(), Dog()], [{"kind": "cow"}]),
}
CONVERTED = ("pydantic.AfterValidator",)  # what arrives as text is made to fit


def served(declared: Any, value: Any) -> tuple[Any, Any]:
    """An object and a workflow with the type in every place; `value` is what their handlers use there."""

    if TYPE_CHECKING:
        from typing import Any as Here
    else:
        Here = declared  # noqa: N806

    class Shop(VirtualObject):
        kept: Here

        @handler
        async def take(self, value: Here) -> bool:
            return True

        @handler
        async def give(self) -> Here:
            return value

        @handler
        async def keep(self) -> bool:
            self.kept = value
            return True

        @handler
        async def put(self, ctx: Context) -> bool:
            ctx.set("other", value, type=declared)
            return bool(ctx.get("other", type=declared) == value)

        @handler
        async def run(self, ctx: Context) -> bool:
            async def step() -> Here:
                return cast(Here, value)

            return bool(await ctx.run(step) == value)

        @handler
        async def run_in_thread(self, ctx: Context) -> bool:
            def step() -> Here:
                return cast(Here, value)

            return bool(await ctx.run(step) == value)

        @handler
        async def run_as(self, ctx: Context) -> bool:
            return bool(await ctx.step(type=declared).run(lambda: value) == value)

        @handler
        async def wait(self, ctx: Context) -> bool:
            return bool(await ctx.awakeable(declared) == value)

        @handler
        async def resolve(self, ctx: Context) -> bool:
            awakeable = ctx.awakeable(declared)
            await ctx.resolve_awakeable(awakeable.id, value, type=declared)
            return bool(await awakeable == value)

        @handler
        async def ask_another(self, ctx: Context) -> bool:
            return bool(await ctx.object(Shop, "another").take(value))

        @handler
        async def be_answered(self, ctx: Context) -> bool:
            return bool(await ctx.object(Shop, "another").give() == value)

    class Flow(Workflow):
        @handler
        async def run(self, ctx: Context) -> bool:
            return bool(await ctx.promise("p", declared) == value)

        @shared
        async def complete(self, ctx: Context) -> None:
            await ctx.promise("p", declared).resolve(value)

    return Shop, Flow


async def outside(world: World, shop: Any, flow: Any, value: Any) -> Any:
    return await world.app.object(shop, "k").take(value)


async def over_http(world: World, shop: Any, flow: Any, value: Any) -> Any:
    answer = await ask(world.app, "POST", "/Shop/k/take", as_json(value), content_type="application/json")
    if answer.status == 400:
        raise BadArguments(answer.json["message"])
    return answer.json


async def resolved(world: World, shop: Any, flow: Any, value: Any) -> Any:
    return await waiting(world, shop, lambda id: world.app.resolve_awakeable(id, value))


async def resolved_over_http(world: World, shop: Any, flow: Any, value: Any) -> Any:
    async def resolve(id: str) -> None:
        target = f"/restate/awakeables/{id}/resolve"
        answer = await ask(world.app, "POST", target, as_json(value), content_type="application/json")
        if answer.status == 400:
            raise BadArguments(answer.json["message"])

    return await waiting(world, shop, resolve)


async def waiting(world: World, shop: Any, resolve: Callable[[str], Awaitable[None]]) -> Any:
    """What a handler makes of the value; if that is refused the awakeable must stay open."""
    handle = await world.app.object(shop, "k").wait.send()
    await world.settle()
    (open_one,) = await world.app.awakeables()
    try:
        await resolve(open_one.id)
    except TerminalError:
        assert await world.app.awakeables() == [open_one]
        await world.app.kill(handle.id)
        raise
    return await handle.result()


async def patched(world: World, shop: Any, flow: Any, value: Any) -> Any:
    await world.app.patch_state(shop, "k", set={"kept": value})
    return is_stored(await world.app.state(shop, "k"), value)


async def promised(world: World, shop: Any, flow: Any, value: Any) -> Any:
    await world.app.object(flow, "k").complete()
    return await world.app.object(flow, "k").run()


def in_handler(name: str) -> Callable[..., Awaitable[Any]]:
    async def call(world: World, shop: Any, flow: Any, value: Any) -> Any:
        found = await getattr(world.app.object(shop, "k"), name)()
        return found is True or found == value

    return call


PLACES: dict[str, Callable[..., Awaitable[Any]]] = {
    "argument": outside,
    "argument over HTTP": over_http,
    "argument of a handler's call": in_handler("ask_another"),
    "result": in_handler("give"),
    "result of a handler's call": in_handler("be_answered"),
    "state": in_handler("keep"),
    "state by name": in_handler("put"),
    "state from outside": patched,
    "awakeable": resolved,
    "awakeable over HTTP": resolved_over_http,
    "awakeable of a handler": in_handler("resolve"),
    "promise": promised,
    "result of an async step": in_handler("run"),
    "result of a step in a thread": in_handler("run_in_thread"),
    "result of a step with a type": in_handler("run_as"),
}


def is_stored(state: StateInfo, value: Any) -> bool:
    return bool(state.values["kept"] == msgspec.json.decode(as_json(value)))


def as_json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=encode_model)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_constraint_holds_wherever_a_handler_meets_a_value(kind: str, place: str) -> None:
    declared, good, bad = KINDS[kind]
    for value, fits in ((good, True), (bad, kind in CONVERTED and "over HTTP" in place)):
        shop, flow = served(declared, value)
        async with World(shop, flow, http=HttpOptions()) as world:
            if fits:
                found = await PLACES[place](world, shop, flow, value)
                assert found is (value == good or place == "argument over HTTP")
                continue
            with pytest.raises((BadArguments, SerializationError, TerminalError)) as caught:
                await PLACES[place](world, shop, flow, value)
            assert caught.value.error in ("bad_arguments", "not_serializable")
            assert "kept" not in (await world.app.state(shop, "k")).values


@pytest.mark.parametrize("kind", KINDS)
def test_a_default_that_breaks_a_constraint_is_refused_at_definition(kind: str) -> None:
    declared, _, bad = KINDS[kind]
    if TYPE_CHECKING:
        from typing import Any as Here
    else:
        Here = declared  # noqa: N806

    with pytest.raises(DefinitionError, match="the default"):

        class State(VirtualObject):
            kept: Here = bad

    with pytest.raises(DefinitionError, match="the default"):

        class Argument(VirtualObject):
            @handler
            async def take(self, value: Here = bad) -> None: ...


def test_a_field_of_pydantic_as_a_default_says_where_it_belongs() -> None:
    with pytest.raises(DefinitionError, match=r"n: Annotated\[int, Field\(gt=0\)\] = 1"):

        class State(VirtualObject):
            kept: int = pydantic.Field(gt=0)

    with pytest.raises(DefinitionError, match=r"n: Annotated\[int, Field\(gt=0\)\] = 1"):

        class Argument(VirtualObject):
            @handler
            async def take(self, n: int = pydantic.Field(gt=0)) -> None: ...


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CONVERTED])
async def test_a_constraint_is_in_the_openapi_document(kind: str) -> None:
    declared, good, bad = KINDS[kind]
    shop, flow = served(declared, good)
    async with World(shop, flow) as world:
        document = (await ask(world.app, "GET", "/openapi.json")).json
    take, give = (document["paths"][f"/Shop/{{key}}/{name}"]["post"] for name in ("take", "give"))
    for holder in (take["requestBody"], give["responses"]["200"]):
        schema = {**holder["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema_rs.validate(schema, msgspec.json.decode(as_json(good)))
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, msgspec.json.decode(as_json(bad)))


async def test_values_of_constrained_types_are_the_same_after_a_restart() -> None:
    for declared, good, _ in KINDS.values():
        shop, flow = served(declared, good)
        async with World(shop, flow) as world:
            assert await world.app.object(shop, "k").keep()
            assert await world.app.object(shop, "k").run()
            call = world.app.object(shop, "k").wait.send()
            await call
            await world.restart()
            (open_one,) = await world.app.awakeables()
            await world.app.resolve_awakeable(open_one.id, good)
            assert await world.outcome(call) is True
            assert is_stored(await world.app.state(shop, "k"), good)
