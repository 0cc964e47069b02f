"""Mistakes in the code while it is being written: few attempts, and the caller gets the traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors import App, Context, RetryPolicy, VirtualObject, handler
from actors.errors import DefinitionError, ProgrammingError
from tests.http.asgi import ask
from tests.world import World

MISTAKES: dict[str, str] = {
    "name": "undefined",
    "attribute": "''.upperr()",
    "type": "1 + ''",
    "key": "{}['x']",
    "index": "[][1]",
    "assertion": "(_ for _ in ()).throw(AssertionError('no'))",
    "import": "__import__('no_such_module')",
    "zero": "1 / 0",
}
tried: list[str] = []


def wrong(code: str) -> Any:
    tried.append(code)
    return eval(code)


class Young(VirtualObject):
    @handler
    async def go(self, code: str) -> Any:
        return wrong(code)

    @handler
    async def step(self, ctx: Context, code: str) -> Any:
        return await ctx.run(wrong, code)

    @handler
    async def retried_step(self, ctx: Context, code: str) -> Any:
        return await ctx.step(retry=RetryPolicy(max_attempts=None)).run(wrong, code)

    @handler
    async def group(self, code: str) -> Any:
        try:
            wrong(code)
        except Exception as error:
            raise ExceptionGroup("several", [error]) from None


@pytest.fixture(autouse=True)
def _nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACTORS_DEBUG", raising=False)
    tried.clear()


logs = pytest.mark.may_log("failed", "a programming error", "is paused")


@logs
@pytest.mark.parametrize("how", ["go", "step", "retried_step", "group"])
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_ends_after_three_attempts_with_its_traceback(mistake: str, how: str) -> None:
    async with World(Young, debug=True) as world:
        sent = await world.app.send("Young", "y", how, MISTAKES[mistake])
        for _ in range(5):
            await world.settle()
            await world.pass_time(1)
        assert await world.status(sent) == "failed"
        assert len(tried) == 3
        with pytest.raises(ProgrammingError) as caught:
            await world.app.invocation(sent.id).result()
        (note,) = caught.value.__notes__
        assert "in wrong" in note and "test_debug.py" in note
        answer = await ask(world.app, "GET", f"/restate/invocation/{sent.id}/attach")
        assert (answer.status, answer.json["error"]) == (500, "programming_error")
        assert "in wrong" in answer.json["metadata"]["traceback"]
        world.options["debug"] = False
        await world.restart()
        answer = await ask(world.app, "GET", f"/restate/invocation/{sent.id}/attach")
        assert b"test_debug" not in answer.body and b"in wrong" not in answer.body


@logs
@pytest.mark.parametrize(("most", "shown"), [(None, "of 3"), (70, "of 3"), (2, "of 2")])
async def test_the_log_says_how_many_attempts_a_mistake_has(
    most: int | None, shown: str, expect_log: Callable[[str], None]
) -> None:
    expect_log(f"attempt 1 {shown} failed")
    async with World(Young, debug=True, retry=RetryPolicy(max_attempts=most)) as world:
        await world.app.send("Young", "y", "go", "undefined")
        await world.settle()


@logs
@pytest.mark.parametrize(("debug", "code"), [(False, "undefined"), (True, "open('/no/such/file')")])
async def test_without_debug_and_of_other_errors_the_policy_decides(debug: bool, code: str) -> None:
    async with World(Young, debug=debug, retry=RetryPolicy(max_attempts=5)) as world:
        sent = await world.app.send("Young", "y", "go", code)
        for _ in range(8):
            await world.settle()
            await world.pass_time(10)
        assert (await world.status(sent), len(tried)) == ("paused", 5)


@pytest.mark.parametrize(
    ("text", "debug"), [("1", True), ("true", True), ("ON", True), ("0", False), ("", False), ("off", False)]
)
def test_the_environment_sets_debug(text: str, debug: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTORS_DEBUG", text)
    assert App(Young)._life.options.debug is debug
    assert App(Young, debug=not debug)._life.options.debug is not debug


@pytest.mark.parametrize("wrong_value", [1, "1", [], 0])
def test_debug_is_true_or_false(wrong_value: Any) -> None:
    with pytest.raises(DefinitionError, match="debug"):
        App(Young, debug=wrong_value)


def test_a_value_of_the_environment_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTORS_DEBUG", "perhaps")
    with pytest.raises(DefinitionError, match="ACTORS_DEBUG='perhaps'"):
        App(Young)
