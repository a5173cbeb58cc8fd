"""Timestamps and durations: text, range, arithmetic, parts, time zones."""

from __future__ import annotations

import operator
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules.cel import EvaluationError, temporal
from pgrules.cel.temporal import (
    MAX_DURATION_NANOS,
    MAX_TIMESTAMP_NANOS,
    MIN_DURATION_NANOS,
    MIN_TIMESTAMP_NANOS,
    Duration,
    Timestamp,
    format_duration,
    format_timestamp,
    parse_duration,
    parse_timestamp,
)
from tests.unit.cel.evaluating import evaluate

timestamps = st.integers(MIN_TIMESTAMP_NANOS, MAX_TIMESTAMP_NANOS).map(Timestamp)
durations = st.integers(MIN_DURATION_NANOS, MAX_DURATION_NANOS).map(Duration)
FIRST = Timestamp(MIN_TIMESTAMP_NANOS)
LAST = Timestamp(MAX_TIMESTAMP_NANOS)


class TestTimestampText:
    @given(timestamps)
    def test_formatting_and_parsing_give_the_same_nanosecond(
        self, moment: Timestamp
    ) -> None:
        assert parse_timestamp(format_timestamp(moment)) == moment

    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("2009-02-13T23:31:30Z", "2009-02-13T23:31:30Z"),
            ("2009-02-13T23:31:30.5Z", "2009-02-13T23:31:30.5Z"),
            ("2009-02-13T23:31:30.500000000Z", "2009-02-13T23:31:30.5Z"),
            ("2009-02-13T23:31:30.000000001Z", "2009-02-13T23:31:30.000000001Z"),
            ("1972-01-01T10:00:20.021-05:00", "1972-01-01T15:00:20.021Z"),
            ("2009-02-14T05:01:30+05:30", "2009-02-13T23:31:30Z"),
            ("2009-02-13T23:31:30-00:00", "2009-02-13T23:31:30Z"),
            ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.9Z"),
            ("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            (
                "9999-12-31T23:59:59.999999999Z",
                "9999-12-31T23:59:59.999999999Z",
            ),
        ],
    )
    def test_a_timestamp_is_written_in_utc_with_the_digits_it_needs(
        self, text: str, canonical: str
    ) -> None:
        assert format_timestamp(parse_timestamp(text)) == canonical

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2009-02-13",
            "2009-02-13T23:31:30",
            "2009-02-13 23:31:30Z",
            "2009-02-13t23:31:30z",
            "2009-02-13T23:31Z",
            "2009-02-13T23:31:30.Z",
            "2009-02-13T23:31:30,5Z",
            "2009-02-13T23:31:30.1234567891Z",
            "2009-02-13T23:31:60Z",
            "2009-02-13T24:00:00Z",
            "2009-02-13T23:60:00Z",
            "2009-02-13T23:31:30+0100",
            "2009-02-13T23:31:30+24:00",
            "2009-02-13T23:31:30+01:60",
            "2009-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2009-13-01T00:00:00Z",
            "2009-00-01T00:00:00Z",
            "2009-04-31T00:00:00Z",
            "2009-04-00T00:00:00Z",
            " 2009-02-13T23:31:30Z",
            "2009-02-13T23:31:30Z\n",
            "\uff12\uff10\uff10\uff19-02-13T23:31:30Z",
            "-2009-02-13T23:31:30Z",
        ],
    )
    def test_text_that_is_no_rfc_3339_timestamp_is_refused(self, text: str) -> None:
        with pytest.raises(EvaluationError, match="invalid timestamp"):
            parse_timestamp(text)

    @pytest.mark.parametrize(
        "text",
        [
            "0000-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ],
    )
    def test_years_outside_1_to_9999_of_utc_are_out_of_range(self, text: str) -> None:
        with pytest.raises(EvaluationError, match="timestamp out of range"):
            parse_timestamp(text)

    def test_a_long_text_is_shortened_in_the_message(self) -> None:
        with pytest.raises(EvaluationError) as caught:
            parse_timestamp("x" * 100_000)
        assert len(str(caught.value)) < 100


class TestDurationText:
    @given(durations)
    def test_formatting_and_parsing_give_the_same_nanosecond(
        self, length: Duration
    ) -> None:
        assert parse_duration(format_duration(length)) == length

    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("0", "0s"),
            ("+0", "0s"),
            ("0s", "0s"),
            ("-0s", "0s"),
            ("1h30m", "5400s"),
            ("-1.5s", "-1.5s"),
            ("+1.5s", "1.5s"),
            (".5s", "0.5s"),
            ("1.s", "1s"),
            ("100us", "0.0001s"),
            ("100\u00b5s", "0.0001s"),
            ("100\u03bcs", "0.0001s"),
            ("250ms", "0.25s"),
            ("1ns", "0.000000001s"),
            ("1m1m", "120s"),
            ("0.3333333333333333333h", "1199.999999999s"),
            ("3730s", "3730s"),
            ("1000000s", "1000000s"),
            ("2562047h47m16.854775807s", "9223372036.854775807s"),
            ("-2562047h47m16.854775808s", "-9223372036.854775808s"),
        ],
    )
    def test_a_duration_is_written_in_seconds(self, text: str, canonical: str) -> None:
        assert format_duration(parse_duration(text)) == canonical

    @pytest.mark.parametrize(
        "text",
        [
            "-",
            "+",
            "1",
            "00",
            "s",
            ".s",
            "1d",
            "1h-30m",
            "--1s",
            "1e3s",
            "1,5s",
            "1H",
            "\u0661s",
            "",
            "1 s",
            " 1s",
            "1s ",
            "1s\n",
            "1" * 300 + "s",
        ],
    )
    def test_text_that_is_no_duration_is_refused(self, text: str) -> None:
        with pytest.raises(EvaluationError, match="invalid duration"):
            parse_duration(text)

    @pytest.mark.parametrize(
        "text",
        ["9223372036854775808ns", "-9223372036854775809ns", "320000000000s"],
    )
    def test_more_than_64_bits_of_nanoseconds_are_out_of_range(self, text: str) -> None:
        with pytest.raises(EvaluationError, match="duration out of range"):
            parse_duration(text)


