"""Points in time as people write them."""

import pytest

from shared.times import iso, parse_end, parse_moment


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T01:00", 3600.0),
        ("1970-01-01T01:00:00.5Z", 3600.5),
        ("1970-01-01T02:00+01:00", 3600.0),
    ],
)
def test_iso_moment_is_utc_unless_it_says_otherwise(said: str, seconds: float) -> None:
    assert parse_moment(said) == seconds


@pytest.mark.parametrize(("said", "seconds"), [("90m", 6400.0), ("2h", 8200.0), ("30d", 2_593_000.0)])
def test_end_may_be_a_time_from_now_on(said: str, seconds: float) -> None:
    assert parse_end(said, 1000.0) == seconds


@pytest.mark.parametrize("said", ["", "tomorrow", "30", "30w", "-1d", "0d", "1970-01-01", "1e3d", "2027-02-30"])
def test_end_that_is_none_or_has_passed_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_end(said, 1000.0)


def test_moment_is_shown_in_utc() -> None:
    assert iso(0.0) == "1970-01-01T00:00:00+00:00"
    assert iso(0.25, "microseconds") == "1970-01-01T00:00:00.250000+00:00"
