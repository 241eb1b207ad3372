"""Collects the keys to log in with, in OpenSSH's order: the key of the environment, the keys of the
agent, then key files.
"""

import base64
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from breakglass.errors import AGAIN, Next, joined, look_first, then
from breakglass.local_files import read_regular
from breakglass.signatures.keys import fingerprint
from breakglass.ssh.private_keys import KEY_VARIABLE, KeyRefused, from_environment, load
from breakglass.ssh.public_keys import (
    Certificate,
    parse_certificate,
    public_part,
    read_beside,
    read_certificate,
)
from breakglass.ssh.settings import Target
from breakglass.text import printable

if TYPE_CHECKING:
    import paramiko
    from paramiko.agent import AgentKey

GIVE_A_KEY = f"name a key with IdentityFile, load one with ssh-add, or set {KEY_VARIABLE}"
LIST_SECONDS = 5.0
"""What an agent may take to list its keys."""
AGENT_SECONDS = 30.0
"""An agent may ask its owner before it signs."""


@dataclass(frozen=True)
class Identity:
    """A key to offer, and its name for messages."""

    name: str
    key: "paramiko.PKey" = field(repr=False)
    certificate: Certificate | None = None
    """What the key is offered with."""

    def __str__(self) -> str:
        # As OpenSSH has it: the fingerprint of a certificate is that of its key.
        key = self.certificate.key if self.certificate else self.blob
        return f"{self.name} ({fingerprint(key)})"

    @property
    def blob(self) -> bytes:
        """What is offered: the certificate, or the public key."""
        return self.certificate.blob if self.certificate else self.key.asbytes()


@dataclass
class Identities:
    """The keys to offer, and the files that cannot be used, with a remedy for each."""

    usable: list[Identity] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    looked_for: list[str] = field(default_factory=list)
    remedies: list[Next] = field(default_factory=list)

    def refuse(self, reason: str, remedy: Next) -> None:
        self.unusable.append(reason)
        self.remedies.append(remedy)

    def explain(self) -> str:
        """Why there is no usable key."""
        if self.unusable:
            return "; ".join(self.unusable)
        return f"no agent key, and none of {', '.join(self.looked_for) or 'no file named'}"

    def next_step(self) -> Next:
        """What somebody does who has no usable key."""
        return joined(self.remedies) or then(advice=GIVE_A_KEY)

    def unusable_words(self) -> str:
        return f"; not used: {'; '.join(self.unusable)}" if self.unusable else ""


@contextmanager
def collect(target: Target, *, key_text: str | None) -> Iterator[Identities]:
    """The identities to offer. The agent stays connected within the context. Raises Unreachable if
    the environment's key can not be used.
    """
    identities = Identities()
    if key_text is not None:
        identities.usable.append(Identity(f"${KEY_VARIABLE}", from_environment(key_text)))
    connection, of_agent = agent_keys(target.agent_socket)
    try:
        _add_all(target, identities, of_agent)
        yield identities
    finally:
        if connection is not None:
            connection.close()


def _add_all(target: Target, identities: Identities, agent_keys: list[Identity]) -> None:
    """Add the identities in OpenSSH's order: the certificates that are named, the agent's keys that
    are named, the agent's other ones, then the files, each before its own certificate.
    """
    files = target.identity_files
    public = {path: public_part(path) for path in files}
    # OpenSSH looks beside the key files only where no CertificateFile is named.
    beside_files = {} if target.certificate_files else {path: read_beside(path) for path in files}
    named = {*public.values(), *(found.blob for found in beside_files.values() if found)}
    preferred = [identity for identity in agent_keys if identity.blob in named]
    held = {identity.blob for identity in agent_keys}
    keys = {identity.blob: identity.key for identity in agent_keys}
    loaded: dict[Path, paramiko.PKey | None] = {}

    def private(path: Path) -> "paramiko.PKey | None":
        if path not in loaded:
            loaded[path] = _read_file(path, identities, named=target.identity_files_named)
        return loaded[path]

    for path in target.certificate_files:
        certificate = read_certificate(path)
        owners = (file for file in files if certificate and public[file] == certificate.key)
        key = keys.get(certificate.key) if certificate else None
        for file in () if key else owners:
            key = key or private(file)
        _add_certificate(path, certificate, key, identities)
    identities.usable += preferred
    if not target.identities_only:
        identities.usable += [identity for identity in agent_keys if identity not in preferred]
    for path in files:
        in_agent = public[path] in held
        key = None if in_agent else private(path)
        if key is not None:
            identities.usable.append(Identity(str(path), key))
        certificate = beside_files.get(path)
        if certificate and certificate.blob not in held:
            key = keys.get(certificate.key) or key
            _add_certificate(Path(certificate.name), certificate, key, identities)


