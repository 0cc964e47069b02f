"""Delays as clients write them."""

from __future__ import annotations

import contextlib
import datetime
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import BadArguments
from actors.transport.http.durations import delay_ms

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("5", 5),
        ("1000", 1000),
        ("100ms", 100),
        ("5s", 5000),
        ("5 s", 5000),
        ("1m", 60_000),
        ("1h5m", 3_900_000),
        ("1h 5m", 3_900_000),
        ("1h, 5m", 3_900_000),
        ("2 days", 172_800_000),
        ("1 minute", 60_000),
        ("1w", 604_800_000),
        ("1.5s", 1500),
        ("0.5ms", 1),
        ("0.07s", 70),
        ("5S", 5000),
        ("PT5S", 5000),
        ("pt5s", 5000),
        ("PT0.5S", 500),
        ("PT1H5M", 3_900_000),
        ("P1D", 86_400_000),
        ("P1DT1H", 90_000_000),
        ("P2W", 1_209_600_000),
        ("PT0S", 0),
    ],
)
def test_a_delay_is_milliseconds(text: str, ms: int) -> None:
    assert delay_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-5",
        "-5s",
        "PT-5S",
        "-PT5S",
        "soon",
        "5x",
        "5 5",
        "s",
        "P",
        "PT",
        "P1DT",
        "P1Y",
        "1e3",
        "0x10",
        "٣",
        "½s",
        "5s!",
        "5s5",
        "nan",
        "inf",
        "99999999999999999999",
        "100000000000000",
        "9999999w",
        "1" * 10000,
        "1s" * 5000 + "x",
    ],
)
def test_what_is_no_delay_is_refused_and_shown_how_to_write_one(text: str) -> None:
    with pytest.raises(BadArguments, match="Use 5s, 100ms") as refused:
        delay_ms(text)
    assert len(refused.value.message) < 250


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5))
def test_the_parts_of_a_friendly_delay_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert delay_ms(text) == sum(number * UNITS[unit] for number, unit in parts)


@given(st.integers(0, 999_999), st.integers(0, 999))
def test_a_fraction_of_a_second_is_exact(seconds: int, thousandths: int) -> None:
    text = f"{seconds}.{thousandths:03d}"
    wanted = int((Decimal(text) * 1000).to_integral_value(ROUND_CEILING))
    assert delay_ms(f"{text}s") == delay_ms(f"PT{text}S") == wanted


@given(st.timedeltas(datetime.timedelta(0), datetime.timedelta(days=3000)))
def test_a_delay_is_never_shorter_than_it_was_written(delay: datetime.timedelta) -> None:
    text = f"{delay.days}d{delay.seconds}s{delay.microseconds / 1000:.3f}ms"
    whole, rest = divmod(delay, datetime.timedelta(milliseconds=1))
    assert delay_ms(text) == whole + bool(rest)


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_bad_arguments(text: str) -> None:
    with contextlib.suppress(BadArguments):
        assert 0 <= delay_ms(text) < 10**14


@pytest.mark.parametrize(
    "text", ["1s" + " " * 60 + "x", "1s " * 30 + "x", "1s, " * 24 + "x", "1s " * 5000, "9" * 10_000]
)
def test_no_text_takes_long_to_be_refused(text: str) -> None:
    """One pattern for all parts would try each way to share the blanks between them: 2 to the power of 30."""
    with pytest.raises(BadArguments):
        delay_ms(text)
