"""What the signatures beside a record are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from breakglass.signatures.allowed_signers import Signers
from breakglass.signatures.keys import fingerprint
from breakglass.signatures.sshsig import NAMESPACE, decode


class SignatureState(StrEnum):
    SIGNED = "signed"
    """By an allowed signer."""
    UNKNOWN = "signed by an unknown key"
    """It fits the record, but its key is no allowed signer, or nobody says who is one."""
    INVALID = "invalid"
    """It does not fit the record, or cannot be read."""
    UNSIGNED = "not signed"


_BEST_FIRST = tuple(SignatureState)


@dataclass(frozen=True)
class Signature:
    """What is known of who made a record."""

    state: SignatureState = SignatureState.UNSIGNED
    by: str = ""
    """The principals of an allowed signer, else the fingerprint of the key; empty: not known."""
    why: str = ""
    """Why it is invalid, or its key may not sign."""
    data: bytes = b""
    """The signature itself, where it fits the record."""

    @property
    def fits(self) -> bool:
        """Whether the key that it names has signed this record."""
        return bool(self.data)

    @property
    def is_allowed(self) -> bool:
        """Whether somebody has signed it who may."""
        return self.state is SignatureState.SIGNED

    @property
    def words(self) -> str:
        """Who has signed, in a few words."""
        return f"signed by {self.by}" if self.fits else "not signed"

    def __str__(self) -> str:
        """After `its record is`: why it is not used."""
        if self.state is SignatureState.SIGNED:
            return f"signed by {self.by}"
        if self.state is SignatureState.UNKNOWN:
            return f"signed by the key {self.by}, {self.why}"
        if self.state is SignatureState.INVALID:
            return f"not signed: the signature beside it is not valid ({self.why})"
        return "not signed"


UNSIGNED = Signature()


def judge(
    message: bytes, signatures: Sequence[bytes], signers: Signers | None, at: datetime | None
) -> Signature:
    """The best of these signatures of a record. `signers`: None: nobody says who may sign. `at`:
    when the record says that it was made: a key may have been replaced since.
    """
    judged = [_judge(message, data, signers, at) for data in signatures]
    return min(judged, key=lambda each: _BEST_FIRST.index(each.state), default=UNSIGNED)


def _judge(message: bytes, data: bytes, signers: Signers | None, at: datetime | None) -> Signature:
    try:
        signature = decode(data)
        if signature.namespace != NAMESPACE:
            raise ValueError(f"it was made for {signature.namespace}, not for {NAMESPACE}")
        if not signature.is_of(message):
            raise ValueError("it is of another record")
    except ValueError as error:
        return Signature(SignatureState.INVALID, why=str(error))
    by = fingerprint(signature.key)
    fitting = Signature(SignatureState.UNKNOWN, by, "and image.signers is not set", data)
    if signers is None:
        return fitting
    lines = [signer for signer in signers if signer.key == signature.key]
    allowed = [signer for signer in lines if signer.may_sign(NAMESPACE, at)]
    if allowed:
        return replace(fitting, state=SignatureState.SIGNED, by=allowed[0].principals, why="")
    why = (
        "which image.signers does not allow for this" if lines else "which is not in image.signers"
    )
    return replace(fitting, why=why)
