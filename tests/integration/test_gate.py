"""Every answer is gated: nothing that tells of a recorded fact leaves before that fact is durable, a refusal neither.

Each case applies a fact while the disk is held, asks for what only this fact explains, in process or over HTTP, and gets no
answer until the disk has it. The grid covers each operation of the App and each route: a new one fails here until it is in.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import json
import textwrap
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote

import pytest

from actors import App, Context, TerminalError, VirtualObject, Workflow, handler, shared
from actors.errors import ActorsError, AwakeableCompleted
from actors.model.calls import InvocationHandle
from actors.testing import SimulatedStore
from actors.transport.http import routes
from actors.transport.http.admin import AdminRoutes
from tests.http.asgi import ask
from tests.world import World

JSON = {"content_type": "application/json"}
ADMIN = "/restate/admin"


class Order(VirtualObject):
    note: str = "none"

    @handler
    async def write(self, text: str) -> str:
        self.note = text
        return text

    @handler
    async def refuse(self, text: str) -> None:
        raise TerminalError(text, code=409)

    @handler
    async def wait(self, ctx: Context) -> int:
        promise = ctx.awakeable(int)
        value = await promise
        await ctx.sleep(60)
        return value

    @shared
    async def look(self) -> str:
        return self.note


class Signup(Workflow):
    name: str = ""

    @handler
    async def run(self, ctx: Context, name: str) -> str:
        self.name = name
        return await ctx.promise("go", str)

    @shared
    async def go(self, ctx: Context, how: str) -> None:
        await ctx.promise("go", str).resolve(how)


Memo = dict[str, Any]
Ask = Callable[[App, Memo], Awaitable[Any]]
Request = tuple[str, str, bytes, dict[str, str]]


@dataclass
class Case:
    """`fact` happens while the disk is held. Then `ask`, or `http`, gets `answer`: a value, or the stable code of a refusal."""

    name: str
    before: Ask
    fact: Ask
    ask: Ask
    operation: str  # of the App, or of a handle or reference
    answer: Any
    http: Callable[[Memo], Request] | None = None
    body: Any = None  # in an answer of 200 or 202, where that is not `answer`


async def _nothing(app: App, memo: Memo) -> None:
    pass


def _order(app: App) -> Order:
    return app.object(Order, "o")


async def _waiting(app: App, memo: Memo) -> None:
    sent = await _order(app).wait.send()
    memo["id"] = sent.id
    (memo["awakeable"],) = [info.id for info in await app.awakeables()]


async def _ended(app: App, memo: Memo) -> None:
    sent = await _order(app).write.options(idempotency_key="k").send("before")
    memo["id"] = sent.id
    await sent.result()


async def _running(app: App, memo: Memo) -> None:
    memo["id"] = (await app.object(Signup, "s").run.send("ada")).id


async def _run_ended(app: App, memo: Memo) -> None:
    await _running(app, memo)
    await app.object(Signup, "s").go("on")


async def _read(app: App, memo: Memo) -> None:
    await _order(app).write("read")
    memo["tag"] = (await app.state(Order, "o")).tag


async def _paused(app: App, memo: Memo) -> None:
    await _waiting(app, memo)
    await app.pause(memo["id"])


def _operation(name: str) -> Ask:
    async def operate(app: App, memo: Memo) -> Any:
        await getattr(app, name)(memo["id"])

    return operate


def _post(path: str, value: Any = None, **headers: str) -> Callable[[Memo], Request]:
    body = b"" if value is None else json.dumps(value).encode()
    return lambda memo: ("POST", path.format(**memo), body, {**(JSON if body else {}), **headers})


def _get(path: str) -> Callable[[Memo], Request]:
    return lambda memo: ("GET", path.format(**memo), b"", {})


def _admin(operation: str) -> Callable[[Memo], Request]:
    return _post(f"{ADMIN}/invocations/{{id}}/{operation}")


async def _resolve(app: App, memo: Memo) -> None:
    await app.resolve_awakeable(memo["awakeable"], 1)


async def _send(app: App, memo: Memo) -> None:
    sent = _order(app).write.send("first")
    memo["id"] = sent.id
    await sent


async def _send_later(app: App, memo: Memo) -> None:
    sent = _order(app).write.options(delay=60).send("first")
    memo["id"] = sent.id
    await sent


async def _send_blocked(app: App, memo: Memo) -> None:
    sent = _order(app).wait.send()
    memo["id"] = sent.id
    await sent


async def _send_once(app: App, memo: Memo) -> None:
    await _order(app).write.options(idempotency_key="k").send("first")


async def _write(app: App, memo: Memo) -> None:
    await _order(app).write("first")


async def _patch(app: App, memo: Memo) -> None:
    await app.patch_state(Order, "o", set={"note": "patched"})


async def _call_once(app: App, memo: Memo) -> Any:
    return await _order(app).write.options(idempotency_key="k")("other")


async def _output(app: App, memo: Memo) -> Any:
    return await app.invocation(memo["id"]).output()


async def _result(app: App, memo: Memo) -> Any:
    return await app.invocation(memo["id"]).result()


async def _refused_state(app: App, memo: Memo) -> Any:
    await app.patch_state(Order, "o", set={"note": "x"})


PATCH = b'{"set": {"note": "x"}}'

CASES = [
    # Completions
    Case(
        "completed in another way", _waiting, _resolve,
        lambda app, memo: app.resolve_awakeable(memo["awakeable"], 2), "resolve_awakeable",
        "awakeable_already_completed", _post("/restate/awakeables/{awakeable}/resolve", 2),
    ),
    Case(
        "completed before it is rejected", _waiting, _resolve,
        lambda app, memo: app.reject_awakeable(memo["awakeable"], "no"), "reject_awakeable",
        "awakeable_already_completed", _post("/restate/awakeables/{awakeable}/reject", "no"),
    ),
    Case(
        "completed in the same way", _waiting, _resolve,
        lambda app, memo: app.resolve_awakeable(memo["awakeable"], 1), "resolve_awakeable", None,
        _post("/restate/a/{awakeable}/resolve", 1), b"",
    ),
    Case(
        "an awakeable of one that was killed", _waiting, _operation("kill"),
        lambda app, memo: app.resolve_awakeable(memo["awakeable"], 1), "resolve_awakeable",
        "unknown_awakeable", _post("/restate/awakeables/{awakeable}/resolve", 1),
    ),
    # Operations on what has just changed
    *(
        Case(
            f"{name} of one that was killed", _waiting, _operation("kill"), _operation(name), name, "wrong_status",
            _admin(name),
        )
        for name in ("cancel", "kill", "pause", "resume")
    ),
    Case(
        "resume of one that was resumed", _paused, _operation("resume"), _operation("resume"), "resume",
        "wrong_status", _admin("resume"),
    ),
    Case("pause of what is scheduled", _nothing, _send_later, _operation("pause"), "pause", "wrong_status", _admin("pause")),
    *(
        Case(f"{name} of what is open", _nothing, _send_blocked, _operation(name), name, "wrong_status", _admin(name))
        for name in ("restart", "purge")
    ),
    *(
        Case(
            f"{name} of what was purged", _ended, _operation("purge"), _operation(name), name, "unknown_invocation",
            _admin(name),
        )
        for name in ("restart", "purge", "cancel")
    ),
    Case(
        "restart of a workflow that runs", _run_ended, _operation("restart"), _operation("restart"), "restart",
        "wrong_status", _admin("restart"),
    ),
    # Idempotency keys and runs
    Case(
        "a call with other arguments", _nothing, _send_once, _call_once, "call", "idempotency_key_reused",
        _post("/Order/o/write", "other", idempotency_key="k"),
    ),
    Case(
        "a send with other arguments", _nothing, _send_once,
        lambda app, memo: _id(_order(app).write.options(idempotency_key="k").send("other")), "send",
        "idempotency_key_reused", _post("/Order/o/write/send", "other", idempotency_key="k"),
    ),
    Case(
        "a send that was accepted before", _nothing, _send_once,
        lambda app, memo: _previously(_order(app).write.options(idempotency_key="k").send("first")), "send", True,
        _post("/Order/o/write/send", "first", idempotency_key="k"), "PreviouslyAccepted",
    ),
    Case(
        "a run with other arguments", _nothing, _running,
        lambda app, memo: _id(app.object(Signup, "s").run.send("bob")), "send", "idempotency_key_reused",
        _post("/restate/send/Signup/s/run", "bob"),
    ),
    Case(
        "a run that runs", _nothing, _running,
        lambda app, memo: _previously(app.object(Signup, "s").run.send("ada")), "send", True,
        _post("/Signup/s/run/send", "ada"), "PreviouslyAccepted",
    ),
    # Outcomes
    Case(
        "the outcome of a failure", _nothing, _nothing, lambda app, memo: _order(app).refuse("taken"), "call",
        "terminal_error", _post("/restate/call/Order/o/refuse", "taken"),
    ),
    Case(
        "what a reader has read", _nothing, _write, lambda app, memo: _order(app).look(), "call", "first",
        _post("/Order/o/look"), "first",
    ),
    Case("no outcome yet", _nothing, _send_blocked, _output, "output", "not_ready", _get("/restate/output/{id}")),
    Case("the output", _nothing, _send, _output, "output", "first", _get("/restate/invocation/{id}/output"), "first"),
    Case("the result", _nothing, _send, _result, "result", "first", _get("/restate/attach/{id}"), "first"),
    Case(
        "the output of what was purged", _ended, _operation("purge"), _output, "output", "unknown_invocation",
        _get("/restate/invocation/{id}/output"),
    ),
    Case(
        "the result of what was purged", _ended, _operation("purge"), _result, "result", "unknown_invocation",
        _get("/restate/invocation/{id}/attach"),
    ),
    *(
        Case(
            f"{end} of a key that was purged", _ended, _operation("purge"), _result, "result", "unknown_invocation",
            _get(f"/restate/invocation/Order/o/write/k/{end}"),
        )
        for end in ("attach", "output")
    ),
    *(
        Case(
            f"{end} of a run that was purged", _run_ended, _operation("purge"), _result, "result",
            "unknown_invocation", _get(f"/restate/workflow/Signup/s/{end}"),
        )
        for end in ("attach", "output")
    ),
    Case("cancel by a handle", _waiting, _operation("kill"),
         lambda app, memo: app.invocation(memo["id"]).cancel(), "handle.cancel", "wrong_status"),
    # State
    Case(
        "the object is busy", _nothing, _send_blocked, _refused_state, "patch_state", "object_busy",
        lambda memo: ("PATCH", f"{ADMIN}/state/Order/o", PATCH, JSON),
    ),
    Case(
        "the state has changed", _read, _write,
        lambda app, memo: app.patch_state(Order, "o", set={"note": "x"}, if_tag=memo["tag"]), "patch_state",
        "state_changed", lambda memo: ("PATCH", f"{ADMIN}/state/Order/o", PATCH, {**JSON, "if_match": memo["tag"]}),
    ),
    Case(
        "a workflow has no run", _run_ended, _operation("purge"),
        lambda app, memo: app.patch_state(Signup, "s", set={"name": "x"}), "patch_state", "cannot_patch",
        lambda memo: ("PATCH", f"{ADMIN}/state/Signup/s", b'{"set": {"name": "x"}}', JSON),
    ),
    Case(
        "the state", _nothing, _patch, lambda app, memo: _note(app), "state", "patched",
        _get(f"{ADMIN}/state/Order/o"), "patched",
    ),
    # What is listed
    Case(
        "the invocation of a key that was purged",
        _ended,
        _operation("purge"),
        lambda app, memo: app.invocation_of(_order(app).write, "k"),
        "invocation_of",
        "unknown_invocation",
    ),
    Case(
        "a description of what was purged", _ended, _operation("purge"),
        lambda app, memo: app.describe(memo["id"]), "describe", "unknown_invocation",
        _get(f"{ADMIN}/invocations/{{id}}"),
    ),
    Case(
        "the invocations", _nothing, _send, lambda app, memo: _statuses(app), "invocations", ["succeeded"],
        _get(f"{ADMIN}/invocations"), "succeeded",
    ),
    Case(
        "the awakeables", _nothing, _send_blocked, lambda app, memo: _count(app), "awakeables", 1,
        _get(f"{ADMIN}/awakeables"), "prom_1",
    ),
    # Over HTTP only: the app has no method for them. They tell of the last commit, whichever that is.
    Case(
        "the doctor", _nothing, _send_blocked, lambda app, memo: _count(app), "awakeables", 1,
        _get(f"{ADMIN}/doctor?service=Order&key=o"), "Order/o",
    ),
    Case(
        "what does not move", _nothing, _send_blocked, lambda app, memo: _count(app), "awakeables", 1,
        _get(f"{ADMIN}/trouble?older=0"), "headline",
    ),
    Case(
        "the overview", _nothing, _send_blocked, lambda app, memo: _count(app), "awakeables", 1,
        _get(f"{ADMIN}/overview"), "awakeable",
    ),
    Case(
        "who called whom", _send_blocked, _operation("cancel"), lambda app, memo: _statuses(app), "invocations", ["failed"],
        _get(f"{ADMIN}/invocations/{{id}}/family"), "failed",
    ),
]  # fmt: skip


async def _id(sent: InvocationHandle[Any]) -> str:
    return (await sent).id


async def _previously(sent: InvocationHandle[Any]) -> bool:
    return (await sent).previously_accepted


async def _note(app: App) -> Any:
    return (await app.state(Order, "o")).values["note"]


async def _statuses(app: App) -> list[str]:
    return [info.status for info in await app.invocations()]


async def _count(app: App) -> int:
    return len(await app.awakeables())


async def _over_http(app: App, memo: Memo, request: Request) -> Any:
    method, path, body, headers = request
    return await ask(app, method, path, body, headers=headers)


async def _held(case: Case, asking: Callable[[App, Memo], Awaitable[Any]]) -> Any:
    """What it is answered. The disk is held until it is shown that the answer waits for it."""
    async with World(Order, Signup) as world:
        memo: Memo = {}
        await case.before(world.app, memo)
        await world.settle()
        world.store.hold_commits()
        fact = asyncio.ensure_future(case.fact(world.app, memo))
        await world.settle()
        asked = asyncio.ensure_future(asking(world.app, memo))
        await world.settle(2)
        early = asked.done()
        world.store.release_commits()
        await world.settle(4)
        await fact
        assert asked.done(), "it is never answered"
        assert not early, f"it was answered before the disk had what it speaks of: {asked}"
        if isinstance(asked.exception(), ActorsError):
            return asked.exception()
        return asked.result()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_answer_leaves_before_the_disk_has_what_it_tells(case: Case) -> None:
    answer = await _held(case, case.ask)
    assert (answer.error if isinstance(answer, ActorsError) else answer) == case.answer


@pytest.mark.parametrize("case", [case for case in CASES if case.http is not None], ids=lambda case: case.name)
async def test_no_http_answer_leaves_before_the_disk_has_what_it_tells(case: Case) -> None:
    http = case.http
    assert http is not None
    answer = await _held(case, lambda app, memo: _over_http(app, memo, http(memo)))
    if answer.status >= 400:
        assert answer.json["error"] == case.answer
    elif isinstance(case.body, bytes):
        assert answer.body == case.body
    else:
        assert case.body is not None and case.body in answer.body.decode()


async def test_no_refusal_speaks_of_what_a_crash_has_undone() -> None:
    async with World(Order) as world:
        memo: Memo = {}
        await _waiting(world.app, memo)
        world.store.hold_commits()
        first = asyncio.ensure_future(_resolve(world.app, memo))
        await world.settle()
        second = asyncio.ensure_future(world.app.resolve_awakeable(memo["awakeable"], 2))
        await world.settle()
        world.store.crash()
        world.store.release_commits()
        await world.settle()
        assert not isinstance(first.exception(), AwakeableCompleted) and first.exception() is not None
        assert not isinstance(second.exception(), AwakeableCompleted) and second.exception() is not None
        await world.restart()
        assert [info.id for info in await world.app.awakeables()] == [memo["awakeable"]]


# --- the grid is whole ----------------------------------------------------------------------------------------------------

# Of the App: what asks nothing of what is recorded.
TELLS_NOTHING = {"start", "close", "recover"}


def test_the_grid_covers_each_operation_of_the_app() -> None:
    operations = {
        name
        for cls in App.__mro__
        for name, member in vars(cls).items()
        if inspect.iscoroutinefunction(member) and not name.startswith("_")
    }
    operations |= {"call", "send", "result", "output", "handle.cancel"}
    assert operations - TELLS_NOTHING == {case.operation for case in CASES}


def _kind_of(service: str) -> Any:
    return {"Order": "object", "Signup": "workflow"}.get(service)


def _variant(route: routes.Route) -> tuple[Any, ...]:
    """What kind of request it is: its class, its flags, and which of its optional parts it has."""
    flags = []
    for field in fields(route):
        value = getattr(route, field.name)
        if isinstance(value, bool):
            flags.append(value)
        elif "None" in str(field.type):
            flags.append(value is not None)
    return (type(route).__name__, *flags)


def _variants(cls: type[Any]) -> set[tuple[Any, ...]]:
    flags = [field for field in fields(cls) if str(field.type) == "bool"]
    optional = [field for field in fields(cls) if "None" in str(field.type)]
    # The optional parts of a route are there together, or not at all.
    return {
        (cls.__name__, *[values[flags.index(field)] if field in flags else there for field in fields(cls) if field in flags or field in optional])
        for values in itertools.product((True, False), repeat=len(flags))
        for there in ((True, False) if optional else (True,))
    }  # fmt: skip


def _admin_patterns() -> set[tuple[str, ...]]:
    """The shapes of paths that `AdminRoutes.reply` knows, with the operations one by one."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(AdminRoutes.reply)))
    found = set()
    for case in ast.walk(tree):
        if isinstance(case, ast.match_case) and isinstance(case.pattern, ast.MatchSequence):
            shape = tuple(
                str(typing.cast(ast.Constant, part.value).value) if isinstance(part, ast.MatchValue) else "*"
                for part in case.pattern.patterns
            )
            guard = ast.unparse(case.guard) if case.guard is not None else ""
            if guard:
                name = guard.rpartition(" ")[2]
                names = vars(inspect.getmodule(AdminRoutes))[name]
                found |= {(*shape[:-1], operation) for operation in names}
            else:
                found.add(shape)
    return found


