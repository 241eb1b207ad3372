"""The warnings of a snapshot: what was not asked, what is doubtful, what is left out."""

from breakglass.commands.environment import Unread
from breakglass.commands.order import believed, is_later, last_taken
from breakglass.commands.snapshot_companions import companion_copies
from breakglass.commands.snapshot_facts import Facts


def doubts(facts: Facts, *, at: str) -> tuple[str, ...]:
    unavailable = facts.unavailable
    unasked = [
        (
            f"{reference}: the registry could not be asked from here what the tag is now "
            f"({served.detail})"
        )
        for reference, served in facts.published
        if served.image_id is None and reference not in unavailable
    ]
    bad = [
        (
            f"{facts.shelf.directory}/{file}: its content is not what its sidecar says; it does "
            f"not count and is left alone"
        )
        for file in sorted(facts.bad)
    ]
    refused = [
        f"{facts.vm} cannot read from the registry itself, so docker pulls and saves ({why})"
        for why in (facts.refusal,)
        if why
    ]
    return (*refused, *unasked, *bad, *_directory(facts), *_order(facts, at))


def companion_warnings(facts: Facts) -> tuple[str, ...]:
    copies = companion_copies(facts)
    return tuple(
        f"{reference} cannot be had now ({why}): "
        + (f"the copy in {copies[reference].file} is taken" if reference in copies else "left out")
        for reference, why in facts.unavailable.items()
    )


def _directory(facts: Facts) -> list[str]:
    """A directory without tarballs may be one whose disk is not mounted."""
    shelf = facts.shelf
    if not shelf.present:
        return [
            f"{shelf.directory} is not there on {facts.vm} and will be made: if it lies on a disk "
            f"of its own, is that mounted?"
        ]
    others = [other for other in facts.shelves[1:] if other.tarballs]
    if shelf.tarballs or not (others or facts.fallbacks):
        return []
    unread = [str(other) for other in facts.fallbacks if isinstance(other, Unread)]
    empty = f"{shelf.directory} on {facts.vm} has no tarball"
    return [
        *(
            f"{empty}, {other.host} has {len(other.tarballs)}: is the disk mounted?"
            for other in others
        ),
        *(f"{empty}, so counting may begin anew: {each}" for each in unread),
    ]


def _order(facts: Facts, at: str) -> list[str]:
    """Sequence and time contradict each other, or a clock is wrong."""
    good = [tarball for tarball in facts.shelf.verified if tarball.file not in facts.bad]
    odd = [tarball.file for tarball in good if not believed(tarball, at)]
    lines = []
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        lines.append(
            f"{odd[0]}{more}: the record has a time that is yet to come, or none: a clock was "
            f"wrong, and the age is not known"
        )
    last = last_taken(good, at=at)
    if last is not None and is_later(last, good[0]):
        lines.append(
            f"which tarball is the newest is not clear: {good[0].file} has the largest sequence, "
            f"{last.file} was taken later; neither is removed, and latest does not move back"
        )
    return lines
