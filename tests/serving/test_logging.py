"""What `actors serve` leaves of the logging that the served module sets up, and the lines it adds when it is asked."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.cli.log_options import LogOptions
from tests.serving.server import APP, connected, serving

EARLY = 'logging.basicConfig(level=logging.INFO, format="MINE %(levelname)s %(message)s")\n'
DICT = """
import logging.config
logging.config.dictConfig({
    "version": 1, "formatters": {"f": {"format": "MINE %(levelname)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}}, "root": {"level": "INFO", "handlers": ["h"]},
})
"""
LATE = APP.replace("        logging.getLogger", "        " + EARLY + "        logging.getLogger")
OF_ITS_OWN = """
own = logging.StreamHandler()
own.setFormatter(logging.Formatter("MINE %(levelname)s %(message)s"))
logging.getLogger("shop").addHandler(own)
logging.getLogger("shop").setLevel("INFO")
"""


async def said(folder: Path, module: str, *words: str) -> list[str]:
    """What the server has written to stderr after its handler logged `hello` at level INFO."""
    (folder / "shop.py").write_text(module)
    with serving(folder, *words) as server:
        async with connected(server.port) as connection:
            assert (await connection.ask("POST", "/Flow/a/note", "hello")).status == 200
        server.process.send_signal(signal.SIGTERM)
        code, errors = server.end()
    assert code == 0
    return errors.splitlines()


@pytest.mark.parametrize(
    "module", [APP + EARLY, APP + DICT, LATE, APP + OF_ITS_OWN], ids=["early", "dict", "late", "own"]
)
async def test_what_the_served_module_sets_up_of_logging_works(tmp_path: Path, module: str) -> None:
    assert await said(tmp_path, module) == ["MINE INFO hello"]


@pytest.mark.expects_log("WARNING shop: hello")
async def test_a_module_that_sets_up_nothing_logs_warnings_only(tmp_path: Path) -> None:
    assert await said(tmp_path, APP) == []
    (line,) = await said(tmp_path, APP.replace(".info(", ".warning("))
    assert line.endswith(" WARNING shop: hello") and line[:2] == "20"


@pytest.mark.parametrize("module", [APP, APP + "logging.basicConfig(level=logging.ERROR)\n"])
async def test_log_level_goes_before_the_level_of_the_module(tmp_path: Path, module: str) -> None:
    assert any(
        line.endswith("hello") and "INFO" in line for line in await said(tmp_path, module, "--log-level", "info")
    )
    assert await said(tmp_path, APP + EARLY, "--log-level", "WARNING") == []


async def test_json_logs_replace_what_the_module_prints_and_keep_its_files(tmp_path: Path) -> None:
    module = APP + 'logging.basicConfig(level=20, handlers=[logging.StreamHandler(), logging.FileHandler("own.log")])\n'
    lines = [json.loads(line) for line in await said(tmp_path, module, "--json-logs")]
    assert [line["key"] for line in lines if line["logger"] == "shop"] == ["a"]
    assert "hello" in (tmp_path / "own.log").read_text()


@pytest.mark.may_log("Stopping:")
async def test_the_access_log_has_a_line_for_each_request_on_either_way(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with serving(tmp_path, "--access-log") as server:
        async with connected(server.port) as connection:
            plain = await connection.ask("POST", "/Account/a/add", "x")
            sent = await connection.ask("POST", "/Account/%C3%BC/add/send?delay=1ms", "x")
            await connection.ask("GET", "/nothing/here/at/all")
        async with connected(server.port) as connection:
            connection.writer.write(b"nonsense\r\n\r\n")
            assert (await connection.answer()).status == 400
        async with connected(server.port) as connection:
            connection.writer.write(b"POST /Flow/w/go HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            while (await body_of(server.port, "/Flow/w/awakeable")) == '""':
                pass
            # Without lingering it is a reset: a client that only closes its side may still want the answer.
            half = connection.writer.get_extra_info("socket")
            half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.writer.transport.abort()
        server.process.send_signal(signal.SIGTERM)
        code, errors = server.end()
    lines = [line.partition(" INFO actors.access: 127.0.0.1:")[2].partition(" ")[2] for line in errors.splitlines()]
    lines = [line for line in lines if line and "/Flow/w/awakeable" not in line]
    assert code == 0
    assert lines[0].startswith('"POST /Account/a/add" 200 ')
    assert lines[0].endswith(" ms " + plain.headers["x-restate-id"])
    assert lines[1].startswith('"POST /Account/%C3%BC/add/send?delay=1ms" 202 ')
    assert lines[1].endswith(sent.headers["x-restate-id"])
    assert lines[2].startswith('"GET /nothing/here/at/all" 404 ')
    assert lines[3].startswith('"- -" 400 ')
    assert lines[4].startswith('"POST /Flow/w/go" 499 ')


async def body_of(port: int, path: str) -> str:
    async with connected(port) as connection:
        return (await connection.ask("POST", path)).body.decode()


async def test_the_access_log_takes_the_format_of_the_module_and_json(tmp_path: Path) -> None:
    lines = await said(tmp_path, APP + EARLY, "--access-log")
    assert next(line.split("/Flow")[0] for line in lines if "/Flow" in line).startswith("MINE INFO 127.0.0.1:")
    found = [json.loads(line) for line in await said(tmp_path, APP, "--access-log", "--json-logs")]
    (line,) = [line for line in found if line["logger"] == "actors.access"]
    assert (line["request"]["method"], line["request"]["path"], line["request"]["status"]) == (
        "POST",
        "/Flow/a/note",
        200,
    )
    assert line["invocation_id"].startswith("inv_1")


@contextlib.contextmanager
def bare_root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level, resort = logger.handlers, logger.level, logging.lastResort
    logger.handlers = []
    yield logger
    logger.handlers, logging.lastResort = handlers, resort
    logger.setLevel(level)


@pytest.mark.parametrize("level", [None, "debug", "CRITICAL"])
def test_without_an_option_no_logger_is_touched(level: str | None) -> None:
    with bare_root() as root:
        before = root.level
        LogOptions(level).before_import()
        assert root.handlers == [] and root.level == before
        LogOptions(level).after_import()
        assert len(root.handlers) == (level is not None)
        assert root.level == (before if level is None else getattr(logging, level.upper()))
