"""One partition: the deterministic state machine that owns a share of the objects and one database file.

Everything here happens on one event loop, in turns. A turn runs every handler that can go on, as far as it can, and appends the
changes to the open batch; then the batch is handed to the disk. This module creates the parts and joins them: a part knows only
its constructor arguments, and the few arrows that lead up are set here.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from actors.attempt.attempt import Attempt
from actors.attempt.cleanup import all_ended
from actors.attempt.current import ids_of
from actors.attempt.invocation import Mailbox
from actors.engine.background import Background
from actors.engine.cancellation import Cancellation
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.failures import Failures
from actors.engine.host import PartitionHost
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.loader import Loader
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.operating.gauges import Gauges
from actors.engine.operating.operations import Operations, Restarting
from actors.engine.operating.operator_requests import Requests
from actors.engine.operating.retention import Retention
from actors.engine.operating.runs import Runs
from actors.engine.operating.state_access import StateAccess
from actors.engine.operating.ticks import Ticks
from actors.engine.progress import Progress
from actors.engine.step_threads import StepThreads
from actors.engine.steps import Steps
from actors.engine.teardown import Teardown
from actors.engine.timer_queue import TimerQueue
from actors.engine.timers import Timers
from actors.engine.turns import Turns
from actors.engine.unanswered import may_have_been_done, refuse, unanswered
from actors.engine.waits.attachments import Attachments
from actors.engine.waits.awakeables import Awakeables
from actors.engine.waits.deadlocks import Deadlocks
from actors.engine.waits.idempotency import Placements
from actors.engine.waits.promises import Promises, WorkflowState
from actors.errors import OutcomePending
from actors.model.catalog import Catalog
from actors.model.inside import inside
from actors.model.object_state import ObjectState
from actors.model.retry import RetryPolicy
from actors.storage.port import Store
from actors.storage.records import ObjectRecord, OpenedDatabase
from actors.tasks.factory import TaskFactory, see_tasks


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes of the parts that a simulation watches, or paces otherwise, by subclasses: how many attempts make a turn, the
    attempts that run the code of handlers, what executes steps, and the parts through which waits between invocations come and go.
    """

    eviction: type[Eviction] = Eviction
    loader: type[Loader] = Loader
    progress: type[Progress] = Progress
    intake: type[Intake] = Intake
    deadlocks: type[Deadlocks] = Deadlocks
    turns: type[Turns] = Turns
    attempt: type[Attempt] = Attempt
    steps: type[Steps] = Steps


PARTS = Parts()


