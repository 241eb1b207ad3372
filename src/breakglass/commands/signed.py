"""What the signature of a tarball's record, or its lack, means for a command."""

from breakglass.errors import NOTHING, Integrity, Next
from breakglass.observe.shelf import Tarball
from breakglass.plan import Host


def distrust(tarball: Tarball, host: Host, *, next_step: Next = NOTHING) -> Integrity | None:
    """Why a tarball is not used, where image.signers says who may sign records."""
    if tarball.trusted:
        return None
    where = f"{tarball.file} on {host}"
    if tarball.record is None:
        message = f"{where} has no complete record, so that nobody has signed it"
    else:
        message = f"the record of {where} is {tarball.signature}"
    return Integrity(message, next_step=next_step)
