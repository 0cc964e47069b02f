"""Restart from a position of the journal: what is kept is not done again, what comes after is, and both exactly once.

Each kind of command, with its answer and without, and the process dies at every commit on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from typing import Any

import pytest

from actors import Context, Limits, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import AppNotRunning, BadArguments, CannotKeep, InvocationKilled, WrongStatus
from actors.model.calls import InvocationHandle
from actors.storage import StorageError
from tests.world import World

happened: list[str] = []
hold: list[asyncio.Event] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    happened.clear()
    hold.clear()


def note(what: str) -> str:
    happened.append(what)
    return what


async def held() -> str:
    note("step begins")
    await hold[-1].wait()
    return note("step ends")


class Other(VirtualObject):
    log: list[str] = []

    @handler
    async def note(self, what: str) -> int:
        happened.append(what)
        self.log.append(what)
        return len(self.log)

    @handler
    async def wait(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Kinds(VirtualObject):
    """`ended` does one thing, waits for it, and goes on; `killed` does one thing and is killed before its answer."""

    status: str = "new"
    ids: list[str] = []

    @handler
    async def ended(self, ctx: Context, kind: str, helper: str = "") -> list[Any]:
        found = await getattr(self, f"_{kind}")(ctx, helper)
        after = await ctx.run(note, "after")
        return [found, after, self.status]

    @handler
    async def killed(self, ctx: Context, kind: str, helper: str = "") -> list[Any]:
        future = getattr(self, f"_{kind}")(ctx, helper)
        await ctx.run(note, "after")
        promise = ctx.awakeable(str)
        answer = await promise
        return [answer, await future]

    @shared
    async def reader(self, ctx: Context) -> list[Any]:
        found = self.status
        return [await ctx.run(note, "run"), found, await ctx.run(note, "after")]

    @handler
    async def fill(self, status: str) -> None:
        self.status = status

    @handler
    async def stay(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler(atomic=True)
    async def careful(self, ctx: Context, fail: bool) -> str:
        self.status = "began"
        await ctx.run(note, "run")
        await ctx.run(note, "after")
        if fail and not happened.count("mended"):
            raise TerminalError("no")
        return self.status

    def _run(self, ctx: Context, helper: str) -> Any:
        return ctx.run(note, "run")

    def _held_run(self, ctx: Context, helper: str) -> Any:
        return ctx.run(held)

    def _sleep(self, ctx: Context, helper: str) -> Any:
        return ctx.sleep(5)

    async def _now(self, ctx: Context, helper: str) -> str:
        return ctx.now().isoformat()

    async def _random(self, ctx: Context, helper: str) -> int:
        number = ctx.random.randrange(10**9)
        await ctx.object(Other, f"o{number}").note("called")  # in the journal: a replay must draw the same
        return number

    def _awakeable(self, ctx: Context, helper: str) -> Any:
        return ctx.awakeable(str)

    def _deadline(self, ctx: Context, helper: str) -> Any:
        return ctx.awakeable(str, timeout=60)

    def _call(self, ctx: Context, helper: str) -> Any:
        return ctx.object(Other, "o").note("called")

    def _waiting_call(self, ctx: Context, helper: str) -> Any:
        return ctx.object(Other, "o").wait()

    def _keyed_call(self, ctx: Context, helper: str) -> Any:
        return ctx.object(Other, "o").note.options(idempotency_key="k")("called")

    async def _send(self, ctx: Context, helper: str) -> str:
        return (await ctx.object(Other, "o").note.send("sent")).id

    async def _keyed_send(self, ctx: Context, helper: str) -> str:
        return (await ctx.object(Other, "o").note.options(idempotency_key="k").send("sent")).id

    async def _delayed_send(self, ctx: Context, helper: str) -> str:
        return (await ctx.object(Other, "o").note.options(delay=1).send("sent")).id

    def _attach(self, ctx: Context, helper: str) -> Any:
        return ctx.attach(helper)

    def _resolve(self, ctx: Context, helper: str) -> Any:
        return ctx.resolve_awakeable(helper, "resolved by a handler")

    def _cancel(self, ctx: Context, helper: str) -> Any:
        return ctx.cancel(helper)

    async def _set(self, ctx: Context, helper: str) -> str:
        before, self.status = self.status, "written"
        await ctx.run(note, "set")
        return before

    async def _clear(self, ctx: Context, helper: str) -> None:
        ctx.clear("status")

    async def _own_ids(self, ctx: Context, helper: str) -> list[str]:
        promise = ctx.awakeable(str)
        self.ids = [ctx.invocation_id, promise.id]
        ctx.object(Other, "o").note.send(f"please answer {promise.id}")
        return [*self.ids, await ctx.run(note, promise.id)]


def world(**options: Any) -> World:
    return World(Kinds, Other, **options)


async def _position(w: World, handle: InvocationHandle[Any], name: str = "note", last: bool = True) -> int:
    """Where the journal has the step after what is to be kept."""
    seq = w.app._running().ids.read_invocation(handle.id)
    found = w.disk.query(
        "SELECT position FROM journal WHERE invocation = ? AND entry = 'run' AND name = ? ORDER BY position", seq, name
    )
    return int(found[-1 if last else 0][0])


def _copies(w: World) -> list[str]:
    """The status of each invocation that was restarted from another one."""
    return [status for (status,) in w.disk.query("SELECT status FROM invocations WHERE restarted_from IS NOT NULL")]


async def _helper(w: World, kind: str) -> str:
    """The id of what the command is about."""
    if kind == "attach":
        noted = await w.app.object(Other, "h").note.send("helper")
        await noted.result()
        return noted.id
    if kind in ("resolve", "cancel"):
        waiting = await w.app.object(Other, "h").wait.send()
        await w.settle()
        return (await w.app.awakeables())[0].id if kind == "resolve" else waiting.id
    return ""


async def _live(w: World, kind: str) -> None:
    """Let happen what this kind waits for."""
    for _ in range(3):
        await w.pass_time(2)
    if kind == "awakeable":
        for info in await w.app.awakeables():
            await w.app.resolve_awakeable(info.id, "answer")
    await w.settle()


WITH_ANSWER = [
    *("run", "sleep", "now", "random", "awakeable", "call", "keyed_call", "send", "keyed_send", "delayed_send"),
    *("attach", "resolve", "cancel", "set", "clear", "own_ids"),
]


async def _ended(w: World, kind: str) -> InvocationHandle[Any]:
    handle = await w.app.object(Kinds, "k").ended.send(kind, await _helper(w, kind))
    await w.settle()
    await _live(w, kind)
    assert isinstance(await w.outcome(handle), list)
    return handle


@pytest.mark.parametrize("kind", WITH_ANSWER)
async def test_a_kept_command_with_its_answer_is_not_done_again_and_what_follows_is(kind: str) -> None:
    async with world() as w:
        handle = await _ended(w, kind)
        first = await w.outcome(handle)
        done = list(happened)
        again = await w.app.restart(handle.id, keep=await _position(w, handle) - 1)
        await w.settle()  # no time passes, and nobody answers anything
        found = await w.outcome(again)
        assert happened == [*done, "after"]
        if kind == "own_ids":  # it has names of its own
            assert found[0][0] == again.id and found[0][1] != first[0][1] and found[0][1] == found[0][2]
            found, first = found[1:], first[1:]
        assert found == first
        assert w.disk.query("SELECT count(*) FROM timer") == [(0,)]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("kind", WITH_ANSWER)
async def test_a_restart_that_is_cut_short_anywhere_is_there_as_a_whole_or_not_at_all(kind: str, written: bool) -> None:
    for commit in range(1, 6):
        async with world() as w:
            handle = await _ended(w, kind)
            first = await w.outcome(handle)
            state = w.disk.query("SELECT name, value FROM state WHERE service = 'Kinds' AND name = 'status'")
            keep = await _position(w, handle) - 1
            happened.clear()
            w.store.crash_at_commit(commit, written=written)
            restarted = False
            with contextlib.suppress(StorageError, AppNotRunning):
                await w.app.restart(handle.id, keep=keep)
                restarted = True
            await w.restart()
            await w.settle()
            assert _copies(w) == ["succeeded"] * len(_copies(w)) and len(_copies(w)) <= 1
            assert len(_copies(w)) == 1 or not restarted, "it was acknowledged and is lost"
            assert set(happened) <= {"after"} and bool(happened) == bool(_copies(w))
            assert w.disk.query("SELECT name, value FROM state WHERE service = 'Kinds' AND name = 'status'") == state
            if _copies(w) and kind != "own_ids":
                (copy,) = await w.app.invocations(handler="ended", limit=1)
                assert await w.outcome(w.app.invocation(copy.id)) == first


async def _killed(w: World, kind: str, helper: str = "") -> tuple[InvocationHandle[Any], int]:
    """One that was killed while its first command had no answer, and the position of the command."""
    handle = await w.app.object(Kinds, "k").killed.send(kind, helper)
    await w.settle()
    position = await _position(w, handle, last=True) - 1
    await w.app.kill(handle.id)
    assert await w.outcome(handle) is InvocationKilled
    assert w.disk.query("SELECT count(*) FROM timer") == [(0,)]
    return handle, position


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("kind", ["sleep", "awakeable", "deadline", "run"])
async def test_a_restart_that_keeps_what_is_open_is_there_as_a_whole_or_not_at_all(kind: str, written: bool) -> None:
    for commit in range(1, 5):
        async with world() as w:
            handle, position = await _killed(w, kind)
            w.store.crash_at_commit(commit, written=written)
            restarted = False
            with contextlib.suppress(StorageError, AppNotRunning):
                await w.app.restart(handle.id, keep=position)
                restarted = True
            await w.restart()
            await w.settle()
            copies = len(_copies(w))
            assert copies <= 1 and (copies or not restarted)
            timers = w.disk.query("SELECT count(*) FROM timer")
            assert timers == [(copies if kind in ("sleep", "deadline") else 0,)]
            if not copies:
                continue
            (copy,) = await w.app.invocations(handler="killed", limit=1)
            for info in await w.app.awakeables():
                await w.app.resolve_awakeable(info.id, "go")
            await w.pass_time(6)
            assert (await w.outcome(w.app.invocation(copy.id)))[0] == "go"
            assert w.disk.query("SELECT count(*) FROM timer") == [(0,)]


async def _answer(w: World, handle: InvocationHandle[Any], last: bool = True) -> None:
    waiting = [info for info in await w.app.awakeables() if info.invocation_id == handle.id]
    await w.app.resolve_awakeable(waiting[-1 if last else 0].id, "go")
    await w.settle()


async def _cut(w: World, where: str) -> None:
    if where == "after a restart":
        await w.restart()
    await w.settle()


everywhere = pytest.mark.parametrize("where", ["in memory", "after a restart"])


@everywhere
async def test_an_open_step_runs_in_the_new_invocation(where: str) -> None:
    hold.append(asyncio.Event())
    async with world() as w:
        handle, position = await _killed(w, "held_run")
        happened.clear()
        hold.append(asyncio.Event())
        again = await w.app.restart(handle.id, keep=position)
        await w.settle()
        await _cut(w, where)
        assert happened.count("step begins") == (1 if where == "in memory" else 2)
        hold[-1].set()
        await w.settle()
        await _answer(w, again)
        assert await w.outcome(again) == ["go", "step ends"]


@everywhere
async def test_an_open_sleep_ends_when_it_would_have(where: str) -> None:
    async with world() as w:
        handle, position = await _killed(w, "sleep")
        await w.pass_time(3)
        again = await w.app.restart(handle.id, keep=position)
        await _cut(w, where)
        await _answer(w, again)
        await w.pass_time(1.9)
        assert (await w.app.describe(again.id)).status in ("blocked", "running")
        await w.pass_time(0.2)
        assert await w.outcome(again) == ["go", None]


async def test_an_open_sleep_whose_time_has_passed_ends_at_once() -> None:
    async with world() as w:
        handle, position = await _killed(w, "sleep")
        await w.pass_time(100)
        again = await w.app.restart(handle.id, keep=position)
        await w.pass_time(0.001)
        await _answer(w, again)
        assert await w.outcome(again) == ["go", None]


@everywhere
async def test_an_open_awakeable_stays_open_under_a_new_id(where: str) -> None:
    async with world() as w:
        handle = await w.app.object(Kinds, "k").killed.send("awakeable")
        await w.settle()
        old = [info.id for info in await w.app.awakeables()]
        position = await _position(w, handle) - 1
        await w.app.kill(handle.id)
        again = await w.app.restart(handle.id, keep=position)
        await _cut(w, where)
        new = [info.id for info in await w.app.awakeables()]
        assert len(new) == 2 and not set(new) & set(old)
        for id in old:
            with pytest.raises(TerminalError):
                await w.app.resolve_awakeable(id, "for the one that is gone")
        await _answer(w, again, last=False)
        await _answer(w, again)
        assert await w.outcome(again) == ["go", "go"]


async def test_the_deadline_of_an_open_awakeable_is_kept() -> None:
    async with world() as w:
        handle, position = await _killed(w, "deadline")
        await w.pass_time(50)
        again = await w.app.restart(handle.id, keep=position)
        await w.settle()
        await _answer(w, again)
        await w.pass_time(11)
        assert issubclass(await w.outcome(again), TimeoutError)


@everywhere
async def test_an_open_attachment_is_made_again(where: str) -> None:
    async with world() as w:
        target = await w.app.object(Other, "h").wait.send()
        await w.settle()
        handle, position = await _killed(w, "attach", target.id)
        again = await w.app.restart(handle.id, keep=position)
        await _cut(w, where)
        await _answer(w, again)
        await _answer(w, target)
        assert await w.outcome(again) == ["go", "go"]
        assert w.disk.query("SELECT count(*) FROM attachment") == [(0,)]


async def test_an_open_call_is_refused_with_the_highest_position_that_works() -> None:
    class Caller(VirtualObject):
        @handler
        async def forgets(self, ctx: Context) -> str:
            await ctx.run(note, "run")
            ctx.object(Other, "o").wait()  # nobody waits for it
            await ctx.run(note, "after")
            return "ended first"

    async with World(Caller, Other) as w:
        handle = await w.app.object(Caller, "c").forgets.send()
        await w.settle()
        assert await w.outcome(handle) == "ended first"
        for keep in (3, 4, 5):
            with pytest.raises(
                CannotKeep, match=r"entry 3, call 'Other/o/wait', is a call .* position that works is 2"
            ):
                await w.app.restart(handle.id, keep=keep)
        assert len(w.statuses()) == 2
        again = await w.app.restart(handle.id, keep=2)
        await w.settle()
        assert await w.outcome(again) == "ended first"
        assert happened == ["run", "after", "after"]


@pytest.mark.parametrize("keep", [-1, 1.0, True, "2", None, 10**30, 6])
async def test_what_is_no_position_of_the_journal_is_refused(keep: Any) -> None:
    async with world() as w:
        handle = await _ended(w, "run")
        with pytest.raises(BadArguments, match="keep="):
            await w.app.restart(handle.id, keep=keep)
        assert _copies(w) == []


async def test_an_invocation_without_a_journal_has_nothing_but_its_input_to_keep() -> None:
    async with world() as w:
        handle = await w.app.object(Kinds, "k").fill.send("x")
        await w.settle()
        with pytest.raises(BadArguments, match="nothing but the input"):
            await w.app.restart(handle.id, keep=1)
        assert await (await w.app.restart(handle.id, keep=0)).result() is None


async def test_an_open_invocation_cannot_be_restarted_from_its_journal() -> None:
    async with world() as w:
        handle = await w.app.object(Kinds, "k").killed.send("run")
        await w.settle()
        with pytest.raises(WrongStatus):
            await w.app.restart(handle.id, keep=1)


async def test_what_follows_a_cancellation_cannot_be_kept() -> None:
    class Cleans(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            await ctx.run(note, "run")
            try:
                await ctx.awakeable(str)
            except TerminalError:
                await ctx.run(note, "clean up")
                raise
            return "done"

    async with World(Cleans) as w:
        handle = await w.app.object(Cleans, "c").go.send()
        await w.settle()
        await w.app.cancel(handle.id)
        await w.settle()
        with pytest.raises(
            CannotKeep, match=r"was notified of its cancellation\. The highest position that works is 4"
        ):
            await w.app.restart(handle.id, keep=5)
        again = await w.app.restart(handle.id, keep=4)
        await w.settle()
        await _answer(w, again)
        assert await w.outcome(again) == "done"
        assert happened == ["run", "clean up"]


async def test_the_order_of_kept_completions_is_kept() -> None:
    class Races(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> list[str]:
            one, two = ctx.awakeable(str), ctx.awakeable(str)
            order = []
            async for done in ctx.as_completed(one, two):
                order.append("one" if done is one else "two")
                await done
            await ctx.run(note, "after")
            return order

    async with World(Races) as w:
        handle = await w.app.object(Races, "r").go.send()
        await w.settle()
        one, two = await w.app.awakeables()
        await w.app.resolve_awakeable(two.id, "x")
        await w.app.resolve_awakeable(one.id, "x")
        await w.settle()
        again = await w.app.restart(handle.id, keep=2)
        await w.settle()
        assert await w.outcome(again) == await w.outcome(handle) == ["two", "one"]


# --- state ----------------------------------------------------------------------------------------------------------------


async def _restart_after_the_write(w: World) -> InvocationHandle[Any]:
    (info,) = await w.app.invocations(handler="ended")
    handle = w.app.invocation(info.id)
    return await w.app.restart(info.id, keep=await _position(w, handle, last=True) - 1)


async def test_a_kept_write_is_there_once_and_its_handler_finds_what_it_had_found() -> None:
    async with world() as w:
        await w.app.object(Kinds, "k").fill("before")
        await _ended(w, "set")
        again = await _restart_after_the_write(w)
        await w.settle()
        assert await w.outcome(again) == ["before", "after", "written"]
        assert happened == ["set", "after", "after"]


async def test_state_that_somebody_else_wrote_since_is_not_overwritten() -> None:
    async with world() as w:
        await _ended(w, "set")
        await w.app.object(Kinds, "k").fill("newer")
        with pytest.raises(CannotKeep, match="'status', writes state, and its outcome, or another invocation, has"):
            await _restart_after_the_write(w)
        (info,) = await w.app.invocations(handler="ended")
        with pytest.raises(CannotKeep, match="The highest position that works is 0"):
            await w.app.restart(info.id, keep=1)
        assert w.disk.query("SELECT value FROM state") == [('"newer"',)]


async def test_a_restart_that_keeps_a_write_wants_an_idle_object() -> None:
    async with world() as w:
        await _ended(w, "set")
        busy = await w.app.object(Kinds, "k").stay.send()
        await w.settle()
        for _ in range(2):
            with pytest.raises(CannotKeep, match=r"busy.*when it is idle"):
                await _restart_after_the_write(w)
            await w.restart()
        await w.app.kill(busy.id)
        again = await _restart_after_the_write(w)
        await w.settle()
        assert await w.outcome(again) == ["new", "after", "written"]


async def test_a_restart_that_keeps_no_write_waits_its_turn() -> None:
    async with world() as w:
        handle = await _ended(w, "run")
        busy = await w.app.object(Kinds, "k").stay.send()
        again = await w.app.restart(handle.id, keep=2)
        await w.restart()
        assert (await w.app.describe(again.id)).status == "pending"
        await w.app.kill(busy.id)
        await w.settle()
        assert await w.outcome(again) == ["run", "after", "new"]
        assert happened == ["run", "after", "after"]


async def test_state_goes_back_to_what_it_was_after_the_last_kept_command() -> None:
    class Twice(VirtualObject):
        stage: int = 0
        steps: list[str] = []

        @handler
        async def go(self, ctx: Context) -> list[int]:
            began = self.stage
            self.stage = 1
            await ctx.run(note, "one")
            self.stage = 2
            self.steps.append("two")
            await ctx.run(note, "two")
            await ctx.awakeable(str)
            return [began, self.stage, len(self.steps)]

    async with World(Twice) as w:
        handle = await w.app.object(Twice, "t").go.send()
        await w.settle()
        await w.app.kill(handle.id)
        assert w.disk.query("SELECT value FROM state ORDER BY name") == [("2",), ('["two"]',)]
        again = await w.app.restart(handle.id, keep=3)  # set 1, run, completed
        await w.settle()
        await w.restart()
        await _answer(w, again)
        assert await w.outcome(again) == [0, 2, 1]
        assert happened == ["one", "two", "two"]


@pytest.mark.parametrize("fails_again", [True, False])
async def test_the_writes_of_an_atomic_handler_that_failed_are_kept_and_undone_if_it_fails_again(
    fails_again: bool,
) -> None:
    async with world() as w:
        await w.app.object(Kinds, "k").fill("before")
        handle = await w.app.object(Kinds, "k").careful.send(True)
        await w.settle()
        assert w.disk.query("SELECT value FROM state") == [('"before"',)]
        if not fails_again:
            happened.append("mended")
        again = await w.app.restart(handle.id, keep=3)
        await w.settle()
        await w.restart()
        assert await w.outcome(again) == (TerminalError if fails_again else "began")
        assert w.disk.query("SELECT value FROM state") == [('"before"' if fails_again else '"began"',)]
        assert happened.count("run") == 1 and happened.count("after") == 2


async def test_the_writes_of_an_atomic_handler_that_succeeded_cannot_be_kept() -> None:
    async with world() as w:
        handle = await w.app.object(Kinds, "k").careful.send(False)
        await w.settle()
        with pytest.raises(
            CannotKeep, match=r"and its outcome has changed 'status' since\. The highest position that works is 0"
        ):
            await w.app.restart(handle.id, keep=1)


async def test_a_reader_keeps_its_snapshot() -> None:
    async with world() as w:
        handle = await w.app.object(Kinds, "k").reader.send()
        await w.settle()
        await w.app.object(Kinds, "k").fill("newer")
        again = await w.app.restart(handle.id, keep=3)
        fresh = await w.app.restart(handle.id)
        await w.settle()
        assert await w.outcome(again) == ["run", "new", "after"]
        assert await w.outcome(fresh) == ["run", "newer", "after"]


async def test_a_restart_of_a_restart_still_draws_the_random_numbers_of_the_first() -> None:
    async with world() as w:
        handle = await _ended(w, "random")
        first = await w.outcome(handle)
        for _ in range(2):
            handle = await w.app.restart(handle.id, keep=await _position(w, handle) - 1)
            await w.settle()
            assert await w.outcome(handle) == first
        fresh = await w.app.restart(handle.id)
        await w.settle()
        assert await w.outcome(fresh) != first, "as new, it draws its own"
        again = await w.app.restart(fresh.id, keep=await _position(w, fresh) - 1)
        await w.settle()
        assert await w.outcome(again) == await w.outcome(fresh)


async def test_an_idempotency_key_and_those_who_wait_stay_with_the_old_one() -> None:
    async with world() as w:
        target = w.app.object(Kinds, "k").ended.options(idempotency_key="key", headers={"a": "b"})
        handle = await target.send("run")
        await w.settle()
        again = await w.app.restart(handle.id, keep=2)
        await w.settle()
        info = await w.app.describe(again.id)
        assert (info.idempotency_key, info.restarted_from, info.status) == (None, handle.id, "succeeded")
        assert w.disk.query("SELECT headers FROM invocations WHERE restarted_from IS NOT NULL") == [('{"a":"b"}',)]
        same = await target.send("run")
        assert same.id == handle.id


@pytest.mark.expects_log("is paused. It is tried again")
async def test_code_that_does_not_fit_what_was_kept_pauses_and_corrupts_nothing() -> None:
    async with world(limits=Limits(retention=None)) as w:
        handle = await _ended(w, "now")
        w.disk.connection.execute("UPDATE journal_entry SET kind = 3, name = 'other' WHERE idx = 1")
        again = await w.app.restart(handle.id, keep=1)
        await w.settle()
        info = await w.app.describe(again.id)
        assert info.status == "paused" and "recorded was run 'other'" in str(info.reason)
        await w.app.kill(again.id)
        assert await w.outcome(again) is InvocationKilled


async def test_a_step_result_that_holds_a_moment_is_kept_as_it_is() -> None:
    class Clocked(VirtualObject):
        @handler
        async def go(self, ctx: Context) -> str:
            found: Any = await ctx.run(lambda: [datetime.date(2024, 1, 2), ctx_id])
            await ctx.run(note, "after")
            return f"{found[0].isoformat()} {found[1] == ctx.invocation_id}"

    ctx_id = ""
    async with World(Clocked) as w:
        ctx_id = w.app._running().ids.invocation(w.app._running().ledger.next)
        handle = await w.app.object(Clocked, "c").go.send()
        await w.settle()
        assert handle.id == ctx_id and await w.outcome(handle) == "2024-01-02 True"
        again = await w.app.restart(handle.id, keep=2)
        await w.settle()
        assert await w.outcome(again) == "2024-01-02 True", "the id in the result has become its own"


class Letters(Service):
    @handler
    async def write(self, ctx: Context, to: str) -> str:
        await ctx.run(happened.append, to)
        raise TerminalError(await ctx.awakeable(str))


class Signup(Workflow):
    @handler
    async def run(self, ctx: Context) -> None:
        await ctx.run(happened.append, "run")
        raise TerminalError("ended")


async def test_a_service_is_restarted_from_a_position_and_a_workflow_is_not() -> None:
    async with World(Letters, Signup) as w:
        letter = await w.app.service(Letters).write.send("me")
        run = await w.app.object(Signup, "u").run.send()
        await w.settle()
        await w.app.kill(letter.id)
        again = await w.app.restart(letter.id, keep=2)
        await w.settle()
        assert (await w.app.describe(again.id)).key == ""
        (waiting,) = await w.app.awakeables()
        assert waiting.invocation_id == again.id
        assert sorted(happened) == ["me", "run"], "no step is done again"
        with pytest.raises(CannotKeep, match="promises of a workflow"):
            await w.app.restart(run.id, keep=1)


class Guarded(VirtualObject):
    stage: str = "new"

    @handler
    async def reserve(self, ctx: Context) -> str:
        if self.stage == "new":
            await ctx.run(happened.append, "reserving")
        self.stage = "reserved"
        await ctx.run(happened.append, "told")
        raise TerminalError("ended")

    @handler
    async def put(self, stage: str) -> None:
        self.stage = stage


@pytest.mark.parametrize(("keep", "told"), [(0, 2), (1, 2), (2, 2), (3, 2), (4, 1), (5, 1)])
async def test_a_restart_finds_the_state_by_which_the_kept_steps_were_taken(keep: int, told: int) -> None:
    async with World(Guarded) as w:
        first = await w.app.object(Guarded, "k").reserve.send()
        await w.settle()
        again = await w.app.restart(first.id, keep=keep)
        with pytest.raises(TerminalError, match="ended"):
            await again.result()
        assert sorted(happened) == ["reserving"] + ["told"] * told


@pytest.mark.expects_log("is paused. It is tried again")
async def test_state_that_cannot_go_back_stays_and_a_handler_that_does_not_fit_it_says_why() -> None:
    async with World(Guarded) as w:
        first = await w.app.object(Guarded, "k").reserve.send()
        await w.settle()
        await w.app.object(Guarded, "k").put("new")
        again = await w.app.restart(first.id, keep=2)
        with pytest.raises(TerminalError, match="ended"):
            await again.result()
        await w.app.object(Guarded, "k").put("elsewhere")
        again = await w.app.restart(first.id, keep=2)
        await w.settle()
        info = await w.app.describe(again.id)
        assert info.status == "paused" and info.reason is not None
        assert "restarted with part of another invocation's journal" in info.reason
