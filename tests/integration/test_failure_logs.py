"""What the log says of attempts that fail: a traceback once, and after that a line for each."""

from __future__ import annotations

import pytest

from actors import Context, RetryPolicy, VirtualObject, handler
from tests.world import World


class Failing(VirtualObject):
    @handler
    async def fail(self, early: int) -> None:
        attempts.append(1)
        if len(attempts) <= early:
            raise KeyError("early")
        raise ValueError(f"late, at {len(attempts)}\n and more")

    @handler
    async def step(self, ctx: Context) -> None:
        await ctx.run(_broken)

    @handler
    async def own_tries(self, ctx: Context) -> None:
        await ctx.step(retry=RetryPolicy(max_attempts=3)).run(_broken)


attempts: list[int] = []


def _broken() -> None:
    raise OSError("no network")


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    attempts.clear()


async def said(world: World, caplog: pytest.LogCaptureFixture, seconds: float = 100) -> list[str]:
    for _ in range(10):
        await world.pass_time(seconds)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.expects_log("failed, next in", "is paused")
async def test_the_traceback_is_logged_once_and_then_a_line_for_each(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing, retry=RetryPolicy(max_attempts=4)) as world:
        sent = await world.app.object(Failing, "a").fail.send(0)
        lines = await said(world, caplog)
        assert [line.count("Traceback") for line in lines] == [1, 0, 0, 0]
        assert [line.count("\n") > 0 for line in lines] == [True, False, False, False]
        assert f"Failing/a/fail ({sent.id}): attempt 2 of 4 failed, next in 0." in lines[1]
        assert lines[1].endswith(" s. ValueError('late, at 2\\n and more')")
        assert lines[3].endswith("Paused after 4 failed attempts. The last error: ValueError('late, at 4\\n and more')")
        info = await world.app.describe(sent.id)
        assert info.reason is not None and "Traceback" in info.reason  # it is kept all the same


@pytest.mark.expects_log("failed, next in", "is paused")
async def test_another_error_is_logged_with_its_own_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing, retry=RetryPolicy(max_attempts=5)) as world:
        await world.app.object(Failing, "a").fail.send(2)
        lines = await said(world, caplog)
        assert [line.count("Traceback") for line in lines] == [1, 0, 1, 0, 0]
        assert "KeyError" in lines[0] and "ValueError" in lines[2]


@pytest.mark.expects_log("failed, next in", "failed for good")
async def test_an_error_of_a_step_and_one_that_ends_the_invocation_too(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(max_attempts=3, on_exhausted="fail")
    async with World(Failing, retry=policy) as world:
        await world.app.object(Failing, "a").step.send()
        lines = await said(world, caplog)
        assert [line.count("Traceback") for line in lines] == [1, 0, 0]
        assert lines[2].endswith("failed for good after 3 attempts. OSError('no network')")


@pytest.mark.expects_log("next try in", "failed for good")
async def test_a_step_that_is_tried_again_by_its_own_policy_too(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing) as world:
        await world.app.object(Failing, "a").own_tries.send()
        lines = await said(world, caplog)
        assert [line.count("Traceback") for line in lines] == [1, 0, 0]
        assert "step _broken failed 2 times, next try in 0." in lines[1] and lines[1].endswith(
            " s. OSError: no network"
        )
        assert lines[2].endswith("failed for good, 3 times. OSError: no network")


@pytest.mark.expects_log("failed, next in")
async def test_without_a_limit_no_number_of_attempts_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing, retry=RetryPolicy(max_attempts=None, max_interval=1)) as world:
        await world.app.object(Failing, "a").step.send()
        lines = await said(world, caplog)
        assert len(lines) > 5 and "attempt 2 failed, next in 0." in lines[1]


@pytest.mark.expects_log("failed, next in")
async def test_another_process_logs_the_traceback_once_more(caplog: pytest.LogCaptureFixture) -> None:
    async with World(Failing, retry=RetryPolicy(max_attempts=None)) as world:
        await world.app.object(Failing, "a").step.send()
        await said(world, caplog)
        caplog.clear()
        await world.restart()
        lines = await said(world, caplog)
        assert [line.count("Traceback") for line in lines][:2] == [1, 0]
