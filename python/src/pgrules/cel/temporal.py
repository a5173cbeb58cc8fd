"""Timestamps and durations with nanoseconds (cel-spec, "Timestamps" and "Durations").

Python's ``datetime`` ends at microseconds and has no year 0, which a time zone west
of Greenwich makes of the first hours of year 1. So both types hold one integer of
nanoseconds, and the calendar is computed here. Time zone names are resolved by
``zoneinfo``, which is loaded when a rule first names a zone.

Which operand types an operator takes is decided by the evaluator; the functions here
take the right types and raise :class:`EvaluationError` for values out of range.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from .errors import EvaluationError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NANOS_PER_SECOND = 1_000_000_000
NANOS_PER_MILLISECOND = 1_000_000
SECONDS_PER_DAY = 86_400

# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z.
MIN_TIMESTAMP_NANOS = -62_135_596_800 * NANOS_PER_SECOND
MAX_TIMESTAMP_NANOS = 253_402_300_800 * NANOS_PER_SECOND - 1
# As cel-go: a 64-bit number of nanoseconds, about 292 years either way.
MIN_DURATION_NANOS = -(1 << 63)
MAX_DURATION_NANOS = (1 << 63) - 1


class Timestamp:
    """A point in time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds ignored.

    The constructor trusts its caller; :func:`timestamp_from_nanos` checks the range.
    """

    __slots__ = ("nanos",)
    nanos: int

    def __init__(self, nanos: int) -> None:
        object.__setattr__(self, "nanos", nanos)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is Timestamp:
            return self.nanos == other.nanos
        return NotImplemented

    def __hash__(self) -> int:
        return hash(("timestamp", self.nanos))

    def __lt__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos < other.nanos
        return NotImplemented

    def __le__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos <= other.nanos
        return NotImplemented

    def __gt__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos > other.nanos
        return NotImplemented

    def __ge__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos >= other.nanos
        return NotImplemented

    def __reduce__(self) -> tuple[type[Timestamp], tuple[int]]:
        return Timestamp, (self.nanos,)

    def __repr__(self) -> str:
        return f"timestamp({format_timestamp(self)!r})"


class Duration:
    """A length of time in nanoseconds, negative or not.

    The constructor trusts its caller; :func:`duration_from_nanos` checks the range.
    """

    __slots__ = ("nanos",)
    nanos: int

    def __init__(self, nanos: int) -> None:
        object.__setattr__(self, "nanos", nanos)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is Duration:
            return self.nanos == other.nanos
        return NotImplemented

    def __hash__(self) -> int:
        return hash(("duration", self.nanos))

    def __lt__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos < other.nanos
        return NotImplemented

    def __le__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos <= other.nanos
        return NotImplemented

    def __gt__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos > other.nanos
        return NotImplemented

    def __ge__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos >= other.nanos
        return NotImplemented

    def __reduce__(self) -> tuple[type[Duration], tuple[int]]:
        return Duration, (self.nanos,)

    def __repr__(self) -> str:
        return f"duration({format_duration(self)!r})"


def _shown(text: str) -> str:
    """Quote what a user wrote, shortened so that a message stays readable."""
    return repr(text if len(text) <= 64 else text[:61] + "...")


# --- timestamps ----------------------------------------------------------------------


def timestamp_from_nanos(nanos: int) -> Timestamp:
    """Make a timestamp, refusing what lies outside the years 1 to 9999."""
    if MIN_TIMESTAMP_NANOS <= nanos <= MAX_TIMESTAMP_NANOS:
        return Timestamp(nanos)
    raise EvaluationError(
        "timestamp out of range: not between 0001-01-01T00:00:00Z and "
        "9999-12-31T23:59:59.999999999Z"
    )


def timestamp_from_seconds(seconds: int) -> Timestamp:
    """Make a timestamp of Unix seconds, as ``timestamp(int)`` does."""
    return timestamp_from_nanos(seconds * NANOS_PER_SECOND)


def timestamp_to_seconds(timestamp: Timestamp) -> int:
    """Whole Unix seconds, rounded down, as ``int(timestamp)`` gives."""
    return timestamp.nanos // NANOS_PER_SECOND


# [0-9], not \d, which takes the digits of every script.
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_LONG_YEAR = re.compile(r"[0-9]{5,}-[0-9]{2}-[0-9]{2}T")
_DAYS_IN_MONTH = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _days_in_month(year: int, month: int) -> int:
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _DAYS_IN_MONTH[month]


def _days_from_date(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar.

    Years are counted from March, so that the leap day is the last of its year.
    """
    if month <= 2:
        year -= 1
        month += 12
    day_of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468