class Partition:
    """See the module. Seams are arguments: store, clock, random numbers, executor, loop, classes of parts."""

    def __init__(
        self,
        env: Env,
        catalog: Catalog,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        on_stopped: Callable[[BaseException], None] | None = None,
        parts: Parts = PARTS,
    ) -> None:
        self.env = env
        self.ids, self.limits = env.ids, env.limits
        clock = env.clock
        self.catalog = catalog
        self.store = store
        self.loop = loop
        self.thread = threading.get_ident()  # the thread of the loop
        self._on_stopped = on_stopped
        self._halted = False
        self._tasks: TaskFactory | None = None
        self.leaving: set[asyncio.Future[None]] = set()  # clean-ups of closed handlers that have not ended
        self.steps_left: list[str] = []  # steps whose functions go on although the partition has stopped
        residents = self.residents = Residents(catalog.services)

        turns = self.turns = parts.turns(loop, clock, env.label, self._turn_over, self.fail)
        turns.variables.run(inside.set, self)
        background = self.background = Background(turns.spawn, self._failed)
        committer = self.committer = Committer(
            store, env.clock, loop, background.fail, self._handed_over, functools.partial(unanswered, env.ids)
        )
        ledger = self.ledger = Ledger(committer, turns)

        eviction = self.eviction = parts.eviction(env, residents, turns, background, committer)
        loader = self.loader = parts.loader(env, catalog, store, residents, ledger, turns, background, eviction)
        pins = self.pins = Pins(store, residents, turns, background, committer, eviction, loader)
        progress = self.progress = parts.progress(
            env, catalog, residents, ledger, turns, background, committer, eviction, parts.attempt
        )
        intake = self.intake = parts.intake(
            env, catalog, residents, ledger, turns, background, committer, loader, progress
        )
        timers = self.timers = Timers(env, residents, ledger, background, eviction, pins, progress, intake)
        timers.begin(
            TimerQueue(
                store,
                clock,
                committer,
                background,
                env.limits.max_timers,
                _longest_retry_ms(catalog, env.retry),
                timers.timers_due,
            )
        )
        failures = self.failures = Failures(env, residents, ledger, committer, eviction, progress)
        threads = self.step_threads = StepThreads(executor, clock)
        steps = self.steps = parts.steps(env, loop, ledger, background, committer, progress, failures, threads)

        deadlocks = self.deadlocks = parts.deadlocks(residents, progress, pins)
        attachments = self.attachments = Attachments(store, ledger, background, committer, pins, progress, deadlocks)
        placements = self.placements = Placements(
            store, env, ledger, background, committer, progress, intake, attachments, failures
        )
        awakeables = self.awakeables = Awakeables(
            store, env, residents, turns, background, committer, pins, progress, timers
        )
        promises = self.promises = Promises(env, residents, ledger, turns, background, pins, progress)
        cancellation = self.cancellation = Cancellation(
            store, residents, ledger, background, committer, pins, progress, timers
        )

        retention = self.retention = Retention(env, store, ledger, background, committer)
        workflows = self.runs = Runs(env, catalog, store, ledger, committer, pins, intake, placements, retention)
        restarting = Restarting(env, catalog, store, ledger, pins, intake, timers, cancellation, workflows)
        operations = self.operations = Operations(
            residents, ledger, eviction, progress, timers, cancellation, restarting, workflows, retention
        )
        self.requests = Requests(env, store, ledger, background, committer, awakeables, operations)
        ticks = self.ticks = Ticks(env, catalog, store, background, committer, pins, progress, intake, retention)
        self.state = StateAccess(env, store, residents, ledger, background, committer, pins, intake, placements)
        self.gauges = Gauges(store, clock, loop, catalog.services, timers)
        teardown = Teardown(env, residents, ledger, timers, attachments, promises, ticks)

        host = self.host = PartitionHost(env, catalog, residents, self.leaving)
        host.writes(ledger, committer)
        host.runs(turns, eviction, pins)
        host.goes_on(progress, failures)
        host.sends(intake, placements, deadlocks, cancellation)
        host.asks(timers, steps, awakeables, promises, attachments)

        # The arrows that lead up.
        eviction.evicted = pins.left
        loader.deliver = intake.deliver
        loader.state_of = self._state_of
        loader.check_queued = deadlocks.check_queued
        progress.host = host
        progress.pause = failures.pause
        progress.calls_left = cancellation.calls_left
        progress.tell_cancelled = cancellation.tell_cancelled
        progress.clean_up = teardown.clean_up
        progress.finish_rare = teardown.finish_rare
        progress.undelivered = teardown.undelivered
        progress.retention = retention
        progress.begin_recorded = placements.begin_recorded
        progress.sending = placements.sending
        progress.hold_while = pins.hold_while
        progress.holding = pins.holding
        intake.deliver_later = timers.deliver_later
        timers.tick_due = ticks.due
        failures.add_timer = timers.add
        placements.called = cancellation.called
        placements.final = deadlocks.final
        retention.purge_keyed = workflows.purge
        retention.expire = workflows.expire

    async def begin(self, opened: OpenedDatabase) -> None:
        """Start from the open work in the database."""
        self.see_tasks()
        self.steps.secret = opened.secret
        self.ids.begin(opened.secret)
        self.turns.variables.run(ids_of.set, self.ids)
        self.ledger.begin(opened.next_number)
        if opened.requests:
            self.turns.hold()
        await self.ticks.open()
        await self.timers.open()
        self.retention.begin(opened.ended)
        self.ticks.begin()
        if opened.settled:
            self.background.run(self.attachments.settle(opened.settled))
        if opened.requests:
            await self.requests.apply(opened.requests)
            self.turns.release()

    def see_tasks(self) -> None:
        """From now on, until it is halted, track the tasks that handlers start."""
        self._tasks = see_tasks(self.loop)

    async def left(self) -> None:
        """Return when the clean-up of closed handlers has ended. It takes bounded time."""
        await all_ended(self.leaving)

    def _state_of(self, mailbox: Mailbox, record: ObjectRecord) -> ObjectState:
        definition = self.catalog.services.get(mailbox.service)
        if definition is not None and definition.kind == "workflow":
            return WorkflowState(definition, record)
        return ObjectState(definition, record.state)

    def _turn_over(self) -> None:
        self.committer.kick()

    def _handed_over(self) -> None:
        self.eviction.handed_over()

    # --- the end of the partition -----------------------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        return self.background.stopped

    @property
    def failure(self) -> BaseException | None:
        return self.background.failure

    def fail(self, error: BaseException) -> None:
        """Stop at once because of an internal error. Everything acknowledged is on disk."""
        self.background.fail(error)

    def _failed(self, failure: BaseException) -> None:
        first = not self._halted
        self.committer.abandon(failure)
        self.halt(failure)
        if first and self._on_stopped is not None:
            self._on_stopped(failure)

    def halt(self, error: BaseException) -> None:
        """Leave all handlers where they are. A waiting caller receives `error`, or OutcomePending if the call goes on."""
        background, open_ones = self.background, self.residents.open
        self._halted = True
        background.stopped = True
        background.failure = background.failure or error
        self.timers.stop()
        self.eviction.stop()
        self.retention.stop()
        self.requests.stop()
        self.ticks.stop()
        self.steps_left = self.steps.stop()
        self.loader.abandon(error)
        self.pins.abandon(error)
        self.turns.stop()
        for invocation in list(open_ones.values()):
            for piece in (invocation.work or {}).values():
                piece.cancel()
            self.progress.close_attempt(invocation)
            for future in invocation.waiters or ():
                if background.closing and invocation.recorded:  # the call goes on only if the open batch gets written
                    self.committer.reply(
                        future, invocation, _goes_on(self.ids.invocation(invocation.seq)), invocation.dirty_in
                    )
                else:
                    refuse(future, unanswered(self.ids, invocation, error))
            invocation.waiters = None
        if self._tasks is not None:
            self._tasks.release(self.loop)
            self._tasks = None
        for seq, futures in self.residents.absent_waiters.items():  # evicted invocations are on disk
            id = self.ids.invocation(seq)
            for future in futures:
                refuse(future, _goes_on(id) if background.closing else may_have_been_done(error, id))
        self.residents.absent_waiters.clear()


def _longest_retry_ms(catalog: Catalog, retry: RetryPolicy) -> int:
    """The longest time until a retry, in any policy."""
    policies = [handler.retry for service in catalog.services.values() for handler in service.handlers.values()]
    return round(1000 * max(policy.max_interval for policy in (retry, *policies) if policy is not None))


def _goes_on(id: str) -> OutcomePending:
    """The error for a caller whose call goes on when the app starts again."""
    return OutcomePending(
        "The app was closed before this call had its outcome. It goes on when the app starts again: attach to "
        f"its id, {id}, instead of repeating the request.",
        id,
    )
