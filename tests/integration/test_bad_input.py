"""Mistakes get a clear error at once, lose nothing and never loop."""

from __future__ import annotations

from typing import Any

import pytest

from actors import App, Context, TerminalError, VirtualObject, handler, shared
from actors.errors import (
    AppNotRunning,
    BadArguments,
    BadId,
    BadKey,
    DeadlockError,
    MisusedFuture,
    SerializationError,
    StateWriteRefused,
    UndeclaredState,
    UnknownAwakeable,
    UnknownHandler,
    UnknownService,
)
from tests.world import World


class Box(VirtualObject):
    content: list[int] = []
    label: str = ""

    @handler
    async def put(self, n: int) -> int:
        self.content.append(n)
        return len(self.content)

    @handler
    async def put_wrong(self, n: Any) -> None:
        self.label = "written before"
        self.content.append(n)

    @handler
    async def put_wrong_and_run(self, ctx: Context) -> None:
        self.label = 7  # type: ignore[assignment]
        await ctx.run(lambda: None)

    @handler
    async def mistype(self) -> None:
        self.lable = "typo"

    @handler
    async def answer_wrongly(self) -> int:
        self.label = "kept"
        return "no int"  # type: ignore[return-value]

    @handler
    async def run_unserializable(self, ctx: Context) -> None:
        await ctx.run(object)

    @handler
    async def call_itself(self, ctx: Context) -> int:
        return await ctx.object(Box, ctx.key).put(1)

    @handler
    async def call_around(self, ctx: Context) -> int:
        return await ctx.object(Relay, "r").back(ctx.key)

    @handler
    async def call_by_name(self, ctx: Context, service: str, name: str) -> Any:
        return await ctx.call(service, "x", name)

    @handler
    async def complete(self, ctx: Context, id: str) -> None:
        await ctx.resolve_awakeable(id, 1)

    @handler
    async def combine_foreign(self, ctx: Context) -> None:
        async def nothing() -> int:
            return 1

        coroutine = nothing()
        try:
            await ctx.all(coroutine)  # type: ignore[call-overload]
        finally:
            coroutine.close()

    @shared
    async def write_in_shared(self) -> None:
        self.label = "x"

    @shared
    async def change_in_shared(self) -> None:
        self.content.append(1)

    @shared
    async def set_in_shared(self, ctx: Context) -> None:
        ctx.set("other", 1)

    @shared
    async def get(self) -> list[Any]:
        return [self.content, self.label]

    @handler
    async def wait_for_number(self, ctx: Context) -> int:
        return await ctx.awakeable(int)


class Relay(VirtualObject):
    @handler
    async def back(self, ctx: Context, key: str) -> int:
        return await ctx.object(Box, key).put(1)


class Unserved(VirtualObject):
    @handler
    async def go(self) -> None: ...


async def test_unknown_names_are_refused_at_once_and_the_known_ones_are_listed() -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(UnknownService, match="Served: Box, Relay"):
            world.app.call("Bax", "k", "put", 1)
        with pytest.raises(UnknownHandler, match="put"):
            world.app.call("Box", "k", "pat", 1)
        with pytest.raises(UnknownService, match="App\\(Unserved"):
            world.app.object(Unserved, "k")
        with pytest.raises(AttributeError, match="no handler 'pat'"):
            world.app.object(Box, "k").pat(1)  # type: ignore[attr-defined]
        with pytest.raises(AttributeError, match="state"):
            _ = world.app.object(Box, "k").content
        for names in (("Nobody", "x"), ("Box", "nothing")):
            with pytest.raises(TerminalError):
                await world.app.object(Box, "k").call_by_name(*names)


@pytest.mark.parametrize("args", [(), (1, 2), ("one",), (1.5,), (None,), ([],), (True,)])
async def test_arguments_that_do_not_fit_are_refused_before_anything_is_stored(args: tuple[Any, ...]) -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(BadArguments):
            world.app.object(Box, "k").put(*args)
        with pytest.raises(BadArguments):
            world.app.object(Box, "k").put.send(*args)
        await world.settle()
        assert world.statuses() == []


@pytest.mark.parametrize("key", ["", None, 5, "a\x00b", "\ud800", b"k"])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    with pytest.raises(BadKey):
        App(Box).object(Box, key)


async def test_strange_keys_are_fine(storage: str) -> None:
    keys = ["a/b", "100%", " ", "ключ", "🔑", "k" * 5000, "'; DROP TABLE invocation; --", '"', "\\", "\n"]
    async with App(Box, storage=storage) as app:
        for n, key in enumerate(keys):
            await app.object(Box, key).put(n)
    async with App(Box, storage=storage) as app:
        for n, key in enumerate(keys):
            assert (await app.object(Box, key).get())[0] == [n]


async def test_a_value_that_cannot_be_stored_fails_the_call_and_leaves_the_state_as_it_was() -> None:
    async with World(Box, Relay) as world:
        box = world.app.object(Box, "k")
        await box.put(1)
        with pytest.raises(SerializationError, match=r"Box.content"):
            await world.app.call("Box", "k", "put_wrong", "text")
        assert await box.get() == [[1], ""]
        with pytest.raises(SerializationError, match=r"Box.label"):
            await box.put_wrong_and_run()
        with pytest.raises(SerializationError):
            await box.run_unserializable()
        assert await box.put(2) == 2


