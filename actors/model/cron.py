"""Cron lines: when they are due, in a time zone, by the rules of Debian's cron; and the names of their ticks.

Promise: `CronLine.after` only moves forward, however the clocks of a zone change.
"""

from __future__ import annotations

import datetime
from collections.abc import Container
from zoneinfo import ZoneInfo

from cronsim import CronSim

from actors.errors import DefinitionError

TICK = "@schedule "  # begins the idempotency key of a tick, and of nothing else
DUE = "schedule-due"  # the header of a tick that holds its due time
GRACE_MS = 60_000  # a tick of misfire="skip" that is later than this counts as missed

# The start of the search for a due time, so that a class can be created, or refused, without reading the clock.
_LONG_AGO = datetime.datetime(2000, 1, 1)
_KEYED = "%Y-%m-%dT%H:%M:%SZ"  # of one length: ticks of a line sort by their due times


class CronLine:
    """One cron line in one time zone. `name` holds both, and is the same for lines that differ only in spelling.

    Five fields, or six with the seconds first. Raises DefinitionError for a line that does not parse, or is never due.
    """

    __slots__ = ("_text", "_zone", "name")

    def __init__(self, text: str, zone: str, where: str) -> None:
        self._zone = _zone_of(zone, where)
        if not isinstance(text, str):
            raise DefinitionError(
                f'{where}: the cron line must be a str, got {text!r}. For example @schedule("0 3 * * *").'
            )
        self._text = " ".join(text.upper().split())
        self.name = f"{self._text} {zone}"
        try:
            first = next(CronSim(self._text, _LONG_AGO.replace(tzinfo=self._zone)), None)
        except Exception as error:  # the parser raises CronSimError, and int() a ValueError for too many digits
            raise DefinitionError(f"{where}: {text!r} is not a valid cron line: {_reason(error)}. {_FIELDS}") from None
        if first is None:
            raise DefinitionError(
                f"{where}: {text!r} is never due: no day has this day of the month, weekday and month at once. {_FIELDS}"
            )

    def after(self, ms: int) -> int:
        """The first due time after `ms`, both in milliseconds since the epoch.

        cronsim gives up after 50 years. A line that is due at all is due again earlier: the rarest day, a 29 February on a given
        weekday, recurs within 40 years.
        """
        times = CronSim(self._text, self.local(ms))
        while True:
            due_ms = int(next(times).timestamp()) * 1000
            # A fixed local time that occurs twice, when the clocks go back, is due the first time; asked between the two
            # times, cronsim returns the first time again.
            if due_ms > ms:
                return due_ms

    def missed(self, due_ms: int, now_ms: int) -> bool:
        """Whether it is too late to run the tick of this due time under misfire="skip"."""
        return now_ms - due_ms > GRACE_MS or self.after(due_ms) <= now_ms

    def first(self, after_ms: int, taken: Container[int] = ()) -> int:
        """The first due time after `after_ms` that is not in `taken`."""
        due_ms = self.after(after_ms)
        while due_ms in taken:
            due_ms = self.after(due_ms)
        return due_ms

    def following(self, due_ms: int, now_ms: int, misfire: str, taken: Container[int] = ()) -> int:
        """The due time after a tick that was due at `due_ms` and is handled at `now_ms`."""
        if misfire != "skip":
            return self.first(max(due_ms, now_ms), taken)
        # The newest tick may have come due since the last look, and not be missed.
        following = self.first(max(due_ms, now_ms - GRACE_MS - 1), taken)
        while following <= now_ms and self.missed(following, now_ms):
            following = self.first(following, taken)
        return following

    def local(self, ms: int) -> datetime.datetime:
        """The time `ms` as a whole second in the line's zone."""
        return datetime.datetime.fromtimestamp(ms // 1000, self._zone)

    def tick_key(self, due_ms: int) -> str:
        """The idempotency key of the tick due at `due_ms`. The keys of a line sort by time."""
        return f"{TICK}{self.name} {datetime.datetime.fromtimestamp(due_ms // 1000, datetime.UTC).strftime(_KEYED)}"

    def tick_keys_after(self, ms: int) -> tuple[str, str]:
        """Two texts between which the keys of all ticks due after `ms` lie."""
        return self.tick_key(ms), f"{TICK}{self.name} :"  # the colon sorts after the digits


def line_of(tick_key: str) -> str:
    """The `name` of the cron line that this tick belongs to."""
    return tick_key.removeprefix(TICK).rpartition(" ")[0]


def due_of(tick_key: str) -> int:
    """When this tick is due, in milliseconds since the epoch."""
    return int(datetime.datetime.fromisoformat(tick_key.rpartition(" ")[2]).timestamp()) * 1000


_FIELDS = (
    "Use minute, hour, day of month, month, weekday (with seconds as an optional first field): '30 6 * * MON-FRI'."
)


def _reason(error: Exception) -> str:
    if str(error) == "Bad day-of-month":  # cronsim says this also for a 30 February
        return "the day of the month is not valid, or does not exist in these months"
    if str(error).startswith("Bad "):
        return f"its field {str(error)[4:]} is not valid"
    return str(error).lower() or type(error).__name__


def _zone_of(name: str, where: str) -> datetime.tzinfo:
    if name == "UTC":
        return datetime.UTC
    if isinstance(name, str):
        try:
            return ZoneInfo(name)
        except Exception:  # many kinds, for names that are folders, paths or not text
            pass
    raise DefinitionError(
        f"{where}: tz={name!r} is not a known time zone. Use a name such as 'Europe/Vienna', or 'UTC'; where the "
        "system has no zones, install the package tzdata."
    )
