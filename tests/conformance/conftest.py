"""One server for each mode and test process; `CONFORMANCE=all` runs every test in every mode, with the long delays."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conformance.driver import Driver
from tests.conformance.engine import AnyEngine, Engine, Killer
from tests.conformance.modes import ENGINE, modes_of
from tests.conformance.restate_engine import RestateEngine
from tests.log_guard import from_process

ENGINES: dict[str, Callable[[Path, str], AnyEngine]] = {"sqlite": Engine, "restate": RestateEngine}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" in metafunc.fixturenames:
        metafunc.parametrize("mode", modes_of(metafunc.function), scope="session")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], AnyEngine]]:
    started: dict[str, AnyEngine] = {}
    ends = contextlib.ExitStack()  # all of them are stopped, also if one will not

    def of(mode: str) -> AnyEngine:
        if mode not in started:
            started[mode] = ENGINES[ENGINE](Path(tmp_path_factory.mktemp(mode)), mode)
            ends.callback(started[mode].stop)
            started[mode].start()
        return started[mode]

    with ends:
        yield of
    for engine in started.values():
        from_process(engine.warnings())


@pytest.fixture
def engine(mode: str, engines: Callable[[str], AnyEngine], request: pytest.FixtureRequest) -> Iterator[AnyEngine]:
    engine = engines(mode)
    if mode != "crash":
        yield engine
        return
    with Killer(engine, sum(request.node.name.encode())):
        yield engine


@pytest.fixture
async def driver(engine: AnyEngine) -> AsyncIterator[Driver]:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(timeout=httpx.Timeout(90, connect=5), limits=limits) as http:
        yield Driver(engine, http)


@pytest.fixture
def key() -> str:
    """A key of its own for each test: the servers go on from test to test."""
    return uuid.uuid4().hex[:12]
