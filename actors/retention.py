"""How long ended invocations are kept, and how they are forgotten: a slice in each commit, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.clock import Cancellable
    from actors.partition import Partition

SLICE = 500


class Retention:
    """Ended invocations are kept for `keep_ms`, and at most `keep_count` of them: then the oldest go, with their journals.

    Those accepted under an idempotency key stay for `keyed_ms`, however many they are: their outcome was promised.
    """

    def __init__(self, partition: Partition, keep_ms: int | None, keep_count: int | None, keyed_ms: int | None) -> None:
        self._partition = partition
        self._keep_ms = keep_ms
        self._keep_count = keep_count
        self._keyed_ms = keyed_ms
        self._sweeping = False
        self._alarm: Cancellable | None = None
        self.armed = keep_ms is None and keyed_ms is None  # whether the next look is arranged, or none is needed
        self.count = 0  # ended invocations that are kept, those under a key apart
        kept = [ms for ms in (keep_ms, keyed_ms) if ms is not None]
        self._shortest_ms = min(kept) if kept else None
        self.limit: float = float("inf") if keep_count is None else keep_count + SLICE

    def begin(self, count: int) -> None:
        self.count = count
        self.sweep()

    def look(self) -> None:
        """One more has ended, beyond the limit or the first of them."""
        if self.count > self.limit:
            self.sweep()
        if self._alarm is None and self._shortest_ms is not None:
            self._alarm = self._partition.clock.call_at(self._partition.now_ms() + self._shortest_ms, self._ring)
            self.armed = True

    def stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def purge(self, seqs: Sequence[int], keyed: bool) -> None:
        if not keyed:
            self.count -= len(seqs)
        self._partition.committer.batch.purged.extend([(seq,) for seq in seqs])
        self._partition.touch()

    def sweep(self) -> None:
        """Forget what is due, in the background."""
        if self._sweeping or self._partition.stopped:
            return
        if self._shortest_ms is None and self._keep_count is None:
            return
        self._sweeping = True
        self._partition.loader.background(self._sweep())

    async def _sweep(self) -> None:
        partition = self._partition
        try:
            next_due = [
                await self._sweep_kind(keyed=False, keep_ms=self._keep_ms),
                await self._sweep_kind(keyed=True, keep_ms=self._keyed_ms),
                None if self._keyed_ms is None else await partition.workflows.expire(self._keyed_ms),
            ]
            # Without one, the alarm of what has ended meanwhile stays.
            due = min((at for at in next_due if at is not None), default=None)
            if due is not None and not partition.stopped:
                self.stop()
                # No later than what ends right now is due, which need not be the same kind: it finds an alarm that is set.
                assert self._shortest_ms is not None
                due = min(due, partition.clock.now_ms() + self._shortest_ms)
                self._alarm = partition.clock.call_at(due, self._ring)
                self.armed = True
        except Exception as error:
            if not partition.stopped:
                partition.fail(error)
        finally:
            self._sweeping = False

    def _ring(self) -> None:
        self._alarm = None
        self.armed = self._shortest_ms is None
        self.sweep()

    async def _sweep_kind(self, *, keyed: bool, keep_ms: int | None) -> int | None:
        """Forget those of one kind that are due. When the next one will be, or None."""
        partition = self._partition
        while True:
            await partition.committer.flushed()
            oldest = await partition.store.ended(SLICE, keyed)
            latest = None if keep_ms is None else partition.clock.now_ms() - keep_ms
            surplus = 0 if keyed or self._keep_count is None else self.count - self._keep_count
            gone = [
                seq
                for place, (seq, ended_ms) in enumerate(oldest)
                if place < surplus or (latest is not None and ended_ms <= latest)
            ]
            if gone and keyed:
                await partition.workflows.purge(gone)
            elif gone:
                self.purge(gone, keyed)
            if len(gone) < SLICE:
                left = oldest[len(gone) :]
                return left[0][1] + keep_ms if left and keep_ms is not None else None
            await partition.turn_taken()
