"""Points in time as people write them."""

from datetime import date

import pytest

from shared.times import iso, parse_day, parse_end, parse_time, to_minute


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00", 3600.0),
        ("1970-01-01T01:00:00.5Z", 3600.5),
        ("1970-01-01T02:00+01:00", 3600.0),
    ],
)
def test_iso_time_is_utc_unless_it_has_an_offset(said: str, seconds: float) -> None:
    assert parse_time(said) == seconds


@pytest.mark.parametrize(("said", "seconds"), [("90m", 6400.0), ("2h", 8200.0), ("30d", 2_593_000.0)])
def test_end_may_be_a_time_from_now_on(said: str, seconds: float) -> None:
    assert parse_end(said, 1000.0) == seconds


@pytest.mark.parametrize("said", ["", "tomorrow", "30", "30w", "-1d", "0d", "1970-01-01", "1e3d", "2027-02-30"])
def test_end_that_is_none_or_has_passed_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_end(said, 1000.0)


def test_time_is_shown_in_utc() -> None:
    assert iso(0.0) == "1970-01-01T00:00:00+00:00"
    assert to_minute(59.9) == "1970-01-01 00:00 UTC"
    assert iso(0.25, "microseconds") == "1970-01-01T00:00:00.250000+00:00"


def test_time_that_could_not_be_written_again_is_rejected() -> None:
    """As a float, seconds since the epoch, it is the first of year 10000."""
    assert parse_time("9999-12-31T23:59:59.9") < parse_time("9999-12-31T23:59:59.99")
    for text in ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59-01:00"):
        with pytest.raises(ValueError, match="expected an ISO 8601 date"):
            parse_time(text)


def test_day_is_an_iso_date() -> None:
    assert parse_day("2027-01-31") == date(2027, 1, 31)
    with pytest.raises(ValueError, match="expected a day, such as 2027-01-31, got '2027-02-30'"):
        parse_day("2027-02-30")
