"""The step of snapshot that signs the record; a record that nobody would trust is not made."""

import shlex

from breakglass.age import moment_of
from breakglass.commands.environment import Identity
from breakglass.commands.snapshot_facts import Facts
from breakglass.commands.tarball_steps import archive
from breakglass.config import Image
from breakglass.errors import AGAIN, Refused, then
from breakglass.plan import Run, Sign, title
from breakglass.signatures.keys import fingerprint
from breakglass.signatures.sshsig import NAMESPACE


def check_signing(facts: Facts, image: Image, at: str) -> None:
    """Raises Refused where the record cannot be signed, or nobody would use the tarball: no allowed
    signer would have signed it.
    """
    key = facts.signing
    if isinstance(key, Refused):
        raise key
    if image.signers is None:
        return
    if key is None:
        raise Refused(
            "image.signers is set and image.sign_with is not: the record would not be signed, and "
            "the tarball not be used",
            next_step="name the key in image.sign_with of the configuration",
        )
    lines = [signer for signer in image.signers if signer.key == key]
    if not any(signer.may_sign(NAMESPACE, moment_of(at)) for signer in lines):
        why = "image.signers does not allow it now" if lines else "it is not in image.signers"
        raise Refused(
            f"the key of image.sign_with ({fingerprint(key)}) would sign the record, and {why}",
            next_step=then(
                shlex.join(("ssh-keygen", "-l", "-f", str(image.sign_with))),
                AGAIN,
                advice="add its public part to the file that image.signers names",
            ),
        )


def signing(
    facts: Facts,
    image: Image,
    identity: Identity,
    *,
    sequence: int,
    images: tuple[tuple[str, str | None], ...],
) -> tuple[Sign, ...]:
    """`images`: all in the tarball, by name, with the image ID where it is known."""
    check_signing(facts, image, identity.at)
    if facts.signing is None:
        return ()
    vm, directory, file = facts.vm, facts.shelf.directory, image.tarball(facts.tag)
    record = f"{directory}/.{file.removesuffix('.tar.gz')}.json.partial"
    return (
        Sign(
            Run(vm, (("cat", record),)),
            Run(vm, (archive("sign", directory, file),)),
            key=str(image.sign_with),
            namespace=NAMESPACE,
            tag=facts.tag,
            sequence=sequence,
            images=images,
            title=title("sign the record of", file),
        ),
    )