class TestValues:
    @given(timestamps, timestamps)
    def test_timestamps_are_ordered_by_time(self, a: Timestamp, b: Timestamp) -> None:
        assert (a < b) == (a.nanos < b.nanos)
        assert (a <= b) == (a.nanos <= b.nanos)
        assert (a > b) == (a.nanos > b.nanos)
        assert (a >= b) == (a.nanos >= b.nanos)
        assert (a == b) == (a.nanos == b.nanos)

    @given(durations, durations)
    def test_durations_are_ordered_by_length(self, a: Duration, b: Duration) -> None:
        assert (a < b) == (a.nanos < b.nanos)
        assert (a <= b) == (a.nanos <= b.nanos)
        assert (a > b) == (a.nanos > b.nanos)
        assert (a >= b) == (a.nanos >= b.nanos)
        assert (a == b) == (a.nanos == b.nanos)

    @pytest.mark.parametrize("other", [Duration(5), 5, 5.0, "5", None])
    def test_a_timestamp_equals_and_orders_with_timestamps_only(
        self, other: object
    ) -> None:
        assert Timestamp(5) != other
        with pytest.raises(TypeError):
            Timestamp(5) < other  # type: ignore[operator]  # noqa: B015

    @pytest.mark.parametrize("other", [Timestamp(5), 5, 5.0, "5", None])
    def test_a_duration_equals_and_orders_with_durations_only(
        self, other: object
    ) -> None:
        assert Duration(5) != other
        with pytest.raises(TypeError):
            Duration(5) < other  # type: ignore[operator]  # noqa: B015

    @pytest.mark.parametrize("value", [Timestamp(5), Duration(5)])
    def test_a_value_cannot_be_changed(self, value: Timestamp | Duration) -> None:
        with pytest.raises(AttributeError):
            value.nanos = 6
        with pytest.raises(AttributeError):
            del value.nanos

    @pytest.mark.parametrize("kind", [Timestamp, Duration])
    def test_equal_values_hash_alike_and_survive_pickling(self, kind: type) -> None:
        assert hash(kind(5)) == hash(kind(5))
        assert pickle.loads(pickle.dumps(kind(5))) == kind(5)  # noqa: S301

    def test_the_representation_is_the_expression(self) -> None:
        assert repr(Timestamp(0)) == "timestamp('1970-01-01T00:00:00Z')"
        assert repr(Duration(1_500_000_000)) == "duration('1.5s')"


