"""Keys, headers and failures have limits of their own: in process, from handlers, over HTTP and under an idempotency key."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Context, RetryPolicy, Service, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import BadKey, DefinitionError, MailboxFull, Overloaded, PayloadTooLarge
from tests.http.asgi import ask
from tests.world import World, limits

LONG = "k" * 51
_SMALL = {"max_key": 50, "max_stored_headers": 100, "max_failure": 300, "max_payload": 2_000}
HEADERS = {"x-note": "h" * 100}


class Target(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    @handler
    async def hold(self, ctx: Context) -> str:
        return await ctx.awakeable(str)


class Flow(Workflow):
    @handler
    async def run(self, ctx: Context) -> str:
        return await ctx.promise("p", str)

    @shared
    async def reject(self, ctx: Context, size: int) -> None:
        await ctx.promise("p", str).reject("r" * size)


class Caller(Service):
    @handler
    async def ask(self, ctx: Context, key: str, headers: dict[str, str], how: str) -> str:
        bound = ctx.object(Target, key).add.options(headers=headers, idempotency_key="i" if "keyed" in how else None)
        try:
            if "send" in how:
                await bound.send()
            else:
                await bound()
        except TerminalError as error:
            return type(error).__name__
        return "accepted"

    @handler
    async def fail(self, ctx: Context, size: int, where: str) -> None:
        error = TerminalError("m" * size, 409, {"a": "v" * size, "b" * size: "w"})

        def step() -> None:
            raise error

        if where == "step":
            await ctx.run(step)
        elif where == "retries":
            await ctx.step(retry=RetryPolicy(max_attempts=1)).run(_broken, size)
        raise error

    @handler
    async def reject(self, ctx: Context, id: str, size: int) -> str:
        try:
            await ctx.reject_awakeable(id, "r" * size)
        except TerminalError as error:
            return type(error).__name__
        return "rejected"


def _broken(size: int) -> None:
    raise ValueError("e" * size)


def world(**others: Any) -> World:
    return World(Target, Flow, Caller, limits=limits(**{**_SMALL, **others}))


@pytest.mark.parametrize("idempotency_key", [None, "i"])
@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize(
    ("key", "headers", "error"),
    [(LONG, None, BadKey), ("k" * 50, HEADERS, PayloadTooLarge), ("k", {"a": "ü" * 50}, PayloadTooLarge)],
)
async def test_a_message_from_outside_is_refused_before_anything_has_happened(
    idempotency_key: str | None, one_way: bool, key: str, headers: dict[str, str] | None, error: type[Exception]
) -> None:
    async with world() as there:
        bound = there.app.object(Target, key).add.options(idempotency_key=idempotency_key, headers=headers)
        with pytest.raises(error, match=r"max_key of the app|max_stored_headers of the app"):
            await (bound.send() if one_way else bound())
        await there.settle()
        assert there.statuses() == []
        fits = there.app.object(Target, "k" * 50).add.options(headers={"x": "h" * 80}, idempotency_key=idempotency_key)
        assert await fits() == 1


@pytest.mark.parametrize("how", ["call", "send", "keyed call", "keyed send"])
@pytest.mark.parametrize(("key", "headers", "error"), [(LONG, {}, "BadKey"), ("k", HEADERS, "PayloadTooLarge")])
async def test_a_message_of_a_handler_is_refused_where_it_is_made(
    how: str, key: str, headers: dict[str, str], error: str
) -> None:
    async with world() as there:
        assert await there.app.service(Caller).ask(key, headers, how) == error
        await there.settle()
        assert await there.app.invocations(service="Target") == []
        assert await there.app.service(Caller).ask("k" * 50, {}, how) == "accepted"


@pytest.mark.parametrize("path", ["/Target/{key}/add", "/Target/{key}/add/send"])
@pytest.mark.parametrize("more", [{}, {"idempotency-key": "i"}])
async def test_over_http_the_refusal_is_an_answer(path: str, more: dict[str, str]) -> None:
    async with world() as there:
        answer = await ask(there.app, "POST", path.format(key=LONG), b"", headers=more)
        assert (answer.status, answer.json["error"]) == (400, "bad_key")
        answer = await ask(there.app, "POST", path.format(key="k"), b"", headers={**more, **HEADERS})
        assert (answer.status, answer.json["error"]) == (413, "payload_too_large")
        answer = await ask(there.app, "POST", path.format(key="k"), b"", headers={"idempotency-key": "i" * 1001})
        assert (answer.status, answer.json["error"]) == (400, "bad_arguments")
        assert there.statuses() == []


async def test_messages_under_an_idempotency_key_count_in_mailboxes_and_in_flight() -> None:
    async with world(max_pending=2) as there:
        await there.app.object(Target, "k").hold.send()
        await there.settle()
        for number in range(2):
            await there.app.object(Target, "k").add.options(idempotency_key=str(number)).send()
        for one_way in (True, False):
            keyed = there.app.object(Target, "k").add.options(idempotency_key="more")
            with pytest.raises(MailboxFull):
                await (keyed.send() if one_way else keyed())
        again = await there.app.object(Target, "k").add.options(idempotency_key="1").send()
        assert again.previously_accepted  # what is there already needs no room
        large = there.app.object(Target, "x").add.options(idempotency_key="large")
        with pytest.raises(PayloadTooLarge):
            await large(10**2_001)
    async with world(max_in_flight=1) as there:
        await there.app.object(Target, "k").hold.send()
        await there.settle()
        with pytest.raises(Overloaded):
            await there.app.object(Target, "x").add.options(idempotency_key="i")()
        assert (await ask(there.app, "POST", "/Target/x/add", b"", idempotency_key="i")).status == 429
        assert len(there.statuses()) == 1


@pytest.mark.parametrize("where", ["handler", "step"])
async def test_what_a_handler_or_a_step_fails_with_is_cut_and_says_so(where: str) -> None:
    async with world() as there:
        for size, cut in ((20, False), (300, True), (10_000, True)):
            with pytest.raises(TerminalError) as failed:
                await there.app.service(Caller).fail(size, where)
            message, metadata = failed.value.message, failed.value.metadata
            assert failed.value.code == 409 and message.startswith("m" * min(size, 300))
            assert ("max_failure of the app" in message) == (size > 300)
            assert metadata is not None and ("max_failure" in str(metadata)) == cut
            assert len(str(metadata)) < 700
        (row,) = there.disk.query("SELECT max(length(outcome)) FROM invocation")
        assert row[0] < 1_500
        ((recorded,),) = there.disk.query("SELECT max(length(value)) FROM journal_entry")
        assert (recorded is None) == (where == "handler") and (recorded or 0) < 1_500


@pytest.mark.expects_log("step _broken failed for good, 1 time")
async def test_a_last_error_with_a_long_text_is_cut() -> None:
    async with world() as there:
        with pytest.raises(TerminalError, match="The step failed 1 time") as failed:
            await there.app.service(Caller).fail(10**6, "retries")
        assert len(failed.value.message) < 3_000


async def test_a_long_reason_or_value_is_refused_and_the_awakeable_stays_open() -> None:
    async with world() as there:
        sent = await there.app.object(Target, "k").hold.send()
        await there.settle()
        (waiting,) = await there.app.awakeables()
        with pytest.raises(PayloadTooLarge, match="stays open"):
            await there.app.reject_awakeable(waiting.id, "r" * 301)
        with pytest.raises(PayloadTooLarge, match="stays open"):
            await there.app.resolve_awakeable(waiting.id, "r" * 2_000)
        assert await there.app.service(Caller).reject(waiting.id, 301) == "PayloadTooLarge"
        answer = await ask(there.app, "POST", f"/restate/awakeables/{waiting.id}/reject", b"r" * 301)
        assert (answer.status, answer.json["error"]) == (413, "payload_too_large")
        assert await there.app.service(Caller).reject(waiting.id, 300) == "rejected"
        assert (await there.outcome(sent)).error == "awakeable_rejected"


async def test_a_long_reason_for_a_promise_is_refused_and_it_stays_open() -> None:
    async with world() as there:
        sent = await there.app.object(Flow, "w").run.send()
        await there.settle()
        with pytest.raises(PayloadTooLarge, match="stays open"):
            await there.app.object(Flow, "w").reject(301)
        assert await there.status(sent) == "blocked"
        await there.app.object(Flow, "w").reject(300)
        assert (await there.outcome(sent)).error == "promise_rejected"


async def test_the_state_of_a_key_that_is_too_long_is_not_written() -> None:
    async with world() as there:
        with pytest.raises(BadKey, match="max_key of the app"):
            await there.app.patch_state(Target, LONG, set={"count": 1})
        assert there.disk.query("SELECT count(*) FROM object_state") == [(0,)]
        await there.app.patch_state(Target, "k" * 50, set={"count": 1})


@pytest.mark.parametrize("what", ["class", "handler"])
def test_names_of_classes_and_handlers_have_a_limit(what: str) -> None:
    for length in (255, 256):
        own = {"name": "n" * length} if what == "class" else {}

        def define(own: dict[str, str] = own, length: int = length) -> None:
            class Named(VirtualObject, **own):
                @handler(name="h" * length if what == "handler" else "go")
                async def go(self) -> None: ...

        if length == 255:
            define()
        else:
            with pytest.raises(DefinitionError, match="longer than 255 characters"):
                define()
