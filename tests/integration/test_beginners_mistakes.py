"""What people get wrong at first: each mistake is met where it is made, and the message says what to do."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import actors
from actors import App, Context, RetryPolicy, TerminalError, VirtualObject, handler
from actors.errors import BadArguments, DefinitionError, MisusedFuture, UnknownHandler
from actors.model.calls import Call
from actors.storage import DatabaseInUse
from actors.transport.client import Client
from tests.world import World, limits

_USES: dict[str, Callable[[Any], Any]] = {
    "added": lambda value: value + 1,
    "added to": lambda value: 1 + value,
    "concatenated": lambda value: "text" + value,
    "multiplied": lambda value: 2 * value,
    "divided": lambda value: value // 2,
    "remainder": lambda value: 7 % value,
    "divmod": lambda value: divmod(7, value),
    "power": lambda value: 2**value,
    "shifted": lambda value: 1 << value,
    "united": lambda value: {1} | value,
    "negated": lambda value: -value,
    "inverted": lambda value: ~value,
    "rounded": lambda value: round(value, 2),
    "compared": lambda value: value > 1,
    "compared from the right": lambda value: value >= 1,
    "equal": lambda value: value == 3,
    "equal from the right": lambda value: "a" == value,  # noqa: SIM300
    "unequal": lambda value: value != [1],
    "found in a list": lambda value: 3 in [1, value],
    "tested": lambda value: 1 if value else 2,
    "iterated": lambda value: list(value),
    "next": lambda value: next(value),
    "unpacked": lambda value: (lambda *values: values)(*value),
    "indexed": lambda value: value[0],
    "set by index": lambda value: value.__setitem__(0, 1),
    "an index": lambda value: [1, 2][value],
    "a range": lambda value: range(value),
    "measured": lambda value: len(value),
    "searched": lambda value: 1 in value,
    "formatted": lambda value: f"{value}",
    "converted": lambda value: int(value),
    "converted to float": lambda value: float(value),
    "bytes": lambda value: bytes(value),
    "an attribute": lambda value: value.status,
    "a method": lambda value: value.upper(),
    "with": lambda value: value.__enter__(),
}
_OF_A_HANDLE = set(_USES) - {"tested", "formatted"}  # a handle may be shown, and tested for being there


def _other(ctx: Context) -> Any:
    return ctx.object(Forgetful, "other")


_FUTURES: dict[str, Callable[[Context], Any]] = {
    "run": lambda ctx: ctx.run(int, 3),
    "step": lambda ctx: ctx.step(name="n").run(int, 3),
    "sleep": lambda ctx: ctx.sleep(1),
    "call": lambda ctx: _other(ctx).take(1),
    "call by name": lambda ctx: ctx.call("Forgetful", "other", "take", 1),
    "timeout": lambda ctx: ctx.timeout(ctx.sleep(5), 1),
    "all": lambda ctx: ctx.all(ctx.sleep(1), ctx.sleep(2)),
    "attach": lambda ctx: ctx.attach(ctx.invocation_id),
    "handle": lambda ctx: _other(ctx).take.send(1),
    "handle under a key": lambda ctx: _other(ctx).take.options(idempotency_key="k").send(1),
}


class Forgetful(VirtualObject):
    """Whoever forgets an await."""

    kept: int = 0

    @handler
    async def use(self, ctx: Context, what: str, how: str) -> None:
        _USES[how](_FUTURES[what](ctx))

    @handler
    async def give_back(self, ctx: Context) -> int:
        return ctx.run(int, 3)  # type: ignore[return-value]

    @handler
    async def wait_for_a_message(self, ctx: Context) -> int:
        return await _other(ctx).take.send(1).result()  # type: ignore[no-any-return]

    @handler
    async def keep(self, ctx: Context) -> None:
        self.kept = ctx.run(int, 3)  # type: ignore[assignment]

    @handler
    async def take(self, ctx: Context, value: int) -> int:
        return value

    @handler
    async def take_any(self, value: Any) -> None: ...


@pytest.mark.parametrize("what", _FUTURES)
async def test_a_future_that_is_used_like_its_value_ends_the_invocation_at_once(what: str) -> None:
    async with World(Forgetful) as world:
        for how in _USES if "handle" not in what else _OF_A_HANDLE:
            with pytest.raises(MisusedFuture, match=r"Write await before it\.|with await ctx\.attach\(handle\.id"):
                await world.app.object(Forgetful, how).use(what, how)


async def test_the_result_of_a_message_that_a_handler_has_sent_is_refused_with_the_way_to_get_it() -> None:
    async with World(Forgetful) as world:
        with pytest.raises(MisusedFuture, match=r"await ctx\.attach\(handle\.id, type\)"):
            await world.app.object(Forgetful, "k").wait_for_a_message()


async def test_a_call_from_outside_that_is_used_like_its_value_says_so() -> None:
    async with World(Forgetful) as world, Client(app=world.app) as client:
        for source in (world.app, client):
            forgetful: Any = source.object(Forgetful, "k")
            calls = [
                forgetful.take(1),
                forgetful.take.options(idempotency_key="k")(1),
                source.call("Forgetful", "k", "take", 1),
            ]
            for call in calls:
                for how, use in _USES.items():
                    with pytest.raises(MisusedFuture, match=r"Write await before it\."):
                        use(call)
                    assert how
                assert not hasattr(call, "status") and getattr(call, "status", 0) == 0
                assert await call == 1
            for handle in (forgetful.take.send(1), forgetful.take.options(idempotency_key="k").send(1)):
                assert handle and f"{handle}"
                for how in _OF_A_HANDLE:
                    with pytest.raises(MisusedFuture, match=r"with await handle\.result\(\)"):
                        _USES[how](handle)
                assert await (await handle).result() == 1


def test_awaitables_are_still_told_apart_and_found() -> None:
    one, other, nothing = Call[int](), Call[int](), None
    assert one == one and one != other and one != nothing and one in [other, one] and nothing not in [one]
    assert {one: 1, other: 2}[other] == 2


class Sleepy(VirtualObject):
    @handler
    async def forget(self, ctx: Context, times: int) -> None:
        for _ in range(times):
            ctx.sleep(60)

    @handler
    async def use(self, ctx: Context, how: str) -> None:
        match how:
            case "await":
                await ctx.sleep(1)
            case "gather":
                await asyncio.gather(ctx.sleep(1), ctx.sleep(2))
            case "first":
                await ctx.first(ctx.sleep(1), ctx.sleep(60))
            case "timeout":
                await ctx.timeout(ctx.sleep(1), 60)
            case "done":
                timer = ctx.sleep(60)
                await ctx.sleep(1)
                assert not timer.done()
            case "fail":
                ctx.sleep(60)
                raise TerminalError("failed")
            case "leave":
                first = ctx.sleep(1)
                await ctx.sleep(2)
                await first


@pytest.mark.expects_log("ctx.sleep was called without await")
@pytest.mark.parametrize(("times", "said"), [(1, "without await, so"), (3, "without await 3 times, so")])
async def test_a_sleep_that_nothing_awaits_is_warned_about(
    times: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(Sleepy) as world:
        await world.app.object(Sleepy, "k").forget(times)
    (record,) = [record for record in caplog.records if "ctx.sleep" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert "Sleepy/k/forget: ctx.sleep was called " + said in record.getMessage()


@pytest.mark.parametrize("how", ["await", "gather", "first", "timeout", "done", "fail", "leave"])
async def test_a_sleep_that_is_used_is_not_warned_about(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async with World(Sleepy, limits=limits(suspend_after=0)) as world:
        handle = await world.app.object(Sleepy, "k").use.send(how)
        for _ in range(4):
            await world.settle()
            await world.pass_time(1)
        assert await world.outcome(handle) is (TerminalError if how == "fail" else None)
    assert "ctx.sleep" not in caplog.text


async def test_a_future_where_a_value_belongs_reminds_of_await() -> None:
    async with World(Forgetful) as world:
        forgetful = world.app.object(Forgetful, "k")
        for call in (forgetful.give_back(), forgetful.keep()):
            with pytest.raises(TerminalError, match="was await forgotten"):
                await call
        with pytest.raises(BadArguments, match="was await forgotten"):
            forgetful.take(forgetful.take(1))  # type: ignore[arg-type]


async def test_an_object_or_a_reference_as_an_argument_is_answered_with_its_key() -> None:
    async with World(Forgetful) as world:
        forgetful = world.app.object(Forgetful, "k")
        for value in (forgetful, Forgetful()):
            with pytest.raises(
                BadArguments, match=r"pass (the|its) key, and address (the object|it) there with ctx.object"
            ):
                forgetful.take_any(value)


class Blocking(VirtualObject):
    @handler
    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251


@pytest.mark.expects_log("held the event loop for")
async def test_a_handler_that_holds_the_event_loop_is_warned_about(
    storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with App(Blocking, storage=storage) as app:
        await app.object(Blocking, "k").sleep(0)
        assert not caplog.records
        await app.object(Blocking, "k").sleep(0.6)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Blocking/k/sleep" in record.getMessage() and "held the event loop for 0." in record.getMessage()


class Failing(VirtualObject):
    @handler
    async def fail(self) -> None:
        raise TerminalError("nobody looks")

    @handler
    async def step(self, ctx: Context) -> None:
        def opened() -> None:
            raise OSError("no route")

        try:
            await ctx.run(opened)
        except OSError:
            raise AssertionError("only a TerminalError reaches the handler") from None


@pytest.mark.expects_log("Future exception was never retrieved")
async def test_a_call_that_fails_and_that_nobody_awaits_is_reported_as_asyncio_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with World(Failing) as world:
        world.app.object(Failing, "k").fail()
        await world.settle()
        await asyncio.sleep(0)
    assert "nobody looks" in caplog.text and "never retrieved" in caplog.text


@pytest.mark.expects_log("failed for good after")
async def test_the_log_names_the_step_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing, retry=RetryPolicy(max_attempts=1, on_exhausted="fail")) as world:
        with pytest.raises(TerminalError):
            await world.app.object(Failing, "k").step()
    assert (
        "Raised by the step 'opened'. Only a TerminalError raised by a step can be caught in the handler."
        in caplog.text
    )


async def test_two_apps_of_one_process_on_one_file_are_told_apart_from_two_processes(storage: str) -> None:
    async with App(Failing, storage=storage):
        with pytest.raises(DatabaseInUse, match="another App of this process"):
            await App(Failing, storage=storage).start()


def test_an_app_is_entered_with_async_with() -> None:
    with pytest.raises(TypeError, match="'async with'"), App(Failing):  # type: ignore[attr-defined]
        pass


def test_a_class_that_is_given_twice_is_named() -> None:
    with pytest.raises(DefinitionError, match="Failing is given to App"):
        App(Failing, Failing)


def test_a_plain_path_is_answered_with_the_url_that_was_meant() -> None:
    with pytest.raises(DefinitionError, match=r"'sqlite:///order\.db'"):
        App(Failing, storage="order.db")


async def main() -> None: ...


@pytest.mark.parametrize(
    ("given", "meant"), [(main, r"run\(main\(\)\)"), (None, r"run\(main\(\), of an 'async def main\(\)'\)")]
)
def test_run_wants_a_coroutine_and_says_how_to_get_one(given: Any, meant: str) -> None:
    with pytest.raises(TypeError, match=meant):
        actors.run(given)


class Hasty(VirtualObject):
    """Whoever writes the name of something that is not there."""

    @handler
    async def ask(self, ctx: Context) -> None:
        await ctx.object(Hasty, "other").nope()  # type: ignore[attr-defined]

    @handler
    async def waits(self, ctx: Context, gate: str) -> None:
        await GATES[gate].wait()

    @handler
    async def steps(self, ctx: Context, gate: str) -> None:
        await ctx.run(GATES[gate].wait)

    @handler
    async def last(self) -> None: ...


GATES: dict[str, asyncio.Event] = {}


async def test_a_name_that_no_handler_has_ends_the_invocation_at_once() -> None:
    async with World(Hasty) as world:
        with pytest.raises(
            UnknownHandler, match=r"Hasty has no handler 'nope'\. Its handlers: ask, last, steps, waits\."
        ):
            await world.app.object(Hasty, "k").ask()
        assert not hasattr(world.app.object(Hasty, "k"), "nope")
        assert world.statuses() == ["failed"]


@pytest.mark.parametrize("waits", ["waits", "steps"])
async def test_what_runs_is_told_from_what_waits_in_the_mailbox(waits: str) -> None:
    """Also if it was stored before it began: its object was cold, or another invocation was before it."""
    async with World(Hasty) as world:
        GATES["first"], GATES["second"] = asyncio.Event(), asyncio.Event()
        for gate in ("first", "second"):
            await getattr(world.app.object(Hasty, "k"), waits).send(gate)
        last = await world.app.object(Hasty, "k").last.send()
        await world.settle()
        assert world.statuses() == ["running", "pending", "pending"]
        GATES["first"].set()
        await world.settle()
        assert world.statuses() == ["succeeded", "running", "pending"]
        GATES["second"].set()
        await world.app.invocation(last.id).result()
        assert world.statuses() == ["succeeded"] * 3


@pytest.mark.parametrize("wrong", [{"retry": 3}, {"limits": 5}, {"http": "yes"}, {"retry": 0}])
def test_an_option_of_another_kind_is_refused_where_it_is_given(wrong: Any) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(DefinitionError, match=rf"App\({name}=\.\.\.\) requires \w+\(\.\.\.\), got {value!r}"):
        App(Forgetful, storage="sqlite://", **wrong)


_UNCLOSED = """
import asyncio, logging, sys
from actors import App, VirtualObject, handler, run

class Greeter(VirtualObject):
    @handler
    async def greet(self) -> str:
        return "hello"

async def main():
    app = App(Greeter, storage="sqlite:///left.db")
    await app.start()
    print(await app.object(Greeter, "g").greet(), flush=True)
    if sys.argv[2] == "fails":
        raise ValueError("a bug of one's own")

{"actors": run, "asyncio": asyncio.run}[sys.argv[1]](main())
"""


@pytest.mark.parametrize("launcher", ["actors", "asyncio"])
@pytest.mark.parametrize("ending", ["returns", "fails"])
def test_an_app_that_nobody_closes_does_not_keep_its_process_from_ending(
    launcher: str, ending: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _UNCLOSED, launcher, ending]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout == "hello\n"
    assert (
        "left.db was not closed before its event loop ended, or before the last reference to it was dropped. Use 'async with app:'"
        in ended.stderr
    )
    assert (ended.returncode == 0) == (ending == "returns")
    assert not (tmp_path / "left.db-wal").exists()
