"""Schedules as they are declared: cron lines against a plain reading of them, and what is refused, and how."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Context, Service, VirtualObject, Workflow, handler, schedule, shared
from actors.errors import DefinitionError
from actors.model.cron import CronLine, due_of, line_of
from actors.model.definitions import definition_of

UTC = datetime.UTC


def ms(moment: str) -> int:
    return round(datetime.datetime.fromisoformat(moment).timestamp() * 1000)


# --- cron lines -----------------------------------------------------------------------------------------------------------

RANGES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """A field of a cron line and what it means."""
    everything = set(range(low, high + 1))
    kind = draw(st.sampled_from(["*", "*", "one", "list", "range", "step"]))
    if kind == "*":
        return "*", everything
    if kind == "step":
        step = draw(st.integers(1, high))
        return f"*/{step}", set(range(low, high + 1, step))
    if kind == "range":
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high))
        return f"{first}-{last}", set(range(first, last + 1))
    values = draw(st.sets(st.integers(low, high), min_size=1, max_size=1 if kind == "one" else 4))
    return ",".join(map(str, values)), values


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[set[int]]]:
    drawn = [draw(fields(*bounds)) for bounds in RANGES]
    return " ".join(text for text, _ in drawn), [meaning for _, meaning in drawn]


def matches(moment: datetime.datetime, text: str, meaning: list[set[int]]) -> bool:
    minutes, hours, days, months, weekdays = meaning
    of_month, of_week = moment.day in days, moment.isoweekday() % 7 in weekdays
    both = "*" in (text.split()[2][0], text.split()[4][0])
    day = (of_month and of_week) if both else (of_month or of_week)
    return moment.minute in minutes and moment.hour in hours and moment.month in months and day


@settings(deadline=None, max_examples=150)
@given(line=lines(), start=st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2031, 1, 1)))
def test_a_line_is_due_at_the_first_minute_that_matches_each_field(
    line: tuple[str, list[set[int]]], start: datetime.datetime
) -> None:
    text, meaning = line
    start = start.replace(tzinfo=UTC, microsecond=start.microsecond // 1000 * 1000)
    try:
        cron = CronLine(text, "UTC", "here")
    except DefinitionError:
        days, months = meaning[2], meaning[3]
        longest = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
        assert all(day > longest.get(month, 31) for day in days for month in months)
        return
    due = datetime.datetime.fromtimestamp(cron.after(round(start.timestamp() * 1000)) / 1000, UTC)
    assert due > start and due.second == due.microsecond == 0
    assert matches(due, text, meaning)
    moment = start.replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    for _ in range(3000):  # two days; then by the day, because a day without a match has none at any minute
        if moment >= due:
            return
        assert not matches(moment, text, meaning)
        moment += datetime.timedelta(minutes=1)
    minutes, hours, *_ = meaning
    time = datetime.time(min(hours), min(minutes), tzinfo=UTC)
    while (moment := datetime.datetime.combine(moment.date(), time)) < due:
        assert moment < start or not matches(moment, text, meaning)
        moment += datetime.timedelta(days=1)


ZONES = ["UTC", "Europe/Vienna", "America/Santiago", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"]


@settings(deadline=None, max_examples=150)
@given(
    line=lines(),
    zone=st.sampled_from(ZONES),
    start=st.integers(ms("2024-01-01T00:00:00+00:00"), ms("2090-01-01T00:00:00+00:00")),
)
def test_due_times_only_move_forward_in_any_zone_and_one_comes_within_fifty_years(
    line: tuple[str, list[set[int]]], zone: str, start: int
) -> None:
    try:
        cron = CronLine(line[0], zone, "here")
    except DefinitionError:
        return
    last = start
    for _ in range(5):
        due = cron.after(last)
        assert due > last and due % 1000 == 0
        assert due - last < 50 * 366 * 86_400_000
        assert due_of(cron.tick_key(due)) == due and line_of(cron.tick_key(due)) == cron.name
        low, high = cron.tick_keys_after(last)
        assert low < cron.tick_key(due) < high and not cron.tick_keys_after(due)[0] < cron.tick_key(due)
        last = due


@pytest.mark.parametrize(
    ("text", "after", "due"),
    [
        ("30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),  # the gap: 2:30 does not exist
        ("15,45 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),  # both at its end, once
        ("15,45 2 * * *", "2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"),
        ("30 2 * * *", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"),  # the first of two
        ("30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        ("*/30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-30T02:00:00+02:00"),  # with a star: real time
        ("*/30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("0 * * * *", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        ("0 * * * *", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("0 0 2 * * *", "2026-10-25T00:00:00+02:00", "2026-10-25T02:00:00+02:00"),  # six fields: each real time
        ("0 0 2 * * *", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("*/20 * * * * *", "2026-01-01T00:00:41.500+01:00", "2026-01-01T00:01:00+01:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00+01:00", "2028-02-29T00:00:00+01:00"),
        ("0 0 LW * *", "2026-02-01T00:00:00+01:00", "2026-02-27T00:00:00+01:00"),
        ("0 0 30 2 MON", "2026-02-01T00:00:00+01:00", "2026-02-02T00:00:00+01:00"),  # either of the two days
    ],
)
def test_a_line_means_what_debian_makes_of_it(text: str, after: str, due: str) -> None:
    line = CronLine(text, "Europe/Vienna", "here")
    found = line.local(line.after(ms(after)))
    assert found.isoformat() == due and found.tzinfo == ZoneInfo("Europe/Vienna")


def test_a_due_time_is_never_the_moment_asked_from() -> None:
    line = CronLine("* * * * *", "UTC", "here")
    minute = ms("2026-01-01T00:00:00+00:00")
    assert line.after(minute - 1) == minute
    assert line.after(minute) == line.after(minute + 1) == line.after(minute + 59_999) == minute + 60_000


def test_spelling_does_not_make_another_line() -> None:
    assert CronLine("  0 6 *  * mon-fri", "UTC", "here").name == CronLine("0 6 * * MON-FRI", "UTC", "here").name


# --- declaring ------------------------------------------------------------------------------------------------------------


def refused(reason: str, /, *, key: Any = "k", cron: Any = "0 3 * * *", **options: Any) -> None:
    with pytest.raises(DefinitionError, match=reason) as caught:

        class Report(VirtualObject):
            @schedule(cron, key=key, **options)
            @handler
            async def make(self) -> None: ...

    assert "Report.make" in caught.value.message


LINES = [
    "",
    "* * * *",
    "* * * * * * *",
    "60 * * * *",
    "every day",
    "@daily",
    "9" * 5000 + " * * * *",
    "* * * * 8",
    "5-1 * * * *",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:20])
def test_a_line_that_is_none_is_refused_and_the_message_shows_one(line: str) -> None:
    refused("is not a valid cron line: .* 'MON-FRI'|'30 6 .* MON-FRI'", cron=line)


def test_the_message_names_the_field() -> None:
    refused("its field hour is not valid", cron="0 24 * * *")


@pytest.mark.parametrize("line", [None, 5, b"0 3 * * *", ["0 3 * * *"], print])
def test_a_line_that_is_no_text_is_refused(line: Any) -> None:
    refused(r'the cron line must be a str, got .* For example @schedule\("0 3 \* \* \*"\)', cron=line)


def test_a_line_that_is_never_due_is_refused() -> None:
    refused("does not exist in these months", cron="0 0 30 2 *")
    refused("does not exist in these months", cron="0 0 31 4,6,9,11 *")
    refused("is never due: no day has", cron="0 0 */3 2 MON#5")


@pytest.mark.parametrize(
    "zone", ["Vienna", "", "Europe", "../etc", "/etc/localtime", "\ud800", "UTC\x00", None, 5, UTC]
)
def test_an_unknown_zone_is_refused(zone: Any) -> None:
    refused("is not a known time zone. Use a name such as 'Europe/Vienna'.* tzdata", tz=zone)


@pytest.mark.parametrize("misfire", ["all", "Once", "", None, 1, ["once"]])
def test_an_unknown_misfire_policy_is_refused(misfire: Any) -> None:
    refused("is not valid. Use 'once' or 'skip'", misfire=misfire)


@pytest.mark.parametrize("key", [None, [], ()])
def test_an_object_needs_a_key(key: Any) -> None:
    refused("key= is missing. Use key='...'", key=key)


@pytest.mark.parametrize("key", ["", 5, b"k", "a\x00b", "\x01a", "\ud800", ["a", ""], [None], {"a"}])
def test_a_key_that_can_name_no_object_is_refused(key: Any) -> None:
    refused("object key", key=key)


def test_a_handler_with_required_parameters_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"a tick brings no arguments. Give each parameter a default.*'title'"):

        class Report(VirtualObject):
            @schedule("0 3 * * *", key="k")
            @handler
            async def make(self, ctx: Context, title: str, copies: int = 1) -> None: ...


def test_the_same_line_for_the_same_object_is_refused_whatever_else_differs() -> None:
    with pytest.raises(DefinitionError, match=r"is declared twice for the key 'b'. Remove one of them"):

        class Report(VirtualObject):
            @schedule("0 3 * * *", key=["a", "b"])
            @schedule("0  3 * * *", key="b", misfire="skip")
            @handler
            async def make(self) -> None: ...


def test_it_goes_above_the_handler() -> None:
    async def make(self: Any) -> None: ...

    for wrong in (make, None, staticmethod(make)):
        with pytest.raises(DefinitionError, match="put it above @handler or @shared"):
            schedule("0 3 * * *", key="k")(wrong)  # type: ignore[type-var]


def test_a_handler_may_be_scheduled_often_shared_atomic_named_and_with_defaults() -> None:
    class Report(VirtualObject):
        @schedule("0 3 * * *", key="a")
        @schedule("0 4 * * *", key=("a", "b"), tz="Europe/Vienna", misfire="skip")
        @handler(name="make-it", atomic=True)
        async def make(self, ctx: Context, title: str = "daily", copies: int = 2) -> None:
            """Makes it."""

        @schedule("* * * * * *", key="a")
        @shared
        async def look(self) -> None: ...

    assert [(*one.identity, one.misfire, one.args_text) for one in definition_of(Report).schedules] == [
        ("Report", "a", "make-it", "0 3 * * * UTC", "once", '["daily",2]'),
        ("Report", "a", "make-it", "0 4 * * * Europe/Vienna", "skip", '["daily",2]'),
        ("Report", "b", "make-it", "0 4 * * * Europe/Vienna", "skip", '["daily",2]'),
        ("Report", "a", "look", "* * * * * * UTC", "once", "[]"),
    ]
    assert Report.make.__doc__ == "Makes it."


def test_scheduling_a_handler_of_a_base_class_leaves_the_base_class_alone() -> None:
    class Base(VirtualObject):
        @handler
        async def make(self) -> None: ...

    class Sub(Base):
        make = schedule("0 3 * * *", key="s")(Base.make)

    class Other(Base): ...

    assert definition_of(Base).schedules == definition_of(Other).schedules == []
    assert [one.identity[0] for one in definition_of(Sub).schedules] == ["Sub"]


async def test_a_scheduled_handler_is_an_ordinary_one_too() -> None:
    class Report(VirtualObject):
        @schedule("0 3 * * *", key="k")
        @handler
        async def make(self, title: str = "daily") -> str:
            return title

    assert await Report().make("by hand") == "by hand"


def test_a_service_takes_no_key_and_a_workflow_no_schedule() -> None:
    with pytest.raises(DefinitionError, match=r"a Service has no keys. Remove key="):

        class Keyed(Service):
            @schedule("0 3 * * *", key="k")
            @handler
            async def make(self) -> None: ...

    with pytest.raises(DefinitionError, match=r"a workflow runs once for each key"):

        class Flow(Workflow):
            @schedule("0 3 * * *", key="k")
            @handler
            async def run(self) -> None: ...
