"""Moments as ISO 8601 has them, and how long ago they were. One without a time zone is UTC."""

from datetime import UTC, datetime

AHEAD_SECONDS = 3600
"""A moment may be so far ahead: clocks differ. Further ahead one of them is wrong."""


def moment_of(at: str) -> datetime | None:
    """In UTC; None for what is no moment."""
    try:
        moment = datetime.fromisoformat(at)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def age_seconds(at: str, now: str) -> int | None:
    """Between two moments; None where one is none, or `at` is more than an hour ahead."""
    moment, present = moment_of(at), moment_of(now)
    seconds = int((present - moment).total_seconds()) if moment and present else None
    return None if seconds is None or seconds < -AHEAD_SECONDS else max(0, seconds)


def age_in_words(seconds: int) -> str:
    for unit, size, up_to in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < up_to:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86_400} d"
