"""A test fails on any log record of level WARNING or above that it did not say to expect.

    @pytest.mark.expects_log("gave up")   a record that contains this text must come; each text of the mark must
    @pytest.mark.may_log("gave up")       records that contain it may come: for what depends on random moments
    expect_log("gave up")                 the fixture: `expects_log` from within a test

Records of every logger count, those of teardown and garbage collection too. What a server in another process has written
on its stderr is handed to `from_process`.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable, Iterator

import pytest

ALWAYS = (
    "failed because of a mistake at",  # tests make mistakes on purpose, and look at what becomes of them
    "The simulated process has crashed",  # the test has asked for that
    "held the event loop for",  # a busy machine does that to any test
)
NOISY = ("actors", "asyncio")  # loggers whose `may_log` records no report keeps

# How a line begins that `actors serve`, a process without any configuration, or our JsonFormatter writes.
_LEVEL = re.compile(r'^(?:\S+ \S+ )?(WARNING|ERROR|CRITICAL)\b|"level":"(WARNING|ERROR|CRITICAL)"')


class LogGuard:
    """Sees each record when it is made, whatever becomes of it: a logger that does not propagate hides nothing."""

    def __init__(self) -> None:
        self._make = logging.getLogRecordFactory()
        self._records: list[str] = []
        self._expected: list[str] = []
        self._ignored: list[str] = []
        self._passed = False

    def expect(self, text: str) -> None:
        self._expected.append(text)

    def filter(self, record: logging.LogRecord) -> bool:
        """A property test makes thousands of records, and pytest would keep them with the frames they hold."""
        return not _contains(record.getMessage(), self._ignored)

    def _made(self, *args: object, **kwargs: object) -> logging.LogRecord:
        record = self._make(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            line = f"{record.levelname} {record.name}: {record.getMessage()}"  # not the record: it may hold frames
            if _contains(line, self._expected) or not _contains(line, self._ignored):
                self._records.append(line)
        return record

    # --- hooks ----------------------------------------------------------------------------------------------------------

    def pytest_configure(self) -> None:
        logging.setLogRecordFactory(self._made)

    def pytest_unconfigure(self) -> None:
        logging.setLogRecordFactory(self._make)

    def pytest_collection_finish(self) -> None:
        gc.collect()
        gc.freeze()  # what is there by now stays. Otherwise the collection after each test takes longer than most tests.

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        self._records.clear()
        self._expected = [text for mark in item.iter_markers("expects_log") for text in mark.args]
        allowed = [text for mark in item.iter_markers("may_log") for text in mark.args]
        self._ignored = [*ALWAYS, *allowed]
        self._passed = False
        if allowed:
            for name in NOISY:
                logging.getLogger(name).addFilter(self)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        result = yield
        self._passed = True
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        try:
            return (yield)
        finally:
            gc.collect()  # tasks and futures that were left behind say so when they are collected
            gc.freeze()  # what stays, caches for example, is not looked at after each later test again
            for name in NOISY:
                logging.getLogger(name).removeFilter(self)
            self._check()

    def _check(self) -> None:
        records, self._records = self._records, []
        unexpected = [record for record in records if not _contains(record, self._expected)]
        missing = [text for text in self._expected if not any(text in record for record in records)]
        if unexpected:
            pytest.fail("Log records that this test did not expect:\n" + "\n".join(unexpected), pytrace=False)
        if missing and self._passed:
            pytest.fail(f"Log records that this test expected did not come: {missing}", pytrace=False)


def _contains(line: str, texts: list[str]) -> bool:
    return any(text in line for text in texts)


def from_process(stderr: str) -> None:
    """Let what another process has logged count as records of the test that started it."""
    for line in stderr.splitlines():
        level = _LEVEL.search(line)
        if level is not None:
            logging.getLogger("process").log(logging.getLevelNamesMapping()[level[1] or level[2]], "%s", line)


@pytest.fixture
def expect_log(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say that a record that contains this text is to come before the test ends."""
    guard = request.config.pluginmanager.get_plugin("log_guard")
    assert isinstance(guard, LogGuard)
    return guard.expect
