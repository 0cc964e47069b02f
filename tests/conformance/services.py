"""The services that the conformance tests drive, by the names and JSON shapes of Restate's own suite."""
# ruff: noqa: N802 - the names of handlers and of JSON members are part of that contract

from __future__ import annotations

import json
from collections import Counter as Tally
from typing import Any, NotRequired, TypedDict

import msgspec

from actors import App, Context, RetryPolicy, Service, TerminalError, VirtualObject, Workflow, handler, shared

# How often a piece of code has run in this process. State and journals would hide that, so it is kept beside them.
runs: Tally[str] = Tally()


class Update(TypedDict):
    oldValue: int
    newValue: int


class Entry(TypedDict):
    key: str
    value: str


class ProxyRequest(TypedDict):
    serviceName: str
    virtualObjectKey: NotRequired[str | None]
    handlerName: str
    message: list[int]
    delayMillis: NotRequired[int | None]
    idempotencyKey: NotRequired[str | None]


class ManyCalls(TypedDict):
    proxyRequest: ProxyRequest
    oneWayCall: bool
    awaitAtTheEnd: bool


class FailureToCarry(TypedDict):
    errorMessage: str
    metadata: NotRequired[dict[str, str] | None]


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, value: int) -> Update:
        old, self.count = self.count, self.count + value
        return {"oldValue": old, "newValue": self.count}

    @handler
    async def addThenFail(self, ctx: Context, value: int) -> None:
        self.count += value
        raise TerminalError(ctx.key)

    @shared
    async def get(self) -> int:
        return self.count

    @handler
    async def reset(self) -> None:
        self.count = 0


class PrivateCounter(Counter, private=True):
    """The same, for handlers alone."""


class ListObject(VirtualObject):
    values: list[str] = []

    @handler
    async def append(self, value: str) -> None:
        self.values.append(value)

    @handler
    async def get(self) -> list[str]:
        return self.values

    @handler
    async def clear(self) -> list[str]:
        old, self.values = self.values, []
        return old


class MapObject(VirtualObject):
    """One state entry for each key of the map."""

    @handler
    async def set(self, ctx: Context, entry: Entry) -> None:
        ctx.set(entry["key"], entry["value"])

    @handler
    async def get(self, ctx: Context, key: str) -> str:
        return ctx.get(key, str, "")

    @handler
    async def clearAll(self, ctx: Context) -> list[Entry]:
        entries: list[Entry] = [{"key": key, "value": ctx.get(key, str, "")} for key in ctx.state_keys()]
        ctx.clear_all()
        return entries


class Proxy(Service):
    """Calls whatever it is told to, by name."""

    @handler
    async def call(self, ctx: Context, request: ProxyRequest) -> list[int]:
        return _as_ints(await _bound(ctx, request)(*_arguments(request)))

    @handler
    async def oneWayCall(self, ctx: Context, request: ProxyRequest) -> str:
        handle = _bound(ctx, request).send(*_arguments(request))
        return str((await handle).id if request.get("idempotencyKey") else handle.id)

    @handler
    async def manyCalls(self, ctx: Context, requests: list[ManyCalls]) -> None:
        at_the_end = []
        for asked in requests:
            request = asked["proxyRequest"]
            bound = _bound(ctx, request)
            if asked["oneWayCall"]:
                bound.send(*_arguments(request))
                continue
            call = bound(*_arguments(request))
            if asked["awaitAtTheEnd"]:
                at_the_end.append(call)
            else:
                await call
        for call in at_the_end:
            await call


def _bound(ctx: Context, request: ProxyRequest) -> Any:
    """The handler a request names, with its options. Raises UnknownService or UnknownHandler, which end the invocation."""
    served, name = BY_NAME.get(request["serviceName"]), request["handlerName"]
    key = request.get("virtualObjectKey") or ""
    if served is None or not hasattr(served, name):
        return lambda *arguments: ctx.call(request["serviceName"], key, name, *arguments)
    reference = ctx.service(served) if issubclass(served, Service) else ctx.object(served, key)
    bound, delay_ms, once = getattr(reference, name), request.get("delayMillis"), request.get("idempotencyKey")
    if delay_ms:
        bound = bound.options(delay=delay_ms / 1000)
    return bound.options(idempotency_key=once) if once else bound


def _arguments(request: ProxyRequest) -> tuple[Any, ...]:
    if request["serviceName"] == "TestUtilsService" and request["handlerName"] == "rawEcho":
        return (bytes(request["message"]),)
    return (json.loads(bytes(request["message"])),) if request["message"] else ()


def _as_ints(value: Any) -> list[int]:
    if isinstance(value, bytes):
        return list(value)
    return [] if value is None else list(msgspec.json.encode(value))


