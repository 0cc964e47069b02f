"""`World`: a machine in memory that a test serves classes on, crashes, and asks questions.

Promise: a test does not sleep and does not hang. Time jumps when nothing else can happen; when nothing can happen any more the test
fails, and says who waits for what. At its end witnesses look at everything that has happened.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import functools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from actors.app.listing import AwakeableInfo
from actors.errors import BadArguments, DefinitionError
from actors.model.bound_handler import BoundHandler, refuse_ambiguous
from actors.model.calls import Call, InvocationHandle
from actors.model.catalog import Catalog
from actors.model.decoding import materialize, migrated
from actors.model.definitions import ServiceDefinition, definition_of, key_for
from actors.model.durations import milliseconds, remaining
from actors.model.limits import Limits
from actors.model.names import checked_key
from actors.model.object_state import VERSION_NAME
from actors.model.options import DEFAULT_OPTIONS, Options
from actors.model.references import keyed, keyless
from actors.model.retry import RetryPolicy
from actors.model.service import Service
from actors.model.virtual_object import Served, VirtualObject
from actors.storage.records import Batch
from actors.testing import step_sources
from actors.testing.chances import MEMORY, NO_FAULTS, Chances
from actors.testing.choices import USUAL, Choices
from actors.testing.clients import Clients
from actors.testing.copies import Copies
from actors.testing.failures import MisusedWorld, WorldFailed
from actors.testing.faults import Faults
from actors.testing.guard import Guard
from actors.testing.loop import VirtualLoop
from actors.testing.machine import SECRET, START_MS, Machine, quiet
from actors.testing.patience import Patience
from actors.testing.process import Killed, paced
from actors.testing.step_faults import Step, StepFaults, When
from actors.testing.story import SHOWN
from actors.testing.survivors import Survivors
from actors.testing.waits import reasons
from actors.testing.watcher import WorldWatcher
from actors.testing.witnesses import Witness, Witnesses
from actors.transport.served import App

T = TypeVar("T")
K = TypeVar("K", bound=VirtualObject)
S = TypeVar("S", bound=Service)

SEAMS = ("clock", "executor", "poll", "random", "storage", "store")  # options of App that are the world's own


@dataclass(frozen=True, slots=True)
class WaitingAwakeable:
    """An awakeable that waits for its completion, in whichever process."""

    id: str
    service: str
    key: str
    handler: str
    _machine: Machine

    async def resolve(self, value: Any = None) -> None:
        """Complete it with a value, as `App.resolve_awakeable` does."""
        await self._machine.ask(lambda app: app.resolve_awakeable(self.id, value))

    async def reject(self, reason: str) -> None:
        """Make the handler that waits fail, as `App.reject_awakeable` does."""
        await self._machine.ask(lambda app: app.reject_awakeable(self.id, reason))


class World:
    """One machine: a disk, a clock, and the process that serves the classes of the test. Ask pytest for it: `world`.

    `choices` are what turns out otherwise than usual, `faults` how often in a run from a seed. With `calms` everything is as usual
    while the test waits in `settle`, and at its end. `fine` makes every fact a durable point. A process that a choice kills stays
    down for `downtime` seconds. `start_ms` is the wall clock at the beginning, in milliseconds since 1970; ids are made of `secret`.
    `copies` receive the disk after each commit, unless the test has excused the replay witness.
    """

    def __init__(
        self,
        choices: Choices | None = None,
        *,
        faults: Faults = NO_FAULTS,
        calms: bool = False,
        fine: bool = False,
        downtime: float = 0.0,
        start_ms: int = START_MS,
        secret: bytes = SECRET,
        copies: Copies | None = None,
    ) -> None:
        self.loop = VirtualLoop()
        self.choices = choices if choices is not None else Choices()
        self._chances = Chances(self.choices, faults, downtime)
        self._guard = Guard()
        places: dict[int, str | None] = {}
        parts = self._guard.parts(paced(self._chances, fine, places))
        self.machine = Machine(self.loop, self._chances, parts, places, start_ms, secret)
        self.machine.on_commit = self._committed
        self._steps = StepFaults()
        self._watcher = WorldWatcher(
            self.machine.story, self._steps, self._chances, self.machine.sources, self.machine.disk.query
        )
        clients = self.clients = Clients(self.machine.disk.query)
        self._witnesses = Witnesses(self.machine, self._steps, clients, self._watcher.gate, self._guard)
        self._patience = Patience(self.loop, self.machine.goes_on, self.machine.only_ticks, self._reasons)
        self._survivors = Survivors(self.machine, clients, lambda: self._careful)
        self.executed = self._watcher.executed  # how often each step ran, by invocation and position
        self.reached: set[str] = set()  # by `sometimes`
        # Asked in the end, if the witnesses have seen nothing: one line for each thing that must not be.
        self.judge: Callable[[], Sequence[str]] = tuple
        self._calms = calms
        self._careful = True
        self._always: dict[str, Callable[[], Any]] = {}
        self._classes: tuple[type[Served], ...] = ()
        self._limits = Limits()
        self._handed_out: set[str] = set()
        self._closed = False
        self._copies = copies

    # --- serving ------------------------------------------------------------------------------------------------------------

    async def serve(
        self,
        *classes: type[Served],
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        memory: Literal["usual", "none"] = "usual",
        clients: Literal["careful", "careless"] = "careful",
        **options: Any,
    ) -> None:
        """Serve these classes. Called again it deploys: an orderly end, then these classes on the same disk.

        Options are those of App, apart from the world's own: clock, disk, random numbers, threads. A failing handler gets five
        attempts unless `retry` says otherwise. With `memory="none"` each handler that waits is evicted and comes back by replay.
        `clients="careless"` lets requests whose process died be made again without a look whether the first is on disk.
        """
        for name in SEAMS:
            if name in options:
                raise DefinitionError(f"{name}= is the world's own: world.serve(...) takes the other options of App.")
        if memory not in ("usual", "none"):
            raise BadArguments(f'memory={memory!r} is not a valid value. Use "usual" or "none".')
        if clients not in ("careful", "careless"):
            raise BadArguments(f'clients={clients!r} is not a valid value. Use "careful" or "careless".')
        users = options.pop("watcher", None)
        watchers = [
            self._watcher,
            *(users if isinstance(users, (list, tuple)) else [users] if users else []),
        ]

        def make(app: Callable[..., App], own: dict[str, Any], chosen: dict[str, Any]) -> App:
            memories = MEMORY[-1] if memory == "none" else chosen
            return app(
                *classes,
                retry=retry or RetryPolicy(max_attempts=5),
                limits=dataclasses.replace(limits or Limits(), **memories),
                watcher=watchers,
                **own,
                **options,
            )

        # Raises what is wrong with the classes or options, before anything has ended.
        make(App, {"storage": "sqlite://"}, {})
        self._careful = clients == "careful"
        if self._classes:
            await self._look()
        await self._stop()
        self._classes, self._limits, self.machine.make = classes, limits or Limits(), make
        await self.machine.start()
        await self.machine.up()

    async def crash(self, downtime: float = 0) -> None:
        """Kill the process, as kill -9 does, and start the next process on the same disk, `downtime` seconds later."""
        self._check_serving()
        self.machine.kill("by the test", milliseconds(downtime, "downtime") / 1000)
        await self.machine.up()

    async def restart(self) -> None:
        """End the process in order, and start the next process."""
        self._check_serving()
        await self._stop()
        await self.machine.start()
        await self.machine.up()

    async def _stop(self) -> None:
        try:
            await self.machine.stop()
        except Killed:
            await self.machine.up()
            await self._stop()

    @property
    def app(self) -> App:
        """The App that is up. Another one after each crash; calls made to it end with it."""
        self._check_serving()
        process = self.machine.process
        if process is None or process.app is None:
            raise MisusedWorld("No process is up at the moment. Await world.settle() first.")
        return process.app

    def _check_serving(self) -> None:
        if not self._classes:
            raise MisusedWorld("This world serves nothing yet: await world.serve(Order).")
        if self.machine.failure is not None:
            raise self.machine.failure

    # --- requests --------------------------------------------------------------------------------------------------------------

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference to one object or workflow, as `App.object`, which survives crashes."""
        return keyed(self._definition(cls), self._survivors, checked_key(key))  # type: ignore[no-any-return]

    def service(self, cls: type[S]) -> S:
        """A typed reference to a Service, as `App.service`, which survives crashes."""
        return keyless(self._definition(cls), self._survivors)  # type: ignore[no-any-return]

    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call by name, as `App.call`."""
        target = self._catalog().handler(service, handler)
        return self._survivors.dispatch_call(target, key_for(target, key), args, kwargs, DEFAULT_OPTIONS)

    def send(
        self,
        service: str,
        key: str,
        handler: str,
        /,
        *args: Any,
        delay: float | datetime.timedelta | None = None,
        **kwargs: Any,
    ) -> InvocationHandle[Any]:
        """Send one way by name, as `App.send`."""
        target = self._catalog().handler(service, handler)
        if delay is not None:
            refuse_ambiguous(target, "delay")
        options = DEFAULT_OPTIONS if delay is None else Options(remaining(delay, "delay"))
        return self._survivors.dispatch_send(target, key_for(target, key), args, kwargs, options)

    def handler(self, service: str, key: str, name: str) -> BoundHandler[..., Any]:
        """A handler by name, as `App.handler`: call it, send to it, or set options first."""
        target = self._catalog().handler(service, name)
        return BoundHandler(self._survivors, target, key_for(target, key))

    def client(self, **options: Any) -> Any:
        """An `actors.transport.client.Client` of the app, over HTTP without a socket. A crash breaks its connections."""
        from actors.testing.connection import client_of  # needs httpx, which only this method does

        self._check_serving()
        return client_of(self.machine, options)

    async def awakeable(self, cls: type[Served] | None = None, key: str | None = None) -> WaitingAwakeable:
        """The next awakeable that waits, of a class and key if given, once its id is on disk.

        Each call returns another one, in the order in which they were made; when nothing else happens by itself, the oldest again.
        """
        self._check_serving()
        service = definition_of(cls).name if cls is not None else None
        while True:
            before = self._patience.commits
            found = [
                info
                for info in await self.machine.ask(lambda app: app.awakeables())
                if (service is None or info.service == service) and (key is None or info.key == key)
            ]
            new = [info for info in found if info.id not in self._handed_out]
            if not new and self._patience.commits != before:
                continue  # the answer of a slow read may be older than the commit that no one would wait for then
            if new or (found and not await self._patience.commit(otherwise=True)):
                return self._hand_out((new or found)[0])
            if not found:
                await self._patience.commit()

    def _hand_out(self, info: AwakeableInfo) -> WaitingAwakeable:
        self._handed_out.add(info.id)
        return WaitingAwakeable(info.id, info.service, info.key, info.handler, self.machine)

    # --- time --------------------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime.datetime:
        """The wall clock of the machine, in UTC."""
        return datetime.datetime.fromtimestamp(self.machine.clock.now_ms() / 1000, datetime.UTC)

    async def pass_time(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        """Let this much time pass, and everything happen that is due then."""
        passing = seconds + 60 * minutes + 3600 * hours + 86_400 * days
        if not passing >= 0:
            raise BadArguments(f"world.pass_time(...) requires a time of 0 or more, got {passing!r} seconds.")
        await asyncio.sleep(passing)
        await self.settle()

    async def settle(self) -> None:
        """Let everything happen that needs no request and no time, other than the time of steps and of pauses before retries."""
        self._chances.calm = self._calms
        try:
            await self._patience.settled()
        finally:
            self._chances.calm = False

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return once `predicate()` is true. It is asked after each commit."""
        while not predicate():
            await self._patience.commit(counts=True)

    def _committed(self, batch: Batch) -> None:
        self.clients.committed(batch)
        for text, predicate in self._always.items():
            failure: Exception | None = None
            try:
                if not predicate():
                    failure = WorldFailed(f"Not always: {text}. It was broken once a commit had become durable.")
            except Exception as error:  # of the test: raised here, it would count as a failure of the disk
                failure = error
            if failure is not None:
                self.machine.story.tell("broken", text)
                self._patience.fail(failure)
        if self._copies is not None and self._witnesses.asks("replay"):
            self._copies.add(functools.partial(self._witnesses.copy, self._classes, self._limits))
        self._patience.committed()

    def _reasons(self) -> Iterable[str]:
        return reasons(self.machine) if self._classes else ()

    # --- what a simulation varies -------------------------------------------------------------------------------------------------

    @overload
    def choose(self, name: str) -> bool: ...

    @overload
    def choose(self, name: str, options: int) -> int: ...

    @overload
    def choose(self, name: str, options: Sequence[T]) -> T: ...

    def choose(self, name: str, options: Any = 2) -> Any:
        """A choice of the test: True or False, a number below `options`, or one of them. The usual outcome is the first.

        In a plain test it is the usual one; in a simulation each outcome is as likely as the others.
        """
        count: int = options if isinstance(options, int) else len(options)
        if count < 1:
            raise BadArguments(f"world.choose({name!r}, ...) requires one option or more.")
        outcome = self.choices.choose(_checked_name(name), count, 1 - 1 / count)
        self.machine.story.tell("choice", name, outcome)
        if options == 2 and isinstance(options, int):
            return bool(outcome)
        return outcome if isinstance(options, int) else options[outcome]

    async def pause(self, name: str, up_to: float) -> None:
        """Wait for a time that a simulation chooses, in tenths of `up_to` seconds. In a plain test: no time."""
        if tenths := self.choices.choose(_checked_name(name), 11, 0.7):
            await asyncio.sleep(up_to * tenths / 10)

    def always(self, what: str, predicate: Callable[[], Any]) -> None:
        """`predicate` must be true after each commit, of what is durable: `lambda: world.look(Stock, "book").items >= 0`."""
        self._always[what] = predicate

    def sometimes(self, name: str) -> None:
        """The test has come here. A simulation in which no run comes here fails."""
        self.reached.add(name)

    # --- steps ---------------------------------------------------------------------------------------------------------------------

    def replace(self, step: Step, fake: Callable[..., Any]) -> None:
        """Call `fake` in the place of a step, named by its function or its name, with the same arguments.

        Raises MisusedWorld if the step has run already. A replacement that is never called fails the test at its end.
        """
        self._steps.replace(step, fake)

    def fail(
        self,
        step: Step,
        times: int = 1,
        error: BaseException | type[BaseException] | None = None,
        when: When = "before",
    ) -> None:
        """Let the next `times` executions of a step fail: before it has an effect, or after, so that its answer is lost."""
        self._steps.fail(step, times, error, when)

    def executions(self, step: Step) -> int:
        """How often a step was executed, failures included."""
        return self._steps.executions(step)

    # --- looking on ------------------------------------------------------------------------------------------------------------------

    def look(self, cls: type[K], key: str) -> K:
        """The object with its durable state of this moment: `world.look(Order, "o1").items`. Raises StateDecodeError."""
        definition = self._definition(cls)
        texts = dict(
            self.machine.disk.query(
                "SELECT name, value FROM object_state WHERE service = ? AND key = ?", definition.name, checked_key(key)
            )
        )
        version = int(texts.pop(VERSION_NAME, 1))
        if version != definition.version and texts:
            texts = migrated(definition, key, texts, version, None)
        return materialize(definition, definition.cls, texts)  # type: ignore[return-value]

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a database shell would see of the disk."""
        return self.machine.disk.query(sql, *parameters)

    def story(self) -> str:
        """What has happened so far, a line for each event."""
        return "\n".join(self.machine.story.lines())

    def expect_paused(self, cls: type[Served] | None = None, key: str | None = None) -> None:
        """Invocations, of this class and key if given, may be paused at the end of the test."""
        self._witnesses.may_pause(definition_of(cls).name if cls is not None else None, key)

    def unchecked(self, *witnesses: Witness) -> None:
        """Do not ask these witnesses at the end of the test. Each is one of `WITNESSES`."""
        for witness in witnesses:
            self._witnesses.excuse(witness)

    # --- running -----------------------------------------------------------------------------------------------------------------------

    def run(self, body: Awaitable[T]) -> T:
        """Run a coroutine on the world's loop, for tests that are not async. Raises what it raises, or Stuck."""
        __tracebackhide__ = True
        step_sources.install()
        try:
            with self._guard:
                return self._patience.run(body)
        finally:
            step_sources.uninstall()
            self.choices.check()

    def finish(self) -> None:
        """The end of a test that has passed: let everything come to rest, and ask the witnesses. Raises WorldFailed."""
        __tracebackhide__ = True
        if not self._classes:
            return
        self.run(self.settle())
        self.run(self._look())
        if found := self._witnesses.found() or self.judge():
            raise WorldFailed("\n".join([*found, "", *self.machine.story.lines(SHOWN)]))

    async def _look(self) -> None:
        if self._copies is not None:
            self._copies.complete()
        with quiet():
            await self._witnesses.look(self._classes, self._limits)

    def close(self) -> None:
        """Nothing of this world runs any more. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.machine.close()
        for task in self._survivors.tasks:
            task.cancel()
        if not self.loop.is_closed():
            self.loop.close()

    def _definition(self, cls: type) -> ServiceDefinition:
        self._check_serving()
        if cls not in self._classes:
            return self.app._definition(cls)  # raises
        return definition_of(cls)

    def _catalog(self) -> Catalog:
        """Not that of the app: a process may be down."""
        self._check_serving()
        definitions = map(definition_of, self._classes)
        return Catalog({definition.name: definition for definition in definitions})


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or name.strip() in ("", USUAL) or any(sign in name for sign in ";=#"):
        raise BadArguments(
            f"{name!r} is not a valid name of a choice. Use a short text without ';', '=' and '#', other than {USUAL!r}."
        )
    return name
