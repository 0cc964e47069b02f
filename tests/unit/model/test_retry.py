"""Retry policies: how long, how often, and which ones make no sense."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import RetryPolicy
from actors.errors import DefinitionError

policies = st.builds(
    RetryPolicy,
    initial_interval=st.floats(0, 1e6) | st.integers(0, 1000),
    factor=st.floats(1, 1e15) | st.integers(1, 10**15),
    max_interval=st.floats(0, 1e6) | st.integers(0, 1000),
)


@given(policies, st.integers(1, 10**6), st.randoms(use_true_random=False))
def test_the_delay_follows_the_formula_within_its_bounds(policy: RetryPolicy, failures: int, rng: Random) -> None:
    delay_ms = policy.delay_ms(failures, rng)
    assert type(delay_ms) is int
    assert 0 <= delay_ms <= math.ceil(policy.max_interval * 1000)
    exponent = math.log(policy.factor) * (failures - 1)
    if exponent < 600:
        exact_ms = min(policy.initial_interval * math.exp(exponent), policy.max_interval / 1.2) * 1000
        assert exact_ms * 0.8 * 0.999 - 1 <= delay_ms <= exact_ms * 1.2 * 1.001 + 1


def test_the_default_policy_doubles_from_a_tenth_of_a_second_to_a_minute() -> None:
    policy, rng = RetryPolicy(), Random(1)
    assert (policy.max_attempts, policy.on_exhausted) == (70, "pause")
    for failures, base_ms in ((1, 100), (2, 200), (3, 400), (5, 1600), (9, 25_600)):
        assert all(base_ms * 0.8 - 1 <= policy.delay_ms(failures, rng) <= base_ms * 1.2 + 1 for _ in range(200))
    for failures in (11, 70, 1_000, 10**6):
        delays = [policy.delay_ms(failures, rng) for _ in range(200)]
        assert 40_000 - 1 <= min(delays) < 44_000 and 56_000 < max(delays) <= 60_000


@pytest.mark.parametrize("factor", [1.0, 1.0001, 1.5, 2, 10**15, 1e15])
@pytest.mark.parametrize("failures", [10**6, 10**12, 10**30])
def test_no_number_of_failures_overflows(factor: float, failures: int) -> None:
    policy = RetryPolicy(factor=factor, max_attempts=None)
    delay_ms = policy.delay_ms(failures, Random(1))
    assert (80 if factor == 1 else 40_000) <= delay_ms <= (120 if factor == 1 else 60_000)
    assert RetryPolicy(initial_interval=0, factor=factor).delay_ms(failures, Random(1)) == 0


def test_a_slow_factor_reaches_the_longest_interval_in_the_end() -> None:
    assert RetryPolicy(factor=1.01, max_interval=10).delay_ms(1_000, Random(1)) >= 6_600


def test_failures_at_once_do_not_come_back_at_once() -> None:
    rng = Random(1)
    assert len({RetryPolicy().delay_ms(10, rng) for _ in range(100)}) > 90


def test_the_delay_depends_on_nothing_but_the_generator() -> None:
    assert RetryPolicy().delay_ms(5, Random(7)) == RetryPolicy().delay_ms(5, Random(7))


def test_a_policy_is_used_up_by_attempts() -> None:
    assert [RetryPolicy(max_attempts=3).exhausted(n) for n in range(5)] == [False, False, False, True, True]
    assert RetryPolicy(max_attempts=1).exhausted(1)
    assert [RetryPolicy().exhausted(n) for n in (69, 70)] == [False, True]
    assert not RetryPolicy(max_attempts=None).exhausted(10**9)


def test_a_policy_is_used_up_by_time() -> None:
    policy = RetryPolicy(max_attempts=None, max_duration=1.5)
    assert [policy.exhausted(9, ms) for ms in (0, 1499, 1500, 10**15)] == [False, False, True, True]
    assert RetryPolicy(max_duration=0).exhausted(1, 0)


@pytest.mark.parametrize(
    "bad", [-1, -0.001, math.nan, math.inf, -math.inf, "1", None, True, 1j, timedelta(seconds=1), [1]]
)
@pytest.mark.parametrize("name", ["initial_interval", "factor", "max_interval", "max_duration"])
def test_a_policy_that_makes_no_sense_is_refused(name: str, bad: Any) -> None:
    if (name, bad) == ("max_duration", None):
        return
    with pytest.raises(DefinitionError, match=name):
        RetryPolicy(**{name: bad})


@pytest.mark.parametrize("bad", [0, -1, 1.5, 2.0, "3", True, math.inf, math.nan])
def test_a_number_of_attempts_that_makes_no_sense_is_refused(bad: Any) -> None:
    with pytest.raises(DefinitionError, match="max_attempts"):
        RetryPolicy(max_attempts=bad)


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match="at least 1"):
        RetryPolicy(factor=0.5)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RetryPolicy().factor = 3  # type: ignore[misc]
