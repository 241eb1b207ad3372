"""Which of two tarballs is the newer one. The sequence counts the snapshots of one directory; it
begins again where the directory is made anew, and old copies may be brought back. The time comes
from a clock, which may be wrong. So one tarball is surely older only where both do not contradict.
"""

from collections.abc import Iterable
from datetime import datetime

from breakglass.age import age_seconds, moment_of
from breakglass.observe.record import LARGEST_SEQUENCE
from breakglass.observe.shelf import Shelf, Tarball


def is_older(tarball: Tarball, other: Tarball) -> bool:
    """Whether a tarball was surely made before another one: by its sequence, and not against the
    times in their records. At the largest sequence counting has ended, so the times decide.
    """
    if tarball.sequence == other.sequence == LARGEST_SEQUENCE:
        return is_later(other, tarball)
    return tarball.sequence < other.sequence and not is_later(tarball, other)


def is_later(tarball: Tarball, other: Tarball) -> bool:
    """Whether its record has a later time than the other's."""
    own, its = _moment(tarball), _moment(other)
    return own is not None and its is not None and own > its


def believed(tarball: Tarball, at: str) -> bool:
    """Whether the time in its record can be right; not where it is yet to come."""
    return tarball.record is not None and age_seconds(tarball.record.created_at, at) is not None


def next_sequence(shelves: Iterable[Shelf]) -> int:
    """One more than any shelf has, so that a directory that is made anew does not begin at 1. What
    nobody who may sign has signed does not count.
    """
    known = (tarball.sequence for shelf in shelves for tarball in shelf.tarballs if tarball.trusted)
    return min(max((0, *known)) + 1, LARGEST_SEQUENCE)


def last_taken(tarballs: Iterable[Tarball], *, at: str) -> Tarball | None:
    """The one with the latest time that can be right."""
    timed = [
        (moment, tarball)
        for tarball in tarballs
        if believed(tarball, at) and (moment := _moment(tarball)) is not None
    ]
    return max(timed, key=lambda pair: (pair[0], pair[1].sequence), default=(None, None))[1]


def _moment(tarball: Tarball) -> datetime | None:
    return moment_of(tarball.record.created_at) if tarball.record else None