def test_the_grid_covers_each_route() -> None:
    memo = {"id": "inv_1x", "awakeable": "prom_1x", "tag": "x"}
    covered: set[tuple[Any, ...]] = set()
    admin: set[tuple[str, ...]] = set()
    for case in CASES:
        if case.http is not None:
            method, path, _, _ = case.http(memo)
            asked = routes.route(unquote(path.partition("?")[0]).encode(), _kind_of)
            covered.add(_variant(asked))
            if isinstance(asked, routes.Admin):
                admin.add((method, *asked.segments))
    fixed = {routes.Page, routes.ConsoleFile, routes.Moved}  # the same for all, whatever is recorded
    known = [cls for cls in typing.get_args(routes.Route) if cls not in fixed]
    assert covered == set().union(*map(_variants, known))
    patterns = _admin_patterns() - {("events",)}  # has no end; each event is read from the file, as the overview is
    assert len(patterns) >= 10
    for pattern in patterns:
        assert any(_fits(pattern, path[1:]) for path in admin), pattern
    assert {path[0] for path in admin if path[1] == "state"} == {"GET", "PATCH"}


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(part in ("*", other) for part, other in zip(pattern, path, strict=True))


async def test_a_store_that_is_held_answers_nothing_until_it_is_released() -> None:
    async with World(Order) as world:
        store: SimulatedStore = world.store
        store.hold_commits()
        writing = asyncio.ensure_future(_order(world.app).write("x"))
        await world.settle()
        assert not writing.done()
        store.release_commits()
        assert await writing == "x"
