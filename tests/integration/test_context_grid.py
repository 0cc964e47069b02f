"""Each command of the context in each situation: new, replayed, completed while away, failed, timed out.

Every handler of Grid ends with an awakeable, `gate`, so that a test can crash the process after the command was recorded
and before the outcome.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, TerminalError, VirtualObject, handler, shared
from actors.errors import AwakeableRejected, DurableTimeout, RetriesExhausted
from tests.world import World

executed: list[str] = []  # side effects in the world outside: it does not crash


class Other(VirtualObject):
    log: list[str] = []

    @handler
    async def echo(self, word: str) -> str:
        self.log.append(word)
        if word == "bad":
            raise TerminalError("no such word", code=418, metadata={"word": word})
        return word.upper()

    @handler
    async def wait(self, ctx: Context, word: str) -> str:
        return word + await ctx.awakeable(str)

    @shared
    async def words(self) -> list[str]:
        return self.log


def _note(word: str) -> str:
    executed.append(word)
    if word == "bad":
        raise TerminalError("refused", code=409)
    return word * 2


async def _note_later(word: str) -> str:
    return _note(word)


class Grid(VirtualObject):
    done: list[str] = []
    gate: str = ""

    async def _pass_gate(self, ctx: Context) -> None:
        gate = ctx.awakeable(str)
        self.gate = gate.id
        await gate

    @handler
    async def run_sync(self, ctx: Context, word: str) -> str:
        value = await ctx.run(_note, word)
        await self._pass_gate(ctx)
        return value

    @handler
    async def run_async(self, ctx: Context, word: str) -> str:
        value = await ctx.run(_note_later, word)
        await self._pass_gate(ctx)
        return value

    @handler
    async def sleep(self, ctx: Context, seconds: float) -> str:
        before = ctx.now()
        await ctx.sleep(seconds)
        await self._pass_gate(ctx)
        return str((ctx.now() - before) >= datetime.timedelta(seconds=seconds))

    @handler
    async def awakeable(self, ctx: Context, timeout: float | None = None) -> str:
        promise = ctx.awakeable(str, timeout=timeout)
        self.done.append(promise.id)
        value = await promise
        await self._pass_gate(ctx)
        return value

    @handler
    async def call(self, ctx: Context, word: str) -> str:
        value = await ctx.object(Other, "o").echo(word)
        await self._pass_gate(ctx)
        return value

    @handler
    async def call_waiting(self, ctx: Context, word: str) -> str:
        return await ctx.object(Other, "o").wait(word)

    @handler
    async def send(self, ctx: Context, word: str, delay: float) -> str:
        handle = ctx.object(Other, "o").echo.options(delay=delay).send(word)
        await self._pass_gate(ctx)
        return handle.id

    @handler
    async def complete_other(self, ctx: Context, id: str, word: str) -> str:
        await ctx.resolve_awakeable(id, word)
        await self._pass_gate(ctx)
        return word

    @handler
    async def reject_other(self, ctx: Context, id: str, word: str) -> str:
        await ctx.reject_awakeable(id, word)
        await self._pass_gate(ctx)
        return word

    @handler
    async def chance(self, ctx: Context) -> list[str]:
        drawn = [str(ctx.uuid()), str(ctx.random.random()), str(ctx.now())]
        await self._pass_gate(ctx)
        return drawn

    @handler
    async def named_state(self, ctx: Context) -> list[Any]:
        ctx.set("x", [1])
        ctx.set("y", 2)
        first = ctx.get("x")
        ctx.clear("y")
        await self._pass_gate(ctx)
        return [first, ctx.get("x"), ctx.get("y"), ctx.get("y", int, 7), ctx.state_keys()]

    @shared
    async def current_gate(self) -> str:
        return self.gate

    @shared
    async def ids(self) -> list[str]:
        return self.done


@pytest.fixture(autouse=True)
def _forget() -> None:
    executed.clear()


async def _open_gate(app: App) -> None:
    await app.resolve_awakeable(await app.object(Grid, "g").current_gate(), "go")


Start = Callable[[App], Awaitable[Any]]

COMMANDS: dict[str, tuple[Start, Any]] = {
    "run of a function": (lambda app: app.object(Grid, "g").run_sync.send("ab"), "abab"),
    "run of a coroutine function": (lambda app: app.object(Grid, "g").run_async.send("ab"), "abab"),
    "sleep": (lambda app: app.object(Grid, "g").sleep.send(5.0), "True"),
    "call": (lambda app: app.object(Grid, "g").call.send("hi"), "HI"),
    "named state": (lambda app: app.object(Grid, "g").named_state.send(), [[1], [1], None, 7, ["gate", "x"]]),
}


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_new_command_gives_its_result(name: str) -> None:
    start, expected = COMMANDS[name]
    async with World(Grid, Other) as world:
        handle = await start(world.app)
        await world.settle()
        await world.pass_time(6)
        await _open_gate(world.app)
        assert await handle.result() == expected


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_replayed_command_gives_the_recorded_result_and_is_not_done_again(name: str) -> None:
    start, expected = COMMANDS[name]
    async with World(Grid, Other) as world:
        handle = await start(world.app)
        await world.settle()
        await world.pass_time(6)
        done, messages = list(executed), world.disk.query("SELECT count(*) FROM invocation")
        for _ in range(3):
            await world.restart()
        await _open_gate(world.app)
        assert await world.app.invocation(handle.id).result() == expected
        assert executed == done
        # The three shared reads of the gate leave no row, so no message was sent twice either.
        assert world.disk.query("SELECT count(*) FROM invocation") == messages
        assert await world.app.object(Other, "o").words() == (["hi"] if name == "call" else [])


async def test_chance_and_time_are_the_same_in_each_attempt() -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").chance.send()
        other = await world.app.object(Grid, "h").chance.send()
        await world.settle()
        first = world.disk.query("SELECT ref FROM journal_entry WHERE kind = 10 AND invocation = 1")
        await world.pass_time(3)
        await world.restart()
        await _open_gate(world.app)
        drawn = await world.app.invocation(handle.id).result()
        await world.app.resolve_awakeable(await world.app.object(Grid, "h").current_gate(), "go")
        others = await world.app.invocation(other.id).result()
        assert world.disk.query("SELECT ref FROM journal_entry WHERE kind = 10 AND invocation = 1") == first
        assert drawn[0] != others[0]
        assert drawn[1] != others[1]


async def test_a_step_that_was_not_recorded_is_executed_again() -> None:
    async with World(Grid, Other) as world:
        world.store.crash_at_commit(3, written=False)  # 1: accepted; 2: the run command; 3: its result
        handle = await world.app.object(Grid, "g").run_sync.send("ab")
        await world.settle()
        assert executed == ["ab"]
        await world.restart()
        assert executed == ["ab", "ab"]
        await world.restart()
        assert executed == ["ab", "ab"]
        await _open_gate(world.app)
        assert await world.app.invocation(handle.id).result() == "abab"


async def test_a_step_does_not_start_before_everything_it_depends_on_is_durable() -> None:
    async with World(Grid, Other) as world:
        world.store.crash_at_commit(1, written=False)
        with pytest.raises(Exception, match="crashed"):
            await world.app.object(Grid, "g").run_sync.send("ab")
        await world.settle()
        assert executed == []
        await world.restart()
        assert world.statuses() == []


async def test_a_sleep_that_became_due_while_the_process_was_down_is_over_at_once_after_the_start() -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").sleep.send(5.0)
        await world.settle()
        await world.crash()
        world.clock.advance(3600)
        await world.start()
        await world.settle()
        await world.pass_time(0)
        await _open_gate(world.app)
        assert await world.app.invocation(handle.id).result() == "True"


async def test_a_sleep_is_neither_shortened_nor_started_anew_by_a_crash() -> None:
    async with World(Grid, Other) as world:
        await world.app.object(Grid, "g").sleep.send(5.0)
        await world.settle()
        await world.pass_time(4)
        await world.restart()
        await world.pass_time(0.9)
        assert await world.app.object(Grid, "g").current_gate() == ""
        await world.pass_time(0.1)
        assert await world.app.object(Grid, "g").current_gate() != ""


@pytest.mark.parametrize("down", ["up", "restarted", "resolved after restart"])
async def test_an_awakeable_returns_what_it_is_resolved_with(down: str) -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").awakeable.send()
        await world.settle()
        (id,) = await world.app.object(Grid, "g").ids()
        if down == "resolved after restart":
            await world.restart()
        await world.app.resolve_awakeable(id, "yes")
        if down == "restarted":
            await world.restart()
        await world.settle()
        await _open_gate(world.app)
        assert await world.app.invocation(handle.id).result() == "yes"


@pytest.mark.parametrize("cold", [False, True])
async def test_a_rejected_awakeable_raises_its_reason_at_the_await(cold: bool) -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").awakeable.send()
        await world.settle()
        (id,) = await world.app.object(Grid, "g").ids()
        if cold:
            await world.restart()
        await world.app.reject_awakeable(id, "Very bad error!")
        with pytest.raises(AwakeableRejected, match="Very bad error!"):
            await world.app.invocation(handle.id).result()


@pytest.mark.parametrize("down", [False, True])
async def test_an_awakeable_times_out(down: bool) -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").awakeable.send(10)
        await world.settle()
        (id,) = await world.app.object(Grid, "g").ids()
        if down:
            await world.crash()
            world.clock.advance(11)
            await world.start()
            await world.settle()
            await world.pass_time(0)
        else:
            await world.pass_time(9)
            assert world.statuses()[0] == "blocked"
            await world.pass_time(1)
        with pytest.raises(DurableTimeout) as caught:
            await world.app.invocation(handle.id).result()
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(TerminalError) as late:
            await world.app.resolve_awakeable(id, "too late")
        assert late.value.code == 409


async def test_a_resolved_awakeable_leaves_no_timer_behind() -> None:
    async with World(Grid, Other) as world:
        await world.app.object(Grid, "g").awakeable.send(10)
        await world.settle()
        assert world.disk.query("SELECT count(*) FROM timer") == [(1,)]
        (id,) = await world.app.object(Grid, "g").ids()
        await world.app.resolve_awakeable(id, "yes")
        await world.settle()
        assert world.disk.query("SELECT count(*) FROM timer") == [(0,)]


async def test_a_call_completed_while_its_caller_was_away_is_delivered() -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").call_waiting.send("a")
        await world.settle()
        ((info),) = await world.app.awakeables()
        await world.restart()
        await world.app.resolve_awakeable(info.id, "b")
        assert await world.app.invocation(handle.id).result() == "ab"


async def test_a_terminal_failure_of_a_step_reaches_the_caller_and_is_recorded() -> None:
    async with World(Grid, Other) as world:
        with pytest.raises(TerminalError, match="refused") as caught:
            await world.app.object(Grid, "g").run_sync("bad")
        assert caught.value.code == 409
        assert executed == ["bad"]


async def test_a_terminal_failure_of_a_callee_reaches_the_outermost_caller_with_its_metadata() -> None:
    async with World(Grid, Other) as world:
        with pytest.raises(TerminalError, match="no such word") as caught:
            await world.app.object(Grid, "g").call("bad")
        assert (caught.value.code, caught.value.metadata) == (418, {"word": "bad"})
        assert await world.app.object(Other, "o").words() == ["bad"]


async def test_a_delayed_send_waits_first_and_then_queues_and_survives_a_restart() -> None:
    async with World(Grid, Other) as world:
        handle = await world.app.object(Grid, "g").send.send("later", 30.0)
        await world.settle()
        await world.restart()
        await world.pass_time(29)
        assert await world.app.object(Other, "o").words() == []
        await world.pass_time(1)
        assert await world.app.object(Other, "o").words() == ["later"]
        await _open_gate(world.app)
        sent = await world.app.invocation(handle.id).result()
        assert await world.app.invocation(sent).result() == "LATER"


@pytest.mark.parametrize("cold", [False, True])
async def test_a_handler_completes_an_awakeable_of_another_object_exactly_once(cold: bool) -> None:
    async with World(Grid, Other) as world:
        waiting = await world.app.object(Grid, "w").awakeable.send()
        await world.settle()
        (id,) = await world.app.object(Grid, "w").ids()
        if cold:
            await world.restart()
        completing = await world.app.object(Grid, "g").complete_other.send(id, "ok")
        await world.settle()
        await world.restart()
        await _open_gate(world.app)
        assert await world.app.invocation(completing.id).result() == "ok"
        await world.app.resolve_awakeable(await world.app.object(Grid, "w").current_gate(), "go")
        assert await world.app.invocation(waiting.id).result() == "ok"


async def test_a_handler_that_completes_a_completed_awakeable_differently_gets_the_conflict() -> None:
    async with World(Grid, Other) as world:
        await world.app.object(Grid, "w").awakeable.send()
        await world.settle()
        (id,) = await world.app.object(Grid, "w").ids()
        await world.app.resolve_awakeable(id, "first")
        with pytest.raises(TerminalError) as caught:
            await world.app.object(Grid, "g").reject_other(id, "second")
        assert caught.value.code == 409


class Retrying(VirtualObject):
    @handler
    async def eventually(self, ctx: Context, failures: int) -> int:
        def flaky() -> int:
            executed.append("try")
            if len(executed) <= failures:
                raise OSError("flaky")
            return len(executed)

        return await ctx.run(flaky)

    @handler
    async def in_place(self, ctx: Context, attempts: int) -> int:
        def flaky() -> int:
            executed.append("try")
            raise OSError("flaky")

        return await ctx.step(name="flaky", retry=RetryPolicy(max_attempts=attempts)).run(flaky)


@pytest.mark.expects_log("failed, next in")
async def test_a_failing_step_without_a_policy_is_retried_by_the_handlers_policy() -> None:
    async with World(Retrying) as world:
        call = world.app.object(Retrying, "r").eventually(3)
        await world.settle()
        for _ in range(3):
            assert world.statuses() == ["backing-off"]
            await world.pass_time(10)
        assert await call == 4


@pytest.mark.expects_log("failed, next in")
async def test_back_off_survives_a_crash_and_is_not_cut_short_by_it() -> None:
    async with World(Retrying, retry=RetryPolicy(initial_interval=100, max_interval=100)) as world:
        handle = await world.app.object(Retrying, "r").eventually.send(1)
        await world.settle()
        await world.restart()
        await world.pass_time(50)
        assert executed == ["try"]
        await world.pass_time(80)
        assert await world.app.invocation(handle.id).result() == 2


@pytest.mark.expects_log("failed, next in", "is paused. It is tried again")
async def test_a_handler_that_keeps_failing_is_paused_with_its_reason_and_keeps_its_key() -> None:
    async with World(Retrying, retry=RetryPolicy(max_attempts=3)) as world:
        handle = await world.app.object(Retrying, "r").eventually.send(100)
        behind = await world.app.object(Retrying, "r").in_place.send(1)
        await world.settle()
        for _ in range(5):
            await world.pass_time(100)
        assert executed == ["try"] * 3
        info = await world.app.describe(handle.id)
        assert info.status == "paused"
        assert info.reason is not None
        assert "OSError: flaky" in info.reason
        assert (await world.app.describe(behind.id)).status == "pending"


@pytest.mark.expects_log("failed, next in", "is paused. It is tried again")
async def test_a_paused_invocation_gets_one_more_attempt_when_the_app_starts() -> None:
    async with World(Retrying, retry=RetryPolicy(max_attempts=2)) as world:
        handle = await world.app.object(Retrying, "r").eventually.send(3)
        await world.settle()
        await world.pass_time(100)
        await world.restart()
        assert (len(executed), world.statuses()) == (3, ["paused"])
        await world.restart()
        assert await world.app.invocation(handle.id).result() == 4


@pytest.mark.expects_log("step flaky failed", "step flaky failed for good, 4 times")
async def test_a_step_with_its_own_policy_is_retried_in_place_until_it_is_used_up() -> None:
    async with World(Retrying) as world:
        call = world.app.object(Retrying, "r").in_place(4)
        await world.settle()
        for _ in range(4):
            await world.pass_time(100)
        with pytest.raises(RetriesExhausted, match="4 times"):
            await call
        assert executed == ["try"] * 4