def _date_from_days(days: int) -> tuple[int, int, int]:
    """Year, month (from 1) and day (from 1); the inverse of `_days_from_date`."""
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (
        365 * year_of_era + year_of_era // 4 - year_of_era // 100
    )
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    year = year_of_era + era * 400
    return (year + 1, month - 9, day) if month >= 10 else (year, month + 3, day)


def parse_timestamp(text: str) -> Timestamp:
    """Read an RFC 3339 timestamp, as ``timestamp(string)`` does.

    Up to nine digits of a second; upper-case ``T`` and ``Z``; an offset of hours and
    minutes. Leap seconds and the hour 24 are refused: CEL's time line has neither.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        if _LONG_YEAR.match(text):
            raise EvaluationError(
                f"timestamp out of range: {_shown(text)} is after the year 9999"
            )
        raise EvaluationError(
            f"invalid timestamp {_shown(text)}",
            hint="Write it as RFC 3339 does: 2009-02-13T23:31:30Z, "
            "2009-02-13T23:31:30.123456789+01:00.",
        )
    fields = match.groups()
    year, month, day = int(fields[0]), int(fields[1]), int(fields[2])
    hour, minute, second = int(fields[3]), int(fields[4]), int(fields[5])
    if year == 0:
        raise EvaluationError(
            f"timestamp out of range: {_shown(text)} is before the year 1"
        )
    if not (1 <= month <= 12 and 1 <= day <= _days_in_month(year, month)):
        raise EvaluationError(f"invalid timestamp {_shown(text)}: no such date")
    if hour > 23 or minute > 59 or second > 59:
        raise EvaluationError(f"invalid timestamp {_shown(text)}: no such time of day")
    seconds = (
        _days_from_date(year, month, day) * SECONDS_PER_DAY
        + hour * 3_600
        + minute * 60
        + second
    )
    if fields[7] is not None:
        offset_hour, offset_minute = int(fields[8]), int(fields[9])
        if offset_hour > 23 or offset_minute > 59:
            raise EvaluationError(f"invalid timestamp {_shown(text)}: no such offset")
        offset = offset_hour * 3_600 + offset_minute * 60
        seconds += offset if fields[7] == "-" else -offset
    nanos = seconds * NANOS_PER_SECOND
    if fields[6] is not None:
        nanos += int(fields[6].ljust(9, "0"))
    if not MIN_TIMESTAMP_NANOS <= nanos <= MAX_TIMESTAMP_NANOS:
        raise EvaluationError(
            f"timestamp out of range: {_shown(text)} is not within the years "
            "1 to 9999 of UTC"
        )
    return Timestamp(nanos)


def format_timestamp(timestamp: Timestamp) -> str:
    """RFC 3339 in UTC with as many digits of a second as are needed."""
    seconds, nanos = divmod(timestamp.nanos, NANOS_PER_SECOND)
    days, second_of_day = divmod(seconds, SECONDS_PER_DAY)
    year, month, day = _date_from_days(days)
    minute_of_day, second = divmod(second_of_day, 60)
    hour, minute = divmod(minute_of_day, 60)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return (
        f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
        f"{fraction}Z"
    )


# --- durations -----------------------------------------------------------------------


def duration_from_nanos(nanos: int) -> Duration:
    """Make a duration, refusing what a 64-bit number of nanoseconds cannot hold."""
    if MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
        return Duration(nanos)
    raise EvaluationError(
        "duration out of range: more than about 292 years (a 64-bit number of "
        "nanoseconds)"
    )


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": NANOS_PER_MILLISECOND,
    "s": NANOS_PER_SECOND,
    "m": 60 * NANOS_PER_SECOND,
    "h": 3_600 * NANOS_PER_SECOND,
}
_DURATION_PART = re.compile("([0-9]*)(?:\\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
# The longest exact text of a duration needs far less; what is longer is a mistake,
# and Python's int() of thousands of digits is slow.
_MAX_DURATION_TEXT = 256


def parse_duration(text: str) -> Duration:
    """Read a duration in the grammar of Go's ``time.ParseDuration``.

    A sign, then decimal numbers each with a unit: ``1h30m``, ``-1.5s``, ``100us``.
    ``0`` needs no unit. Digits beyond nanoseconds are cut off, as in Go.
    """
    position = 1 if text[:1] in {"-", "+"} else 0
    if len(text) > _MAX_DURATION_TEXT or position == len(text):
        raise _invalid_duration(text)
    if text[position:] == "0":
        return Duration(0)
    nanos = 0
    end = len(text)
    while position < end:
        match = _DURATION_PART.match(text, position)
        if match is None:
            raise _invalid_duration(text)
        whole, fraction, unit = match.groups()
        if not whole and not fraction:
            raise _invalid_duration(text)
        scale = _UNITS[unit]
        if whole:
            nanos += int(whole) * scale
        if fraction:
            nanos += int(fraction) * scale // 10 ** len(fraction)
        position = match.end()
    if text[0] == "-":
        nanos = -nanos
    if not MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
        raise EvaluationError(
            f"duration out of range: {_shown(text)} is more than about 292 years "
            "(a 64-bit number of nanoseconds)"
        )
    return Duration(nanos)


def _invalid_duration(text: str) -> EvaluationError:
    return EvaluationError(
        f"invalid duration {_shown(text)}",
        hint="Write numbers with the units h, m, s, ms, us or ns: 1h30m, -1.5s, 250ms.",
    )


def format_duration(duration: Duration) -> str:
    """Seconds with as many decimals as are needed: ``3730s``, ``-1.5s``."""
    seconds, nanos = divmod(abs(duration.nanos), NANOS_PER_SECOND)
    sign = "-" if duration.nanos < 0 else ""
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{sign}{seconds}{fraction}s"


# --- arithmetic ----------------------------------------------------------------------


def add_to_timestamp(timestamp: Timestamp, duration: Duration) -> Timestamp:
    """``timestamp + duration``, or a range error."""
    return timestamp_from_nanos(timestamp.nanos + duration.nanos)


def subtract_from_timestamp(timestamp: Timestamp, duration: Duration) -> Timestamp:
    """``timestamp - duration``, or a range error."""
    return timestamp_from_nanos(timestamp.nanos - duration.nanos)


def subtract_timestamps(left: Timestamp, right: Timestamp) -> Duration:
    """``timestamp - timestamp``, or a range error beyond 292 years."""
    return duration_from_nanos(left.nanos - right.nanos)


def add_durations(left: Duration, right: Duration) -> Duration:
    """``duration + duration``, or a range error."""
    return duration_from_nanos(left.nanos + right.nanos)


def subtract_durations(left: Duration, right: Duration) -> Duration:
    """``duration - duration``, or a range error."""
    return duration_from_nanos(left.nanos - right.nanos)


# --- time zones ----------------------------------------------------------------------

_FIXED_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})")
# Files beside the IANA zones that are none, or mean another thing on each server.
_NO_ZONES = ("right/", "posix/", "localtime", "posixrules")
_MAX_ZONES = 256
_zones: dict[str, ZoneInfo] = {}
# zoneinfo computes within the years 1 to 9999 of local time; no zone changes its
# offset in the days that this leaves out.
_MIN_ZONE_SECONDS = MIN_TIMESTAMP_NANOS // NANOS_PER_SECOND + 2 * SECONDS_PER_DAY
_MAX_ZONE_SECONDS = MAX_TIMESTAMP_NANOS // NANOS_PER_SECOND - 2 * SECONDS_PER_DAY


def _zone(name: str) -> ZoneInfo:
    zone = _zones.get(name)
    if zone is not None:
        return zone
    if not name or len(name) > 255 or name.startswith(_NO_ZONES):
        raise _unknown_zone(name)
    from zoneinfo import ZoneInfo

    try:
        zone = ZoneInfo(name)
    # Besides KeyError and ValueError, odd names make the file system complain.
    except (LookupError, ValueError, OSError) as problem:
        raise _unknown_zone(name) from problem
    if len(_zones) >= _MAX_ZONES:
        _zones.clear()
    _zones[name] = zone
    return zone


def _unknown_zone(name: str) -> EvaluationError:
    return EvaluationError(
        f"unknown time zone {_shown(name)}",
        hint="Name an IANA zone such as 'Europe/Berlin', or an offset such as "
        "'+05:30'.",
    )


def utc_offset(seconds: int, zone: str) -> int:
    """Seconds east of UTC at a Unix time in a zone.

    The zone is an IANA name or a fixed offset (``+05:30``, ``-08:00``, ``02:00``).
    """
    if zone == "UTC":
        return 0
    match = _FIXED_OFFSET.fullmatch(zone)
    if match is not None:
        hours, minutes = int(match[2]), int(match[3])
        if hours > 23 or minutes > 59:
            raise EvaluationError(
                f"time zone offset out of range: {_shown(zone)} is not within "
                "-23:59 and +23:59"
            )
        offset = hours * 3_600 + minutes * 60
        return -offset if match[1] == "-" else offset
    info = _zone(zone)
    from datetime import datetime

    moment = min(max(seconds, _MIN_ZONE_SECONDS), _MAX_ZONE_SECONDS)
    local = datetime.fromtimestamp(moment, info).utcoffset()
    # A ZoneInfo always knows its offset; the type of `tzinfo` in general does not.
    return 0 if local is None else local.days * SECONDS_PER_DAY + local.seconds


def _local_seconds(timestamp: Timestamp, zone: str) -> int:
    seconds = timestamp.nanos // NANOS_PER_SECOND
    return seconds + utc_offset(seconds, zone)


def _local_date(timestamp: Timestamp, zone: str) -> tuple[int, int, int]:
    return _date_from_days(_local_seconds(timestamp, zone) // SECONDS_PER_DAY)


# --- accessors -----------------------------------------------------------------------
#
# Each reads a part of the local time in a zone; the methods of CEL without a zone read
# that of "UTC".


def full_year(timestamp: Timestamp, zone: str) -> int:
    """Year; the hours before year 1 in a zone west of UTC are year 0."""
    return _local_date(timestamp, zone)[0]


def month(timestamp: Timestamp, zone: str) -> int:
    """Month, January is 0."""
    return _local_date(timestamp, zone)[1] - 1


def day_of_month_from_1(timestamp: Timestamp, zone: str) -> int:
    """Day of the month, the first is 1."""
    return _local_date(timestamp, zone)[2]


def day_of_month(timestamp: Timestamp, zone: str) -> int:
    """Day of the month, the first is 0."""
    return _local_date(timestamp, zone)[2] - 1


def day_of_week(timestamp: Timestamp, zone: str) -> int:
    """Day of the week, Sunday is 0."""
    # 1970-01-01 was a Thursday.
    return (_local_seconds(timestamp, zone) // SECONDS_PER_DAY + 4) % 7


def day_of_year(timestamp: Timestamp, zone: str) -> int:
    """Day of the year, the first of January is 0."""
    days = _local_seconds(timestamp, zone) // SECONDS_PER_DAY
    return days - _days_from_date(_date_from_days(days)[0], 1, 1)


def hours(timestamp: Timestamp, zone: str) -> int:
    """Hour of the day, 0 to 23."""
    return _local_seconds(timestamp, zone) // 3_600 % 24


def minutes(timestamp: Timestamp, zone: str) -> int:
    """Minute of the hour, 0 to 59."""
    return _local_seconds(timestamp, zone) // 60 % 60


def seconds(timestamp: Timestamp, zone: str) -> int:
    """Second of the minute, 0 to 59."""
    return _local_seconds(timestamp, zone) % 60


def milliseconds(timestamp: Timestamp, zone: str) -> int:
    """Millisecond of the second, 0 to 999."""
    # No offset has a fraction of a second, but an unknown zone is an error.
    utc_offset(timestamp.nanos // NANOS_PER_SECOND, zone)
    return timestamp.nanos // NANOS_PER_MILLISECOND % 1_000


def _toward_zero(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


def duration_hours(duration: Duration) -> int:
    """The whole duration in hours, cut off toward zero."""
    return _toward_zero(duration.nanos, 3_600 * NANOS_PER_SECOND)


def duration_minutes(duration: Duration) -> int:
    """The whole duration in minutes, cut off toward zero."""
    return _toward_zero(duration.nanos, 60 * NANOS_PER_SECOND)


def duration_seconds(duration: Duration) -> int:
    """The whole duration in seconds, cut off toward zero."""
    return _toward_zero(duration.nanos, NANOS_PER_SECOND)


def duration_milliseconds(duration: Duration) -> int:
    """The milliseconds beside the whole seconds, -999 to 999, not the total."""
    millis = abs(duration.nanos) // NANOS_PER_MILLISECOND % 1_000
    return millis if duration.nanos >= 0 else -millis
