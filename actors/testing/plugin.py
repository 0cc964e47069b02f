"""The pytest plugin: the fixture `world`, and async tests that ask for it.

Promise: a test with a world runs on the world's own loop, whichever async plugins there are. All other tests are left alone, and a
project that asks for no world imports nothing of this package.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from actors.testing.choices import Choices
    from actors.testing.runs import Plan
    from actors.testing.world import World

Test = Callable[..., Awaitable[None]]

_WORLD: pytest.StashKey[Any] = pytest.StashKey()
REPORT = "actors"  # the name of what a test tells the summary


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("actors")
    group.addoption(
        "--actors",
        metavar="CHOICES",
        help="run tests with a world once, with these choices of a failed run, or 'usual'",
    )
    group.addoption("--actors-seed", metavar="N", type=int, help="begin simulations with this seed")
    group.addoption(
        "--actors-report", action="store_true", help="say what sweeps and simulations that passed have covered"
    )
    group.addoption("--actors-twice", action="store_true", help="run each seed twice, and compare what happened")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "serves(*classes, **options): what the world of a test serves at its beginning")
    text: str | None = config.getoption("--actors")
    if text is not None:
        from actors.errors import BadArguments
        from actors.testing.choices import parsed

        try:
            parsed(text)
        except BadArguments as error:
            raise pytest.UsageError(f"--actors: {error}") from None
    seed = config.getoption("--actors-seed")
    if seed is not None and seed < 0:
        raise pytest.UsageError("--actors-seed requires a number from 0 on.")


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Generator[World, None, None]:
    """A machine in memory: see `actors.testing.World`."""
    from actors.testing.world import World

    made = World(_asked_for(request.config))
    request.node.stash[_WORLD] = made
    try:
        yield made
    finally:
        made.close()


def _asked_for(config: pytest.Config) -> Choices | None:
    text = config.getoption("--actors")
    if text is None:
        return None
    from actors.testing.choices import Choices

    return Choices.of(text)


@pytest.hookimpl(hookwrapper=True, trylast=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> Generator[None, Any, None]:
    """Async tests with a world become plain functions, before an async plugin sees them."""
    outcome = yield
    found = outcome.get_result()
    for item in found if isinstance(found, list) else [found]:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and _asks_for_a_world(item):
            plan: Plan | None = getattr(item.obj, "__actors_plan__", None)
            if plan is None:
                item.obj = _on_its_world(item, item.obj)
            else:
                item.obj = _on_many_worlds(item, item.obj, plan)


def _asks_for_a_world(item: pytest.Function) -> bool:
    """Whether the fixture `world` of a test is ours, or the project's own around ours."""
    known = item._fixtureinfo.name2fixturedefs.get("world")
    if not known:
        return False
    return known[-1].func.__module__ == __name__ or (len(known) > 1 and "world" in known[-1].argnames)


def _refuse_other_fixtures(item: pytest.Function) -> None:
    """Fixtures of a function live as long as the test, and would carry what one run has done into the next."""
    for name in item._fixtureinfo.argnames:
        known = item._fixtureinfo.name2fixturedefs.get(name)
        if name != "world" and known and known[-1].scope == "function":
            pytest.fail(
                f"The fixture {name!r} outlives the runs of this test, which has a world for each. Make what it gives in the test, or "
                "give the fixture the scope of the module.",
                pytrace=False,
            )


def _with_world(item: pytest.Function, test: Test, args: Any, kwargs: Any) -> Callable[[World], Awaitable[None]]:
    """The test as a function of its world."""

    async def body(world: World) -> None:
        __tracebackhide__ = True
        mark = item.get_closest_marker("serves")
        if mark is not None:
            await world.serve(*mark.args, **mark.kwargs)
        await test(*args, **{**kwargs, "world": world})

    return body


def _on_its_world(item: pytest.Function, test: Test) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        world: World = item.stash[_WORLD]
        body = _with_world(item, test, args, kwargs)
        try:
            world.run(body(kwargs["world"]))
        except Exception:
            item.add_report_section("call", "world", world.story())
            raise
        world.finish()
        _check_asked(item, world.choices)

    return run


def _on_many_worlds(item: pytest.Function, test: Test, plan: Plan) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        _refuse_other_fixtures(item)
        body = _with_world(item, test, args, kwargs)
        choices = _asked_for(item.config)
        if choices is not None:
            one = plan.once(body, choices)
            _check_asked(item, choices)
            if one.error is not None:
                item.add_report_section("call", "world", "\n".join(one.story.lines()))
                raise one.error
            return
        found = plan.beginning(
            item.config.getoption("--actors-seed"), bool(item.config.getoption("--actors-twice"))
        ).run(body)
        for text in found.silent:
            item.user_properties.append((REPORT, f"{item.nodeid}: also={text!r} no longer fails"))
        failed = found.first_failure()
        if failed is not None:
            text = str(failed.choices)
            again = f"Again:   pytest {item.nodeid!r} --actors {text!r}\nKeep it: {plan.keep(text)}"
            item.add_report_section("call", "world", "\n".join([found.explanation(), "", again]))
            assert failed.error is not None
            raise failed.error
        found.check(test)
        item.user_properties.append((REPORT, f"{item.nodeid}: {found.summary()}"))

    return run


def _check_asked(item: pytest.Function, choices: Choices) -> None:
    """A choice that no part of the test has asked for is a mistake of who typed it."""
    if unasked := choices.unasked():
        pytest.fail("--actors: " + "\n".join(unasked), pytrace=False)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What sweeps and simulations have covered, with `--actors-report`; in any case the points that were left out."""
    told = [
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, text in report.user_properties
        if name == REPORT
    ]
    everything = config.getoption("--actors-report") or terminalreporter.verbosity > 0
    shown = [text for text in told if everything or "left out" in text or "no longer fails" in text]
    if shown:
        terminalreporter.section("worlds")
        for text in shown:
            terminalreporter.write_line(text)
