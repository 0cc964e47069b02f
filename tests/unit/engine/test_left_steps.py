"""The register of executions that are left: threads take themselves off it while other code looks at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from actors.engine import left_steps

SECRET = b"file"


class Looked(Future[Any]):
    """Calls a function when it is asked whether it is done: what another thread may do at that moment."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def done(self) -> bool:
        self.meanwhile()
        return super().done()


@pytest.fixture(autouse=True)
def _by_itself() -> Iterator[None]:
    """The register is one for the process: what other tests have left there is put aside."""
    others = left_steps._left.copy()
    left_steps._left.clear()
    yield
    left_steps._left.clear()
    left_steps._left.update(others)


def _left(count: int) -> list[Looked]:
    jobs = [Looked() for _ in range(count)]
    for number, job in enumerate(jobs):
        left_steps.leave((SECRET, number, 0), job)
    return jobs


def _end(job: Looked) -> Callable[[], None]:
    return lambda: None if Future.done(job) else job.set_result(None)


def test_a_step_may_end_while_the_running_ones_are_listed() -> None:
    first, second, third = _left(3)
    left_steps.closed(SECRET)
    first.meanwhile = _end(second)
    assert left_steps.running() == [first, third]
    assert len(left_steps._left) == 2


def test_a_step_may_end_while_its_file_is_closed_again() -> None:
    first, second, third = _left(3)
    left_steps.closed(SECRET)
    first.meanwhile = _end(second)
    left_steps.closed(SECRET)
    third.set_result(None)
    first.set_result(None)
    assert not left_steps._left
