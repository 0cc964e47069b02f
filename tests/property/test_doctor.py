"""The doctor on random programs with random operators: each state has one root cause, and what is offered frees it.

The programs are those of `test_random_operations`. Whenever they have come to rest for a moment:

* each object and each open invocation has one root cause, and none is inconsistent;
* a way out that a command offers, done, frees the subject, or another cause is named for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from actors import Limits
from actors.doctor.causes import Way
from actors.doctor.diagnosis import Diagnosis, Doctor
from actors.errors import TerminalError
from actors.storage import InvocationRow, Status
from actors.storage.sqlite.examination import Examination
from actors.testing.disk import Disk, InlineConnection
from tests.property.operated_objects import KEYS
from tests.property.test_random_operations import LIMITS, PHASES, SCENARIOS, Run

pytestmark = pytest.mark.may_log(
    "failed, next in", "the app starts again. Paused after", "failed for good after", "which was cut short"
)

REST_TURNS = 300


class Reader(Examination):
    """Reads a disk beside the process that runs on it."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(":memory:")
        self._handle = InlineConnection(disk.connection)


class Examined(Run):
    """One example, looked at after each action, once nothing goes on without time."""

    async def _turns(self, turns: int) -> None:
        await super()._turns(turns)
        if not self.resting:
            return
        self.resting = False
        try:
            await super()._turns(REST_TURNS)
            await self._examine()
        finally:
            self.resting = True

    resting = True

    async def _come_to_rest(self) -> None:
        await self._free()
        self.resting = False
        await super()._come_to_rest()

    def _doctor(self) -> Doctor:
        return Doctor(Reader(self.world.disk), self.ids, self.world.clock.now_ms(), True)

    def _open(self) -> list[InvocationRow]:
        rows = self.world.disk.query("SELECT * FROM invocation WHERE status < 6 ORDER BY seq")
        return [InvocationRow._make(row) for row in rows]

    async def _examine(self) -> None:
        doctor = self._doctor()
        for row in self._open():
            self._judge(await doctor.of_invocation(row))
        for key in KEYS:
            self._judge(await doctor.of_object("Operated", key))

    def _judge(self, found: Diagnosis) -> None:
        event(f"cause: {found.cause.code}")
        assert found.cause.code != "inconsistent", f"{found.subject} {found.cause.text}\n{self._rows()}"
        assert (found.root is None) == (found.cause.code == "free")
        for link in found.chain:
            assert link.row.status < Status.SUCCEEDED

    async def _free(self) -> None:
        """Do what is offered first, and what is offered last, for each object that has a holder."""
        self.world.store.crash_at_commit(10**9, written=True)
        for key in KEYS:
            for place in range(2):
                await super()._turns(REST_TURNS)
                found = await self._doctor().of_object("Operated", key)
                ways = [way for way in found.cause.ways if way.command]
                if found.root is not None and ways:
                    await self._way(key, found, ways[place * -1])

    async def _way(self, key: str, before: Diagnosis, way: Way) -> None:
        event(f"{before.cause.code}: {way.command[1]}")
        with contextlib.suppress(TerminalError):
            await self._done_by(*way.command)
        for _ in range(20):
            await super()._turns(REST_TURNS)
            after = await self._doctor().of_object("Operated", key)
            if _what(after) != _what(before):
                return
            self.world.clock.skip()
        raise AssertionError(f"{way.command} was done, and {before.subject} {before.cause.text} as before")

    async def _done_by(self, group: str, operation: str, id: str, *value: str) -> None:
        if group == "awakeables":
            await (
                self.world.app.resolve_awakeable(id, "x")
                if operation == "resolve"
                else self.world.app.reject_awakeable(id, "no")
            )
        else:
            await self._do(operation, id)


def _what(found: Diagnosis) -> tuple[Any, ...]:
    """What is named as the cause: an attempt that fails again, later, is another cause."""
    root = found.root
    return (found.cause.code, found.cause.detail, root and (root.seq, root.attempts, root.status, root.flags))


EXAMPLES = int(os.environ["SIMULATIONS"])


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning")
@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(limits=LIMITS, seed=st.integers(0, 2**16), actions=SCENARIOS)
def test_each_state_has_one_root_cause_and_what_is_offered_frees_it(
    limits: Limits, seed: int, actions: list[tuple[Any, ...]]
) -> None:
    asyncio.run(Examined(limits, seed).play(actions))
