"""Names come from the configuration only: a record that has others is not used."""

from collections.abc import Iterable

from breakglass.config import Image
from breakglass.errors import BreakglassError, Integrity, Refused, look_first
from breakglass.grammar import full_reference
from breakglass.observe.record import Record
from breakglass.observe.shelf import Shelf, Tarball


def check_names(image: Image, shelf: Shelf, tarball: Tarball) -> None:
    """Raises Integrity where the record has a name that the configuration does not give."""
    fault = fault_of_names(image, shelf, tarball)
    if fault is not None:
        raise fault


def fault_of_names(image: Image, shelf: Shelf, tarball: Tarball) -> BreakglassError | None:
    record = tarball.record
    if record is None:
        return None
    try:
        names = image.names(tarball.tag)
    except Refused as error:
        return error
    foreign = foreign_names(record, names, image.companions)
    if not foreign:
        return None
    return Integrity(
        f"the record of {tarball.file} on {shelf.host} has names that image.* in the "
        f"configuration does not give: {', '.join(map(repr, foreign))}",
        state="The tarball was not used.",
        next_step=look_first(
            shelf.host.by_hand("ls", "-la", shelf.directory),
            advice=(
                "see who wrote it; a name that is yours belongs into image.companions or "
                "image.also_known_as"
            ),
        ),
    )


def foreign_names(
    record: Record, names: Iterable[str], companions: Iterable[str]
) -> tuple[str, ...]:
    """The record's names that are none of these: of the image, or of its companions."""
    ours = ({full_reference(name) for name in given} for given in (names, companions))
    recorded = (record.references, tuple(dict(record.companions)))
    foreign = (
        name
        for given, allowed in zip(recorded, ours, strict=True)
        for name in given
        if full_reference(name) not in allowed
    )
    return (*foreign, *(name for name, _ in record.digests if name not in record.image_ids))
