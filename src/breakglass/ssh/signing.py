"""Signs with a key of this machine. The key is named as for `ssh-keygen -Y sign -f FILE`: a private
key, or a public key whose private part is in $BREAKGLASS_SSH_KEY or in the agent.
"""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from breakglass.errors import AGAIN, Refused, then
from breakglass.signatures.keys import RSA, RSA_ALGORITHMS, fingerprint, parse_public_key
from breakglass.signatures.sshsig import NAMESPACE, encode, signed_bytes
from breakglass.ssh.identities import agent_keys
from breakglass.ssh.private_keys import KEY_VARIABLE, KeyRefused, load
from breakglass.ssh.public_keys import public_part

if TYPE_CHECKING:
    import paramiko

LARGEST_BYTES = 64 * 1024
_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
"""How a public key begins."""


def public_key(file: Path, environ: Mapping[str, str]) -> bytes:
    """The public key that is signed with. Raises Refused where its private part is not here."""
    with _opened(file, environ) as key:
        return key.asbytes()


def sign(
    file: Path, environ: Mapping[str, str], message: bytes, *, namespace: str = NAMESPACE
) -> bytes:
    """The signature of a record, or for another purpose, as `sshsig.armor` takes it. Raises
    Refused.
    """
    from paramiko.ssh_exception import SSHException

    with _opened(file, environ) as key:
        algorithm = RSA_ALGORITHMS[0] if key.get_name() == RSA else None
        try:
            signed = key.sign_ssh_data(signed_bytes(message, namespace=namespace), algorithm)
        except (SSHException, OSError) as error:
            raise _refused(file, f"the agent did not sign ({error})", "ssh-add", "-l") from error
        # paramiko gives bytes for a key of the agent, a message for any other.
        signature = signed if isinstance(signed, bytes) else signed.asbytes()
        return encode(key.asbytes(), signature, namespace=namespace)


@contextmanager
def _opened(file: Path, environ: Mapping[str, str]) -> Iterator["paramiko.PKey"]:
    """The key, ready to sign. The agent stays connected within the context. Raises Refused."""
    key, public, why = _without_agent(file, environ)
    connection = None
    try:
        if key is None:
            connection, held = agent_keys(environ.get("SSH_AUTH_SOCK"))
            key = next((each.key for each in held if each.blob == public), None)
        if key is None:
            private = file.with_suffix("") if file.suffix == ".pub" else file
            raise _refused(file, why, "ssh-add", str(private))
        yield key
    finally:
        if connection is not None:
            connection.close()


def _without_agent(
    file: Path, environ: Mapping[str, str]
) -> tuple["paramiko.PKey | None", bytes | None, str]:
    """The key, where it is in the file or in the environment; its public part; and where it is
    not, why. Raises Refused for a file that can be no key.
    """
    text = _read(file)
    if text.startswith(_PUBLIC):
        try:
            public = parse_public_key(text.decode("utf-8", "replace"))
        except ValueError as error:
            raise _refused(file, str(error), "ssh-keygen", "-l", "-f", str(file)) from error
        key = _from_environment(environ)
        why = (
            f"its private part is neither in ${KEY_VARIABLE} nor in the agent "
            f"({fingerprint(public)})"
        )
        return (key if key is not None and key.asbytes() == public else None), public, why
    if file.stat().st_mode & 0o077:
        mode = f"{file.stat().st_mode & 0o777:04o}"
        raise _refused(file, f"it is open to others (mode {mode})", "chmod", "600", str(file))
    try:
        return load(text), None, ""
    except KeyRefused as error:
        return None, public_part(file), f"it {error}, and no agent has it"


def _from_environment(environ: Mapping[str, str]) -> "paramiko.PKey | None":
    """None also for a key that cannot be used: the login reports that one."""
    try:
        return load(environ[KEY_VARIABLE].encode()) if environ.get(KEY_VARIABLE) else None
    except KeyRefused:
        return None


def _read(file: Path) -> bytes:
    try:
        # To open a pipe would wait for its other end.
        if file.exists() and not file.is_file():
            raise _refused(file, "it is no regular file", "ls", "-ld", str(file))
        with file.open("rb") as opened:
            text = opened.read(LARGEST_BYTES)
    except OSError as error:
        raise _refused(
            file, f"it cannot be read: {error.strerror}", "ls", "-l", str(file)
        ) from error
    return text.lstrip()


def _refused(file: Path, why: str, *next_command: str) -> Refused:
    return Refused(
        f"nothing can be signed with the key {file}: {why}",
        next_step=then(shlex.join(next_command), AGAIN),
    )
