"""What the doctor learns from the app that runs, beside its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.storage.records import InvocationRow

if TYPE_CHECKING:
    from actors.engine.partition import Partition


class LivePartition:
    """`actors.doctor.live.Live` of one partition."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    def unrecorded_wait(self, row: InvocationRow) -> str | None:
        mailbox = self._partition.residents.known(row.service, row.key)
        current = mailbox.current if mailbox is not None else None
        if current is None or current.seq != row.seq or current.attempt is None:
            return None  # a reader, or it has gone on since
        return current.attempt.unrecorded_wait()

    def is_queued(self, row: InvocationRow, position: int) -> bool:
        return any(
            step.seq == row.seq and step.index == position and step.status == "queued"
            for step in self._partition.steps.executing
        )