class TestUtilsService(Service):
    __test__ = False  # pytest: it is none

    @handler
    async def echo(self, text: str) -> str:
        return text

    @handler
    async def uppercaseEcho(self, text: str) -> str:
        return text.upper()

    @handler
    async def echoHeaders(self, ctx: Context) -> dict[str, str]:
        return ctx.headers

    @handler
    async def rawEcho(self, data: bytes) -> bytes:
        return data

    @handler
    async def countExecutedSideEffects(self, ctx: Context, increments: int) -> int:
        """How many of its steps the last attempt has executed. An attempt may end at each of the two sleeps: what the one
        behind the first began again would have run before the end of the second."""
        executed = 0

        async def step() -> None:
            nonlocal executed
            executed += 1

        for _ in range(increments):
            await ctx.run(step)
        await ctx.sleep(0.02)
        await ctx.sleep(0.02)
        return executed

    @handler
    async def sleepConcurrently(self, ctx: Context, millis: list[int]) -> None:
        await ctx.all(*[ctx.sleep(each / 1000) for each in millis])

    @handler
    async def sleepInTurn(self, ctx: Context, millis: list[int]) -> float:
        """Seconds from the first to the last."""
        started = ctx.now()
        for each in millis:
            await ctx.sleep(each / 1000)
        return (ctx.now() - started).total_seconds()

    @handler
    async def cancelInvocation(self, ctx: Context, id: str) -> None:
        await ctx.cancel(id)


class Failing(VirtualObject):
    @handler
    async def terminallyFailingCall(self, failure: FailureToCarry) -> None:
        raise TerminalError(failure["errorMessage"], metadata=failure.get("metadata"))

    @handler
    async def callTerminallyFailingCall(self, ctx: Context, failure: FailureToCarry) -> str:
        await ctx.object(Failing, str(ctx.uuid())).terminallyFailingCall(failure)
        return "not reached"

    # While an endpoint is dead a server counts failed attempts too, and its pauses grow: more than a short life would be needed.
    @handler(retry=RetryPolicy(initial_interval=0.01, max_interval=0.1))
    async def failingCallWithEventualSuccess(self, ctx: Context) -> int:
        attempts = _count(f"failing call {ctx.key}")
        if attempts < 4:
            raise RuntimeError(f"failed on attempt {attempts}")
        return attempts

    @handler
    async def terminallyFailingSideEffect(self, ctx: Context, failure: FailureToCarry) -> None:
        def step() -> None:
            raise TerminalError(failure["errorMessage"], metadata=failure.get("metadata"))

        await ctx.run(step)

    @handler
    async def sideEffectSucceedsAfterGivenAttempts(self, ctx: Context, attempts: int) -> int:
        def step() -> int:
            count = _count(f"succeeds {ctx_key}")
            if count < attempts:
                raise RuntimeError(f"failed on attempt {count}")
            return count

        ctx_key = ctx.key
        return await ctx.step(retry=RetryPolicy(initial_interval=0.01, max_interval=0.1, max_attempts=None)).run(step)

    @handler
    async def sideEffectFailsAfterGivenAttempts(self, ctx: Context, attempts: int) -> int:
        def step() -> None:
            raise RuntimeError(f"failed on attempt {_count(name)}")

        name = f"fails {ctx.key}"
        try:
            await ctx.step(retry=RetryPolicy(initial_interval=0.01, max_attempts=attempts)).run(step)
        except TerminalError:
            return runs[name]
        raise TerminalError("The step has not failed.")


def _count(name: str) -> int:
    runs[name] += 1
    return runs[name]


class AwakeableHolder(VirtualObject):
    id: str = ""

    @handler
    async def hold(self, id: str) -> None:
        self.id = id

    @shared
    async def hasAwakeable(self) -> bool:
        return bool(self.id)

    @shared
    async def peek(self) -> str:
        return self.id

    @handler
    async def unlock(self, ctx: Context, payload: str) -> None:
        if not self.id:
            raise TerminalError("No awakeable is held.")
        ctx.resolve_awakeable(self.id, payload)
        self.id = ""


class AwakeableWaiter(VirtualObject):
    """Ours: hands the id of an awakeable of a certain type out, and waits for it."""

    got: str = ""

    @handler
    async def wait(self, ctx: Context) -> str:
        awakeable = ctx.awakeable(str)
        await ctx.object(AwakeableHolder, ctx.key).hold(awakeable.id)
        self.got = await awakeable
        return self.got

    @handler
    async def waitForAnything(self, ctx: Context) -> Any:
        awakeable = ctx.awakeable()
        await ctx.object(AwakeableHolder, ctx.key).hold(awakeable.id)
        return await awakeable

    @shared
    async def seen(self) -> str:
        return self.got


