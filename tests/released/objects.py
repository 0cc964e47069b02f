"""Classes that use everything a database file can store: the kept file holds their objects and open invocations.

They use only what the release that wrote the file and the current code have in common. A change here means that the file no
longer fits them: add classes for what is new, and leave these as they are.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import uuid
from collections import Counter
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, get_type_hints

import annotated_types
import msgspec
import pydantic

from actors import (
    Context,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    field,
    handler,
    migration,
    schedule,
    shared,
)
from actors.errors import InvocationCancelled

# The world outside: how often each step was executed in this process, and which of its services fail.
executed: Counter[str] = Counter()
down: set[str] = set()


def count(name: str) -> str:
    executed[name] += 1
    return name


def repeat(value: float) -> float:
    executed["repeated"] += 1
    return value


def reach(name: str) -> str:
    executed[name] += 1
    if name in down:
        raise ConnectionError(f"{name} is down")
    return name


def refuse(name: str) -> str:
    executed[name] += 1
    raise TerminalError(f"{name} is refused", 418, {"reason": "teapot"})


async def linger(name: str) -> str:
    executed[name] += 1
    if name in down:
        await asyncio.Event().wait()
    return name


# --- values -----------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Size(NamedTuple):
    width: int
    height: int


class Label(TypedDict):
    text: str
    shown: bool


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Person(pydantic.BaseModel):
    name: str
    born: datetime.date
    balance: Decimal = Decimal(0)
    friends: list[Person] = []


VIENNA = datetime.timezone(datetime.timedelta(hours=1))
ADA = Person(name="Ada", born=datetime.date(1815, 12, 10), balance=Decimal("1.50"))
ID = uuid.UUID("12345678-1234-4678-9234-567812345678")


@dataclasses.dataclass
class Parcel:
    """A value with a value of nearly every type in it."""

    sender: Person
    at: datetime.datetime
    pets: list[Cat | Dog]
    sizes: dict[str, Size]
    color: Color
    data: bytes
    weight: Decimal
    tags: set[str]
    place: tuple[float, float] | None = None


PARCEL = Parcel(
    sender=Person(name="Grace", born=datetime.date(1906, 12, 9), friends=[ADA]),
    at=datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, datetime.UTC),
    pets=[Cat(9), Dog(["sit", "roll over"])],
    sizes={"inner": Size(1, 2), "outer": Size(3, 4)},
    color=Color.GREEN,
    data=b"\x00\xff",
    weight=Decimal("10.00"),
    tags={"ä€𝄞"},
    place=(48.2, -16.4),
)


class Values(VirtualObject):
    """State of every type."""

    truth: bool = False
    number: int = 0
    large: int = 0
    real: float = 0.0
    text: str = ""
    nothing: str | None = "something"
    data: bytes = b""
    moment: datetime.datetime | None = None
    local: datetime.datetime | None = None
    zoned: datetime.datetime | None = None
    day: datetime.date | None = None
    time: datetime.time | None = None
    duration: datetime.timedelta | None = None
    id: uuid.UUID | None = None
    money: Decimal = Decimal(0)
    color: Color = Color.RED
    level: Level = Level.LOW
    word: Literal["a", "b"] = "a"
    words: set[str] = set()
    numbers: frozenset[int] = frozenset()
    pair: tuple[int, str] = (0, "")
    row: tuple[int, ...] = ()
    table: list[list[int]] = []
    by_name: dict[str, list[str]] = field(default_factory=dict)
    by_number: dict[int, str] = {}
    by_day: dict[datetime.date, Decimal] = {}
    point: Point = Point(0)
    points: list[Point] = []
    size: Size = Size(0, 0)
    label: Label = {"text": "", "shown": False}
    pet: Cat | Dog = Cat(1)
    person: Person | None = None
    people: dict[str, Person] = {}
    parcel: Parcel | None = None
    positive: Annotated[int, msgspec.Meta(gt=0)] = 1
    anything: Any = None
    unset: int

    def _fill(self, ctx: Context) -> None:
        for name, value in SAMPLES.items():
            setattr(self, name, value)
            ctx.set(f"named {name}", value, TYPES[name])
        ctx.set("plain", {"undeclared": [1, None, "ä€𝄞"]})

    @handler
    async def fill(self, ctx: Context) -> None:
        self._fill(ctx)

    @handler
    async def fill_and_wait(self, ctx: Context) -> str:
        """Journals all of it."""
        self._fill(ctx)
        answer = await ctx.awakeable(str)
        self.number += 1
        return f"{answer}: {self.number}"

    @handler
    async def clear_and_wait(self, ctx: Context) -> str:
        self._fill(ctx)
        ctx.clear("number")
        ctx.clear("plain")
        answer = await ctx.awakeable(str)
        return f"{answer}: {self.number}, {ctx.get('plain')}"

    @handler
    async def echo(self, parcel: Parcel) -> Parcel:
        return parcel

    @handler
    async def echo_later(self, ctx: Context, parcel: Parcel) -> Parcel:
        return parcel if await ctx.awakeable(bool) else PARCEL

    @shared
    async def differing(self, ctx: Context) -> list[str]:
        """The names whose value is not the sample, declared or not."""
        return [
            name
            for name, value in SAMPLES.items()
            for stored in (getattr(self, name), ctx.get(f"named {name}", TYPES[name]))
            if stored != value or type(stored) is not type(value)
        ]

    @shared
    async def plain(self, ctx: Context) -> Any:
        return ctx.get("plain")


TYPES: dict[str, Any] = get_type_hints(Values, include_extras=True)
SAMPLES: dict[str, Any] = {
    "truth": True,
    "number": -42,
    "large": 2**70,
    "real": 0.1,
    "text": 'ä€𝄞 "quoted" \\ \n\x00',
    "nothing": None,
    "data": bytes(range(256)),
    "moment": datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, datetime.UTC),
    "local": datetime.datetime(1999, 12, 31, 23, 59, 59, 999999),
    "zoned": datetime.datetime(2024, 3, 31, 2, 30, tzinfo=VIENNA),
    "day": datetime.date(2024, 2, 29),
    "time": datetime.time(12, 30, 1),
    "duration": datetime.timedelta(days=-1, microseconds=1),
    "id": ID,
    "money": Decimal("0.10"),
    "color": Color.GREEN,
    "level": Level.HIGH,
    "word": "b",
    "words": {"one", "ä€𝄞"},
    "numbers": frozenset({1, 2}),
    "pair": (7, "seven"),
    "row": (1, 2, 3),
    "table": [[1, 2], []],
    "by_name": {"": [], "a": ["b", "c"]},
    "by_number": {1: "one", -2: "minus two"},
    "by_day": {datetime.date(2024, 2, 29): Decimal("2.90")},
    "point": Point(1, 2.5),
    "points": [Point(1), Point(2, -0.5)],
    "size": Size(3, 4),
    "label": {"text": "t", "shown": True},
    "pet": Dog(["sit"]),
    "person": ADA,
    "people": {"ada": ADA},
    "parcel": PARCEL,
    "positive": 3,
    "anything": {"list": [1, 2.5, None, "x"], "empty": {}},
    "unset": 5,
}


# --- steps ------------------------------------------------------------------------------------------------------------

UNTYPED: list[Any] = [
    None,
    True,
    -(2**63),
    2**80,
    1.5,
    "ä€𝄞",
    b"\x00\xff",
    [1, [2, []]],
    (1, "a", ()),
    {1, 2},
    frozenset({"a"}),
    {"a": {"b": None}},
    {1: "one", (2, 3): "pair"},
    datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, datetime.UTC),
    datetime.datetime(2024, 3, 31, 2, 30, tzinfo=VIENNA, fold=1),
    datetime.datetime(1999, 12, 31),
    datetime.date(2024, 2, 29),
    datetime.time(12, 30, fold=1),
    datetime.timedelta(days=-1, microseconds=1),
    ID,
    Decimal("1.10"),
]


def untyped(place: int) -> Any:
    executed["untyped"] += 1
    return UNTYPED[place]


def parcel() -> Parcel:
    executed["parcel"] += 1
    return PARCEL


def people() -> dict[str, Person]:
    executed["people"] += 1
    return {"ada": ADA}


class Steps(VirtualObject):
    """Invocations with recorded steps, and with steps that have no result yet."""

    @handler
    async def untyped(self, ctx: Context) -> list[int]:
        """The places of the results that are not what the step has returned."""
        found = [await ctx.step(name=f"value {place}").run(untyped, place) for place in range(len(UNTYPED))]
        await ctx.awakeable(str)
        return [
            place
            for place, value in enumerate(UNTYPED)
            if found[place] != value or type(found[place]) is not type(value) or repr(found[place]) != repr(value)
        ]

    @handler
    async def typed(self, ctx: Context) -> list[bool]:
        one = await ctx.run(parcel)
        two = await ctx.run(people)
        three = await ctx.step(type=list[Decimal], name="numbers").run(lambda: [Decimal("1.0")])
        answer = await ctx.awakeable(str)
        return [one == PARCEL, two == {"ada": ADA}, repr(three) == "[Decimal('1.0')]", answer == "go"]

    @handler
    async def refused(self, ctx: Context) -> list[Any]:
        try:
            await ctx.run(refuse, "the step")
        except TerminalError as error:
            answer = await ctx.awakeable(str)
            return [answer, type(error).__name__, error.message, error.code, error.metadata]
        return []

    @handler
    async def exhausted(self, ctx: Context) -> str:
        try:
            await ctx.step(retry=RetryPolicy(initial_interval=1, max_attempts=3)).run(reach, "the flaky service")
        except TerminalError as error:
            return f"{error.error}: {await ctx.awakeable(str)}"
        return "reached"

    @handler
    async def tried_again(self, ctx: Context) -> str:
        """Its step waits for the next try."""
        await ctx.run(count, "before the tries")
        policy = RetryPolicy(initial_interval=60, max_attempts=10)
        return await ctx.step(name="reach", retry=policy).run(reach, "the slow service")

    @handler(retry=RetryPolicy(initial_interval=600, max_interval=600))
    async def backs_off(self, ctx: Context) -> list[str]:
        """The whole attempt waits for the next one."""
        return [await ctx.run(count, "before the failure"), await ctx.run(reach, "the failing service")]

    @handler(retry=RetryPolicy(initial_interval=1, max_attempts=2))
    async def gives_up(self, ctx: Context) -> list[str]:
        """Paused after its last attempt."""
        return [await ctx.run(count, "before the pause"), await ctx.run(reach, "the lost service")]

    @handler(retry=RetryPolicy(initial_interval=1, max_attempts=2, on_exhausted="fail"))
    async def fails(self, ctx: Context) -> str:
        return await ctx.run(reach, "the lost service")

    @handler
    async def running(self, ctx: Context) -> list[str]:
        """The process ends while its step is executed."""
        return [await ctx.run(count, "before the crash"), await ctx.run(linger, "the endless service")]

    @handler
    async def draws(self, ctx: Context) -> list[bool]:
        """What it draws again is what a step has recorded of the first draw."""
        drawn = [str(ctx.uuid()), ctx.random.random(), ctx.now().isoformat(), ctx.invocation_id, ctx.key]
        recorded = await ctx.step(name="draw", type=list[Any]).run(lambda: drawn)
        await ctx.awakeable(str)
        return [one == other for one, other in zip(drawn, recorded, strict=True)]

    @handler
    async def restartable(self, ctx: Context) -> list[Any]:
        drawn = ctx.random.random()
        recorded = await ctx.run(repeat, drawn)
        answer = await ctx.awakeable(str)
        return [recorded == drawn, answer, await ctx.run(count, "not kept")]

    @handler
    async def sleeps(self, ctx: Context, seconds: float) -> str:
        await ctx.run(count, "before the sleep")
        await ctx.sleep(seconds)
        return await ctx.run(count, "after the sleep")

    @handler
    async def fail(self, ctx: Context) -> None:
        raise TerminalError("no €", 422, {"field": "amount"})


# --- mailboxes, awakeables --------------------------------------------------------------------------------------------


class Desk(VirtualObject):
    """`served` holds what its handlers have done, in order."""

    served: list[str] = []

    @handler
    async def serve(self, name: str) -> list[str]:
        self.served.append(name)
        return self.served

    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        self.served.append(f"{name} begins")
        try:
            answer = await ctx.awakeable(str)
        except TerminalError as error:
            answer = f"{error.error}: {error.message}"
        self.served.append(f"{name}: {answer}")
        return answer

    @handler
    async def wait_an_hour(self, ctx: Context) -> str:
        try:
            return await ctx.awakeable(str, timeout=3600)
        except TerminalError as error:
            return error.error

    @handler
    async def clean_up(self, ctx: Context) -> str:
        """Cancelled while it waits, it waits for its clean-up."""
        try:
            return await ctx.awakeable(str)
        except InvocationCancelled:
            await ctx.run(count, "clean-up")
            answer = await ctx.awakeable(str)
            raise TerminalError(f"cleaned up: {answer}") from None

    @shared
    async def read(self, ctx: Context) -> list[str]:
        """Reads what there was when it began."""
        answer = await ctx.awakeable(str)
        return [*self.served, answer]

    @shared
    async def look(self) -> list[str]:
        return self.served


class Typed(VirtualObject):
    """Awakeables of many types, of one invocation."""

    @handler
    async def wait(self, ctx: Context) -> list[Any]:
        values: list[Any] = list(await ctx.all(*[ctx.awakeable(declared) for declared in AWAITED.values()]))
        return [name for name, value in zip(AWAITED, values, strict=True) if value != ANSWERS[name]]


AWAITED: dict[str, Any] = {
    "any": None,
    "str": str,
    "int": int,
    "optional": str | None,
    "list": list[int],
    "dict": dict[str, list[str]],
    "bytes": bytes,
    "datetime": datetime.datetime,
    "decimal": Decimal,
    "enum": Color,
    "tuple": tuple[int, ...],
    "set": set[str],
    "literal": Literal["a", "b"],
    "dataclass": Point,
    "named tuple": Size,
    "typed dict": Label,
    "structs": Cat | Dog,
    "model": Person,
    "parcel": Parcel,
    "constrained by msgspec": Annotated[int, msgspec.Meta(gt=0)],
    "constrained by annotated_types": Annotated[int, annotated_types.Gt(0)],
    "constrained by pydantic": Annotated[int, pydantic.Field(gt=0)],
}
ANSWERS: dict[str, Any] = {
    "any": {"a": [1, None]},
    "str": "ä€𝄞",
    "int": 2**70,
    "optional": None,
    "list": [1, 2],
    "dict": {"a": ["b"]},
    "bytes": b"\x00\xff",
    "datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "decimal": Decimal("1.10"),
    "enum": Color.GREEN,
    "tuple": (1, 2),
    "set": {"a"},
    "literal": "b",
    "dataclass": Point(1, 2.0),
    "named tuple": Size(1, 2),
    "typed dict": {"text": "t", "shown": True},
    "structs": Dog(["sit"]),
    "model": ADA,
    "parcel": PARCEL,
    "constrained by msgspec": 1,
    "constrained by annotated_types": 2,
    "constrained by pydantic": 3,
}


# --- calls and messages -----------------------------------------------------------------------------------------------


class Mailer(Service):
    """Invocations without a key."""

    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        await ctx.run(count, f"mail {name}")
        return f"{name}: {await ctx.awakeable(str)}"

    @handler
    async def relay(self, ctx: Context, key: str) -> str:
        return f"relayed {await ctx.object(Desk, key).wait('relay')}"

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        await ctx.awakeable(str)
        return ctx.headers

    @schedule("15 3 * * *")
    @handler
    async def digest(self, ctx: Context) -> str:
        return f"due {ctx.headers['schedule-due']}"


class Caller(VirtualObject):
    """Each of its handlers has recorded messages in its journal, and waits."""

    @handler
    async def call(self, ctx: Context, key: str) -> str:
        await ctx.run(count, "before the call")
        return f"called {await ctx.object(Desk, key).wait('call')}"

    @handler
    async def call_service(self, ctx: Context, key: str) -> str:
        return f"called {await ctx.service(Mailer).relay(key)}"

    @handler
    async def call_by_name(self, ctx: Context, key: str) -> list[Any]:
        return [await ctx.call("Desk", key, "wait", "by name"), await ctx.call("Mailer", "", "wait", "by name")]

    @handler
    async def call_once(self, ctx: Context, key: str) -> str:
        """Under an idempotency key."""
        return f"called {await ctx.object(Desk, key).wait.options(idempotency_key='once')('once')}"

    @handler
    async def answered(self, ctx: Context, key: str) -> list[Any]:
        """Calls that have their answers."""
        served = await ctx.object(Desk, key).serve("call")
        once = await ctx.object(Desk, key).serve.options(idempotency_key="first")("call once")
        failure: list[Any] = []
        try:
            await ctx.object(Steps, key).fail()
        except TerminalError as error:
            failure = [type(error).__name__, error.message, error.code, error.metadata]
        return [served, once, failure, await ctx.awakeable(str)]

    @handler
    async def send(self, ctx: Context, key: str) -> str:
        desk = ctx.object(Desk, key)
        desk.serve.send("send")
        desk.serve.options(delay=7200).send("send later")
        await desk.serve.options(idempotency_key="sent").send("send once")
        ctx.send("Desk", key, "serve", "send by name")
        ctx.send("Desk", key, "serve", "send by name later", delay=datetime.timedelta(hours=3))
        ctx.service(Mailer).wait.send("from a handler")
        return await ctx.awakeable(str)

    @handler
    async def attach(self, ctx: Context, id: str) -> str:
        return f"attached {await ctx.attach(id, str)}"

    @handler
    async def attach_to_ended(self, ctx: Context, id: str) -> list[Any]:
        return [await ctx.attach(id), await ctx.awakeable(str)]

    @handler
    async def complete(self, ctx: Context, one: str, other: str) -> list[str]:
        """Completes awakeables of others."""
        await ctx.resolve_awakeable(one, "from a handler")
        await ctx.reject_awakeable(other, "by a handler")
        try:
            await ctx.resolve_awakeable(one, "too late")
        except TerminalError as error:
            return [error.error, await ctx.awakeable(str)]
        return []

    @handler
    async def cancel(self, ctx: Context, id: str) -> str:
        await ctx.cancel(id)
        return await ctx.awakeable(str)

    @handler
    async def run_workflow(self, ctx: Context, key: str) -> str:
        return f"approved: {await ctx.object(Approval, key).run('from a handler')}"

    @handler
    async def trace(self, ctx: Context) -> list[dict[str, str]]:
        return [ctx.headers, await ctx.service(Mailer).headers()]

    @handler
    async def knock(self, ctx: Context, key: str) -> list[str]:
        """A call and a send that a full mailbox has refused."""
        refusals = []
        try:
            await ctx.object(Desk, key).serve("call")
        except TerminalError as error:
            refusals.append(error.error)
        try:
            ctx.object(Desk, key).serve.send("send")
        except TerminalError as error:
            refusals.append(error.error)
        return [*refusals, await ctx.awakeable(str)]

    @handler
    async def call_itself(self, ctx: Context) -> None:
        await ctx.object(Caller, ctx.key).call_itself()


# --- several at once --------------------------------------------------------------------------------------------------


class Race(VirtualObject):
    """Handlers that wait for several things at once, of which some have come."""

    notes: list[str] = []

    @handler
    async def combine(self, ctx: Context) -> list[Any]:
        a, b, c, d, e, f, g, h, i = [ctx.awakeable(str) for _ in range(9)]
        every = ctx.all(a, b)
        some = ctx.any(c, d)
        settled = ctx.settle(e, f)
        first = ctx.first(g, h)
        both, one, results, winner, late = await ctx.all(
            every, some, settled, ctx.settle(first), ctx.settle(ctx.timeout(i, 1800))
        )
        shown = [value.error if isinstance(value, TerminalError) else value for value in (*results, *winner, *late)]
        return [list(both), one, *shown, g.done(), h.done()]

    @handler
    async def order(self, ctx: Context) -> list[int]:
        waiting: list[Any] = [ctx.awakeable(str) for _ in range(4)]
        order: list[int] = []
        async for done in ctx.as_completed(*waiting):
            order.append(waiting.index(done))
            self.notes.append(f"{order[-1]} {await done}")
            await ctx.run(count, f"place {order[-1]}")
        return order

    @handler
    async def branches(self, ctx: Context, group: bool) -> list[str]:
        """Tasks of asyncio, each with steps of its own."""

        async def branch(name: str) -> str:
            answer = await ctx.awakeable(str)
            self.notes.append(f"{name} {answer}")
            await ctx.run(count, f"branch {name}")
            await ctx.sleep(600)
            return f"{name} {answer}"

        if not group:
            return list(await asyncio.gather(*map(branch, "abc")))
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(branch(name)) for name in "abc"]
        return [task.result() for task in started]


# --- workflows --------------------------------------------------------------------------------------------------------


class Approval(Workflow):
    asked_for: str = ""
    decision: str = ""

    @handler
    async def run(self, ctx: Context, what: str) -> str:
        self.asked_for = what
        await ctx.run(count, f"ask for {what}")
        await ctx.promise("begun", str).resolve(what)
        await ctx.promise("refused", Parcel).reject("not today")
        if await ctx.promise("decision", str).peek() is None:
            await ctx.run(count, f"wait for {what}")
        self.decision = await ctx.promise("decision", str)
        return self.decision

    @shared
    async def decide(self, ctx: Context, decision: str) -> None:
        await ctx.promise("decision", str).resolve(decision)

    @shared
    async def refuse(self, ctx: Context, reason: str) -> None:
        await ctx.promise("decision", str).reject(reason)

    @shared
    async def watch(self, ctx: Context) -> str:
        return f"decided: {await ctx.promise('decision', str)}"

    @shared
    async def deliver(self, ctx: Context) -> None:
        await ctx.promise("parcel", Parcel).resolve(PARCEL)

    @shared
    async def unpack(self, ctx: Context) -> bool:
        return await ctx.promise("parcel", Parcel) == PARCEL

    @shared
    async def look(self, ctx: Context) -> list[Any]:
        try:
            await ctx.promise("refused", Parcel).peek()
        except TerminalError as error:
            refused = f"{error.error}: {error.message}"
        else:
            refused = "not refused"
        return [self.asked_for, self.decision, await ctx.promise("begun", str).peek(), refused]


# --- large state ------------------------------------------------------------------------------------------------------


class Log(VirtualObject):
    """A long list, which grows a little at each step."""

    lines: list[str] = []
    places: dict[str, int] = {}

    @handler
    async def fill(self) -> None:
        for place in range(60):
            self._write(place)

    @handler
    async def grow(self, ctx: Context) -> list[int]:
        for _ in range(3):
            self._write(len(self.lines))
            await ctx.run(count, "line")
        await ctx.awakeable(str)
        for _ in range(3):
            self._write(len(self.lines))
            await ctx.run(count, "another line")
        await ctx.awakeable(str)
        return [len(self.lines), len(self.places)]

    def _write(self, place: int) -> None:
        line = f"{place:04} " + "lorem ipsum dolor sit amet, consectetur adipiscing elit"
        self.lines.append(line)
        self.places[line] = place


# --- versions ---------------------------------------------------------------------------------------------------------


class LedgerBefore(VirtualObject, name="Ledger"):
    """Version 1, which the file holds migrated, also under an open invocation."""

    amounts: list[str] = []
    status: str = "new"

    @handler
    async def post(self, ctx: Context, amount: str) -> str:
        self.status = "posting"
        await ctx.awakeable(str)
        self.amounts.append(amount)
        self.status = await ctx.awakeable(str)
        return f"{self.amounts}"

    @handler
    async def add(self, amount: str) -> None:
        self.amounts.append(amount)


class Ledger(VirtualObject, version=2):
    amounts: list[int] = []
    status: str = "new"

    @migration(from_version=1)
    @staticmethod
    def in_cents(state: dict[str, Any]) -> dict[str, Any]:
        if "amounts" in state:
            state["amounts"] = [cents(amount) for amount in state["amounts"]]
        return state

    @handler
    async def post(self, ctx: Context, amount: str) -> str:
        self.status = "posting"
        await ctx.awakeable(str)
        self.amounts.append(cents(amount))
        self.status = await ctx.awakeable(str)
        return f"{self.amounts}"

    @handler
    async def add(self, amount: str) -> None:
        self.amounts.append(cents(amount))

    @shared
    async def look(self) -> list[int]:
        return self.amounts


class Account(VirtualObject):
    """Version 1, as the file holds it."""

    total: Decimal = Decimal(0)
    status: str = "new"

    @handler
    async def add(self, euros: Decimal) -> None:
        self.total += euros

    @handler
    async def checkout(self, ctx: Context) -> str:
        self.status = "waiting"
        self.status = await ctx.awakeable(str)
        self.total += 1
        return f"{self.status}: {self.total} euros"

    @handler(atomic=True)
    async def attempt(self, ctx: Context) -> str:
        """All or nothing."""
        self.status = "trying"
        await ctx.run(count, "try")
        self.status = await ctx.awakeable(str)
        self.total += 1
        await ctx.run(count, "book")
        if self.status == "fail":
            raise TerminalError("nothing was done")
        return f"{self.status}: {self.total} euros"

    @shared
    async def follow(self, ctx: Context) -> str:
        before = self.total
        await ctx.awakeable(str)
        return f"{before} then {self.total} euros"

    @shared
    async def look(self) -> str:
        return f"{self.status}: {self.total} euros"


class AccountInCents(VirtualObject, version=2, name="Account"):
    """The next version of it, which has never written to the file."""

    total: int = 0
    status: str = "new"

    @migration(from_version=1)
    @staticmethod
    def in_cents(state: dict[str, Any]) -> dict[str, Any]:
        if "total" in state:
            state["total"] = cents(state["total"])
        return state

    @handler
    async def add(self, euros: Decimal) -> None:
        self.total += int(euros * 100)

    @handler
    async def checkout(self, ctx: Context) -> str:
        self.status = "waiting"
        self.status = await ctx.awakeable(str)
        self.total += 100
        return f"{self.status}: {self.total} cents"

    @handler(atomic=True)
    async def attempt(self, ctx: Context) -> str:
        self.status = "trying"
        await ctx.run(count, "try")
        self.status = await ctx.awakeable(str)
        self.total += 100
        await ctx.run(count, "book")
        if self.status == "fail":
            raise TerminalError("nothing was done")
        return f"{self.status}: {self.total} cents"

    @shared
    async def follow(self, ctx: Context) -> str:
        before = self.total
        await ctx.awakeable(str)
        return f"{before} then {self.total} cents"

    @shared
    async def look(self) -> str:
        return f"{self.status}: {self.total} cents"


def cents(euros: str) -> int:
    return int(Decimal(euros) * 100)


# --- schedules --------------------------------------------------------------------------------------------------------


class Nightly(VirtualObject):
    due: list[str] = []

    @schedule("0 3 * * *", key="utc")
    @schedule("0 3 * * *", key="vienna", tz="Europe/Vienna", misfire="skip")
    @handler
    async def note(self, ctx: Context) -> None:
        self.due.append(ctx.headers["schedule-due"])

    @schedule("30 3 * * *", key="slow")
    @handler
    async def wait(self, ctx: Context) -> str:
        return f"{ctx.headers['schedule-due']} {await ctx.awakeable(str)}"

    @shared
    async def look(self) -> list[str]:
        return self.due


CLASSES = (Values, Steps, Desk, Typed, Mailer, Caller, Race, Approval, Log, Ledger, Account, Nightly)
