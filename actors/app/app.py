"""The application: which classes are served, where their records are, and the way in from outside."""

from __future__ import annotations

import asyncio
import datetime
import functools
import inspect
import random as random_module
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from actors.app.entry import Outside
from actors.app.gateway import Gateway
from actors.app.handles import ClientCall, ClientHandle, KeyedCall, KeyedHandle
from actors.app.lifecycle import Lifecycle
from actors.app.lifecycle import Options as LifeOptions
from actors.app.listing import AwakeableInfo, InvocationInfo
from actors.app.operators import Operators
from actors.app.options import database_path, debugging, option, threads_only
from actors.app.partitions import Partitions
from actors.app.trouble_watch import TroubleWatch
from actors.engine.clock import Clock, SystemClock
from actors.engine.operating.state_access import StateInfo, encoded
from actors.engine.partition import PARTS, Partition, Parts
from actors.engine.watching import Watcher, as_one
from actors.errors import BadArguments, DefinitionError, UnknownService
from actors.http_options import HttpOptions
from actors.model.bound_handler import BoundHandler, refuse_ambiguous
from actors.model.calls import Call, InvocationHandle
from actors.model.catalog import Catalog
from actors.model.definitions import HandlerDefinition, ServiceDefinition, definition_of, key_for
from actors.model.durations import milliseconds, remaining
from actors.model.engine_options import EngineOptions
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
from actors.storage.port import Store
from actors.storage.records import RUN

K = TypeVar("K", bound=VirtualObject)
S = TypeVar("S", bound=Service)


_inside = inside.get
# asyncio._get_running_loop asks the system for the process at each call: five times as slow.
_this_thread = threading.get_ident

POLL = 0.25  # seconds between two looks for requests of the command line: one read of an empty table


