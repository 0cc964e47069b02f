"""The benchmark over HTTP: what it reports, in tiny rounds. No test depends on a figure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import cli
from benchmarks.http import Http, closed_loop, request, served


def test_it_compares_durable_calls_with_a_constant(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["http", "--callers", "3", "--keys", "4", "--ops", "20", "--rounds", "3", "--json", str(out)]
    ended = CliRunner().invoke(cli.main, words, catch_exceptions=False)
    assert ended.exit_code == 0 and "share" in ended.output
    found = json.loads(out.read_text())
    assert (found["callers"], found["keys"], found["ops"], len(found["shares_of_rounds"])) == (3, 4, 20, 3)
    assert found["share_of_bare"] == pytest.approx(found["calls_per_s"] / found["bare_calls_per_s"], rel=0.01)
    assert found["load_cpu_share"] > 0 and found["p99_ms"] >= found["p50_ms"] > 0


async def test_every_request_is_answered_once_and_the_calls_are_durable(tmp_path: Path) -> None:
    path = str(tmp_path / "http.db")
    for _ in range(2):
        with served(path) as port:
            latencies = await closed_loop(port, [request("a")] * 10, 4)
            assert len(latencies) == 10
    with served(path) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("a"))
        answer = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)
        assert answer.endswith(b"\r\n\r\n21")
        writer.close()


async def test_an_answer_that_is_no_success_ends_the_run() -> None:
    with served() as port, pytest.raises(RuntimeError, match="answered"):
        await closed_loop(port, [b"nonsense\r\n\r\n"], 1)


def test_the_grid_is_the_one_that_is_asked_for() -> None:
    grid = {(options.callers, options.keys) for options in Http().quick}
    assert grid == {(callers, keys) for callers in (1, 64, 256) for keys in (1, 1000)}
