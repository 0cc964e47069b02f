"""A fresh process: what it finds, what it says of classes that it cannot judge, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import VirtualObject, handler, shared
from actors.testing import World, WorldFailed
from actors.testing.copies import Copies, Copy, Place
from actors.testing.fresh import FreshProcess, looked_at
from actors.testing.simulation import Simulation
from actors.testing.sweep import Sweep
from tests.user_bugs.memory import Text, counts_words
from tests.worlds.scenarios import Account

_in_a_test = False  # while the classes below run in a world; never in a process that has just imported this module


_calls: list[int] = []


class Once(VirtualObject):
    @handler
    async def call(self) -> str:
        _calls.append(1)
        return "first" if len(_calls) == 1 else "again"

    @shared
    async def look(self) -> int:
        return 0


class Exits(VirtualObject):
    @handler
    async def call(self) -> None:
        if not _in_a_test:
            os._exit(3)


class Blocks(VirtualObject):
    @handler
    async def call(self) -> None:
        if not _in_a_test:
            signal.pause()


def copies_of(cls: type[Once | Exits | Blocks], calls: int = 1) -> Copies:
    async def body(world: World) -> None:
        await world.serve(cls)
        for _ in range(calls):
            await world.object(cls, "o").call()

    global _in_a_test
    copies = Copies()
    world = World(copies=copies)
    _in_a_test = True
    try:
        world.run(body(world))
    finally:
        world.close()
        _in_a_test = False
    return copies


def moved(copies: Copies, *places: Place) -> Copies:
    """The same copies, whose classes are found there."""
    changed = Copies()
    for copy in copies.all():
        changed.add(functools.partial(dataclasses.replace, copy, places=places))
    return changed


@pytest.fixture(scope="module")
def process() -> Iterator[FreshProcess]:
    with contextlib.closing(FreshProcess(within_s=20)) as process:
        yield process


def test_each_disk_is_judged_in_an_empty_memory(process: FreshProcess) -> None:
    _calls.clear()
    copies = copies_of(Once)
    for _ in range(2):
        looked = process.look(copies)
        assert (looked.disks, looked.finding, looked.notes) == (copies.commits, None, [])


def test_what_the_process_remembers_of_a_call_before_is_found(process: FreshProcess) -> None:
    _calls.clear()
    copies = copies_of(Once, calls=2)
    finding = process.look(copies).finding
    assert finding is not None and "commit 2: Once/o/call" in finding and 'answers "again", as stored' in finding


def test_what_follows_a_reader_that_is_not_stored_is_judged(process: FreshProcess) -> None:
    async def body(world: World) -> None:
        await world.serve(Once)
        assert await world.object(Once, "o").look() == 0
        for _ in range(2):
            await world.object(Once, "o").call()

    _calls.clear()
    copies = Copies()
    with contextlib.closing(World(copies=copies)) as world:
        world.run(body(world))
    assert copies.commits == 2
    assert 'answers "again", as stored' in str(process.look(copies).finding)


def test_a_sweep_and_a_simulation_ask_a_fresh_process_if_told() -> None:
    async def body(world: World) -> None:
        await counts_words(world, Text)

    said = r"^A fresh process does something else, on the disk after commit \d: Text/t/index .*requested now was call 'Word"
    with pytest.raises(WorldFailed, match=said) as failure:
        Sweep(fresh=True).run(body)
    assert "the order of a set, or the memory of the process" in str(failure.value)
    with pytest.raises(WorldFailed, match=said):
        Simulation(runs=1, fresh=True).run(body)


def test_the_report_says_how_many_disks_were_judged() -> None:
    async def body(world: World) -> None:
        await world.serve(Account)
        await world.object(Account, "a").add(1)

    assert "a fresh process has explained 1 disks of 1 commits" in Sweep(fresh=True).run(body).summary()
    assert "a fresh process has explained 1 disks" in Simulation(runs=1, fresh=True).run(body).summary()


def test_a_test_without_the_replay_witness_is_not_judged_afresh() -> None:
    async def body(world: World) -> None:
        world.unchecked("replay")
        await counts_words(world, Text)

    assert "it has no commits, or excuses the replay witness" in Sweep(fresh=True, most=1).run(body).summary()
    assert looked_at(Copies()) == [
        "not checked in a fresh process: it has no commits, or excuses the replay witness",
    ]


def test_a_class_of_a_function_is_skipped_and_named(process: FreshProcess) -> None:
    class Local(Once): ...

    _calls.clear()
    looked = process.look(copies_of(Local))
    assert looked.finding is None and looked.disks == 0
    assert looked.notes == ["not checked in a fresh process: Local: it is defined in a function"]


def test_a_module_that_cannot_be_imported_is_named(process: FreshProcess, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit('no')")
    _calls.clear()
    copies = copies_of(Once)
    broken = Place("broken_there", "Order", str(tmp_path / "broken.py"))
    notes = process.look(moved(copies, broken, Place("nowhere_to_be_found", "Order", None))).notes
    assert [note.partition("imported: ")[0] for note in notes] == [
        "not checked in a fresh process: Order: it cannot be "
    ] * 2
    assert "nowhere_to_be_found" in notes[1]
    assert process.look(copies).disks == copies.commits


def test_a_handler_that_ends_the_process_leaves_a_line(process: FreshProcess) -> None:
    looked = process.look(copies_of(Exits))
    assert looked.finding is None
    said = "were left out of the check in a fresh process: the process ended with exit code 3"
    assert looked.notes == [f"commits from 1 on {said}"]


def test_a_handler_that_does_not_end_leaves_a_line() -> None:
    with contextlib.closing(FreshProcess(within_s=0.2)) as process:
        looked = process.look(copies_of(Blocks))
    assert looked.finding is None and len(looked.notes) == 1
    assert looked.notes[0].endswith("in a fresh process: its handlers did not end within 0.2 s")


def test_a_judge_that_fails_says_why(process: FreshProcess) -> None:
    _calls.clear()
    broken = Copies()
    for copy in copies_of(Once).all():
        broken.add(functools.partial(dataclasses.replace, copy, image=b"no database" * 100))
    looked = process.look(broken)
    assert looked.finding is None and looked.disks == 0
    assert "in a fresh process: it failed: " in looked.notes[0] and "Error" in looked.notes[0]


def test_a_process_that_has_ended_is_started_again(process: FreshProcess) -> None:
    _calls.clear()
    copies = copies_of(Once)
    for _ in range(2):
        looked = process.look(copies)
        assert (looked.disks, looked.notes) == (copies.commits, [])
        assert process._process is not None
        process._process.kill()
        process._process.wait()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os._exit(4)", "it ended with exit code 4"),
        ("import signal; signal.pause()", "it did not answer within 3.5 s"),
    ],
    ids=["exits", "blocks"],
)
def test_a_module_that_ends_the_fresh_process_leaves_a_line(code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(code)
    _calls.clear()
    copies = moved(copies_of(Once), Place("bad_there", "Order", str(tmp_path / "bad.py")))
    imports_s = 3 if "pause" in code else 60
    with contextlib.closing(FreshProcess(within_s=0.5, imports_s=imports_s)) as process:
        looked = process.look(copies)
    assert looked.finding is None and looked.notes[0].endswith(f"in a fresh process: {said}")


def test_another_module_of_the_same_name_is_not_mistaken(process: FreshProcess, tmp_path: Path) -> None:
    _calls.clear()
    copies = copies_of(Once)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(
            "from actors import VirtualObject, handler\n\nclass Once(VirtualObject):\n    @handler\n"
            f"    async def call(self) -> str:\n        return {'first' if name == 'one' else 'other'!r}\n"
        )
    one, two = (Place("same_name", "Once", str(tmp_path / name / "same.py")) for name in ("one", "two"))
    assert process.look(moved(copies, one)).finding is None
    assert "the second" not in (process.look(moved(copies, two)).finding or "the second")


def test_copies_are_bounded_and_hold_the_last_commit() -> None:
    _calls.clear()
    model = copies_of(Once).all()[0]
    count = 0

    def made(number: int) -> Copy:
        nonlocal count
        count += 1
        return dataclasses.replace(model, commit=number)

    for commits in (1, 2, 15, 16, 17, 100, 1000):
        copies, count = Copies(most=16), 0
        for number in range(1, commits + 1):
            copies.add(functools.partial(made, number))
        kept: list[Copy] = copies.all()
        numbers = [copy.commit for copy in kept]
        assert numbers == sorted({*numbers}) and numbers[-1] == commits
        assert min(commits, 8) <= len(numbers) <= 16
        assert count <= 16 + 8 * max(0, commits // 16).bit_length()
        assert max(b - a for a, b in zip([0, *numbers], numbers, strict=False)) <= max(1, commits // 4)