class TestArithmetic:
    @given(timestamps, durations)
    def test_adding_and_subtracting_a_duration_is_exact_or_out_of_range(
        self, moment: Timestamp, length: Duration
    ) -> None:
        total = moment.nanos + length.nanos
        if MIN_TIMESTAMP_NANOS <= total <= MAX_TIMESTAMP_NANOS:
            later = temporal.add_to_timestamp(moment, length)
            assert later.nanos == total
            assert temporal.subtract_from_timestamp(later, length) == moment
        else:
            with pytest.raises(EvaluationError, match="timestamp out of range"):
                temporal.add_to_timestamp(moment, length)

    def test_the_first_and_last_nanosecond_are_the_ends(self) -> None:
        for operation, moment in (
            (temporal.subtract_from_timestamp, FIRST),
            (temporal.add_to_timestamp, LAST),
        ):
            with pytest.raises(EvaluationError, match="timestamp out of range"):
                operation(moment, Duration(1))

    def test_timestamps_further_apart_than_292_years_have_no_difference(self) -> None:
        with pytest.raises(EvaluationError, match="duration out of range"):
            temporal.subtract_timestamps(LAST, FIRST)
        far = Timestamp(MAX_DURATION_NANOS)
        assert temporal.subtract_timestamps(far, Timestamp(0)).nanos == far.nanos

    def test_durations_end_at_64_bits(self) -> None:
        longest, shortest = Duration(MAX_DURATION_NANOS), Duration(MIN_DURATION_NANOS)
        for operation, left, right in (
            (temporal.add_durations, longest, Duration(1)),
            (temporal.subtract_durations, shortest, Duration(1)),
        ):
            with pytest.raises(EvaluationError, match="duration out of range"):
                operation(left, right)

    def test_unix_seconds_round_down(self) -> None:
        assert temporal.timestamp_to_seconds(Timestamp(-1)) == -1
        assert temporal.timestamp_to_seconds(Timestamp(1_999_999_999)) == 1
        assert temporal.timestamp_from_seconds(-1).nanos == -1_000_000_000
        with pytest.raises(EvaluationError, match="timestamp out of range"):
            temporal.timestamp_from_seconds(1 << 62)


