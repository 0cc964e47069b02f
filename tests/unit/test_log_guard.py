"""The guard of the whole suite: no test passes over a log record that it did not expect."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.log_guard import LogGuard, expect_log

def pytest_configure(config):
    config.pluginmanager.register(LogGuard(), "log_guard")
"""
INI = """
[pytest]
asyncio_mode = auto
markers =
    expects_log: x
    may_log: x
"""
TESTS = """
import asyncio, logging, pytest
from tests.log_guard import from_process

log = logging.getLogger("actors")

def test_passes_quietly():
    pass

def test_fails_warning():
    log.warning("beyond %s", "belief")

def test_fails_error_of_a_logger_that_does_not_propagate():
    other = logging.getLogger("other")
    other.propagate = False
    other.error("hidden")

async def test_fails_task_whose_error_nobody_saw():
    async def fail():
        raise ValueError("nobody looked")
    asyncio.create_task(fail())
    await asyncio.sleep(0)

def test_fails_other_process():
    from_process("2026-11-30 07:55:47,587 ERROR actors: it is paused")

def test_fails_other_process_in_json():
    from_process('{"time":"x","level":"WARNING","logger":"actors"}')

@pytest.fixture
def noisy():
    yield
    log.error("said while it ended")

def test_fails_fixture(noisy):
    pass

@pytest.mark.expects_log("never said")
def test_fails_missing():
    pass

@pytest.mark.expects_log("said")
def test_fails_another_one():
    log.warning("said")
    log.warning("another one")

def test_passes_info():
    log.info("all is well")
    from_process("2026-11-30 07:55:47,587 INFO actors: all is well")

@pytest.mark.expects_log("said", "twice")
def test_passes_expected(caplog):
    log.warning("said")
    log.error("twice")
    assert caplog.messages == ["said", "twice"]

@pytest.mark.may_log("perhaps")
@pytest.mark.parametrize("says", [True, False])
def test_passes_random(says, caplog):
    if says:
        log.warning("perhaps")
    assert not caplog.records

def test_passes_expected_within(expect_log):
    expect_log("after all")
    log.error("after all")

def test_passes_crash_of_the_simulated_machine():
    log.error("The app has stopped: The simulated process has crashed.")
"""


def test_a_test_fails_on_log_records_it_did_not_expect(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makeini(INI)
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-rA")
    result.assert_outcomes(passed=TESTS.count("def test_") + 1, errors=TESTS.count("def test_fails_"))
    failed = [line for line in result.stdout.lines if line.startswith("ERROR ") and "::" in line]
    assert all("test_fails_" in line for line in failed)
