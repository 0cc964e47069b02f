"""Messages under an idempotency key: the first becomes an invocation, later messages stand for it.

The scope of a key is one handler of one object. A key is taken as long as the invocation is kept.

Promise: messages from one handler to one object arrive in the order in which they were sent. A message under a key is placed
beside the handler, because the file must be read first; so every message that the handler sends to that object meanwhile waits
for it and is placed the same way. After a crash the replay begins all placements again, or, if there is none, the end of the
invocation those of its sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterable

from actors.attempt.invocation import Invocation
from actors.engine.background import Background
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.failures import Failures
from actors.engine.intake import Intake
from actors.engine.ledger import Ledger
from actors.engine.progress import Progress
from actors.engine.waits.attachments import Attachments
from actors.errors import (
    IdempotencyMismatch,
    MailboxFull,
    SerializationError,
    TerminalError,
    UnknownHandler,
    UnknownService,
    WrongKind,
)
from actors.journal.entries import Kind
from actors.journal.sends import recorded_send
from actors.model.definitions import HandlerDefinition
from actors.model.futures import is_cancelled
from actors.model.message import Claim, Message
from actors.model.names import address
from actors.model.options import Options
from actors.serde.failures import failure_text
from actors.storage.port import Store

log = logging.getLogger("actors")

Lane = tuple[int, str, str]


class Placements:
    """Finds the invocation of a key, or accepts it. Of several simultaneous messages with one key only one is accepted."""

    called: Callable[[Invocation, Invocation, bool], None]  # a call was accepted; set by the wiring, like `final`
    final: Callable[[TerminalError, Invocation, HandlerDefinition, str, Options], bool]

    def __init__(
        self,
        store: Store,
        env: Env,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        progress: Progress,
        intake: Intake,
        attachments: Attachments,
        failures: Failures,
    ) -> None:
        self._store = store
        self._ids = env.ids
        self._ledger = ledger
        self._background = background
        self._committer = committer
        self._progress = progress
        self._intake = intake
        self._attachments = attachments
        self._failures = failures
        # Keys whose invocation is being looked for, or is accepted but not durable: (seq, arguments) once known.
        self._claims: dict[Claim, asyncio.Future[tuple[int, str]]] = {}
        # By (caller, service, key): the placements under way, by command, in order. Each placement waits for the one before it.
        self.lanes: dict[Lane, dict[int, asyncio.Task[None]]] = {}

    async def place(self, message: Message, accept: Callable[[], Invocation]) -> tuple[int, bool]:
        """The number of the invocation, once that is durable, and whether it is new. Raises IdempotencyMismatch.

        `accept` is called to accept the message, in the same step in which no invocation was found.
        """
        self._background.check_running()
        claim = message.claim
        while (pending := self._claims.get(claim)) is not None:
            try:
                seq, args = await asyncio.shield(pending)
            except asyncio.CancelledError:
                if is_cancelled() or not pending.cancelled():
                    raise
                continue  # the task that looked for the key was cancelled, not this task
            self._check_same(message, args)
            await self._committer.acknowledged(self._ids.invocation(seq))
            return seq, False
        pending = self._claims[claim] = asyncio.get_running_loop().create_future()
        try:
            row = await self._store.find(*claim)
            if row is not None:
                pending.set_result((row.seq, row.args))
                self._check_same(message, row.args)
                return row.seq, False
            self._background.check_running()
            invocation = accept()
            pending.set_result((invocation.seq, message.args_text))
            await self._intake.durable(invocation)  # from now on the store finds the invocation
            return invocation.seq, True
        except BaseException as error:
            if not isinstance(error, Exception):
                pending.cancel()
            elif not pending.done():
                pending.set_exception(error)
                pending.exception()
            raise
        finally:
            del self._claims[claim]

    def _check_same(self, message: Message, args: str) -> None:
        """Raise IdempotencyMismatch if the message differs from the message that has become the invocation."""
        try:
            same = args == message.args_text or message.target.same_arguments(args, message.args_text)
        except SerializationError:
            same = False
        if not same:
            if message.target.once:
                raise IdempotencyMismatch(
                    f"The workflow {address(message.target.service.name, message.key)} was run with other "
                    "arguments, and a workflow runs once for each key. Use another key, or purge the ended run."
                )
            where = f" of {message.key!r}" if message.key else ""
            raise IdempotencyMismatch(
                f"The idempotency key {message.idempotency_key!r} was used for {message.target.target}{where} with other "
                "arguments. Use another key for another request."
            )

    @contextlib.asynccontextmanager
    async def alone(self, claims: Iterable[Claim]) -> AsyncIterator[None]:
        """No other task may look up or change the invocations of these keys until the block ends."""
        async with contextlib.AsyncExitStack() as stack:
            for claim in dict.fromkeys(claims):
                while (pending := self._claims.get(claim)) is not None:
                    await asyncio.wait([pending])
                self._claims[claim] = asyncio.get_running_loop().create_future()
                stack.callback(self._look_again, claim)
            self._background.check_running()
            yield

    def _look_again(self, claim: Claim) -> None:
        self._claims.pop(claim).cancel()

    def under_way(self, caller: Invocation, target: HandlerDefinition, key: str) -> bool:
        """Whether an earlier message of the caller to this object is not placed yet: then later messages must not overtake it."""
        return (caller.seq, target.service.name, key) in self.lanes

    def sending(self, callers: Iterable[Invocation]) -> list[asyncio.Task[None]]:
        """The placements under way for these callers."""
        seqs = {caller.seq for caller in callers} if self.lanes else ()
        return [task for lane, tasks in self.lanes.items() if lane[0] in seqs for task in tasks.values()]

    def begin_recorded(self, caller: Invocation) -> None:
        """Begin what a crash has cut off and no replay has come to yet: the caller is to end, and its sends are spared."""
        journal = caller.journal
        if journal is None:
            return
        sends = [entry for entry in journal.commands if entry.kind == Kind.SEND and entry.ref is None]
        placed = {entry.ref for entry in journal.completions if entry.kind == Kind.PLACED} if sends else ()
        for entry in sends:
            recorded = recorded_send(entry.before)
            if recorded is None or entry.idx in placed or caller.begun(entry.idx):
                continue
            assert isinstance(entry.value, str)  # the arguments; only a refused message has none, and no record
            try:
                message = self._intake.recorded(recorded, entry.value)
            except (UnknownService, UnknownHandler, WrongKind) as error:
                log.error("%s had sent a message that cannot be delivered: %s", caller.address, error)
            else:
                self.begin(caller, entry.idx, Kind.SEND, message, False, recorded.number)

    def begin(
        self, caller: Invocation, command: int, kind: int, message: Message, notified: bool, number: int | None
    ) -> None:
        """Place the message of a handler's call or send, unless an earlier attempt has done so.

        The last two arguments: whether the handler had received its cancellation when it made the request, and the invocation
        number that it was given.
        """
        if caller.work is None or command not in caller.work:
            lane = caller.seq, message.target.service.name, message.key
            tasks = self.lanes.setdefault(lane, {})
            before = next(reversed(tasks.values()), None)
            placing = self._place_for(caller, command, kind, message, notified, number, before)
            task = tasks[command] = self._background.spawn(placing)
            task.add_done_callback(functools.partial(self._placed, lane, tasks, command))
            self._progress.add_work(caller, command, task)

    def _placed(self, lane: Lane, tasks: dict[int, asyncio.Task[None]], command: int, _: object) -> None:
        tasks.pop(command, None)
        if not tasks and self.lanes.get(lane) is tasks:
            del self.lanes[lane]

    def _push_back(self, caller: Invocation, lane: Lane) -> None:
        """The next attempt repeats this placement and the later placements, which must not overtake it."""
        for command, task in self.lanes.pop(lane, {}).items():
            if caller.work is not None:
                caller.work.pop(command, None)
            if task is not asyncio.current_task():
                task.cancel()

    async def _place_for(
        self,
        caller: Invocation,
        command: int,
        kind: int,
        message: Message,
        notified: bool,
        number: int | None,
        before: asyncio.Task[None] | None,
    ) -> None:
        """Place a message once the placement `before` is done, and record the result for the caller."""

        def accept() -> Invocation:
            if kind == Kind.CALL and caller.seq in self._progress.stopping:
                raise asyncio.CancelledError  # no caller will wait for it
            if message.idempotency_key is not None:
                try:
                    self._intake.check_room(message.target, message.key, message.args_text, message.options.headers)
                except MailboxFull:
                    if caller.seq not in self._progress.stopping:  # else the sender ends, and cannot send it later
                        raise
            # Otherwise there was room when it was sent: now the handler would not receive a refusal.
            seq = number if number is not None else self._ledger.next_number()
            self._progress.place(caller, command, seq)
            self._progress.work_ended(caller, command)
            accepted = self._intake.accept_message(
                message, seq, caller, caller.seq if kind == Kind.CALL else None, command
            )
            if kind == Kind.CALL:
                self.called(caller, accepted, notified)
            return accepted

        try:
            if before is not None:
                await asyncio.wait([before])
            if message.idempotency_key is None:
                accept()
                return
            while True:
                seq, new = await self.place(message, accept)
                if not new and kind == Kind.SEND:
                    self._progress.place(caller, command, seq)
                    self._progress.work_ended(caller, command)
                elif not new and not await self._attachments.attach(caller, command, seq, placed=True):
                    continue  # forgotten since it was found: the key is free now
                return
        except TerminalError as error:
            if self.final(error, caller, message.target, message.key, message.options):
                self._progress.complete(caller, command, Kind.FAILED, failure_text(error))
            else:
                self._push_back(caller, (caller.seq, message.target.service.name, message.key))
                if caller.work is not None:
                    caller.work.pop(command, None)
                if caller.attempt is not None:  # the next attempt places the message again
                    self._failures.pushed_back(caller, error)
