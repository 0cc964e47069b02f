"""Random programs, operators, crashes and evictions: what has ended is replayed to the same outcome and state, and captured as a test.

`SIMULATIONS=300 pytest tests/property/test_replays.py` replays more than 1,000 invocations; the count is printed with -s.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from actors.check.reading import read_past
from actors.cli.replay.captured import Collecting
from actors.cli.replay.capturing import executed, proved
from actors.cli.replay.replaying import Replaying
from actors.cli.replay.subject import Subject, read
from actors.cli.replay.telling import outcome_lines
from actors.journal.ids import IdMint
from actors.model.catalog import Catalog
from actors.storage.records import Flag, Status
from actors.testing.replay import SECRET
from tests.property.test_past import reads_of
from tests.property.test_specification import Life, steady

SEEDS = int(os.environ["SIMULATIONS"]) // 3


class ReplayedLife(Life):
    """A life after which every ended invocation is replayed and captured."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.replayed = self.unknown = 0
        self.done: set[int] = set()

    async def look(self) -> None:
        if self.world.store.crashed:
            return
        reads = reads_of(self.world.disk)
        ((secret,),) = self.world.disk.query("SELECT value FROM meta WHERE name = 'secret'")
        found = self.world.disk.query("SELECT seq FROM invocation WHERE status >= 6 ORDER BY seq")
        for (seq,) in found:
            if seq in self.done:
                continue
            self.done.add(seq)
            subject = await read(reads, secret, self.world.app, seq)
            if subject.before is None:
                assert subject.reason
                self.unknown += 1
                continue
            await self.same(subject)
            self.replayed += 1

    async def same(self, subject: Subject) -> None:
        app, row = self.world.app, subject.row
        catalog = Catalog(app._services)
        retraced = await Replaying(catalog, self.world.limits, subject).run(Collecting())
        said, same = outcome_lines(subject, retraced)
        if row.flags & Flag.CONTINUES and not same:
            return  # its restart may have set the state back to something else than the records show
        assert same and retraced.misfit is None, (subject.name, said)
        if row.shared == 0 and not retraced.imposed:
            past = await read_past(reads_of(self.world.disk), row.service, row.key, app)
            passage = past.passage(row.seq)
            if passage is not None and passage.after.state is not None:
                assert retraced.left.texts == passage.after.state.texts, subject.name
        steady.add(IdMint(SECRET).invocation(1))  # the memory of the process belongs to these programs
        capture = await executed(app.engine_options(), subject, False)
        *_, problem = await proved(catalog, capture, False)
        assert problem is None, (subject.name, Status.NAMES[row.status], problem, capture.journal, subject.journal)


@pytest.mark.may_log(
    "failed", "is paused", "paused", "kept the event loop", "is skipped", "mistake", "cut short", "step"
)
def test_random_invocations_replay_to_the_same_outcome_and_state() -> None:
    replayed = unknown = 0
    for seed in range(SEEDS):
        life = ReplayedLife(seed)
        asyncio.run(life.live())
        replayed, unknown = replayed + life.replayed, unknown + life.unknown
    print(f"{replayed:,} invocations replayed and captured; of {unknown:,} the state before is not known")
    assert replayed > 8 * SEEDS and unknown < replayed / 5
