"""What a run that was cut short has left in a directory of tarballs: partials, and sidecars without
their tarball.
"""

import re
from dataclasses import dataclass

from breakglass.observe.listing import Listing, own_tag, tarball_of
from breakglass.observe.record import HASH, parse_records
from breakglass.signatures.sshsig import armor, blocks


@dataclass(frozen=True)
class Partial:
    """Hidden files of one tarball that a run which was cut short has left."""

    file: str
    """The name that it was to get."""
    size_bytes: int
    """Of what has arrived; 0 where only notes are left."""
    sha256: str | None
    """Of the object that it is the beginning of, where the run noted it."""


def partials_in(listing: Listing, name: str) -> tuple[Partial, ...]:
    hidden = {tarball_of(file) for file in listing.sizes if file.startswith(".")}
    return tuple(
        _partial(listing, file) for file in sorted(hidden) if own_tag(file, name) is not None
    )


def _partial(listing: Listing, file: str) -> Partial:
    sums = listing.sums.get(f".{file}.partial.sha256", [])
    hashes = [value for value in sums if HASH.fullmatch(value)]
    size_bytes = listing.sizes.get(f".{file}.partial", 0)
    return Partial(file, size_bytes, hashes[0] if len(hashes) == 1 else None)


def orphans_in(listing: Listing, name: str) -> tuple[str, ...]:
    return tuple(
        file for file, content in listing.orphans.items() if _is_orphan(file, content, name)
    )


def _is_orphan(file: str, content: bytes, name: str) -> bool:
    """Whether we have written this sidecar: others may keep files of such names there."""
    tarball = tarball_of(file)
    tag = own_tag(tarball, name)
    if tag is None:
        return False
    if file.endswith(".json"):
        records = parse_records(content)
        return bool(records) and all(record.tag == tag for record in records)
    text = content.decode("utf-8", "replace")
    if file.endswith(".json.sig"):
        return text != "" and text == "".join(map(armor, blocks(text)))
    lines = rf"([0-9a-f]{{64}}  {re.escape(tarball)}\n)+"
    return re.fullmatch(lines, text) is not None
