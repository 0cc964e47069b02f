"""One partition: the deterministic state machine that owns a share of the objects and one database file.

Everything here happens on one event loop, in turns. A turn runs every handler that can go on, as far as it can, and
appends what they did to the open batch; then the batch is handed to the disk. No method waits for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from random import Random
from typing import Any

import msgspec

from actors import endings, failures
from actors.alarms import Alarms
from actors.attachments import Attachments
from actors.attempt.attempt import Attempt
from actors.attempt.branches import TaskFactory, see_tasks
from actors.attempt.cleanup import CLEAN_UP_S
from actors.attempt.invocation import (
    MISSING,
    Invocation,
    Mailbox,
    Running,
    StepWork,
    Work,
    changed_kind,
    ids_of,
    own_key,
)
from actors.awakeables import Awakeables
from actors.clock import Clock
from actors.committer import Committer, may_have_been_done, refuse
from actors.deadlocks import Deadlocks
from actors.errors import (
    AppNotRunning,
    BadKey,
    DefinitionError,
    MailboxFull,
    OutcomePending,
    Overloaded,
    PayloadTooLarge,
    TerminalError,
    UnknownHandler,
    UnknownService,
    failure_text,
    short_reason,
)
from actors.gauges import Gauges
from actors.host import slotted
from actors.journal.entries import Entry, Kind
from actors.journal.ids import IdMint
from actors.journal.journal import Journal
from actors.loader import Loader
from actors.model.definitions import HandlerDefinition, ServiceDefinition, definition_of
from actors.model.inside import inside
from actors.model.limits import Limits
from actors.model.message import Message
from actors.model.object_state import ObjectState
from actors.model.options import Options
from actors.model.retry import RetryPolicy
from actors.operations import Operations
from actors.placements import Placements
from actors.promises import Promises
from actors.requests import Requests
from actors.residence import Residence
from actors.retention import Retention
from actors.serde import Codec
from actors.serde.type_names import shortened
from actors.step_threads import StepThreads
from actors.steps import Step
from actors.storage import (
    OWN_KEY,
    RUN,
    Flag,
    InvocationRow,
    JournalRow,
    Mode,
    ObjectRecord,
    OpenedDatabase,
    Status,
    StorageError,
)
from actors.storage.port import Store
from actors.ticks import Ticks
from actors.timers import DELIVER
from actors.turns import NUMBERS_RESERVED, Ledger, Mark
from actors.watching import Counts, Watcher, trace_headers
from actors.workflows import Workflows

log = logging.getLogger("actors")

# A global is read at half the cost of a class attribute.
_RUNNING, _BLOCKED, _PAUSED, _SUCCEEDED = Status.RUNNING, Status.BLOCKED, Status.PAUSED, Status.SUCCEEDED

KEYLESS = Mode.KEYLESS
_headers_text = msgspec.json.Encoder().encode


class Partition(Ledger):
    """See the module. Seams are arguments: store, clock, random numbers, executor, loop."""

    def __init__(
        self,
        services: dict[str, ServiceDefinition],
        store: Store,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        rng: Random,
        executor: Executor,
        retry: RetryPolicy,
        limits: Limits,
        on_paused: Callable[[Invocation], None] | None,
        watcher: Watcher | None,
        on_stopped: Callable[[BaseException], None] | None = None,
        debug: bool = False,
    ) -> None:
        self.services = services
        self.debug = debug
        self.store = store
        self.loop = loop
        self.thread = threading.get_ident()  # the one that runs the loop
        self.clock = clock
        self.rng = rng
        self.executor = executor
        self.retry = retry
        self.limits = limits
        self.max_payload = limits.max_payload
        self._max_pending = limits.max_pending
        self._max_key = limits.max_key
        self._max_in_flight = limits.max_in_flight
        self.on_paused = on_paused
        self.watcher = watcher
        self._on_stopped = on_stopped
        self.secret = bytes(32)  # the secret of the file, which identifies it under any path
        self.counts = Counts()
        policies = [handler.retry for service in services.values() for handler in service.handlers.values()]
        self.longest_retry_ms = round(
            1000 * max(policy.max_interval for policy in (retry, *policies) if policy is not None)
        )
        self.turn_ms = clock.now_ms()  # when this turn began: good enough for records, not for deadlines
        self.residence = Residence(self, limits.max_objects, limits.max_waiting, limits.suspend_after_ms)
        self.committer = Committer(store, loop, self.fail, self.residence.handed_over, self.unanswered)
        self.loader = Loader(self, store)
        self.awakeables = Awakeables(self, store)
        self.alarms = Alarms(self)
        self.attachments = Attachments(self)
        self.placements = Placements(self)
        self.deadlocks = Deadlocks(self)
        self.step_threads = StepThreads(executor, clock)
        self.executing: set[Step] = set()  # the steps whose functions are being executed, or wait for a thread
        self.operations = Operations(self)
        self.promises = Promises(self)
        self.workflows = Workflows(self)
        self.requests = Requests(self)
        self.ticks = Ticks(self)
        self.gauges = Gauges(self)
        self.retention = Retention(self, limits.retention_ms, limits.max_retained, limits.idempotency_retention_ms)
        # Futures of callers in this process whose invocations are not in memory, by seq.
        self.absent_waiters: dict[int, list[asyncio.Future[Any]]] = {}
        self.leaving: set[asyncio.Future[Any]] = set()  # clean-ups of closed handlers that have not ended
        self.open: dict[int, Invocation] = {}  # open invocations in memory, by seq
        self.draining = False  # no step begins any more
        self.steps_left: list[str] = []  # those whose functions go on although it has stopped
        self.stopped = False
        self.closing = False  # stopped by its owner: what it has accepted is written
        self.failure: BaseException | None = None
        self.ids = IdMint(bytes(32))
        # Inside a shared handler, type(self) is the class's reader.
        self._by_class = {cls: known for known in services.values() for cls in known.classes()}
        self._objects: dict[str, dict[str, Mailbox]] = {name: {} for name in services}
        self._ready: deque[Running | Mark] = deque()
        self._revived: list[Running] = []  # while turns are held
        self._turn_scheduled = self._in_turn = self._held = False
        self._entering: list[Invocation] | None = None
        self._tasks: TaskFactory | None = None
        self.stopping: set[int] = set()  # about to end without their code, once what they have sent is placed
        # Paused by this process: when it is loaded again it is not tried again.
        self.paused_here: set[int] = set()
        self._next = self._reserve_at = 0
        self.variables = contextvars.copy_context()  # handlers start from these, not from some caller's
        self.variables.run(inside.set, self)
        # What attempts reach; see attempt.ports.Host.
        self.turns = self
        self.waiting, self.waits = self.residence.waiting, self.residence.waits
        self.lanes = self.placements.lanes
        self.under_way, self.place_message = self.placements.under_way, self.placements.begin
        self.add_timer = self.alarms.add
        self.hold_while, self.unpin = self.loader.spawn, self.loader.unpin
        self.cancel, self.called = self.operations.begin_cancel, self.operations.called
        self.complete_awakeable = self.awakeables.complete_for
        self.attach = self.attachments.begin
        self.wait_promise, self.peek_promise = self.promises.wait, self.promises.peek
        self.complete_promise = self.promises.complete_for
        self.attempt_failed = functools.partial(failures.attempt_failed, self)
        self.pushed_back = functools.partial(failures.pushed_back, self)
        self.pause = functools.partial(failures.pause, self)
        self.trace_mistake = functools.partial(failures.trace_mistake, self)
        self.host = slotted(self)

    async def begin(self, opened: OpenedDatabase) -> None:
        """Start from what the database says is to be done."""
        self.see_tasks()
        self.secret = opened.secret
        self.ids = self.host.ids = IdMint(opened.secret)  # type: ignore[misc]
        self.variables.run(ids_of.set, self.ids)
        self._next = opened.next_number
        self._reserve_at = opened.next_number + NUMBERS_RESERVED // 2
        if opened.requests:
            self._held = self._turn_scheduled = True
        await self.ticks.open()
        await self.alarms.open()
        self.retention.begin(opened.ended)
        self.ticks.begin()
        if opened.settled:
            self.loader.background(self.attachments.settle(opened.settled))
        if opened.requests:
            await self.requests.apply(opened.requests)
            self._held = False
            self._revived.clear()
            self._schedule_turn()

    def see_tasks(self) -> None:
        """From now on, until it is halted, the tasks that handlers start are known."""
        self._tasks = see_tasks(self.loop)

    async def left(self) -> None:
        """Return when what the handlers that were closed await in their clean-up is done. It takes bounded time."""
        if self.leaving:
            await asyncio.wait(self.leaving, timeout=CLEAN_UP_S)

    # --- turns ----------------------------------------------------------------------------------------------------------

    # --- accepting ------------------------------------------------------------------------------------------------------

    def handler(self, service: str, name: str, run: bool = False) -> HandlerDefinition:
        """`run` for what was accepted as the run of a workflow: see ServiceDefinition. Raises UnknownService or UnknownHandler."""
        definition = self.services.get(service)
        if definition is None:
            served = ", ".join(sorted(self.services)) or "none"
            raise UnknownService(f"No service {service!r} in this app. Served: {served}. Add the class to App(...).")
        handler = definition.handler(name, run)
        if handler is None:
            known = ", ".join(sorted(definition.handlers)) or "none"
            raise UnknownHandler(f"{service} has no handler {name!r}. Its handlers: {known}.")
        return handler

    def definition(self, cls: Any) -> ServiceDefinition:
        """The definition of a served class. Raises UnknownService, or DefinitionError for any other class."""
        definition = self._by_class.get(cls)
        if definition is None:
            definition_of(cls)
            raise UnknownService(
                f"class {cls.__qualname__} is not served by this app. Add it: App({cls.__name__}, ...)."
            )
        return definition

    def accept(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
        seq: int,
        parent: int | None,
        parent_index: int | None,
        delay_ms: int = 0,
        idempotency_key: str | None = None,
    ) -> Invocation:
        """Take a message in, as part of the open batch. `check_room` has said that it can be."""
        # Only a keyless service has no key: each of its invocations has a mailbox of its own.
        now_ms = self.turn_ms if self._in_turn else self.clock.now_ms()
        invocation = Invocation(seq, target, key or own_key(seq), args_text, args, now_ms)
        if seq + 1 != self._next:  # its number was given out before: its place in the mailbox is the current one
            invocation.position = self.next_number()
        invocation.parent = parent
        invocation.parent_index = parent_index
        if headers:
            invocation.more().headers = _headers_text(headers).decode()
        if idempotency_key is not None:
            invocation.more().idempotency_key = idempotency_key
        self.open[seq] = invocation
        self.mark(invocation)
        if delay_ms:
            invocation.status = Status.SCHEDULED
            due_ms = invocation.position = self.clock.due_ms(delay_ms)  # it has no place in a mailbox yet
            self.alarms.add(due_ms, invocation, DELIVER)
            self.residence.scheduled(invocation)
        else:
            self._enqueue(invocation)
        return invocation

    def accept_message(
        self,
        message: Message,
        seq: int,
        caller: Invocation | None,
        parent: int | None = None,
        parent_index: int | None = None,
    ) -> Invocation:
        """`accept` for a message with an idempotency key."""
        options = message.options
        return self.accept(
            message.target,
            message.key,
            message.args_text,
            message.values,
            self.headers_for(options.headers, caller),
            seq,
            parent,
            parent_index if parent is not None else None,
            options.delay_ms,
            message.idempotency_key,
        )

    def headers_for(self, headers: dict[str, str] | None, caller: Invocation | None) -> dict[str, str] | None:
        """What a message of this handler, or of none, is given: the trace context, unless it brings its own."""
        if self.watcher is not None:
            inherited = self.watcher.headers(caller)
        else:
            inherited = trace_headers(caller) if caller is not None and caller.extras is not None else None
        if inherited is None or (headers is not None and "traceparent" in headers):
            return headers
        return {**inherited, **headers} if headers else inherited

    def deliver_scheduled(self, invocation: Invocation) -> None:
        """Its time has come: its place in the mailbox is behind what waits there now."""
        invocation.status = Status.PENDING
        invocation.position = self.next_number()
        self.mark(invocation)
        self._enqueue(invocation)

    def check_room(
        self, target: HandlerDefinition, key: str, args_text: str, headers: dict[str, str] | None = None
    ) -> None:
        """Raise BadKey, MailboxFull or PayloadTooLarge if this message cannot be taken in."""
        if len(key) > self._max_key:
            self.check_key(key)
        if headers and (size := len(_headers_text(headers))) > self.limits.max_stored_headers:
            raise PayloadTooLarge(
                f"The headers for {target.target} take {size:,} bytes; max_stored_headers of the app allows "
                f"{self.limits.max_stored_headers:,}."
            )
        if len(args_text) > self.max_payload:
            raise PayloadTooLarge(
                f"The arguments of {target.target} are {len(args_text):,} characters of JSON; max_payload of the "
                f"app allows {self.max_payload:,}. Store large data elsewhere and pass a reference to it."
            )
        mailbox = self._objects[target.service.name].get(key)
        if mailbox is not None and mailbox.length >= self._max_pending and not target.shared:
            raise MailboxFull(
                f"{target.service.name}/{key} has {mailbox.length:,} messages waiting, the maximum (max_pending "
                "of the app). Try again later."
            )

    def final(
        self, error: TerminalError, sender: Invocation, target: HandlerDefinition, key: str, options: Options
    ) -> bool:
        """Whether a handler gets what refuses its message. A full mailbox is back-pressure: the sender backs off.

        Unless it says otherwise, or the object can do nothing before the sender ends: there would never be room.
        """
        if not isinstance(error, MailboxFull) or options.fail_when_full:
            return True
        return self.deadlocks.waits_for(target.service.name, key, sender)

    def message_pushed_back(self, sender: Invocation, index: int, error: TerminalError) -> None:
        """A message that is placed beside its handler met a full mailbox: the next attempt places it again."""
        if sender.work is not None:
            sender.work.pop(index, None)
        if sender.attempt is not None:
            failures.pushed_back(self, sender, error)

    def accept_call(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
    ) -> tuple[Invocation, asyncio.Future[Any]]:
        """Take a call in from outside; the future has its outcome once that is durable.

        No acknowledgement has been sent yet, so the row need not be written until a cold object is loaded, with which
        it then ends in one batch, and never if a shared handler only reads.
        """
        if self.stopped:
            self.check_running()
        mailbox = self._objects[target.service.name].get(key)
        if (
            (mailbox is not None and mailbox.length >= self._max_pending)
            or len(args_text) > self.max_payload
            or len(key) > self._max_key
            or headers
        ):
            self.check_room(target, key, args_text, headers)
        if len(self.open) >= self._max_in_flight:
            self.check_in_flight()
        seq = self._next
        if seq < self._reserve_at:
            self._next = seq + 1
        else:
            seq = self.next_number()
        invocation = Invocation(seq, target, key or own_key(seq), args_text, args, self.clock.now_ms())
        if self.watcher is not None:
            headers = self.headers_for(headers, None)
        if headers:
            invocation.more().headers = _headers_text(headers).decode()
        self.open[seq] = invocation
        future: asyncio.Future[Any] = self.loop.create_future()
        invocation.waiters = [future]
        if mailbox is None or mailbox.state is None:
            self._enqueue(invocation)
            return invocation, future
        invocation.mailbox = mailbox
        if mailbox.current is None and not invocation.shared:  # _deliver and start, for what is most frequent
            mailbox.recent = True
            mailbox.current = invocation
            invocation.status = _RUNNING
            attempt = invocation.attempt = Attempt(self.host, invocation, mailbox.state)
            self._ready.append(attempt)
        else:
            self._deliver(mailbox, invocation)
        if not invocation.shared:
            batch = self.committer.batch
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turn_scheduled:  # it waits behind another one: nothing else would write it
                self._schedule_turn()
        return invocation, future

    def check_key(self, key: str) -> None:
        """Raise BadKey for one that is too long."""
        if len(key) > self._max_key:
            raise BadKey(
                f"The key {shortened(key)} is {len(key):,} characters long; max_key of the app allows {self._max_key:,}."
            )

    def check_in_flight(self) -> None:
        """Raise Overloaded if a call from outside cannot be taken in."""
        if len(self.open) >= self._max_in_flight:
            raise Overloaded(
                f"{len(self.open):,} invocations are in flight, the maximum (max_in_flight of the app). Try again "
                "later."
            )

    def check_running(self) -> None:
        if self.stopped:
            if self.failure is not None:
                raise self.failure.with_traceback(None)  # raised often: each time would add to the traceback
            raise AppNotRunning("This app is not running. Use it inside 'async with app:'.")

    def mailbox(self, service: str, key: str) -> Mailbox:
        """The object's mailbox; a cold one starts to load."""
        mailbox = self.known(service, key)
        if mailbox is None:
            mailbox = self.enter(service, key)
            self.loader.request(mailbox)
        return mailbox

    def known(self, service: str, key: str) -> Mailbox | None:
        """The mailbox of an object that is in memory or about to be."""
        objects = self._objects.get(service)
        return objects.get(key) if objects is not None else None

    def enter(self, service: str, key: str) -> Mailbox:
        """A mailbox for a cold object. The caller loads it."""
        mailbox = self._objects.setdefault(service, {})[key] = Mailbox(service, key)
        return mailbox

    def _own_mailbox(self, invocation: Invocation) -> Mailbox:
        """The mailbox of one invocation of a keyless service, born loaded: nothing is stored for it to read.

        It is evicted when the invocation sleeps or has ended.
        """
        mailbox = Mailbox(invocation.service, invocation.key)
        mailbox.state = ObjectState(self.services.get(invocation.service), {})
        self._objects[invocation.service][invocation.key] = mailbox
        self.mark(invocation)  # there is no load with which its row would be written
        return mailbox

    def _enqueue(self, invocation: Invocation) -> None:
        if invocation.mode == KEYLESS and invocation.handler is not None:
            mailbox = self._own_mailbox(invocation)
        else:
            objects = self._objects.get(invocation.service)  # `mailbox`, for an object in memory
            known = objects.get(invocation.key) if objects is not None else None
            mailbox = known if known is not None else self.mailbox(invocation.service, invocation.key)
        invocation.mailbox = mailbox
        if mailbox.state is None:
            if mailbox.arrivals is None:
                mailbox.arrivals = []
            mailbox.arrivals.append(invocation)
            mailbox.length += 1
        else:
            self._deliver(mailbox, invocation)

    def _deliver(self, mailbox: Mailbox, invocation: Invocation) -> None:
        mailbox.recent = True
        if invocation.shared:
            mailbox.readers += 1
            if invocation.status != _PAUSED:
                self.start(invocation)
        elif mailbox.current is None:
            mailbox.current = invocation
            if invocation.status != _PAUSED:
                self.start(invocation)
        else:
            mailbox.append(invocation)
            if invocation.parent is not None or invocation.has(Flag.ATTACHED):
                if self._entering is not None:
                    self._entering.append(invocation)
                else:
                    self.deadlocks.check_queued(invocation)

    def start(self, invocation: Invocation) -> None:
        handler = invocation.handler
        if handler is None:
            self._pause_unknown(invocation)
            return
        if self.stopped or (self.stopping and invocation.seq in self.stopping):
            return  # a resume, for example, that was still looking for it when the app stopped
        invocation.status = _RUNNING
        assert invocation.mailbox is not None and invocation.mailbox.state is not None
        attempt = invocation.attempt = Attempt(self.host, invocation, invocation.mailbox.state)
        self._ready.append(attempt)
        if not self._turn_scheduled:
            self._schedule_turn()

    def _pause_unknown(self, invocation: Invocation) -> None:
        reason = changed_kind(invocation.service, invocation.mode)
        try:
            if (self.handler(invocation.service, invocation.handler_name).mode == KEYLESS) == (
                invocation.mode == KEYLESS
            ):
                reason = (
                    invocation.extras.reason if invocation.extras is not None else None
                ) or reason  # see `restore`
        except (UnknownService, UnknownHandler) as error:
            reason = str(error)
        failures.pause(self, invocation, reason, DefinitionError(reason))

    # --- cold objects ---------------------------------------------------------------------------------------------------

    def restore(self, row: InvocationRow, journal: list[JournalRow] | None) -> Invocation:
        """Bring a stored open invocation into memory, asleep."""
        definition = self.services.get(row.service)
        handler = definition.handler(row.handler, row.idempotency_key == RUN) if definition is not None else None
        if handler is not None and (row.shared == KEYLESS) != (handler.mode == KEYLESS):
            handler = None
        try:
            restored, unreadable = Journal.restored(journal) if journal else None, None
        except Exception as error:  # whatever a damaged row may raise
            restored, handler = None, None
            unreadable = (
                f"The journal of {self.ids.invocation(row.seq)} cannot be read: {short_reason(error)}. Kill it."
            )
        invocation = Invocation.restored(row, handler, restored)
        if restored is not None and row.status == _BLOCKED:
            restored.passed = len(restored.completions)  # it was shown all of them, and waits for another one
        if unreadable is not None:
            invocation.more().reason = unreadable
        if self.absent_waiters:
            invocation.waiters = self.absent_waiters.pop(row.seq, None)
        self.open[row.seq] = invocation
        return invocation

    def loaded(self, mailbox: Mailbox, record: ObjectRecord) -> None:
        """The object is in memory: queue what was stored, then what arrived meanwhile, and wake what can run."""
        mailbox.state = self.workflows.loaded(mailbox, record)
        for row in record.invocations:
            if row.seq in self.open or row.status == Status.SCHEDULED:
                continue  # in memory already, among the arrivals; or not in the mailbox before its time
            if mailbox.gone is not None and row.seq in mailbox.gone:
                continue  # it has ended since the row was read
            self.resume(mailbox, self.restore(row, record.journal.get(row.seq)))
        current = mailbox.current
        if current is not None and current.journal is not None and not current.has(Flag.APART):
            mailbox.state.catch_up(current.journal)
        mailbox.gone = None
        arrivals, mailbox.arrivals = mailbox.arrivals, None
        mailbox.length -= len(arrivals or ())
        for invocation in arrivals or ():
            if invocation.ended:
                continue
            self._deliver(mailbox, invocation)
            if not invocation.shared and not invocation.dirty_in:
                self.mark(invocation)
        if mailbox.key[0] == OWN_KEY and mailbox.current is None:
            self.residence.over(mailbox)  # its invocation has ended while it was asked for
        else:
            self.residence.entered(mailbox)

    @contextlib.contextmanager
    def entering(self) -> Iterator[None]:
        """Objects come into memory together, without an await: cycles of waits are looked for when all of them are there."""
        queued: list[Invocation] = []
        self._entering = queued
        try:
            yield
        finally:
            self._entering = None
        for invocation in queued:
            self.deadlocks.check_queued(invocation)

    def resume(self, mailbox: Mailbox, invocation: Invocation) -> None:
        """Give a stored invocation its place, and run it unless it waits for something that will wake it.

        One that is paused, but not by an operator, gets one more attempt: the process that loads it first may run fixed
        code.
        """
        invocation.mailbox = mailbox
        if invocation.status in (Status.BLOCKED, Status.BACKING_OFF) or (
            invocation.status == Status.PAUSED and (invocation.has(Flag.HELD) or invocation.seq in self.paused_here)
        ):
            if invocation.shared:
                mailbox.readers += 1
                self.residence.sleeps(invocation)
                return
            if mailbox.current is None:
                mailbox.current = invocation
                return
        elif invocation.status == Status.PAUSED:
            invocation.status = Status.PENDING
        self._deliver(mailbox, invocation)

    def forget(self, mailbox: Mailbox) -> None:
        """The object was evicted."""
        del self._objects[mailbox.service][mailbox.key]
        self.loader.left(mailbox)

    # --- what goes into the batch ---------------------------------------------------------------------------------------

    # --- completions ----------------------------------------------------------------------------------------------------

    def complete(self, invocation: Invocation, index: int, kind: int, value: str | bytes | None) -> None:
        """Record the answer to a command, once, and let the handler see it."""
        journal = invocation.journal
        if invocation.ended or journal is None or index in journal.completed:
            return
        if invocation.work is not None:
            invocation.work.pop(index, None)
        extras = invocation.extras
        if extras is not None and extras.flags & Flag.CANCELLED and not self.operations.calls_left(invocation, index):
            self.operations.tell_cancelled(invocation)  # before the answer of the last of its calls
        self.tell(invocation, journal.append(kind, None, value, index, None, self.now_ms()))

    def tell(self, invocation: Invocation, entry: Entry) -> None:
        """Store a completion just appended to the journal, and wake the handler if it waits."""
        self.write_entry(invocation, entry)
        status = invocation.status
        # One that has just been woken for something else may still count as blocked on disk.
        if status == _BLOCKED or (status == _RUNNING and invocation.stored_status == _BLOCKED):
            invocation.status = _RUNNING
            self.mark(invocation)
            if invocation.attempt is None:
                self.start(invocation)
        if invocation.attempt is not None:
            invocation.attempt.wake()

    def start_step(
        self,
        invocation: Invocation,
        index: int,
        function: Callable[[], Any],
        codec: Codec | None,
        policy: RetryPolicy | None,
    ) -> None:
        """Execute a step once everything before it is durable, unless an earlier attempt's execution still runs."""
        if invocation.work is None or index not in invocation.work:
            step = Step(self, invocation, index, function, codec, policy, contextvars.copy_context())
            self.add_work(invocation, index, step)
            step.schedule()

    def withdraw_steps(self, invocation: Invocation) -> None:
        """It is paused: no step of it is executed any more. One that is being executed stays, for the next attempt."""
        for index, piece in list((invocation.work or {}).items()):
            if isinstance(piece, StepWork) and not piece.withdraw():
                self.work_ended(invocation, index)

    def step_left(self, invocation: Invocation, index: int) -> None:
        """A step that was still being executed when its invocation ended is over: the key goes on."""
        if invocation.ended and invocation.work is not None and not self.stopped:
            invocation.work.pop(index, None)
            if not invocation.work:
                self._pass_on(invocation)

    def add_work(self, invocation: Invocation, index: int, work: Work) -> None:
        """This process is about to complete a command of the invocation; `complete` ends that."""
        if invocation.status == Status.BLOCKED or invocation.stored_status == Status.BLOCKED:
            invocation.status = Status.RUNNING  # a crash must wake it
            self.mark(invocation)
        if invocation.work is None:
            invocation.work = {}
        invocation.work[index] = work

    def work_ended(self, invocation: Invocation, index: int) -> None:
        """What this process had to do is done, although the command has no answer yet."""
        if invocation.work is not None:
            invocation.work.pop(index, None)
        if invocation.attempt is not None:
            invocation.attempt.wake()

    def place(self, caller: Invocation, index: int, seq: int) -> None:
        """Record which invocation a message with an idempotency key became."""
        journal = caller.journal
        if not caller.ended and journal is not None:
            self.tell(
                caller,
                journal.append(Kind.PLACED, None, str(seq), index, None, self.now_ms()),
            )

    def wake_at(self, due_ms: int, callback: Callable[[], None]) -> None:
        """Call back at `due_ms`, or when the clock is set back meanwhile. In memory only."""
        seen_ms = self.clock.now_ms()

        def check() -> None:
            if not self.stopped:
                if seen_ms <= self.clock.now_ms() < due_ms:
                    self.clock.call_at(due_ms, check)
                else:
                    callback()

        self.clock.call_at(due_ms, check)

    def revive(self, invocation: Invocation) -> None:
        """Replay a loaded invocation that waits, so that its futures, and their types, are there again."""
        if invocation.attempt is None and invocation.status == Status.BLOCKED:
            self.start(invocation)
            if self._held and invocation.attempt is not None:
                self._ready.remove(invocation.attempt)
                self._revived.append(invocation.attempt)

    @property
    def held(self) -> bool:
        """Whether no code goes on yet: what was asked for before this start is done first."""
        return self._held

    def replayed(self, attempt: Running) -> None:
        """It was revived and waits again: from now on a completion runs it in an ordinary turn."""
        if attempt in self._revived:
            self._revived.remove(attempt)
            if attempt.scheduled and attempt not in self._ready:
                self._ready.append(attempt)

    # --- ends of attempts and invocations ---------------------------------------------------------------------------------

    def end(self, invocation: Invocation, error: TerminalError) -> None:
        """Fail an invocation without its code. Its caller must be in memory. What it has sent is spared."""
        self.close_attempt(invocation)
        if self.placements.sending([invocation]):
            self.loader.background(self._end_sent(invocation.seq, error))
            return
        if invocation.parent is not None and invocation.parent not in self.open:
            both = [invocation.seq, invocation.parent]
            self.loader.spawn(both, functools.partial(self._end_loaded, invocation.seq, error))
            return
        self.finish(invocation, Status.FAILED, failure_text(error))

    async def _end_sent(self, seq: int, error: TerminalError) -> None:
        try:
            async with self.loader.holding(seq) as invocation:
                if invocation is not None:
                    async with self.sent([invocation]):
                        if not invocation.ended:
                            self.end(invocation, error)
        except Exception as failed:
            if not self.stopped:
                self.fail(failed)

    @contextlib.asynccontextmanager
    async def sent(self, senders: list[Invocation]) -> AsyncIterator[None]:
        """Their code is stopped, and what they have sent is placed. In the block they are ended."""
        if not self.placements.sending(senders):
            yield
            return
        self.stopping.update(sender.seq for sender in senders)
        try:
            for sender in senders:
                self.close_attempt(sender)
            await asyncio.wait(self.placements.sending(senders))
            yield
        finally:
            self.stopping.difference_update(sender.seq for sender in senders)

    def _end_loaded(self, seq: int, error: TerminalError) -> None:
        invocation = self.open.get(seq)  # it may have been evicted and loaded again meanwhile
        if invocation is None:
            return
        if invocation.parent not in self.open:
            invocation.parent = None  # the caller has ended
        self.close_attempt(invocation)
        self.finish(invocation, Status.FAILED, failure_text(error))

    def close_attempt(self, invocation: Invocation) -> None:
        attempt, invocation.attempt = invocation.attempt, None
        if attempt is not None:
            attempt.close()

    def finish(self, invocation: Invocation, status: int, outcome: str, value: Any = MISSING) -> None:
        """The outcome: recorded, passed on to all callers that wait, and the mailbox goes on."""
        invocation.status = status
        invocation.outcome = outcome
        invocation.value = value
        invocation.attempt = None
        invocation.ended_ms = self.turn_ms if self._in_turn else self.clock.now_ms()
        mailbox = invocation.mailbox
        batch = self.committer.batch
        written_in = batch.number
        if invocation.shared and invocation.stored_status < 0 and not invocation.dirty_in:
            # A read leaves no row; its reply waits for what it has read.
            written_in = mailbox.written_in  # type: ignore[union-attr]
        else:
            retention, extras = self.retention, invocation.extras
            if extras is None or extras.idempotency_key is None or extras.flags & Flag.TICK:
                retention.count += 1
            if status == _SUCCEEDED:
                self.counts.succeeded += 1
            else:
                self.counts.failed += 1
            if self.watcher is not None:
                self.watcher.ended(invocation)
            if retention.count > retention.limit or not retention.armed:
                retention.look()
            if invocation.dirty_in != written_in:
                invocation.dirty_in = written_in
                batch.invocations.append(invocation)
                if not self._turn_scheduled:  # it ended between turns: nothing else would write it
                    self._schedule_turn()
        if invocation.waiters is not None:
            if written_in == batch.number:
                batch.answers.append(invocation)
            else:
                for future in invocation.waiters:
                    self.committer.reply(future, invocation, True, written_in)
        del self.open[invocation.seq]
        if invocation.journal is not None:
            endings.clean_up(self, invocation, invocation.journal)
        if invocation.parent is not None:
            parent, index = self.open.get(invocation.parent), invocation.parent_index
            if parent is not None and index is not None:
                self.complete(parent, index, Kind.COMPLETED if status == _SUCCEEDED else Kind.FAILED, outcome)
        if invocation.extras is not None:
            endings.finish_rare(self, invocation)
        if mailbox is None:  # its time has not come
            self.alarms.cancel(invocation.position, invocation.seq, DELIVER)
            return
        mailbox.written_in = written_in
        if mailbox.state is None:  # it is among the arrivals of an object that is being loaded
            mailbox.remove(invocation)
        elif invocation.shared:
            mailbox.readers -= 1
        elif mailbox.current is invocation:
            if invocation.work is not None:
                self._hold_key(invocation)
            elif mailbox.first is not None or invocation.mode == KEYLESS:
                self._pass_on(invocation)
            else:
                mailbox.current = None
        else:
            mailbox.remove(invocation)

    def _pass_on(self, invocation: Invocation) -> None:
        """Start the next invocation of the mailbox."""
        mailbox = invocation.mailbox
        assert mailbox is not None
        invocation.work = None
        mailbox.current = None
        following = mailbox.pop()
        if following is not None:
            mailbox.current = following
            if following.status != _PAUSED:
                self.start(following)
        elif invocation.mode == KEYLESS:
            self.residence.over(mailbox)

    def _hold_key(self, invocation: Invocation) -> None:
        """The invocation has ended, but one of its steps has not: the next invocation of the key waits for that step,
        for a limited time.
        """
        steps = ", ".join(str(step) for step in (invocation.work or {}).values())
        grace_ms = self.limits.step_grace_ms

        def let_go() -> None:
            if invocation.work is not None:
                log.warning(
                    "%s is still being executed %g s after its invocation ended. The next invocation of the object starts "
                    "beside it now. Limits.step_grace sets how long it waits.",
                    steps,
                    grace_ms / 1000,
                )
                self._pass_on(invocation)

        log.info(
            "%s is still being executed after its invocation ended; the next invocation of the object waits for it.",
            steps,
        )
        self.wake_at(self.clock.due_ms(grace_ms), let_go)

    # --- the end of the partition -----------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """The database cannot be read or written: stop at once. What was acknowledged is on disk."""
        if not isinstance(error, (StorageError, AppNotRunning)):
            stopped = AppNotRunning(
                f"The app stopped after an internal error: {error!r}. Start it again: it recovers from the file."
            )
            stopped.__cause__ = error
            error = stopped
        first = self.failure is None
        if self.failure is None:
            self.failure = error
            log.error("The app has stopped: %s", error, exc_info=error)
        self.committer.abandon(self.failure)
        self.halt(self.failure)
        if first and self._on_stopped is not None:
            self._on_stopped(self.failure)

    def unanswered(self, invocation: Invocation, error: BaseException) -> BaseException:
        """What a caller gets whose invocation has no outcome that is durable: `error`, if nothing of it can be in the file."""
        if invocation.stored_status < 0:  # the store was never given it
            return error
        return may_have_been_done(error, self.ids.invocation(invocation.seq))

    async def durable(self, invocation: Invocation) -> None:
        """Return once it is accepted for good. Raises what `unanswered` says if the database fails."""
        try:
            await self.committer.flushed()
        except (StorageError, AppNotRunning) as error:
            refusal = self.unanswered(invocation, error)
            if refusal is error:
                raise
            raise refusal from error

    def halt(self, error: BaseException) -> None:
        """Leave all handlers where they are. A caller who waits gets `error`, or OutcomePending if the call goes on."""
        self.stopped = True
        self.failure = self.failure or error
        self.alarms.stop()
        self.residence.stop()
        self.retention.stop()
        self.requests.stop()
        self.ticks.stop()
        self.step_threads.stop()
        self.steps_left = [str(step) for step in list(self.executing) if step.abandon()]
        self.loader.abandon(error)
        for waiting in self._ready:
            if isinstance(waiting, Mark):
                waiting.run()
        self._ready.clear()
        for invocation in list(self.open.values()):
            for piece in (invocation.work or {}).values():
                piece.cancel()
            self.close_attempt(invocation)
            for future in invocation.waiters or ():
                if self.closing and invocation.recorded:  # that it goes on is true once what is open is written
                    self.committer.reply(
                        future, invocation, _goes_on(self.ids.invocation(invocation.seq)), invocation.dirty_in
                    )
                else:
                    refuse(future, self.unanswered(invocation, error))
            invocation.waiters = None
        if self._tasks is not None:
            self._tasks.release(self.loop)
            self._tasks = None
        for seq, futures in self.absent_waiters.items():  # what was evicted is on disk
            id = self.ids.invocation(seq)
            for future in futures:
                refuse(future, _goes_on(id) if self.closing else may_have_been_done(error, id))
        self.absent_waiters.clear()


def _goes_on(id: str) -> OutcomePending:
    return OutcomePending(
        "The app was closed before this call had its outcome. It goes on when the app starts again: attach to "
        f"its id, {id}, instead of repeating the request.",
        id,
    )
