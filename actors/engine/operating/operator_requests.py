"""Requests of the command line, left in a table of the file: the owner of the file executes each once, in order.

Promise: a request takes effect in the batch that holds its answer, so that no crash repeats or omits it, and a request that was
taken cannot be withdrawn. Requests that are in the file when the app starts are executed before any handler goes on.

An idle app pays one read of an empty table for each look, and nothing in between: the writer of the table cannot wake the app.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from actors.engine.background import Background
from actors.engine.clock import Cancellable
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.engine.operating.operations import Operations
from actors.engine.operating.restarts import checked_keep
from actors.engine.waits.awakeables import Awakeables, Payload
from actors.errors import BadArguments, TerminalError, short_reason
from actors.journal.entries import Kind
from actors.serde.failures import failure_text
from actors.storage.port import Store
from actors.storage.records import RequestRow

log = logging.getLogger("actors")

KEEP_ANSWERS_MS = 3_600_000  # for a command line that is still running to read the answers
_OPERATIONS = ("cancel", "kill", "pause", "resume", "restart", "purge")


class Requests:
    """Looks for requests every `every_ms`, from `begin` to `stop`."""

    def __init__(
        self,
        env: Env,
        store: Store,
        ledger: Ledger,
        background: Background,
        committer: Committer,
        awakeables: Awakeables,
        operations: Operations,
    ) -> None:
        self._ids = env.ids
        self._clock = env.clock
        self._store = store
        self._ledger = ledger
        self._background = background
        self._committer = committer
        self._awakeables = awakeables
        self._operations = operations
        self._every_ms = 0
        self._alarm: Cancellable | None = None

    def begin(self, every_ms: int) -> None:
        """Look for requests from now on; with 0, only requests that were in the file at the start are executed."""
        self._every_ms = every_ms
        self._arm()

    def stop(self) -> None:
        self._every_ms = 0
        if self._alarm is not None:
            self._alarm.cancel()

    def _arm(self) -> None:
        if self._every_ms:
            self._alarm = self._clock.call_at(self._clock.due_ms(self._every_ms), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._background.stopped:
            self._background.run(self._look())

    async def _look(self) -> None:
        taken = await self._store.take_requests(self._clock.now_ms() - KEEP_ANSWERS_MS)
        if taken:
            await self.apply(taken, left=False)
        self._arm()

    async def apply(self, requests: Sequence[RequestRow], *, left: bool = True) -> None:
        """Execute requests, one after the other. Returns once all answers are durable; raises StorageError.

        `left` means that they were in the file when the app started: a refusal may have no reader, so it is logged.
        """
        for request in requests:
            await self._apply(request, logging.WARNING if left else logging.INFO)
        await self._committer.flushed()

    async def _apply(self, request: RequestRow, level: int) -> None:
        try:
            if request.operation in ("resolve", "reject"):
                await self._complete(request)
            else:
                await self._operate(request)
        except TerminalError as error:
            self._answer(request, refusal=error, level=level)
        except Exception as error:
            self._background.check_running()
            if self._committer.failed is not None:
                raise
            log.exception("A request of the command line failed: %s of %s", request.operation, request.target)
            self._answer(
                request, refusal=TerminalError(f"This failed inside the app: {short_reason(error)}. See its log.")
            )

    async def _operate(self, request: RequestRow) -> None:
        operation = request.operation
        if operation not in _OPERATIONS:
            raise BadArguments(f"The operation {operation!r} is not known. Use a command line of the app's release.")
        seq = self._ids.read_invocation(request.target)
        if operation == "restart":
            keep: Any = _decoded(request.argument) if request.argument is not None else 0
            await self._operations.restart(
                seq,
                checked_keep(keep),
                lambda restarted: self._answer(request, {"invocation": self._ids.invocation(restarted.seq)}),
            )
        elif operation == "purge":
            await self._operations.purge(seq, lambda: self._answer(request))
        else:
            await getattr(self._operations, operation)(seq)
            self._answer(request)  # these operations do not await after their effect: it is in the open batch

    async def _complete(self, request: RequestRow) -> None:
        seq, index = self._ids.read_awakeable(request.target)
        if request.operation == "resolve":
            payload = Payload(Kind.COMPLETED, text=_compact(request.argument))
        else:
            reason = _decoded(request.argument)
            if not isinstance(reason, str):
                raise BadArguments(f"reject requires the reason as a str, got {type(reason).__name__}.")
            payload = Payload(Kind.FAILED, reason=reason)
        await self._awakeables.apply(seq, index, payload, lambda: self._answer(request))

    def _answer(
        self,
        request: RequestRow,
        result: dict[str, str] | None = None,
        refusal: TerminalError | None = None,
        level: int = logging.INFO,
    ) -> None:
        text = failure_text(refusal) if refusal else msgspec.json.encode({"ok": True, **(result or {})}).decode()
        self._ledger.answered(text, self._clock.now_ms(), request.number)
        log.log(
            level,
            "Request of the command line: %s of %s. %s",
            request.operation,
            request.target,
            "Done." if refusal is None else f"Refused: {refusal}",
        )


def _decoded(argument: Any) -> Any:
    try:
        return msgspec.json.decode(argument)
    except (msgspec.DecodeError, TypeError, ValueError, RecursionError):
        raise BadArguments(f"The argument of the request is not valid JSON: {argument!r:.80}") from None


def _compact(argument: str | None) -> str:
    """The JSON text as an encoder would write it: equal values in different spellings are the same completion."""
    if argument is None:
        return "null"
    _decoded(argument)
    return msgspec.json.format(argument, indent=-1)
