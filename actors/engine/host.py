"""The engine as attempts see it, in slots: each part is one attribute, each verb is one call."""

from __future__ import annotations

import asyncio

from actors.engine.cancellation import Cancellation
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.failures import Failures
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.memory.eviction import Eviction
from actors.engine.memory.pins import Pins
from actors.engine.memory.residents import Residents
from actors.engine.progress import Progress
from actors.engine.steps import Steps
from actors.engine.timers import Timers
from actors.engine.turns import Turns
from actors.engine.waits.attachments import Attachments
from actors.engine.waits.awakeables import Awakeables
from actors.engine.waits.deadlocks import Deadlocks
from actors.engine.waits.idempotency import Placements
from actors.engine.waits.promises import Promises
from actors.model.catalog import Catalog


class PartitionHost:
    """`attempt.ports.Host` for the attempts of one partition."""

    __slots__ = (
        "accept",
        "add_timer",
        "attach",
        "attempt_failed",
        "call_soon",
        "called",
        "cancel",
        "check_room",
        "clock",
        "committer",
        "complete",
        "complete_awakeable",
        "complete_promise",
        "definition",
        "end",
        "final",
        "finish",
        "handler",
        "headers_for",
        "hold_while",
        "ids",
        "label",
        "lanes",
        "leaving",
        "limits",
        "loop",
        "make_ready",
        "mark",
        "max_payload",
        "next_number",
        "now_ms",
        "open",
        "pause",
        "peek_promise",
        "place_message",
        "pushed_back",
        "run_now",
        "start_step",
        "trace_mistake",
        "turns",
        "under_way",
        "unpin",
        "variables",
        "wait_promise",
        "waiting",
        "waits",
        "wake_at",
        "watcher",
        "write_behind",
        "write_entry",
        "write_state",
    )

    def __init__(self, env: Env, catalog: Catalog, residents: Residents, leaving: set[asyncio.Future[None]]) -> None:
        self.ids = env.ids
        self.clock = env.clock
        self.limits = env.limits
        self.max_payload = env.limits.max_payload
        self.watcher = env.watcher
        self.label = env.label
        self.handler = catalog.handler
        self.definition = catalog.definition
        self.open = residents.open
        self.leaving = leaving

    def writes(self, ledger: Ledger, committer: Committer) -> None:
        self.committer = committer
        self.next_number = ledger.next_number
        self.now_ms = ledger.now_ms
        self.mark = ledger.mark
        self.write_entry = ledger.write_entry
        self.write_state = ledger.write_state
        self.write_behind = ledger.write_behind

    def runs(self, turns: Turns, eviction: Eviction, pins: Pins) -> None:
        self.turns = turns
        self.loop = turns.loop
        self.variables = turns.variables
        self.make_ready = turns.make_ready
        self.run_now = turns.run_now
        self.call_soon = turns.call_soon
        self.waiting = eviction.waiting
        self.waits = eviction.waits
        self.hold_while = pins.hold_while
        self.unpin = pins.unpin

    def goes_on(self, progress: Progress, failures: Failures) -> None:
        self.complete = progress.complete
        self.wake_at = progress.wake_at
        self.finish = progress.finish
        self.end = progress.end
        self.attempt_failed = failures.attempt_failed
        self.pushed_back = failures.pushed_back
        self.pause = failures.pause
        self.trace_mistake = failures.trace_mistake

    def sends(self, intake: Intake, placements: Placements, deadlocks: Deadlocks, cancellation: Cancellation) -> None:
        self.check_room = intake.check_room
        self.headers_for = intake.headers_for
        self.accept = intake.accept
        self.lanes = placements.lanes
        self.under_way = placements.under_way
        self.place_message = placements.begin
        self.final = deadlocks.final
        self.called = cancellation.called
        self.cancel = cancellation.begin_cancel

    def asks(
        self, timers: Timers, steps: Steps, awakeables: Awakeables, promises: Promises, attachments: Attachments
    ) -> None:
        self.add_timer = timers.add
        self.start_step = steps.start
        self.complete_awakeable = awakeables.complete_for
        self.wait_promise = promises.wait
        self.peek_promise = promises.peek
        self.complete_promise = promises.complete_for
        self.attach = attachments.begin
