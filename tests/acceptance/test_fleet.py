"""The fleet example: run as its docstring says, on a clock, and killed at each of its commits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from examples.fleet import FLEET, PATIENCE, Alarm, Device, Registry
from tests.acceptance.programs import Program, kills, live
from tests.world import World

PATIENCE_S = PATIENCE.total_seconds()


def fleet() -> World:
    return World(Device, Registry, Alarm)


async def report(world: World, *devices: str) -> None:
    for device in devices:
        await world.app.object(Device, device).report()


async def pass_seconds(world: World, seconds: float, *devices: str) -> None:
    """Second by second: a clock that jumps is an outage. These devices report meanwhile."""
    for _ in range(int(seconds)):
        await world.pass_time(1)
        await report(world, *devices)


async def silent(world: World) -> list[str]:
    return await world.app.object(Alarm, FLEET).look()


def test_a_device_that_falls_silent_raises_an_alarm_as_documented(tmp_path: Path) -> None:
    program = Program(tmp_path, "fleet.py")
    first, watch, alarms, back = program.documented()
    assert program.says(*first) == ["silent: no device"]
    with program.started(*watch) as lines:
        assert re.fullmatch(r"\[alarm\] d-2 is silent since \d\d:\d\d:\d\d UTC\n", next(lines))
    # Killed right after it was printed, the alarm may be printed once more.
    assert program.says(*alarms)[-1] == "silent: d-2"
    *alarms, silent = program.says(*back)  # on a busy machine another device may have fallen silent meanwhile
    assert "[alarm] d-2 is back" in alarms
    assert silent.startswith("silent: ") and "d-2" not in silent
    assert "python fleet.py watch d-1 d-3" in program.run().stderr


async def test_each_silence_of_a_device_is_one_alarm(capsys: pytest.CaptureFixture[str]) -> None:
    async with fleet() as world:
        await report(world, "d-1", "d-2")
        await pass_seconds(world, 10, "d-1")
        assert await silent(world) == ["d-2"]
        await report(world, "d-2")
        assert await silent(world) == []
        await pass_seconds(world, PATIENCE_S)
        assert await silent(world) == []
        await world.pass_time(1)
        assert await silent(world) == ["d-1", "d-2"]
        assert (await world.app.state(Registry, FLEET)).values["devices"] == ["d-1", "d-2"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:4] for line in lines] == [
        ["d-2", "is", "silent"],
        ["d-2", "is", "back"],
        ["d-1", "is", "silent"],
        ["d-2", "is", "silent"],
    ]


async def test_after_an_outage_the_devices_have_time_to_report() -> None:
    async with fleet() as world:
        await report(world, "d-1", "d-2")
        await world.pass_time(1)
        await world.crash()
        world.clock.advance(3600)
        await world.start()
        await world.pass_time(1)
        await report(world, "d-1")
        await pass_seconds(world, PATIENCE_S - 1, "d-1")
        assert await silent(world) == []
        await world.pass_time(1)
        assert await silent(world) == ["d-2"]


@pytest.mark.parametrize("written", [False, True])
async def test_a_fleet_killed_at_any_commit_raises_each_alarm_once(
    written: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def d_2_is_silent(world: World) -> bool:
        return await silent(world) == ["d-2"]

    for kill in kills(written):
        async with fleet() as world:
            await report(world, "d-1", "d-2")
            await live(world, d_2_is_silent, kill, lambda world: report(world, "d-1"))
            await report(world, "d-1", "d-2")
            assert await silent(world) == []
            assert (await world.app.state(Registry, FLEET)).values["devices"] == ["d-1", "d-2"]
        lines = capsys.readouterr().out.splitlines()
        # The alarm is repeated only if the process died before it was recorded.
        assert len(lines) - len(set(lines)) <= kill.repeats
        assert [line.split()[1:4] for line in dict.fromkeys(lines)] == [["d-2", "is", "silent"], ["d-2", "is", "back"]]
