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
from tests.conformance.modes import ways_of
from tests.conformance.restate_engine import ClusterEngine, RestateEngine
from tests.log_guard import from_process
from tests.restate_servers.servers import missing

ENGINES: dict[str, Callable[[Path, str], AnyEngine]] = {
    "sqlite": Engine,
    "restate": RestateEngine,
    "restate3": ClusterEngine,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runs_on" in metafunc.fixturenames:
        why = missing()
        ways = [
            pytest.param(
                way,
                id=way[1] if way[0] == "sqlite" else "-".join(way),
                marks=[] if way[0] == "sqlite" or why is None else pytest.mark.skip(reason=str(why)),
            )
            for way in ways_of(metafunc.function)
        ]
        metafunc.parametrize("runs_on", ways, scope="session")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], AnyEngine]]:
    started: dict[tuple[str, str], AnyEngine] = {}
    ends = contextlib.ExitStack()  # all of them are stopped, also if one will not

    def of(engine: str, mode: str) -> AnyEngine:
        if (engine, mode) not in started:
            made = started[engine, mode] = ENGINES[engine](Path(tmp_path_factory.mktemp(f"{engine}-{mode}")), mode)
            ends.callback(made.stop)
            made.start()
        return started[engine, mode]

    with ends:
        yield of
    for engine in started.values():
        from_process(engine.warnings())


@pytest.fixture
def engine(
    runs_on: tuple[str, str], engines: Callable[[str, str], AnyEngine], request: pytest.FixtureRequest
) -> Iterator[AnyEngine]:
    engine = engines(*runs_on)
    if engine.mode != "crash":
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
