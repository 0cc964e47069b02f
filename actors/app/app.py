"""The application: which classes are served, where their records are, and the way in from outside."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import functools
import gc
import inspect
import logging
import os
import random as random_module
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from actors.app.entry import Outside, check_entry
from actors.app.handles import ClientCall, ClientHandle, KeyedCall, KeyedHandle, done
from actors.app.listing import AwakeableInfo, InvocationInfo, moment, statuses_of, steps_of
from actors.app.recovery import Recovery
from actors.attempt.invocation import Invocation, outcome_of
from actors.engine import left_steps
from actors.engine.clock import Clock, SystemClock
from actors.engine.daemon_threads import DaemonThreads
from actors.engine.env import Env
from actors.engine.operating.operations import Operations
from actors.engine.operating.restarts import checked_keep
from actors.engine.operating.state_access import StateInfo, encoded
from actors.engine.partition import Partition
from actors.engine.waits.awakeables import Payload
from actors.engine.watching import Counts, Watcher
from actors.errors import (
    AppNotRunning,
    BadArguments,
    DefinitionError,
    UnknownInvocation,
    UnknownService,
)
from actors.http_options import HttpOptions
from actors.journal.entries import Kind
from actors.journal.ids import IdMint
from actors.model.bound_handler import BoundHandler, refuse_ambiguous
from actors.model.calls import Call, InvocationHandle
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, ServiceDefinition, definition_of, key_for
from actors.model.durations import milliseconds, remaining
from actors.model.futures import mark_seen
from actors.model.inside import inside
from actors.model.limits import Limits
from actors.model.message import Message
from actors.model.names import checked_key
from actors.model.options import DEFAULT_OPTIONS, Options, checked_idempotency_key
from actors.model.references import keyed, keyless
from actors.model.retry import RetryPolicy
from actors.model.service import Service
from actors.model.spelling import refuse_unknown
from actors.model.virtual_object import Served, VirtualObject
from actors.storage.errors import DatabaseInUse
from actors.storage.port import Store
from actors.storage.records import RUN, InvocationRow, Status
from actors.storage.sqlite.lock import held
from actors.storage.sqlite.store import SqliteStore

T = TypeVar("T")
K = TypeVar("K", bound=VirtualObject)
S = TypeVar("S", bound=Service)
R = TypeVar("R")

log = logging.getLogger("actors")

_inside = inside.get
# asyncio._get_running_loop asks the system for the process at each call: five times as slow.
_this_thread = threading.get_ident

FORGOTTEN_CLOSES_S = 5  # so long an App that nothing refers to may take to write what is open
DEBUG_VARIABLE = "ACTORS_DEBUG"
POLL = 0.25  # seconds between two looks for requests of the command line: one read of an empty table
STEP_THREADS = 32  # functions of ctx.run that block at the same time; more of them queue


class App:
    """Serves classes of virtual objects, services and workflows from one database file: `async with App(Order) as app: ...`.

    `storage` is a URL: `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for memory only. `retry` is the
    policy for handlers that have none of their own. `on_paused` is called with an InvocationInfo when an invocation is paused
    after its last attempt. `limits` bounds what is kept and accepted. `executor` runs the blocking functions given to `ctx.run`
    (default: 32 threads). `poll` is the interval, in seconds, at which the app looks for requests of the command line (default:
    0.25 if `storage` is a file, else 0: never). `http` holds the options of HTTP. `watcher` is notified of what happens, for
    example `actors.tracing.Tracing()`. With `debug` (default: ACTORS_DEBUG of the environment) a NameError, TypeError and the
    like ends the invocation after three attempts, and its caller gets the traceback. `on_stopped` is called with the error when
    the app has stopped because its database failed; it may `await app.recover()`, as `actors serve` does. `clock`, `random` and
    `store` are seams for tests. An App belongs to the event loop it is started on; one process can run several, each with a file
    of its own.
    """

    if not TYPE_CHECKING:

        def __new__(cls, *classes, **given):
            parameters = inspect.signature(cls.__init__).parameters.values()
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
                refuse_unknown(cls.__name__, given, [one.name for one in parameters if one.kind is one.KEYWORD_ONLY])
            return super().__new__(cls)

    def __init__(
        self,
        *classes: type[Served],
        storage: str = "sqlite:///actors.db",
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        on_paused: Callable[[InvocationInfo], Any] | None = None,
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        store: Store | None = None,
        executor: Executor | None = None,
        poll: float | datetime.timedelta | None = None,
        http: HttpOptions | None = None,
        watcher: Watcher | None = None,
        on_stopped: Callable[[BaseException], Any] | None = None,
        debug: bool | None = None,
    ) -> None:
        self._debug = _debug(debug)
        self.http = _option("http", http, HttpOptions)
        self._watcher = watcher
        self._services: dict[str, ServiceDefinition] = {}
        for cls in classes:
            if isinstance(cls, (list, tuple, set)):
                raise DefinitionError(
                    "App(...) requires the classes one by one: App(Counter, Order), not a list of them."
                )
            definition = definition_of(cls)
            if self._services.get(definition.name) is definition:
                raise DefinitionError(f"class {cls.__qualname__} is given to App(...) twice.")
            if definition.name in self._services:
                raise DefinitionError(
                    f"Two classes are named {definition.name!r}. Rename one of them: class {cls.__name__}(..., "
                    "name='...')."
                )
            if not definition.handlers:
                raise DefinitionError(
                    f"class {cls.__qualname__} has no handlers. Decorate its methods with @handler, or with "
                    "@shared if they only read."
                )
            self._services[definition.name] = definition
        self._by_class: dict[type, ServiceDefinition] = {cls: definition_of(cls) for cls in classes}
        self._keyed = {cls: known.reference for cls, known in self._by_class.items() if known.kind != "service"}
        if not classes:
            raise DefinitionError("App(...) requires the classes it serves, for example App(Counter).")
        self._retry = _option("retry", retry, RetryPolicy)
        self._limits = _option("limits", limits, Limits)
        self._on_paused = on_paused
        if on_stopped is not None and not callable(on_stopped):
            raise DefinitionError(f"App(on_stopped=...) requires a function that takes the error, got {on_stopped!r}.")
        self._on_stopped = on_stopped
        self._clock: Clock = clock or SystemClock()
        self._random = random or random_module.Random()
        self._store = store
        self._partition: Partition | None = None
        self._outside = contextvars.Context()
        self._executor = _threads_only(executor)
        self._poll = poll
        self.store_in(storage)
        self._threads: DaemonThreads | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._end_of_loop: AsyncGenerator[None, None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hooks: set[asyncio.Task[Any]] = set()  # what `on_stopped` has returned: it may start the app again
        self._recoveries = Recovery(self._clock, lambda: getattr(self._store, "path", self._path), self._open_again)
        self._recovering: asyncio.Task[None] | None = None
        self._file: str | None = None  # which it has open, if that is known
        self._stops: asyncio.Event | None = None  # set when it has stopped by itself

    def store_in(self, storage: str) -> None:
        """Use this database, before the app starts: `actors serve --db`. Raises DefinitionError."""
        self._path = database_path(storage)
        poll = self._poll
        if poll is None:
            poll = POLL if self._store is None and self._path != ":memory:" else 0
        self._poll_ms = milliseconds(poll, "poll") or int(bool(poll))  # not 0: that means never

    async def start(self) -> None:
        """Open the database and go on with everything that was open. Raises StorageError or a subclass."""
        if self._partition is not None:
            raise AppNotRunning("This app is already running.")
        self._stops = asyncio.Event()
        self._outside = contextvars.copy_context()
        await self._open(None)
        self._end_of_loop = self._close_with_the_loop()
        await anext(self._end_of_loop)

    async def _open(self, before: Partition | None) -> None:
        """`before` is the partition of the same file that has stopped, if there was one."""
        store: Store = self._store or SqliteStore(self._path)
        loop = asyncio.get_running_loop()
        executor: Executor | None = self._executor or self._threads
        if executor is None:
            executor = self._threads = DaemonThreads(STEP_THREADS, "actors-step")
        env = Env(
            IdMint(bytes(32)),  # until the file says which
            self._clock,
            self._random,
            self._limits,
            self._retry,
            self._watcher,
            before.env.counts if before is not None else Counts(),
            self._tell_paused if self._on_paused is not None else None,
            self._debug,
        )
        partition = Partition(env, Catalog(self._services), store, loop, executor, _weakly(self._has_stopped))
        if before is not None:
            partition.residents.paused_here.update(before.residents.paused_here)
        secret = before.steps.secret if before is not None else None
        try:
            opened = await store.open(secret)
        except DatabaseInUse as error:
            if error.pid != os.getpid() or not await self._former_closed(error.path):
                raise
            opened = await store.open(secret)
        self._file = getattr(store, "path", None)
        _apps.add(weakref.ref(self, _apps.discard))
        try:
            await partition.begin(opened)
            if partition.failure is not None:
                raise partition.failure
        except BaseException:
            partition.halt(AppNotRunning("The app could not start."))
            await store.close()
            raise
        self._partition = partition
        partition.requests.begin(self._poll_ms)
        self._recovery = loop.create_task(partition.loader.recover(opened.runnable))

    async def _former_closed(self, path: str) -> bool:
        """Whether an App that this process made before, on this file, has given it free: a cell of a notebook is run again.

        One that nothing refers to any more closes by itself. In an interactive session the last cell, or its traceback, may
        still refer to it, and the new one takes its place.
        """
        former = [reference for reference in _apps.copy() if _has_opened(reference(), path) and reference() is not self]
        gc.collect()
        for reference in former:
            app = reference()
            if app is None:
                for _ in range(FORGOTTEN_CLOSES_S * 100):
                    if not held(path):
                        return True
                    await asyncio.sleep(0.01)
            elif (
                hasattr(sys, "ps1") and app._partition is not None and app._partition.loop is asyncio.get_running_loop()
            ):
                log.warning("Closed the earlier App on %s: the new one takes its place.", path)
                await app.close()
                return True
        return False

    async def recover(self) -> None:
        """Start again after the app has stopped because its database failed. All open invocations go on.

        It tries until the file can be used, with pauses of up to two seconds. References and handles stay valid. Concurrent
        callers share one recovery; it goes on if their await is cancelled, and `close` ends it. Does nothing while the app
        runs. Raises a failure that lasts: the file is owned by another process, was replaced or is damaged, or an internal
        error. Raises AppNotRunning if the app was not started, or is closed meanwhile.
        """
        partition = self._running()
        recovering = self._recovering
        if recovering is None:
            if not partition.stopped:
                return
            recovering = self._recovering = partition.loop.create_task(self._recover(partition))
            recovering.add_done_callback(self._recovered)
        await done(recovering, repeatable=True)

    async def _recover(self, partition: Partition) -> None:
        assert partition.failure is not None
        if self._store is None and self._path == ":memory:":
            raise partition.failure  # it is all there is
        await self._leave(partition)
        try:
            await partition.store.close()
        except Exception as error:  # what cannot be written cannot be closed in order; the file says what holds
            log.warning("Closing the database %s after its failure failed too: %r", self._path, error)
        await self._recoveries.run(partition.failure)

    def _recovered(self, task: asyncio.Task[None]) -> None:
        self._recovering = None
        mark_seen(task)

    async def _open_again(self) -> None:
        await self._open(self._running())

    def _has_stopped(self, error: BaseException) -> None:
        """The partition has stopped by itself."""
        assert self._stops is not None
        self._stops.set()
        if self._on_stopped is not None:
            asyncio.get_running_loop().call_soon(self._tell_stopped, error, context=self._outside.copy())

    def _tell_stopped(self, error: BaseException) -> None:
        assert self._on_stopped is not None
        if self._partition is None or not self._partition.stopped:
            return
        try:
            told = self._on_stopped(error)
            if inspect.isawaitable(told):
                task = self._partition.loop.create_task(_logged(told, "on_stopped raised; the app stays stopped"))
                self._hooks.add(task)
                task.add_done_callback(self._hooks.discard)
        except Exception:
            log.exception("on_stopped raised; the app stays stopped")

    async def _stopped(self) -> None:
        """Return once the app has stopped by itself."""
        assert self._stops is not None
        while self._partition is None or not self._partition.stopped:
            self._stops.clear()  # it may have been set by a start that did not succeed
            await self._stops.wait()

    async def _close_with_the_loop(self) -> AsyncGenerator[None, None]:
        """asyncio ends what is suspended here along with the loop: one that was not closed would keep the process from ending."""
        try:
            yield
        finally:
            if self._partition is not None:
                log.warning(
                    "The app on %s was not closed before its event loop ended, or before the last reference to it was dropped. Use "
                    "'async with app:', or await app.close().",
                    self._path,
                )
                self._end_of_loop = None
                await self._close()  # the collector may have come here from a handler

    async def close(self) -> None:
        """Stop taking work, leave handlers where they are, write what is open, release the file. They go on at the next start."""
        partition = self._partition
        if partition is not None and not partition.loop.is_closed():
            check_entry(partition)
        await self._close()

    async def _close(self) -> None:
        recovering = self._recovering
        if recovering is not None:
            recovering.cancel()
            await asyncio.wait([recovering])
        partition, self._partition = self._partition, None
        if partition is None:
            return
        end_of_loop, self._end_of_loop = self._end_of_loop, None
        if end_of_loop is not None:
            await end_of_loop.aclose()
        partition.background.closing = True
        partition.halt(
            AppNotRunning("The app was closed before this call had its outcome. It goes on when the app starts again.")
        )
        if partition.steps_left:
            log.info(
                "The app on %s was closed while %d %s: %s. The next start executes them again, except those that still run in "
                "this process.",
                self._path,
                len(partition.steps_left),
                "step was running" if len(partition.steps_left) == 1 else "steps were running",
                ", ".join(sorted(partition.steps_left)[:5]),
            )
        try:
            await self._leave(partition)
            if partition.committer.failed is None:
                await partition.committer.flushed()
        finally:
            threads, self._threads = self._threads, None
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)
            left_steps.closed(partition.steps.secret)
            await partition.store.close()

    def _executing(self) -> list[str]:
        """The steps whose functions run, or wait for a thread."""
        return [str(step) for step in self._partition.steps.executing] if self._partition is not None else []

    async def _drain(self, timeout_s: float) -> None:
        """Begin no step any more: the next start does. Those that run may end, and their results are recorded."""
        if self._partition is not None:
            self._partition.steps.draining = True
            running = [step.executing for step in self._partition.steps.executing if step.executing is not None]
            if running and timeout_s > 0:
                await asyncio.wait(running, timeout=timeout_s)

    async def _leave(self, partition: Partition) -> None:
        """End what was done for a partition that has stopped."""
        if self._recovery is not None:
            self._recovery.cancel()
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        await partition.loader.stop()
        await partition.background.stop()
        await partition.left()
        if partition.committer.failed is not None:
            await partition.committer.settled()

    if not TYPE_CHECKING:  # checkers refuse a plain 'with', and should go on to

        def __enter__(self) -> None:
            raise TypeError("An App is started and closed on the event loop: write 'async with', not 'with'.")

        def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _running(self) -> Partition:
        partition = self._partition
        if partition is None:
            raise AppNotRunning("This app is not running. Use it inside 'async with app:'.")
        if _inside() is partition or _this_thread() != partition.thread or not partition.loop.is_running():
            check_entry(partition)
        return partition

    def outside(self) -> Outside:
        """`with app.outside():` allows calls of the app inside one of its handlers or steps, where they are refused.

        Such calls are not part of the invocation: each replay of the handler repeats them, so make them in a step. A call of
        the handler's own object would wait for ever. Other apps need no such permission.
        """
        return Outside()

    # --- messages -------------------------------------------------------------------------------------------------------

    def object(self, cls: type[K], key: str) -> K:
        """A typed reference to one object or workflow: `await app.object(Counter, "c1").add(5)`.

        Raises UnknownService for a class the app does not serve, BadKey, or WrongKind for a Service.
        """
        reference: Any = self._keyed.get(cls)
        if reference is None:
            reference = functools.partial(keyed, self._definition(cls))  # raises
        return reference(self, checked_key(key))  # type: ignore[no-any-return]

    def service(self, cls: type[S]) -> S:
        """A typed reference to a Service, which has no key: `await app.service(Mailer).deliver("a@b")`.

        Raises UnknownService for a class the app does not serve, or WrongKind for one with keys.
        """
        return keyless(self._definition(cls), self)  # type: ignore[no-any-return]

    def _definition(self, cls: type) -> ServiceDefinition:
        definition = self._by_class.get(cls)
        if definition is None:
            definition = definition_of(cls)
            raise UnknownService(
                f"class {cls.__qualname__} is not served by this app. Add it: App({cls.__name__}, ...)."
            )
        return definition

    def handler(self, service: str, key: str, name: str) -> BoundHandler[..., Any]:
        """A handler by name, to call, to send to, or to set options of: the same as from a reference to its class.

        The key of a Service is "". Raises UnknownService or UnknownHandler.
        """
        target = self._running().catalog.handler(service, name)
        return BoundHandler(self, target, key_for(target, key))

    def call(self, service: str, key: str, handler: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Call by name; the key of a Service is "". Raises UnknownService, UnknownHandler or BadArguments at once."""
        target = self._running().catalog.handler(service, handler)
        return self.dispatch_call(target, key_for(target, key), args, kwargs, DEFAULT_OPTIONS)

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
        """Send one way by name, after `delay` if given. If the handler has a parameter `delay`, use `app.handler(...).send(...)`."""
        target = self._running().catalog.handler(service, handler)
        if delay is not None:
            refuse_ambiguous(target, "delay")
        options = DEFAULT_OPTIONS if delay is None else Options(remaining(delay, "delay"))
        return self.dispatch_send(target, key_for(target, key), args, kwargs, options)

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        partition = self._partition
        if (
            partition is None
            or _inside() is partition
            or _this_thread() != partition.thread
            or not partition.loop.is_running()
        ):
            partition = self._running()  # raises
        text, values = target.encode(args, kwargs)
        if options is not DEFAULT_OPTIONS or target.once:
            if options.delay_ms:
                raise BadArguments(
                    "delay= goes with send: a call waits for its answer. Use .options(delay=...).send(...)."
                )
            if options.idempotency_key is not None or target.once:
                return KeyedCall(self._task(self._call_placed(Message(target, key, text, values, options))))
        invocation, future = partition.intake.accept_call(target, key, text, values, options.headers)
        return ClientCall(self, partition, invocation, future)

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        partition = self._running()
        if partition.stopped:
            partition.background.check_running()
        text, values = target.encode(args, kwargs)
        if options.idempotency_key is not None or target.once:
            return KeyedHandle(self, self._task(self._place(Message(target, key, text, values, options))))
        partition.intake.check_room(target, key, text, options.headers)
        seq = partition.ledger.next_number()
        headers = partition.intake.headers_for(options.headers, None)
        invocation = partition.intake.accept(target, key, text, values, headers, seq, None, None, options.delay_ms)
        accepted: asyncio.Future[None] = partition.loop.create_future()
        partition.committer.reply(accepted, invocation, False, invocation.dirty_in)
        return ClientHandle(self, partition, seq, accepted)

    def _task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._running().loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        mark_seen(task)

    async def _place(self, message: Message, waits: bool = False) -> tuple[int, bool]:
        """`waits` for a call, whose caller waits for its outcome."""
        partition = self._running()

        def accept() -> Invocation:
            partition.intake.check_room(message.target, message.key, message.args_text, message.options.headers)
            if waits:
                partition.intake.check_in_flight()
            return partition.intake.accept_message(message, partition.ledger.next_number(), None)

        async with partition.committer.gated(changes=True) as gate:
            seq, new = await partition.placements.place(message, accept)
            gate.id = partition.ids.invocation(seq)
            return seq, new

    async def _call_placed(self, message: Message) -> Any:
        while True:
            seq, new = await self._place(message, waits=True)
            try:
                return await self._result(seq)
            except UnknownInvocation:
                if new or await self._running().store.invocation(seq) is not None:
                    raise  # what it ended with
                # It was forgotten since it was found: now its key is free.

    # --- invocations and awakeables ---------------------------------------------------------------------------------------

    def invocation(self, id: str) -> InvocationHandle[Any]:
        """The handle of an invocation by its id. Raises BadId if this app did not make the id."""
        partition = self._running()
        return ClientHandle(self, partition, partition.ids.read_invocation(id), None)

    async def invocation_of(
        self, what: BoundHandler[..., Any] | str, /, idempotency_key: str | None = None
    ) -> InvocationHandle[Any]:
        """The invocation accepted under an idempotency key, the run of a workflow, or the invocation that made an awakeable.

            await app.invocation_of(app.object(Order, "o1").add, "k")
            await app.invocation_of(app.object(Signup, "ada").run)
            await app.invocation_of("prom_1...")

        Raises UnknownInvocation if there is none or if it is no longer kept, BadId, or BadArguments.
        """
        partition = self._running()
        if isinstance(what, str):
            seq, _ = partition.ids.read_awakeable(what)
            async with partition.committer.gated():
                await partition.committer.flushed()
                if await partition.store.invocation(seq) is None:
                    raise UnknownInvocation()
            return ClientHandle(self, partition, seq, None)
        target, key = what._definition, what._key
        if idempotency_key is None and not target.once:
            raise BadArguments(f"invocation_of({target.target}) requires the idempotency key of the call or send.")
        under = RUN if target.once else checked_idempotency_key(idempotency_key or "")
        async with partition.committer.gated():
            await partition.committer.flushed()
            row = await partition.store.find(target.service.name, key, target.name, under)
            if row is None:
                raise UnknownInvocation("No invocation was accepted under this key, or it is no longer kept.")
        return ClientHandle(self, partition, row.seq, None)

    async def describe(self, id: str) -> InvocationInfo:
        """The record of an invocation: status, arguments, outcome, steps. Raises BadId or UnknownInvocation."""
        partition = self._running()
        seq = partition.ids.read_invocation(id)
        async with partition.committer.gated():
            await partition.committer.flushed()
            row = await partition.store.invocation(seq)
            if row is None:
                raise UnknownInvocation(f"No invocation has the id {id}; it may have been removed since.")
            info = InvocationInfo.of(row, partition.ids, await steps_of(partition, row))
            return info.with_contents(row, partition.ids)

    def _info(self, row: InvocationRow) -> InvocationInfo:
        return InvocationInfo.of(row, self._running().ids)

    async def invocations(
        self,
        *,
        service: str | None = None,
        key: str | None = None,
        handler: str | None = None,
        status: str | Sequence[str] | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[InvocationInfo]:
        """Invocations that match, the newest first. `status` is one or several of InvocationInfo's, or "open".

        An empty `key` selects invocations of Services. `before` is the id of the last invocation of the previous page.
        Raises BadArguments for an unknown status.
        """
        partition = self._running()
        statuses = statuses_of(status)
        last = 2**62 if before is None else partition.ids.read_invocation(before)
        async with partition.committer.gated():
            await partition.committer.flushed()
            rows = await partition.store.listed(service, key, handler, statuses, last, limit)
            return [self._info(row) for row in rows]

    async def cancel(self, id: str) -> None:
        """Ask an invocation to end. Returns once the request is durable; it has no effect twice.

        What it has called is cancelled first; then it gets InvocationCancelled, once, at its next await, and may go on
        awaiting while it cleans up. An invocation that has not started ends at once. An invocation that backs off or is
        paused gets one attempt that notifies it, and ends if that is not possible. Messages that it has sent are not
        affected. Raises BadId, UnknownInvocation, or WrongStatus if it has ended.
        """
        await self._operate(id, lambda operations, seq: operations.cancel(seq))

    async def kill(self, id: str) -> None:
        """End an invocation, and those it has called, without running their code. Messages that they sent are not
        affected. Raises as cancel.
        """
        await self._operate(id, lambda operations, seq: operations.kill(seq))

    async def pause(self, id: str) -> None:
        """Stop an invocation where it is, across restarts, until it is resumed. It keeps its key.

        Raises BadId, UnknownInvocation, or WrongStatus if it is scheduled or has ended.
        """
        await self._operate(id, lambda operations, seq: operations.pause(seq))

    async def resume(self, id: str) -> None:
        """Start the next attempt now, with all attempts of the retry policy before it.

        Raises BadId, UnknownInvocation, or WrongStatus if it is neither paused nor backing off.
        """
        await self._operate(id, lambda operations, seq: operations.resume(seq))

    async def restart(self, id: str, keep: int = 0) -> InvocationHandle[Any]:
        """Repeat an ended invocation as a new one. Returns the new handle once that is durable.

        `keep` is a position of its journal, as the view `journal` shows them: the commands up to it, with the answers
        they have, become the beginning of the new journal and are not done again; commands after that position are done
        again. 0 keeps only the input. Kept commands without an answer go on: steps run, sleeps and deadlines end when
        they would have, awakeables stay open under new ids. Where the kept entries hold the id of the old invocation,
        or the ids of its awakeables, they are replaced by the new ids. State that the old invocation wrote goes back to
        what it was after the last kept command, if nothing has changed it since and the object is idle; otherwise it
        stays, or with kept writes CannotKeep is raised. The new invocation has no idempotency key, and no caller waits
        for it. A workflow's run begins anew with empty state and without promises, and is from now on what its key
        stands for; it takes no `keep`.

        Raises BadId, UnknownInvocation, WrongStatus if it is open, BadArguments if `keep` is not a position of its
        journal, CannotKeep (see `actors.engine.operating.restarts`) with the highest position that works, or what any new message may
        raise.
        """
        checked_keep(keep)
        invocation = await self._operate(id, lambda operations, seq: operations.restart(seq, keep))
        return ClientHandle(self, self._running(), invocation.seq, None)

    async def purge(self, id: str) -> None:
        """Forget an ended invocation, its journal and its idempotency key; of a workflow's run its state and promises too.

        Raises BadId, UnknownInvocation, or WrongStatus if it is open.
        """
        await self._operate(id, lambda operations, seq: operations.purge(seq))

    async def _operate(self, id: str, operation: Callable[[Operations, int], Coroutine[Any, Any, T]]) -> T:
        partition = self._running()
        partition.background.check_running()
        seq = partition.ids.read_invocation(id)
        async with partition.committer.gated(changes=True) as gate:
            # In a task of its own: a handler that calls this must not be stopped in the middle of its own step.
            result = await done(self._task(operation(partition.operations, seq)))
            if isinstance(result, Invocation):
                gate.id = partition.ids.invocation(result.seq)
            return result

    async def state(self, cls: type[VirtualObject] | str, key: str) -> StateInfo:
        """The durable state of one object or workflow, by class or name. Raises UnknownService, BadKey or WrongKind."""
        return await self._running().state.read(self._stateful(cls), key)

    async def patch_state(
        self,
        cls: type[VirtualObject] | str,
        key: str,
        *,
        set: Mapping[str, Any] | None = None,
        clear: Sequence[str] = (),
        if_tag: str | None = None,
        undeclared: bool = False,
    ) -> StateInfo:
        """Set state by name, and clear other names, as one step of the object. Returns once that is durable.

        Values are of the types the class declares. With `if_tag`, the tag of a StateInfo, the state is changed only if
        it still has that tag. Names that are neither declared nor there are refused unless `undeclared`. Raises
        ObjectBusy while an exclusive invocation is under way, StateChanged, CannotPatch, BadArguments, PayloadTooLarge,
        UnknownService, BadKey or WrongKind; then nothing has changed.
        """
        partition, definition = self._running(), self._stateful(cls)
        changes = encoded(definition, set or {}, clear)
        # In a task of its own: a claim on a workflow must not be given up in the middle.
        return await done(self._task(partition.state.patch(definition, key, changes, if_tag, undeclared)))

    def _stateful(self, cls: type[VirtualObject] | str) -> ServiceDefinition:
        if not isinstance(cls, str):
            return self._definition(cls)
        definition = self._services.get(cls)
        if definition is None:
            raise UnknownService(f"No service {cls[:100]!r} in this app. Add the class to App(...).")
        return definition

    def _tell_paused(self, invocation: Invocation) -> None:
        assert self._on_paused is not None
        if self._partition is None or invocation.extras is None:
            return
        self._outside.copy().run(self._tell_paused_outside, invocation)

    def _tell_paused_outside(self, invocation: Invocation) -> None:
        """It may use the app, although what leads here began with a handler."""
        assert self._on_paused is not None
        try:
            told = self._on_paused(self._info(InvocationRow(*invocation.row())))
            if inspect.isawaitable(told):
                self._task(_logged(told, "on_paused raised; the invocation stays paused"))
        except Exception:
            log.exception("on_paused raised; the invocation stays paused")

    async def awakeables(self, limit: int = 1000) -> list[AwakeableInfo]:
        """The awakeables that wait for a completion, oldest first."""
        partition = self._running()
        async with partition.committer.gated():
            await partition.committer.flushed()
            pending = await partition.store.pending_awakeables(limit)
        return [
            AwakeableInfo(
                partition.ids.awakeable(seq, index),
                partition.ids.invocation(seq),
                service,
                key,
                handler,
                moment(since_ms),
                moment(deadline_ms) if deadline_ms is not None else None,
            )
            for seq, index, service, key, handler, since_ms, deadline_ms in pending
        ]

    async def resolve_awakeable(self, id: str, value: Any = None) -> None:
        """Complete an awakeable with a value. Returns once that is durable; the same completion again has no effect.

        Raises BadId, UnknownAwakeable, AwakeableCompleted (it has another completion), or BadArguments if the type that
        waits does not accept the value; then it stays open.
        """
        partition = self._running()
        seq, index = partition.ids.read_awakeable(id)
        await partition.awakeables.complete(seq, index, Payload(Kind.COMPLETED, value=value))

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Make the awaiting handler fail with AwakeableRejected(reason). Raises as resolve_awakeable does."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject_awakeable requires the reason as a str, got {type(reason).__name__}.")
        partition = self._running()
        seq, index = partition.ids.read_awakeable(id)
        await partition.awakeables.complete(seq, index, Payload(Kind.FAILED, reason=reason))

    async def _result(self, seq: int) -> Any:
        partition = self._running()
        partition.background.check_running()
        invocation = partition.residents.open.get(seq)
        if invocation is None:
            async with partition.committer.gated():
                await partition.committer.flushed()  # it may have ended in the batch that is still open
                row = await partition.store.invocation(seq)
                if row is None:
                    raise UnknownInvocation()
            if row.status >= Status.SUCCEEDED:
                definition = self._services.get(row.service)
                handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition else None
                return outcome_of(handler, row.status, row.outcome)
            future: asyncio.Future[Any] = partition.loop.create_future()
            async with partition.loader.holding(seq) as restored:
                if restored is None:
                    return await self._result(seq)  # it ended meanwhile
                partition.background.check_running()
                _add_waiter(restored, future)
            return await future
        future = partition.loop.create_future()
        _add_waiter(invocation, future)
        return await future


def _threads_only(executor: Executor | None) -> Executor | None:
    """The executor, if it can run the functions of steps, which cannot leave this process. Raises DefinitionError."""
    if executor is not None and not isinstance(executor, Executor):
        raise DefinitionError(f"App(executor=...) requires an Executor such as ThreadPoolExecutor(), got {executor!r}.")
    for module, name in (("process", "ProcessPoolExecutor"), ("interpreter", "InterpreterPoolExecutor")):
        loaded = sys.modules.get(f"concurrent.futures.{module}")  # importing it costs time, and it may not be needed
        if loaded is not None and isinstance(executor, getattr(loaded, name)):
            raise DefinitionError(
                f"App(executor={name}(...)) cannot run steps: their functions stay in this process. Leave executor= out, and "
                "in an async step await asyncio.get_running_loop().run_in_executor(pool, function, ...)."
            )
    return executor


def _debug(given: bool | None) -> bool:
    """The argument, or the value in the environment. Raises DefinitionError."""
    if isinstance(given, bool):
        return given
    if given is not None:
        raise DefinitionError(f"App(debug=...) requires True or False, got {given!r}.")
    text = os.environ.get(DEBUG_VARIABLE, "")
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("", "0", "false", "no", "off"):
        return False
    raise DefinitionError(f"{DEBUG_VARIABLE}={text[:40]!r} is not a valid value. Use 1 or 0.")


def _option(name: str, given: T | None, cls: type[T]) -> T:
    """What was given, or the default. Raises DefinitionError for what is of another class."""
    if given is not None and not isinstance(given, cls):
        raise DefinitionError(f"App({name}=...) requires {cls.__name__}(...), got {given!r}.")
    return given if given is not None else cls()


def _add_waiter(invocation: Invocation, future: asyncio.Future[Any]) -> None:
    if invocation.waiters is None:
        invocation.waiters = []
    waiters = invocation.waiters
    waiters.append(future)

    def forget(future: asyncio.Future[Any]) -> None:
        if future.cancelled() and future in waiters:  # the caller has gone
            waiters.remove(future)

    future.add_done_callback(forget)


# The Apps that have opened a file, unless nothing refers to them any more. Apps on other threads add themselves, which a WeakSet
# cannot bear while it is looked through: a set is copied in one go.
_apps: set[weakref.ref[App]] = set()


def _has_opened(app: App | None, path: str) -> bool:
    return app is not None and app._file == path


def _weakly(method: Callable[[BaseException], None]) -> Callable[[BaseException], None]:
    """Timers and tasks hold a partition as long as it runs. They must not hold its App: one that nothing else refers to closes."""
    reference = weakref.WeakMethod(method)

    def call(error: BaseException) -> None:
        alive = reference()
        if alive is not None:
            alive(error)

    return call


async def _logged(told: Awaitable[Any], otherwise: str) -> None:
    try:
        await told
    except Exception:
        log.exception(otherwise)


def database_path(storage: str) -> str:
    """The path in a storage URL, or ":memory:". Raises DefinitionError."""
    prefix = "sqlite:///"
    if storage == "sqlite://":
        return ":memory:"
    if isinstance(storage, str) and storage.startswith(prefix) and len(storage) > len(prefix):
        return storage[len(prefix) :]
    raise DefinitionError(
        f"storage={storage!r} is not a valid storage URL. Use {_example(storage)!r}, or 'sqlite://' for memory only."
    )


def _example(storage: object) -> str:
    plain = isinstance(storage, str) and storage and "://" not in storage
    return f"sqlite:///{storage}" if plain else "sqlite:///file.db"
