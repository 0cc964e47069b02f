"""How long ended invocations are kept, and how they are forgotten: some with each commit, so that no caller waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from actors.engine.background import Background
from actors.engine.clock import Cancellable
from actors.engine.committer import Committer
from actors.engine.env import Env
from actors.engine.ledger import Ledger
from actors.storage.port import Store

SLICE = 500


class Retention:
    """Ended invocations are kept for `keep_ms`, at most `keep_count` of them: then the oldest are removed, with their journals.

    Invocations with an idempotency key are kept for `keyed_ms`, however many there are: their outcome was promised.
    """

    purge_keyed: Callable[
        [Sequence[int]], Awaitable[object]
    ]  # runs of workflows; handed in by the wiring, as `expire` is
    expire: Callable[[int], Awaitable[int | None]]  # promises that no run has claimed

    def __init__(self, env: Env, store: Store, ledger: Ledger, background: Background, committer: Committer) -> None:
        limits = env.limits
        self._clock = env.clock
        self._store = store
        self._ledger = ledger
        self._background = background
        self._committer = committer
        keep_ms, keyed_ms, keep_count = limits.retention_ms, limits.idempotency_retention_ms, limits.max_retained
        self._keep_ms = keep_ms
        self._keep_count = keep_count
        self._keyed_ms = keyed_ms
        self._sweeping = False
        self._due = False  # a whole sweep was requested while another was under way
        self._purges = 0
        self._purged_in = 0  # number of the last batch that forgets an invocation
        self._alarm: Cancellable | None = None
        self.armed = keep_ms is None and keyed_ms is None  # whether the next look is arranged, or not needed
        self.count = 0  # kept ended invocations, without those under a key
        kept = [ms for ms in (keep_ms, keyed_ms) if ms is not None]
        self._shortest_ms = min(kept) if kept else None
        self.limit: float = float("inf") if keep_count is None else keep_count + SLICE

    def begin(self, count: int) -> None:
        self.count = count
        self.sweep()

    def look(self) -> None:
        """Another invocation has ended: it exceeds the limit, or no look is arranged yet."""
        if self.count > self.limit and not self._sweeping:
            self._begin(self._trim)
        if self._alarm is None and self._shortest_ms is not None:
            self._alarm = self._clock.call_at(self._ledger.now_ms() + self._shortest_ms, self._ring)
            self.armed = True

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def purge(self, seqs: Sequence[int], keyed: bool) -> None:
        if not keyed:
            self.count -= len(seqs)
        self._purges += 1
        self._purged_in = self._ledger.purged(seqs)

    def sweep(self) -> None:
        """Forget all invocations that are due, in the background."""
        if self._sweeping:
            self._due = True
        elif self._shortest_ms is not None or self._keep_count is not None:
            self._begin(self._sweep)

    def _begin(self, work: Callable[[], Awaitable[None]]) -> None:
        if not self._background.stopped:
            self._sweeping = True
            self._background.run(self._guarded(work))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._sweeping = False
        if self._due:
            self._due = False
            self.sweep()

    async def _trim(self) -> None:
        """Forget the oldest invocations until the limit is kept."""
        await self._committer.flushed()  # so that the store finds all invocations that were counted
        before = -1
        while self.count > self.limit and self.count != before:  # an unchanged count is wrong: nothing is left
            before = self.count
            await self._sweep_slice(keyed=False, keep_ms=None)

    async def _sweep(self) -> None:
        """Forget all invocations that are due, of both kinds, and set the alarm for the next."""
        next_due = [
            await self._sweep_kind(keyed=False, keep_ms=self._keep_ms),
            await self._sweep_kind(keyed=True, keep_ms=self._keyed_ms),
            None if self._keyed_ms is None else await self.expire(self._keyed_ms),
        ]
        # Without a next time, the alarm of invocations that have ended meanwhile stays.
        due = min((at for at in next_due if at is not None), default=None)
        if due is not None and not self._background.stopped:
            self.stop()
            # No later than an invocation that ends right now is due, of either kind: it finds this alarm, and sets none.
            assert self._shortest_ms is not None
            due = min(due, self._clock.now_ms() + self._shortest_ms)
            self._alarm = self._clock.call_at(due, self._ring)
            self.armed = True

    def _ring(self) -> None:
        self._alarm = None
        self.armed = self._shortest_ms is None
        self.sweep()

    async def _sweep_kind(self, *, keyed: bool, keep_ms: int | None) -> int | None:
        """Forget all invocations of one kind that are due. Returns when the next will be due, or None."""
        while True:
            left = await self._sweep_slice(keyed=keyed, keep_ms=keep_ms)
            if left is not None:
                return left[0] + keep_ms if left and keep_ms is not None else None

    async def _sweep_slice(self, *, keyed: bool, keep_ms: int | None) -> list[int] | None:
        """Forget the oldest invocations that are due. Returns the end times of those it has left; None if there may be more."""
        committer = self._committer
        if self._purged_in > committer.handed_over:  # otherwise they would be found again
            await committer.flushed()
        oldest = await self._store.ended(SLICE, keyed)
        purges = self._purges
        # So that the purge is in one batch with the callers that this wakes: they would wait for a separate batch.
        await committer.flushed()
        if purges != self._purges:
            return None
        latest = None if keep_ms is None else self._clock.now_ms() - keep_ms
        surplus = 0 if keyed or self._keep_count is None else self.count - self._keep_count
        gone = [
            seq
            for place, (seq, ended_ms) in enumerate(oldest)
            if place < surplus or (latest is not None and ended_ms <= latest)
        ]
        if gone and keyed:
            await self.purge_keyed(gone)
        elif gone:
            self.purge(gone, keyed)
        return [ended_ms for _, ended_ms in oldest[len(gone) :]] if len(gone) < SLICE else None
