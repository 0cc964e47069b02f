"""Errors of users' own classes arrive as themselves: from steps, other objects, promises, clients, and after restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from actors import App, Context, TerminalError, VirtualObject, handler
from actors.serde.failures import failure_error, failure_text
from actors.transport.client import Client, SyncClient
from tests.http.served_in_thread import serving
from tests.world import World


class OutOfStock(TerminalError):
    error = "order_out_of_stock"
    code = 409

    def __init__(self, item: str, *, _: None) -> None:
        super().__init__(f"no {item} left", metadata={"item": item})


class Rare(OutOfStock):
    error = "order_rare"


def look() -> None:
    raise OutOfStock("book", _=None)


async def look_async() -> None:
    raise Rare("map", _=None)


class Order(VirtualObject):
    @handler
    async def fail(self) -> None:
        raise OutOfStock("book", _=None)

    @handler
    async def fail_rare(self) -> None:
        raise Rare("map", _=None)

    @handler
    async def ask(self, ctx: Context, how: str) -> str:
        caught: TerminalError | None = None
        try:
            match how:
                case "step":
                    await ctx.run(look)
                case "async step":
                    await ctx.run(look_async)
                case "call":
                    await ctx.object(Order, "other").fail()
                case "keyed call":
                    await ctx.object(Order, "other").fail_rare.options(idempotency_key="k")()
                case "by name":
                    await ctx.call("Order", "other", "fail")
                case "attach":
                    await ctx.attach(ctx.object(Order, "other").fail.send().id)
        except Rare as error:
            caught = error
        except OutOfStock as error:
            caught = error
        await ctx.sleep(60)
        assert caught is not None
        return f"{type(caught).__name__}: {caught} {caught.code} {caught.error} {caught.metadata}"


WAYS = ["step", "async step", "call", "keyed call", "by name", "attach"]
BOOK = "OutOfStock: no book left 409 order_out_of_stock {'item': 'book'}"
MAP = "Rare: no map left 409 order_rare {'item': 'map'}"


@pytest.mark.parametrize("how", WAYS)
async def test_a_handler_catches_it_and_catches_it_again_on_replay(how: str) -> None:
    async with World(Order) as world:
        handle = await world.app.object(Order, "k").ask.send(how)
        await world.settle(3)
        assert await world.status(handle) == "blocked"
        await world.restart()
        await world.pass_time(61)
        assert await world.outcome(handle) is not None
        assert await world.app.invocation(handle.id).result() == (MAP if how in ("async step", "keyed call") else BOOK)


async def test_a_caller_outside_gets_it_as_itself_also_after_a_restart() -> None:
    async with World(Order) as world:
        with pytest.raises(OutOfStock, match="no book left"):
            await world.app.object(Order, "k").fail()
        handle = await world.app.object(Order, "k").fail_rare.send()
        with pytest.raises(Rare):
            await handle.result()
        await world.restart()
        with pytest.raises(Rare) as caught:
            await world.app.invocation(handle.id).result()
        assert caught.value.metadata == {"item": "map"}


async def test_a_client_gets_it_as_itself() -> None:
    async with World(Order) as world, Client(app=world.app) as client:
        with pytest.raises(OutOfStock) as caught:
            await client.object(Order, "k").fail()
        assert (str(caught.value), caught.value.code, caught.value.metadata) == ("no book left", 409, {"item": "book"})
        with pytest.raises(Rare):
            await client.call("Order", "k", "fail_rare")
        handle = client.object(Order, "k").fail.send()
        with pytest.raises(OutOfStock):
            await (await handle).result()


def test_a_client_without_a_loop_gets_it_as_itself_and_an_unknown_one_with_its_code() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        error = "order_rare" if "known" in request.url.path else "order_of_another_program"
        told: dict[str, Any] = {"code": 418, "message": "m", "error": error, "source": "invocation"}
        return httpx.Response(418, json={**told, "metadata": {"a": "b"}})

    with SyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(Rare):
            client.call("Order", "known", "fail")
        with pytest.raises(TerminalError) as caught:
            client.call("Order", "other", "fail")
    error = caught.value
    assert type(error) is TerminalError
    assert (str(error), error.code, error.error, error.metadata) == ("m", 418, "order_of_another_program", {"a": "b"})


def test_a_client_of_a_real_server_gets_it_as_itself(storage: str) -> None:
    with (
        serving(App(Order, storage=storage)) as url,
        SyncClient(url) as client,
        pytest.raises(OutOfStock, match="no book left"),
    ):
        client.call(client.object(Order, "k").fail)


async def test_a_class_without_a_code_is_warned_about_once(
    caplog: pytest.LogCaptureFixture, expect_log: Callable[[str], None]
) -> None:
    class HTTPGone(TerminalError):
        pass

    class VeryRare(Rare):
        pass

    def raise_gone() -> None:
        raise HTTPGone("gone")

    class Shop(VirtualObject):
        @handler
        async def fail(self, ctx: Context, how: str) -> None:
            if how == "step":
                await ctx.run(raise_gone)
            raise HTTPGone("gone") if how == "plain" else VeryRare("map", _=None)

    expect_log("HTTPGone arrives as TerminalError")
    expect_log("VeryRare arrives as Rare")
    async with World(Shop) as world:
        for how in ["step", "plain", "rare"] * 2:
            with pytest.raises(TerminalError):
                await world.app.object(Shop, "k").fail(how)
    lines = [record.getMessage() for record in caplog.records if " arrives as " in record.getMessage()]
    assert len(lines) == 2
    assert f"{__name__}.{HTTPGone.__qualname__} arrives" in lines[0]
    assert lines[0].endswith("Give the class a code of its own: error = 'http_gone'")
    assert "`except VeryRare` does not catch it" in lines[1] and lines[1].endswith("'very_rare'")


async def test_a_class_with_a_code_is_not_warned_about_when_defined_anew() -> None:
    def define() -> type[TerminalError]:
        class Again(TerminalError):
            error = "order_again"

        return Again

    old = define()
    new = define()
    assert type(failure_error(failure_text(old("m")))) is new