class TestParts:
    @given(
        st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001
        st.integers(0, 999),
    )
    def test_the_parts_in_utc_are_those_of_the_calendar(
        self, moment: datetime, nanos: int
    ) -> None:
        whole = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001
        stamp = Timestamp(whole * 1_000 + nanos)
        assert temporal.full_year(stamp, "UTC") == moment.year
        assert temporal.month(stamp, "UTC") == moment.month - 1
        assert temporal.day_of_month_from_1(stamp, "UTC") == moment.day
        assert temporal.day_of_month(stamp, "UTC") == moment.day - 1
        assert temporal.day_of_week(stamp, "UTC") == moment.isoweekday() % 7
        assert temporal.day_of_year(stamp, "UTC") == moment.timetuple().tm_yday - 1
        assert temporal.hours(stamp, "UTC") == moment.hour
        assert temporal.minutes(stamp, "UTC") == moment.minute
        assert temporal.seconds(stamp, "UTC") == moment.second
        assert temporal.milliseconds(stamp, "UTC") == moment.microsecond // 1_000

    @given(
        st.datetimes(
            datetime(1800, 1, 1),  # noqa: DTZ001
            datetime(2200, 1, 1),  # noqa: DTZ001
            timezones=st.just(UTC),
        ),
        st.sampled_from(
            ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia"]
        ),
    )
    def test_the_parts_in_a_named_zone_are_those_of_its_clocks(
        self, moment: datetime, zone: str
    ) -> None:
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        stamp = Timestamp((moment - epoch) // timedelta(microseconds=1) * 1_000)
        local = moment.astimezone(ZoneInfo(zone))
        assert temporal.full_year(stamp, zone) == local.year
        assert temporal.day_of_year(stamp, zone) == local.timetuple().tm_yday - 1
        assert temporal.hours(stamp, zone) == local.hour
        assert temporal.minutes(stamp, zone) == local.minute

    @pytest.mark.parametrize(
        ("zone", "hour", "minute"),
        [
            ("+05:30", 5, 1),
            ("05:30", 5, 1),
            ("-08:00", 15, 31),
            ("-00:30", 23, 1),
            ("+00:00", 23, 31),
            ("+14:00", 13, 31),
        ],
    )
    def test_a_fixed_offset_is_a_zone(self, zone: str, hour: int, minute: int) -> None:
        stamp = parse_timestamp("2009-02-13T23:31:30Z")
        assert (temporal.hours(stamp, zone), temporal.minutes(stamp, zone)) == (
            hour,
            minute,
        )

    def test_clocks_that_go_back_do_so_at_the_right_second(self) -> None:
        before = parse_timestamp("2024-10-27T00:59:59Z")
        after = parse_timestamp("2024-10-27T01:00:00Z")
        assert temporal.hours(before, "Europe/Berlin") == 2
        assert temporal.hours(after, "Europe/Berlin") == 2
        assert temporal.utc_offset(before.nanos // 10**9, "Europe/Berlin") == 7200
        assert temporal.utc_offset(after.nanos // 10**9, "Europe/Berlin") == 3600

    def test_the_ends_of_time_have_parts_in_every_zone(self) -> None:
        assert temporal.full_year(FIRST, "-08:00") == 0
        assert temporal.full_year(FIRST, "America/New_York") == 0
        assert temporal.day_of_year(FIRST, "-08:00") == 365
        assert temporal.full_year(LAST, "+01:00") == 10_000
        assert temporal.full_year(LAST, "Asia/Tokyo") == 10_000

    @pytest.mark.parametrize(
        "zone",
        [
            "Europe",
            "Europe/Berlon",
            "Local",
            "localtime",
            "right/UTC",
            "posix/UTC",
            "../../etc/passwd",
            "/etc/passwd",
            "2:00",
            "+5:30",
            "+05:3",
            "+0530",
            "tzdata.zi",
            "",
            "UTC ",
            "a\0b",
            "x" * 300,
            "\ud800",
        ],
    )
    def test_an_unknown_zone_is_an_error_for_every_part(self, zone: str) -> None:
        for part in (temporal.hours, temporal.milliseconds):
            with pytest.raises(EvaluationError, match="unknown time zone"):
                part(Timestamp(0), zone)

    @pytest.mark.parametrize("zone", ["+24:00", "-99:00", "+01:60"])
    def test_an_offset_of_a_day_or_more_is_out_of_range(self, zone: str) -> None:
        with pytest.raises(EvaluationError, match="offset out of range"):
            temporal.hours(Timestamp(0), zone)

    @pytest.mark.parametrize(
        ("text", "hours", "minutes", "seconds", "milliseconds"),
        [
            ("3730s", 1, 62, 3730, 0),
            ("-3730s", -1, -62, -3730, 0),
            ("123.321456789s", 0, 2, 123, 321),
            ("-1.5s", 0, 0, -1, -500),
            ("-0.0009s", 0, 0, 0, 0),
        ],
    )
    def test_the_parts_of_a_duration_are_totals_but_for_milliseconds(
        self, text: str, hours: int, minutes: int, seconds: int, milliseconds: int
    ) -> None:
        length = parse_duration(text)
        assert temporal.duration_hours(length) == hours
        assert temporal.duration_minutes(length) == minutes
        assert temporal.duration_seconds(length) == seconds
        assert temporal.duration_milliseconds(length) == milliseconds


@pytest.mark.parametrize("value", [Timestamp(1), Duration(1)])
def test_python_orders_times_among_their_like_only(value: Any) -> None:
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError):
            compare(value, 1)


def test_zones_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts may name one after another."""
    kept: dict[str, ZoneInfo] = {}
    monkeypatch.setattr(temporal, "_zones", kept)
    monkeypatch.setattr(temporal, "_MAX_ZONES", 2)
    for zone in ("Europe/Berlin", "Asia/Tokyo", "Europe/Rome"):
        assert evaluate(f"timestamp(0).getHours('{zone}') > 0") is True
        assert len(kept) <= 2
    assert "Europe/Rome" in kept