async def test_an_undeclared_attribute_is_refused_with_the_line_that_would_declare_it() -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(UndeclaredState, match="lable: str = "):
            await world.app.object(Box, "k").mistype()
        assert await world.app.object(Box, "k").put(1) == 1


async def test_a_result_of_another_type_than_declared_fails_the_call_and_keeps_the_writes() -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(SerializationError, match="return type"):
            await world.app.object(Box, "k").answer_wrongly()
        assert await world.app.object(Box, "k").get() == [[], "kept"]


@pytest.mark.parametrize("name", ["write_in_shared", "change_in_shared", "set_in_shared"])
async def test_a_shared_handler_cannot_write(name: str) -> None:
    async with World(Box, Relay) as world:
        await world.app.object(Box, "k").put(1)
        with pytest.raises(StateWriteRefused):
            await world.app.call("Box", "k", name)
        await world.settle()
        assert await world.app.object(Box, "k").get() == [[1], ""]
        assert "backing-off" not in world.statuses()


async def test_a_call_that_would_wait_for_its_caller_is_refused_and_prints_the_cycle() -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(DeadlockError, match="Deadlock: Box/k/put -> Box/k/call_itself -> Box/k/put") as caught:
            await world.app.object(Box, "k").call_itself()
        assert caught.value.code == 409
        with pytest.raises(
            DeadlockError, match="Deadlock: Box/k/put -> Box/k/call_around -> Relay/r/back -> Box/k/put"
        ):
            await world.app.object(Box, "k").call_around()
        assert await world.app.object(Box, "k").put(1) == 1


@pytest.mark.parametrize("id", ["", "prom_1", "prom_1AAAA", "inv_1AAAA", "nonsense", "prom_1" + "A" * 34, None, 3])
async def test_a_malformed_id_is_refused(id: Any) -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(BadId):
            await world.app.resolve_awakeable(id, 1)
        with pytest.raises(BadId):
            await world.app.reject_awakeable(id, "no")
        with pytest.raises(BadId):
            world.app.invocation(id)
        if isinstance(id, str):
            with pytest.raises(BadId):
                await world.app.object(Box, "k").complete(id)


async def test_a_payload_that_the_waiting_type_does_not_accept_is_refused_and_the_awakeable_stays_open() -> None:
    async with World(Box, Relay) as world:
        handle = await world.app.object(Box, "k").wait_for_number.send()
        await world.settle()
        (info,) = await world.app.awakeables()
        for _ in ("warm", "cold"):
            with pytest.raises(BadArguments, match="waits for int"):
                await world.app.resolve_awakeable(info.id, "text")
            await world.restart()
        await world.app.resolve_awakeable(info.id, 5)
        assert await world.app.invocation(handle.id).result() == 5


async def test_completing_an_awakeable_twice_is_fine_if_equal_and_a_conflict_if_not() -> None:
    async with World(Box, Relay) as world:
        handle = await world.app.object(Box, "k").wait_for_number.send()
        await world.settle()
        (info,) = await world.app.awakeables()
        await world.app.resolve_awakeable(info.id, 5)
        for _ in ("warm", "cold"):
            await world.app.resolve_awakeable(info.id, 5)
            for conflict in (world.app.resolve_awakeable(info.id, 6), world.app.reject_awakeable(info.id, "no")):
                with pytest.raises(TerminalError) as caught:
                    await conflict
                assert (caught.value.code, caught.value.error) == (409, "awakeable_already_completed")
            await world.restart()
        assert await world.app.invocation(handle.id).result() == 5


async def test_an_awakeable_that_never_was_is_unknown() -> None:
    async with World(Box, Relay) as world:
        handle = await world.app.object(Box, "k").put.send(1)
        await handle.result()
        ids = world.app._running().ids  # an id with a valid seal, which nobody outside could make
        for seq, index in ((1, 1), (999, 1)):
            with pytest.raises(UnknownAwakeable):
                await world.app.resolve_awakeable(ids.awakeable(seq, index), 1)


async def test_a_combinator_takes_only_futures_of_its_own_context() -> None:
    async with World(Box, Relay) as world:
        with pytest.raises(MisusedFuture, match="futures of this context"):
            await world.app.object(Box, "k").combine_foreign()


async def test_an_app_that_does_not_run_says_so() -> None:
    app = App(Box, storage="sqlite://")
    with pytest.raises(AppNotRunning, match="async with app"):
        app.object(Box, "k").put(1)
    async with app:
        assert await app.object(Box, "k").put(1) == 1
    with pytest.raises(AppNotRunning):
        app.object(Box, "k").put.send(1)


class Named(VirtualObject):
    @handler
    async def put(self, ctx: Context, name: str) -> list[str]:
        ctx.set(name, 1)
        return ctx.state_keys()


async def test_names_of_state_that_the_framework_keeps_are_refused() -> None:
    async with World(Named) as world:
        named = world.app.object(Named, "n")
        with pytest.raises(BadArguments, match=r"begin with 'actors\.'"):
            await named.put("actors.version")
        assert await named.put("actors") == ["actors"]
