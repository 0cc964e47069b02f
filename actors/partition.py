"""One partition: the deterministic state machine that owns a share of the objects and one database file.

Everything here happens on one event loop, in turns. A turn runs every handler that can go on, as far as it can, and
appends what they did to the open batch; then the batch is handed to the disk. No method waits for anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from random import Random
from typing import Any

import msgspec

from actors.attempt import Attempt, reason_of
from actors.awakeables import Awakeables
from actors.clock import Clock
from actors.committer import Committer, Store, refuse
from actors.errors import (
    AppNotRunning,
    DeadlockError,
    DefinitionError,
    DurableTimeout,
    UnknownHandler,
    UnknownService,
    failure_text,
)
from actors.handlers import HandlerDefinition
from actors.ids import IdMint
from actors.invocation import MISSING, Invocation, Work
from actors.journal import Entry, Journal, Kind
from actors.loader import Loader
from actors.mailbox import Mailbox
from actors.object_state import ObjectState
from actors.retry import RetryPolicy
from actors.serde import Codec
from actors.steps import Step
from actors.storage import InvocationRow, JournalRow, ObjectRecord, OpenedDatabase, Status, StorageError
from actors.timers import DELIVER, RETRY, Timer, Timers
from actors.virtual_object import ServiceDefinition, definition_of

log = logging.getLogger("actors")

STEPS_PER_TURN = 2000  # then other callbacks of the loop get their chance
NUMBERS_RESERVED = 1_000_000  # see next_number
_headers_text = msgspec.json.Encoder().encode


class Partition:
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
        max_objects: int,
    ) -> None:
        self.services = services
        self.store = store
        self.loop = loop
        self.clock = clock
        self.rng = rng
        self.executor = executor
        self.retry = retry
        self.max_objects = max_objects
        self.committer = Committer(store, loop, self._commit_failed)
        self.loader = Loader(self, store)
        self.awakeables = Awakeables(self, store)
        self.timers = Timers(clock, self._timers_due)
        self.open: dict[int, Invocation] = {}  # open invocations in memory, by seq
        self.stopped = False
        self.failure: BaseException | None = None
        self.ids = IdMint(bytes(32))
        # Inside a shared handler, type(self) is the class's reader.
        self._by_class = {cls: known for known in services.values() for cls in (known.cls, known.reader)}
        self._objects: dict[str, dict[str, Mailbox]] = {name: {} for name in services}
        self._in_memory: deque[Mailbox] = deque()
        self._ready: deque[Attempt] = deque()
        self._turn_scheduled = False
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._due: deque[Timer] = deque()
        self._loading_due = False
        self._next = self._reserve_at = 0
        self.turn_ms = clock.now_ms()  # when this turn began: good enough for records, not for deadlines
        self._variables = contextvars.copy_context()  # handlers start from these, not from some caller's

    def begin(self, opened: OpenedDatabase) -> None:
        """Start from what the database says is to be done."""
        self.ids = IdMint(opened.secret)
        self._next = opened.next_number
        self._reserve_at = opened.next_number + NUMBERS_RESERVED // 2
        self.timers.load(opened.timers)

    # --- turns ----------------------------------------------------------------------------------------------------------

    def make_ready(self, attempt: Attempt) -> None:
        self._ready.append(attempt)
        if not self._turn_scheduled:
            self._schedule_turn()

    def _schedule_turn(self) -> None:
        self._turn_scheduled = True
        self.loop.call_soon(self._turn, context=self._variables)

    def _turn(self) -> None:
        ready = self._ready
        left = STEPS_PER_TURN
        self.turn_ms = self.clock.now_ms()
        try:
            while ready and left:
                left -= 1
                ready.popleft().run()
        except Exception as error:  # of ours: what handlers raise does not come this far
            self.fail(error)
        finally:
            self.committer.kick()
            if ready:
                self.loop.call_soon(self._turn, context=self._variables)
            else:
                self._turn_scheduled = False
                for waiter in self._idle_waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                self._idle_waiters.clear()

    async def idle(self) -> None:
        """Return when no handler can go on before something new happens."""
        if self._turn_scheduled:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._idle_waiters.append(waiter)
            await waiter

    # --- accepting ------------------------------------------------------------------------------------------------------

    def handler(self, service: str, name: str) -> HandlerDefinition:
        """Raises UnknownService or UnknownHandler."""
        definition = self.services.get(service)
        if definition is None:
            served = ", ".join(sorted(self.services)) or "none"
            raise UnknownService(f"No service {service!r} in this app. Served: {served}. Add the class to App(...).")
        handler = definition.handlers.get(name)
        if handler is None:
            known = ", ".join(sorted(definition.handlers)) or "none"
            raise UnknownHandler(f"{service} has no handler {name!r}. Its handlers: {known}.")
        return handler

    def definition(self, cls: Any) -> ServiceDefinition:
        """The definition of a served class. Raises UnknownService, or DefinitionError for what is no such class."""
        definition = self._by_class.get(cls)
        if definition is None:
            definition_of(cls)
            raise UnknownService(
                f"class {cls.__qualname__} is not served by this app. Add it: App({cls.__name__}, ...)."
            )
        return definition

    def next_number(self) -> int:
        """A number never given out before, not even by a process that crashed before it wrote anything down.

        The file holds a bound far above; it is raised, in an ordinary batch, long before it is reached.
        """
        number = self._next
        self._next = number + 1
        if number >= self._reserve_at:
            self._reserve_at = number + NUMBERS_RESERVED // 2
            self.committer.batch.reserve_to = number + NUMBERS_RESERVED
            self._touch()
        return number

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
    ) -> Invocation:
        """Take a message in, as part of the open batch."""
        invocation = Invocation(seq, target, key, args_text, args, self.clock.now_ms())
        invocation.parent = parent
        invocation.parent_index = parent_index
        if headers:
            invocation.headers = _headers_text(headers).decode()
        self.open[seq] = invocation
        self.mark(invocation)
        if delay_ms:
            invocation.status = Status.SCHEDULED
            self.add_timer(invocation.accepted_ms + delay_ms, invocation, DELIVER)
        else:
            self._enqueue(invocation)
        return invocation

    def accept_call(
        self,
        target: HandlerDefinition,
        key: str,
        args_text: str,
        args: tuple[Any, ...] | None,
        headers: dict[str, str] | None,
    ) -> asyncio.Future[Invocation]:
        """Take a call in from outside; the future has the invocation once its outcome is durable.

        Nobody was told yet that the call was accepted, so its row can wait: for the load of a cold object, with which it
        then ends in one batch, and for good if a shared handler only reads.
        """
        if self.stopped:
            self.check_running()
        seq = self._next
        if seq < self._reserve_at:
            self._next = seq + 1
        else:
            seq = self.next_number()
        invocation = Invocation(seq, target, key, args_text, args, self.clock.now_ms())
        if headers:
            invocation.headers = _headers_text(headers).decode()
        self.open[seq] = invocation
        future: asyncio.Future[Invocation] = self.loop.create_future()
        invocation.waiters = [future]
        mailbox = self._objects[invocation.service].get(key)
        if mailbox is None or mailbox.state is None:
            self._enqueue(invocation)
            return future
        invocation.mailbox = mailbox
        self._deliver(mailbox, invocation)
        if not invocation.shared:
            batch = self.committer.batch
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turn_scheduled:  # it waits behind another one: nothing else would write it
                self._schedule_turn()
        return future

    def check_running(self) -> None:
        if self.stopped:
            raise self.failure or AppNotRunning("This app is not running. Use it inside 'async with app:'.")

    def mailbox(self, service: str, key: str) -> Mailbox:
        """The object's mailbox; a cold one starts to load."""
        objects = self._objects.get(service)
        if objects is None:
            objects = self._objects[service] = {}
        mailbox = objects.get(key)
        if mailbox is None:
            mailbox = objects[key] = Mailbox(service, key)
            self.loader.request(mailbox)
        return mailbox

    def _enqueue(self, invocation: Invocation) -> None:
        mailbox = self.mailbox(invocation.service, invocation.key)
        invocation.mailbox = mailbox
        if mailbox.state is None:
            if mailbox.arrivals is None:
                mailbox.arrivals = []
            mailbox.arrivals.append(invocation)
        else:
            self._deliver(mailbox, invocation)

    def _deliver(self, mailbox: Mailbox, invocation: Invocation) -> None:
        mailbox.recent = True
        if invocation.shared:
            mailbox.readers += 1
            self._start(invocation)
        elif mailbox.current is None:
            mailbox.current = invocation
            self._start(invocation)
        else:
            mailbox.append(invocation)

    def _start(self, invocation: Invocation) -> None:
        handler = invocation.handler
        if handler is None:
            self._pause_unknown(invocation)
            return
        invocation.status = Status.RUNNING
        assert invocation.mailbox is not None and invocation.mailbox.state is not None
        attempt = invocation.attempt = Attempt(self, invocation, invocation.mailbox.state)
        self._ready.append(attempt)
        if not self._turn_scheduled:
            self._schedule_turn()

    def _pause_unknown(self, invocation: Invocation) -> None:
        try:
            self.handler(invocation.service, invocation.handler_name)
        except (UnknownService, UnknownHandler) as error:
            self.pause(invocation, str(error), DefinitionError(str(error)))

    # --- cold objects ---------------------------------------------------------------------------------------------------

    def restore(self, row: InvocationRow, journal: list[JournalRow] | None) -> Invocation:
        """Bring a stored open invocation into memory, asleep."""
        definition = self.services.get(row.service)
        handler = definition.handlers.get(row.handler) if definition is not None else None
        invocation = Invocation.restored(row, handler, Journal.restored(journal) if journal else None)
        self.open[row.seq] = invocation
        return invocation

    def loaded(self, mailbox: Mailbox, record: ObjectRecord) -> None:
        """The object is in memory: queue what was stored, then what arrived meanwhile, and wake what can run."""
        mailbox.state = ObjectState(self.services.get(mailbox.service), record.state)
        self._in_memory.append(mailbox)
        for row in record.invocations:
            if row.seq in self.open or row.status == Status.SCHEDULED:
                continue  # in memory already, among the arrivals; or not in the mailbox before its time
            invocation = self.restore(row, record.journal.get(row.seq))
            invocation.mailbox = mailbox
            if invocation.shared or mailbox.current is None:
                self._resume(mailbox, invocation)
            else:
                self._deliver(mailbox, invocation)
        arrivals, mailbox.arrivals = mailbox.arrivals, None
        for invocation in arrivals or ():
            self._deliver(mailbox, invocation)
            if not invocation.shared and not invocation.dirty_in:
                self.mark(invocation)
        self._evict()

    def _resume(self, mailbox: Mailbox, invocation: Invocation) -> None:
        """Give a stored invocation its place, and run it unless it waits for something that will wake it.

        A paused one gets one more attempt: the process that loads it first may run mended code.
        """
        if invocation.status in (Status.BLOCKED, Status.BACKING_OFF):
            if invocation.shared:
                mailbox.readers += 1
            else:
                mailbox.current = invocation
        else:
            self._deliver(mailbox, invocation)

    def _evict(self) -> None:
        """Forget idle objects beyond the limit: the hand of a clock goes round and takes those it meets unused twice.

        One whose change is not with the disk yet is passed over too: loading it again would read the past.
        """
        looks = 4  # for each object loaded: the hand goes round faster than the circle grows
        while len(self._in_memory) > self.max_objects and looks:
            looks -= 1
            mailbox = self._in_memory.popleft()
            if mailbox.idle and not mailbox.recent and mailbox.written_in <= self.committer.handed_over:
                del self._objects[mailbox.service][mailbox.key]
            else:
                mailbox.recent = False
                self._in_memory.append(mailbox)

    # --- what goes into the batch ---------------------------------------------------------------------------------------

    def _touch(self) -> None:
        if not self._turn_scheduled:
            self._schedule_turn()

    def mark(self, invocation: Invocation) -> None:
        """The invocation's row of the end of this batch is to be written."""
        batch = self.committer.batch
        if invocation.dirty_in != batch.number:
            invocation.dirty_in = batch.number
            batch.invocations.append(invocation)
            if not self._turn_scheduled:
                self._schedule_turn()

    def write_state(self, invocation: Invocation, name: str, text: str | None) -> None:
        batch = self.committer.batch
        batch.state[invocation.service, invocation.key, name] = text
        invocation.mailbox.written_in = batch.number  # type: ignore[union-attr]

    def write_entry(self, invocation: Invocation, entry: Entry) -> None:
        batch = self.committer.batch
        if invocation.stored_status < 0 and invocation.dirty_in != batch.number:
            self.mark(invocation)  # a journal needs its invocation: a shared call may not have been written yet
        batch.journal.append(
            (invocation.seq, entry.idx, entry.kind, entry.name, entry.ref, entry.value, entry.before, entry.at_ms)
        )
        if not self._turn_scheduled:
            self._schedule_turn()

    def add_timer(self, due_ms: int, invocation: Invocation, index: int) -> None:
        timer = (due_ms, self.next_number(), invocation.seq, index)
        self.committer.batch.timers[timer[0], timer[1]] = timer
        self.timers.add(timer)
        self._touch()

    def _remove_timer(self, timer: Timer) -> None:
        batch = self.committer.batch
        if batch.timers.pop((timer[0], timer[1]), None) is None:
            batch.fired.append((timer[0], timer[1]))
            self._touch()

    def _cancel_timer(self, seq: int, index: int) -> None:
        timer = self.timers.cancel(seq, index)
        if timer is not None:
            self._remove_timer(timer)

    # --- completions ----------------------------------------------------------------------------------------------------

    def complete(self, invocation: Invocation, index: int, kind: int, value: str | bytes | None) -> None:
        """Record the answer to a command, once, and let the handler see it."""
        journal = invocation.journal
        if invocation.ended or journal is None or index in journal.completed:
            return
        if invocation.work is not None:
            invocation.work.pop(index, None)
        entry = journal.append(kind, None, value, index, None, self.turn_ms)
        self.write_entry(invocation, entry)
        if self.timers.live:
            self._cancel_timer(invocation.seq, index)
        if invocation.status == Status.BLOCKED:
            invocation.status = Status.RUNNING
            self.mark(invocation)
            if invocation.attempt is None:
                self._start(invocation)
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
            self.committer.gate(step.start)

    def add_work(self, invocation: Invocation, index: int, work: Work) -> None:
        """This process is about to complete a command of the invocation; `complete` ends that."""
        if invocation.work is None:
            invocation.work = {}
        invocation.work[index] = work

    def step_failed(self, invocation: Invocation, index: int, error: BaseException) -> None:
        """A step without a policy of its own failed: the attempt fails, and its next one executes the step again."""
        if invocation.work is not None:
            invocation.work.pop(index, None)
        if invocation.attempt is not None:
            self.attempt_failed(invocation, error)

    def wake_at(self, due_ms: int, callback: Callable[[], None]) -> None:
        """Call back at `due_ms`, not before. In memory only."""

        def check() -> None:
            if not self.stopped:
                if self.clock.now_ms() < due_ms:
                    self.clock.call_at(due_ms, check)
                else:
                    callback()

        self.clock.call_at(due_ms, check)

    def revive(self, invocation: Invocation) -> None:
        """Replay a loaded invocation that waits, so that its futures, and their types, are there again."""
        if invocation.attempt is None and invocation.status == Status.BLOCKED:
            self._start(invocation)

    # --- timers ---------------------------------------------------------------------------------------------------------

    def _timers_due(self, timers: list[Timer]) -> None:
        self._due.extend(timers)
        if not self._loading_due:
            self._fire_due()

    def _fire_due(self) -> None:
        """Fire in order. A timer of a cold invocation loads it first, and those behind it wait, so that none overtakes."""
        self._loading_due = False
        if self.stopped:
            return
        while self._due:
            timer = self._due[0]
            if timer[2] not in self.open:
                self._loading_due = True
                cold = [due[2] for due in self._due if due[2] not in self.open]
                self.loader.spawn(cold, self._fire_loaded)
                return
            self._fire(self._due.popleft())

    def _fire_loaded(self) -> None:
        while self._due and self._due[0][2] not in self.open:
            self._remove_timer(self._due.popleft())  # its invocation has ended
        self._fire_due()

    def _fire(self, timer: Timer) -> None:
        self._remove_timer(timer)
        invocation, index = self.open[timer[2]], timer[3]
        if index == RETRY:
            if invocation.status == Status.BACKING_OFF:
                self._start(invocation)
                self.mark(invocation)  # the timer is gone with this batch: after a crash nothing else would wake it
        elif index == DELIVER:
            if invocation.status == Status.SCHEDULED:
                invocation.status = Status.PENDING
                invocation.position = self.next_number()  # its place in the mailbox is behind what waits there now
                self.mark(invocation)
                self._enqueue(invocation)
        else:
            command = invocation.journal.command(index) if invocation.journal is not None else None
            if command is not None and command.kind == Kind.SLEEP:
                self.complete(invocation, index, Kind.COMPLETED, None)
            elif command is not None:
                error = DurableTimeout(f"Nobody completed this awakeable within {int(command.value or 0) / 1000:g} s.")
                self.complete(invocation, index, Kind.FAILED, failure_text(error))

    # --- ends of attempts and invocations ---------------------------------------------------------------------------------

    def attempt_failed(self, invocation: Invocation, error: BaseException) -> None:
        """A transient error: back off, or pause when the policy is used up."""
        self._close_attempt(invocation)
        invocation.attempts += 1
        now = self.clock.now_ms()
        reason = reason_of(error)
        if self.retry.exhausted(invocation.attempts, now - invocation.accepted_ms):
            self.pause(
                invocation, f"Paused after {invocation.attempts} failed attempts. The last error:\n{reason}", error
            )
            return
        delay_ms = self.retry.delay_ms(invocation.attempts, self.rng)
        invocation.reason = reason
        invocation.status = Status.BACKING_OFF
        self.mark(invocation)
        self.add_timer(now + delay_ms, invocation, RETRY)
        log.warning(
            "%s: attempt %d failed, next in %.1f s",
            self._label(invocation),
            invocation.attempts,
            delay_ms / 1000,
            exc_info=error,
        )

    def pause(self, invocation: Invocation, reason: str, error: BaseException) -> None:
        """Stop an invocation that no retry would help. It keeps its key, so that nothing behind it overtakes."""
        self._close_attempt(invocation)
        invocation.reason = reason
        invocation.status = Status.PAUSED
        self.mark(invocation)
        log.error(
            "%s is paused; it is tried again when the app starts with mended code. %s",
            self._label(invocation),
            reason,
            exc_info=error if error.__traceback__ is not None else None,
        )

    def _label(self, invocation: Invocation) -> str:
        name = f"{invocation.service}/{invocation.key}/{invocation.handler_name}"
        return f"{name} ({self.ids.invocation(invocation.seq)})"

    def _close_attempt(self, invocation: Invocation) -> None:
        attempt, invocation.attempt = invocation.attempt, None
        if attempt is not None:
            attempt.close()

    def caller_loaded(self, invocation: Invocation, wake: Callable[[], None]) -> bool:
        """Whether the invocation that waits for this one is in memory, or gone. If neither, it is loaded, then `wake`."""
        parent = invocation.parent
        if parent is None or parent in self.open:
            return True

        def arrived() -> None:
            if parent not in self.open:
                invocation.parent = None  # it has ended: nobody waits any more
            wake()

        self.loader.spawn([parent], arrived)
        return False

    def finish(self, invocation: Invocation, status: int, outcome: str, value: Any = MISSING) -> None:
        """The outcome: recorded, passed on to whoever waits, and the mailbox goes on."""
        invocation.status = status
        invocation.outcome = outcome
        invocation.value = value
        invocation.attempt = None
        invocation.ended_ms = self.turn_ms
        mailbox = invocation.mailbox
        assert mailbox is not None
        batch = self.committer.batch
        written_in = batch.number
        if invocation.shared and invocation.stored_status < 0 and not invocation.dirty_in:
            written_in = mailbox.written_in  # a read leaves no row; its reply waits for what it has read
        elif invocation.dirty_in != written_in:
            invocation.dirty_in = written_in
            batch.invocations.append(invocation)
        if invocation.waiters is not None:
            if written_in == batch.number:
                batch.answers.append(invocation)
            else:
                for future in invocation.waiters:
                    self.committer.reply(future, invocation, written_in)
        del self.open[invocation.seq]
        if invocation.parent is not None:
            parent, index = self.open.get(invocation.parent), invocation.parent_index
            if parent is not None and index is not None:
                self.complete(parent, index, Kind.COMPLETED if status == Status.SUCCEEDED else Kind.FAILED, outcome)
        if invocation.journal is not None:
            self._clean_up(invocation, invocation.journal)
        if invocation.shared:
            mailbox.readers -= 1
        else:
            mailbox.current = None
            mailbox.written_in = written_in
            following = mailbox.pop()
            if following is not None:
                mailbox.current = following
                self._start(following)

    def _clean_up(self, invocation: Invocation, journal: Journal) -> None:
        """Nothing of an ended invocation may still go off."""
        work, invocation.work = invocation.work, None
        for piece in (work or {}).values():
            piece.cancel()
        for entry in journal.commands:
            if entry.kind in (Kind.SLEEP, Kind.AWAKEABLE) and entry.idx not in journal.completed:
                self._cancel_timer(invocation.seq, entry.idx)

    def cycle(self, caller: Invocation, target: HandlerDefinition, key: str) -> str | None:
        """The failure of a call that would wait for an object held by the caller or by whoever waits for the caller."""
        if target.shared:
            return None
        path = [f"{target.service.name}/{key}/{target.name}"]
        holder: Invocation | None = caller
        while holder is not None:
            path.append(f"{holder.service}/{holder.key}/{holder.handler_name}")
            if not holder.shared and holder.key == key and holder.service == target.service.name:
                error = DeadlockError(
                    f"This call would wait for ever: {' -> '.join(reversed(path))}. The object is busy with the invocation that "
                    "calls it. Send one way with .send(...), or call the method on self."
                )
                return failure_text(error)
            holder = self.open.get(holder.parent) if holder.parent is not None else None
        return None

    # --- the end of the partition -----------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """The database cannot be read or written: stop at once. What was acknowledged is on disk."""
        if not isinstance(error, (StorageError, AppNotRunning)):
            stopped = AppNotRunning(
                f"The app stopped after an internal error: {error!r}. Start it again: it recovers from the file."
            )
            stopped.__cause__ = error
            error = stopped
        if self.failure is None:
            self.failure = error
            log.error("The app has stopped: %s", error, exc_info=error)
        self.halt(self.failure)

    def _commit_failed(self, error: BaseException) -> None:
        self.fail(error)

    def halt(self, error: BaseException) -> None:
        """Leave all handlers where they are. Whoever waits for an outcome gets `error`."""
        self.stopped = True
        self.failure = self.failure or error
        self.timers.stop()
        self.loader.abandon(error)
        self._ready.clear()
        for invocation in list(self.open.values()):
            for piece in (invocation.work or {}).values():
                piece.cancel()
            self._close_attempt(invocation)
            for future in invocation.waiters or ():
                refuse(future, error)
            invocation.waiters = None
