"""The scenario `evidence`: what it runs passes, and a digest of stories is a digest of what happened."""

from __future__ import annotations

import pytest

from actors.testing.runs import Body
from actors.testing.sweep import Sweep
from benchmarks.evidence import a_year, one_call, order, plain, replay_us, trace, transfers, walk


@pytest.mark.parametrize("body", [order, walk, transfers, a_year, one_call])
def test_what_is_timed_passes_undisturbed(body: Body) -> None:
    assert plain(body).error is None


def test_the_order_survives_a_crash_at_each_of_its_points() -> None:
    swept = Sweep().run(order)
    assert swept.failed == [] and swept.points == 22


def test_a_digest_is_that_of_the_events_of_all_seeds() -> None:
    two, three = trace(2), trace(3)
    assert two == trace(2) != three and 20 < two["events"] < three["events"]


def test_the_time_of_a_replay_is_a_few_microseconds() -> None:
    assert 0 < replay_us(20) < 1e6