class App:
    """What `actors.App` does without HTTP: `actors.transport.served.App` adds that, and says what the options mean."""

    _parts: ClassVar[Parts] = PARTS  # a simulation watches some of them in a subclass
    _closes_with_loop: ClassVar[bool] = True

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
        watcher: Watcher | Sequence[Watcher] | None = None,
        on_stopped: Callable[[BaseException], Any] | None = None,
        on_trouble: Callable[[Mapping[str, Any]], Any] | None = None,
        debug: bool | None = None,
    ) -> None:
        self.http = option("http", http, HttpOptions)
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
        for name, hook, takes in (("stopped", on_stopped, "the error"), ("trouble", on_trouble, "the cause")):
            if hook is not None and not callable(hook):
                raise DefinitionError(f"App(on_{name}=...) requires a function that takes {takes}, got {hook!r}.")
        self._partitions = Partitions(Catalog(self._services), option("limits", limits, Limits))
        self._operators = operators = Operators(self._partitions)
        clock = clock or SystemClock()
        watch = None
        if on_trouble is not None:
            watch = TroubleWatch(operators.trouble, operators.ids, on_trouble, clock, self._partitions.task)
        self._poll = poll
        options = LifeOptions(
            clock,
            random or random_module.Random(),
            option("retry", retry, RetryPolicy),
            threads_only(executor),
            as_one(watcher),
            on_paused,
            on_stopped,
            debugging(debug),
            self._parts,
            self._closes_with_loop,
            watch.run if watch is not None else None,
        )
        self._life = Lifecycle(self._partitions, options, store, "", 0)
        self.store_in(storage)
        life = self._life
        self._gateway = Gateway(
            self._partitions, operators, lambda: life.recoveries.count, lambda: life.file or life.path
        )

    def store_in(self, storage: str) -> None:
        """Use this database, before the app starts: `actors serve --db`. Raises DefinitionError."""
        life = self._life
        life.path = database_path(storage)
        poll = self._poll
        if poll is None:
            poll = POLL if life.store is None and life.path != ":memory:" else 0
        life.poll_ms = milliseconds(poll, "poll") or int(bool(poll))  # not 0: that means never

    def engine_options(self) -> EngineOptions:
        """What another engine needs to run the classes of this app, which is not started then."""
        options = self._life.options
        return EngineOptions(
            self._partitions.catalog, self._partitions.limits, options.retry, options.executor, options.debug
        )

    async def start(self) -> None:
        """Open the database and go on with everything that was open. Raises StorageError or a subclass."""
        await self._life.start()

    async def recover(self) -> None:
        """Start again after the app has stopped because its database failed. All open invocations go on.

        It tries until the file can be used, with pauses of up to two seconds. References and handles stay valid. Concurrent
        callers share one recovery; it goes on if their await is cancelled, and `close` ends it. Does nothing while the app
        runs. Raises a failure that lasts: the file is owned by another process, was replaced or is damaged, or an internal
        error. Raises AppNotRunning if the app was not started, or is closed meanwhile.
        """
        await self._life.recover()

    async def close(self) -> None:
        """Stop taking work, leave handlers where they are, write what is open, release the file. They go on at the next start."""
        await self._life.close()

    async def _stopped(self) -> None:
        await self._life.stopped()

    def _executing(self) -> list[str]:
        return self._life.executing()

    async def _drain(self, timeout_s: float) -> None:
        await self._life.drain(timeout_s)

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

    @property
    def _partition(self) -> Partition | None:
        return self._partitions.current

    def _running(self) -> Partition:
        return self._partitions.entered()

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
        partition = self._partitions.current  # `of_key`, for what is most frequent
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
                placed = self._gateway.call_placed(Message(target, key, text, values, options))
                return KeyedCall(self._partitions.task(placed))
        invocation, future = partition.intake.accept_call(target, key, text, values, options.headers)
        return ClientCall(self._gateway, partition, invocation, future)

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        partition = self._running()
        if partition.stopped:
            partition.background.check_running()
        text, values = target.encode(args, kwargs)
        if options.idempotency_key is not None or target.once:
            placing = self._gateway.place(Message(target, key, text, values, options))
            return KeyedHandle(self._gateway, self._partitions.task(placing))
        partition.intake.check_room(target, key, text, options.headers)
        seq = partition.ledger.next_number()
        headers = partition.intake.headers_for(options.headers, None)
        invocation = partition.intake.accept(target, key, text, values, headers, seq, None, None, options.delay_ms)
        accepted: asyncio.Future[None] = partition.loop.create_future()
        partition.committer.reply(accepted, invocation, False, invocation.dirty_in)
        return ClientHandle(self._gateway, partition, seq, accepted)

    # --- invocations and awakeables ---------------------------------------------------------------------------------------

    def invocation(self, id: str) -> InvocationHandle[Any]:
        """The handle of an invocation by its id. Raises BadId if this app did not make the id."""
        partition = self._running()
        return ClientHandle(self._gateway, partition, partition.ids.read_invocation(id), None)

    async def invocation_of(
        self, what: BoundHandler[..., Any] | str, /, idempotency_key: str | None = None
    ) -> InvocationHandle[Any]:
        """The invocation accepted under an idempotency key, the run of a workflow, or the invocation that made an awakeable.

            await app.invocation_of(app.object(Order, "o1").add, "k")
            await app.invocation_of(app.object(Signup, "ada").run)
            await app.invocation_of("prom_1...")

        Raises UnknownInvocation if there is none or if it is no longer kept, BadId, or BadArguments.
        """
        gateway = self._gateway
        if isinstance(what, str):
            seq = await gateway.made_awakeable(what)
        else:
            target, key = what._definition, what._key
            if idempotency_key is None and not target.once:
                raise BadArguments(f"invocation_of({target.target}) requires the idempotency key of the call or send.")
            seq = await gateway.found(
                target, key, RUN if target.once else checked_idempotency_key(idempotency_key or "")
            )
        return ClientHandle(gateway, self._running(), seq, None)

    async def describe(self, id: str) -> InvocationInfo:
        """The record of an invocation: status, arguments, outcome, steps. Raises BadId or UnknownInvocation."""
        return await self._operators.describe(id)

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
        return await self._operators.invocations(
            service=service, key=key, handler=handler, status=status, limit=limit, before=before
        )

    async def cancel(self, id: str) -> None:
        """Ask an invocation to end. Returns once the request is durable; a second request has no effect.

        Its calls are cancelled first; then the invocation gets InvocationCancelled, once, at its next await, and may go on
        awaiting while it cleans up. An invocation that has not started ends at once. An invocation that backs off or is
        paused gets one attempt that notifies it, and ends if that is not possible. Messages that it has sent are not
        affected. Raises BadId, UnknownInvocation, or WrongStatus if it has ended.
        """
        await self._operators.operate("cancel", id)

    async def kill(self, id: str) -> None:
        """End an invocation, and those it has called, without running their code. Messages that they sent are not
        affected. Raises as cancel.
        """
        await self._operators.operate("kill", id)

    async def pause(self, id: str) -> None:
        """Stop an invocation where it is, across restarts, until it is resumed. It keeps its key.

        Raises BadId, UnknownInvocation, or WrongStatus if it is scheduled or has ended.
        """
        await self._operators.operate("pause", id)

    async def resume(self, id: str) -> None:
        """Start the next attempt now, with all attempts of the retry policy before it.

        Raises BadId, UnknownInvocation, or WrongStatus if it is neither paused nor backing off.
        """
        await self._operators.operate("resume", id)

    async def restart(self, id: str, keep: int = 0) -> InvocationHandle[Any]:
        """Repeat an ended invocation as a new one. Returns the new handle once that is durable.

        `keep` is a position of its journal, as the view `journal` shows them: the commands up to it, with the answers
        they have, become the beginning of the new journal and are not done again; commands after that position are done
        again. 0 keeps only the input. Kept commands without an answer go on: steps run, sleeps and deadlines end when
        they would have, awakeables stay open under new ids. Where the kept entries hold the id of the old invocation,
        or the ids of its awakeables, they are replaced by the new ids. State that the old invocation wrote goes back to
        its value after the last kept command, if nothing has changed it since and the object is idle; otherwise it
        stays, or with kept writes CannotKeep is raised. The new invocation has no idempotency key, and no caller waits
        for it. A workflow's run begins anew with empty state and without promises, and is from now on what its key
        stands for; it takes no `keep`.

        Raises BadId, UnknownInvocation, WrongStatus if it is open, BadArguments if `keep` is not a position of its
        journal, CannotKeep (see `actors.engine.operating.restarts`) with the highest position that works, or what any new message may
        raise.
        """
        return self.invocation(await self._operators.restart(id, keep))

    async def purge(self, id: str) -> None:
        """Forget an ended invocation, its journal and its idempotency key; of a workflow's run its state and promises too.

        Raises BadId, UnknownInvocation, or WrongStatus if it is open.
        """
        await self._operators.operate("purge", id)

    async def state(self, cls: type[VirtualObject] | str, key: str) -> StateInfo:
        """The durable state of one object or workflow, by class or name. Raises UnknownService, BadKey or WrongKind."""
        return await self._operators.state(self._stateful(cls), key)

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
        definition = self._stateful(cls)
        changes = encoded(definition, set or {}, clear)
        return await self._operators.patch_state(definition, key, changes, if_tag, undeclared)

    def _stateful(self, cls: type[VirtualObject] | str) -> ServiceDefinition:
        if not isinstance(cls, str):
            return self._definition(cls)
        return self._operators.stateful(cls)

    async def awakeables(self, limit: int = 1000) -> list[AwakeableInfo]:
        """The awakeables that wait for a completion, oldest first."""
        return await self._operators.awakeables(limit)

    async def resolve_awakeable(self, id: str, value: Any = None) -> None:
        """Complete an awakeable with a value. Returns once that is durable; the same completion again has no effect.

        Raises BadId, UnknownAwakeable, AwakeableCompleted (it has another completion), or BadArguments if the type that
        waits does not accept the value; then it stays open.
        """
        await self._gateway.resolve(id, value=value)

    async def reject_awakeable(self, id: str, reason: str) -> None:
        """Make the awaiting handler fail with AwakeableRejected(reason). Raises as resolve_awakeable does."""
        if not isinstance(reason, str):
            raise BadArguments(f"reject_awakeable requires the reason as a str, got {type(reason).__name__}.")
        await self._gateway.reject(id, reason)
