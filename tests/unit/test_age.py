"""Moments and ages, reported and counted."""

import pytest

from breakglass.age import age_in_words, age_seconds

NOW = "2026-04-19T03:00:00Z"


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (NOW, 0),
        ("2026-04-19T02:59:00Z", 60),
        ("2026-04-19T04:59:00+02:00", 60),
        ("2026-04-19T03:00:01Z", 0),
        ("2033-01-01T00:00:00Z", None),
        ("", None),
        ("yesterday", None),
        ("2026-04-19T02:59:00", 60),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_an_age_is_counted_in_seconds_never_below_zero_and_is_not_known_for_what_is_no_moment(
    moment: str, seconds: int | None
) -> None:
    assert age_seconds(moment, NOW) == seconds


@pytest.mark.parametrize(
    ("seconds", "reported"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (3 * 3600 + 59, "3 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (192 * 3600, "8 d"),
    ],
)
def test_an_age_on_the_screen_is_two_words(seconds: int, reported: str) -> None:
    assert age_in_words(seconds) == reported
