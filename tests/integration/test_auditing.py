"""Everything in a file explained: what is counted, what is listed as not judged, and what an audit keeps."""

from __future__ import annotations

import pytest

from actors import Context, Limits, VirtualObject, handler, shared
from actors.check.auditing import Auditing
from actors.check.explanation import Explaining, Explanation
from actors.check.placing import OutsideReader, misplaced
from actors.check.rehearsal import Stage
from actors.check.retrace import Retraces, State
from actors.check.seen import States
from actors.errors import StorageError
from actors.model.catalog import Catalog
from actors.model.definitions import definition_of
from actors.storage.records import InvocationRow, Mode, Status
from actors.testing import World
from tests.property.test_past import reads_of


class Wallet(VirtualObject):
    cents: int = 0

    @handler
    async def put(self, cents: int) -> int:
        self.cents += cents
        return self.cents

    @handler
    async def wait(self, ctx: Context) -> None:
        self.cents += 1
        self.cents += await ctx.awakeable(int)

    @shared
    async def balance(self) -> int:
        return self.cents


async def audited(world: World) -> Explanation:
    return await Auditing(reads_of(world.machine.disk), world.app).run()


async def test_an_audit_counts_each_invocation_once(world: World) -> None:
    await world.serve(Wallet)
    wallet = world.object(Wallet, "w")
    waiting = await wallet.wait.send()
    gate = await world.awakeable()
    reader = await wallet.balance.send()
    assert await reader.result() == 1  # the last state in which an audit looks for it
    await gate.resolve(7)
    await waiting.result()
    report = await audited(world)
    assert report.ok and not report.unjudged
    assert report.invocations == 2


async def test_an_audit_keeps_no_state_of_the_objects_it_has_done(world: World) -> None:
    await world.serve(Wallet)
    for key in "abc":
        await world.object(Wallet, key).put(1)
    report = await audited(world)
    assert report.invocations == 3
    assert report.known == {}


async def test_state_of_forgotten_invocations_is_listed(world: World) -> None:
    await world.serve(Wallet)
    await world.object(Wallet, "w").put(1)
    await world.pass_time(days=2)
    await world.object(Wallet, "other").put(1)
    report = await audited(world)
    assert "Wallet/w: invocations before the oldest that is kept may be forgotten" in map(str, report.unjudged)


def reader_of(answer: int) -> OutsideReader:
    row = InvocationRow(
        *(answer, "Wallet", "w", "balance", Mode.SHARED, Status.SUCCEEDED, 0, "[]"),
        *(None, None, None, 0, 0, None, str(answer), None),
    )
    return OutsideReader("ann", "Wallet/w/balance", row, 2 * answer, 2 * answer + 1, None, None)


@pytest.mark.parametrize(
    ("texts", "tries", "reason", "count"),
    [
        ({"cents": "9"}, 1, "the readers of the object were tried in 1 states", 1),
        ({"cents": '"no number"'}, 100, "cents", 2),
    ],
)
async def test_readers_that_cannot_be_placed_are_listed(
    texts: dict[str, str], tries: int, reason: str, count: int
) -> None:
    definition = definition_of(Wallet)
    stage = Stage(Catalog({"Wallet": definition}), Limits(), b"s" * 16)
    retraces = Retraces(stage, 5.0)
    explaining = Explaining(stage, retraces, {}, {}, True, True)
    found = [
        text
        async for text in misplaced(
            explaining, definition, States(State(texts, 1)), [reader_of(1), reader_of(2)], most_tries=tries
        )
    ]
    retraces.close()
    listed = list(map(str, explaining.report.unjudged))
    assert len(listed) == count and all(reason in text and "ann" in text for text in listed), (listed, found)
    assert len(found) == 2 - count


async def test_an_error_while_a_file_is_read_is_not_hidden(world: World) -> None:
    await world.serve(Wallet)
    reads = reads_of(world.machine.disk)

    async def read(error: Exception | None) -> None:
        async with reads.at_once():
            await reads._read("ROLLBACK")  # as SQLite itself does after some errors
            if error is not None:
                raise error

    with pytest.raises(ValueError, match="the cause"):
        await read(ValueError("the cause"))
    with pytest.raises(StorageError):
        await read(None)