def _add_certificate(
    path: Path,
    certificate: Certificate | None,
    key: "paramiko.PKey | None",
    identities: Identities,
) -> None:
    if certificate is None:
        identities.refuse(
            f"{path} does not exist, or is no user certificate",
            look_first(f"ssh-keygen -L -f {shlex.quote(str(path))}"),
        )
    elif key is None:
        remedy = then(AGAIN, advice="name its key with IdentityFile, or load it with ssh-add")
        identities.refuse(f"the private key of {path} was not found", remedy)
    else:
        identities.usable.append(_certified(key, certificate))


def _certified(key: "paramiko.PKey", certificate: Certificate) -> Identity:
    from paramiko.pkey import PublicBlob

    from breakglass.ssh.agent import HeldKey

    if isinstance(key, HeldKey):
        # It passes unknown attributes on to another key, which copy() does not survive.
        made: paramiko.PKey = HeldKey(key.agent, key.blob, key.comment)
    else:
        made = copy(key)
    made.public_blob = PublicBlob(certificate.kind, certificate.blob)
    return Identity(str(certificate), made, certificate)


def _read_file(path: Path, identities: Identities, *, named: bool) -> "paramiko.PKey | None":
    """The private key of a file. None, with a reason and a remedy, if it cannot be used."""
    identities.looked_for.append(str(path))
    quoted = shlex.quote(str(path))
    try:
        read = read_regular(path)
        status, text = read.status, read.content
        if text.startswith((b"ssh-", b"ecdsa-", b"sk-")):
            # Only for a name with .pub it is known where the private part is.
            private = shlex.quote(str(path.with_suffix(""))) if path.suffix == ".pub" else ""
            identities.refuse(
                f"{path} is a public key, and no agent holds the private one",
                then(f"ssh-add {private}", AGAIN) if private else then(advice=GIVE_A_KEY),
            )
        elif status.st_mode & 0o077:
            mode = f"{status.st_mode & 0o777:04o}"
            identities.refuse(
                f"{path} is open to others (mode {mode})", then(f"chmod 600 {quoted}", AGAIN)
            )
        else:
            return load(text)
    except FileNotFoundError:
        if named:
            remedy = then(advice="correct IdentityFile in the SSH configuration")
            identities.refuse(f"{path} does not exist", remedy)
    except OSError as error:
        identities.refuse(
            f"{path} can not be read ({error.strerror})", look_first(f"ls -l {quoted}")
        )
    except KeyRefused as error:
        if error.encrypted:
            identities.refuse(
                f"{path} {error}, and no agent holds it", then(f"ssh-add {quoted}", AGAIN)
            )
        else:
            identities.refuse(f"{path} {error}", look_first(f"ssh-keygen -y -f {quoted}"))
    return None


def agent_keys(path: str | None) -> tuple[socket.socket | None, list[Identity]]:
    """The connection to the agent, and its keys. An agent that does not answer has no keys."""
    if path is None:
        return None, []
    from paramiko.agent import AgentSSH
    from paramiko.ssh_exception import SSHException

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(LIST_SECONDS)
    agent = AgentSSH()
    try:
        connection.connect(path)
        # paramiko's public function connects to the socket in $SSH_AUTH_SOCK only.
        agent._connect(connection)  # type: ignore[attr-defined]
    except (OSError, SSHException):
        connection.close()
        return None, []
    connection.settimeout(AGENT_SECONDS)
    found = map(_of_agent, agent.get_keys())
    return connection, [identity for identity in found if identity is not None]


def _of_agent(key: "AgentKey") -> Identity | None:
    """None for a certificate that is not for users."""
    from breakglass.ssh.agent import HeldKey

    name, kind = f"agent key {printable(key.comment)!r}", key.get_name()
    held = HeldKey(key.agent, key.blob, key.comment)
    if "-cert-v01@" not in kind:
        return Identity(name, held)
    text = f"{kind} {base64.b64encode(key.blob).decode()}".encode()
    certificate = parse_certificate(text, name=name)
    return _certified(held, certificate) if certificate else None