class Ring(VirtualObject):
    """Ours: calls the next one along a way of keys, and so round in a circle."""

    @handler
    async def follow(self, ctx: Context, way: list[str]) -> str:
        return await ctx.object(Ring, way[0]).follow(way[1:]) if way else "the end"


class BlockAndWaitWorkflow(Workflow):
    state: str = ""

    @handler
    async def run(self, ctx: Context, text: str) -> str:
        self.state = text
        promise = ctx.promise("durable-promise", str)
        output = await promise
        if await promise.peek() != output:
            raise TerminalError("peek gives another value than the await")
        return output

    @shared
    async def unblock(self, ctx: Context, output: str) -> None:
        await ctx.promise("durable-promise", str).resolve(output)

    @shared
    async def getState(self) -> str | None:
        return self.state or None


class CancelTestRunner(VirtualObject):
    cancelled: bool = False

    @handler
    async def startTest(self, ctx: Context, operation: str) -> None:
        try:
            await ctx.object(CancelTestBlockingService, ctx.key).block(operation)
        except TerminalError as error:
            if error.code != 409:
                raise
            self.cancelled = True

    @shared
    async def verifyTest(self) -> bool:
        return self.cancelled


class CancelTestBlockingService(VirtualObject):
    @handler
    async def block(self, ctx: Context, operation: str) -> None:
        awakeable = ctx.awakeable(str)
        await ctx.object(AwakeableHolder, ctx.key).hold(awakeable.id)
        await awakeable
        match operation:
            case "CALL":
                await ctx.object(CancelTestBlockingService, ctx.key).block(operation)
            case "SLEEP":
                await ctx.sleep(1024 * 86_400)
            case "AWAKEABLE":
                await ctx.awakeable(str)
            case _:
                raise TerminalError(f"{operation!r} is none of CALL, SLEEP, AWAKEABLE", code=400)

    @handler
    async def isUnlocked(self) -> None:
        """Answers when nobody blocks the key."""


class KillTestRunner(VirtualObject):
    @handler
    async def startCallTree(self, ctx: Context) -> None:
        await ctx.object(KillTestSingleton, ctx.key).recursiveCall()


class KillTestSingleton(VirtualObject):
    @handler
    async def recursiveCall(self, ctx: Context) -> None:
        awakeable = ctx.awakeable(str)
        await ctx.object(AwakeableHolder, ctx.key).hold(awakeable.id)
        await awakeable
        await ctx.object(KillTestSingleton, ctx.key).recursiveCall()

    @handler
    async def isUnlocked(self) -> None:
        """Answers when nobody blocks the key."""


class NonDeterministic(VirtualObject):
    """Odd attempts go one way, even ones the other."""

    @handler
    async def eitherSleepOrCall(self, ctx: Context) -> None:
        if _count(f"sleep or call {ctx.key}") % 2:
            await ctx.sleep(0.1)
        else:
            await ctx.object(Counter, "abc").get()
        await _pause_and_add(ctx)

    @handler
    async def callDifferentMethod(self, ctx: Context) -> None:
        if _count(f"different method {ctx.key}") % 2:
            await ctx.object(Counter, "abc").get()
        else:
            await ctx.object(Counter, "abc").reset()
        await _pause_and_add(ctx)

    @handler
    async def backgroundInvokeWithDifferentTargets(self, ctx: Context) -> None:
        if _count(f"different targets {ctx.key}") % 2:
            ctx.object(Counter, "abc").get.send()
        else:
            ctx.object(Counter, "abc").reset.send()
        await _pause_and_add(ctx)

    @handler
    async def setDifferentKey(self, ctx: Context) -> None:
        ctx.set("a" if _count(f"different key {ctx.key}") % 2 else "b", "my-state")
        await _pause_and_add(ctx)


async def _pause_and_add(ctx: Context) -> None:
    await ctx.sleep(0.1)
    ctx.object(Counter, ctx.key).add.send(1)


SERVICES = (
    Counter, PrivateCounter, ListObject, MapObject, Proxy, TestUtilsService, Failing, AwakeableHolder, AwakeableWaiter, Ring,
    BlockAndWaitWorkflow, CancelTestRunner, CancelTestBlockingService, KillTestRunner, KillTestSingleton, NonDeterministic,
)  # fmt: skip
BY_NAME: dict[str, Any] = {cls.__name__: cls for cls in SERVICES}


def app_on(storage: str, **options: Any) -> App:
    """All of them on one file."""
    return App(*SERVICES, storage=storage, **options)
