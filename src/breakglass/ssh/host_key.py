"""Checks the host key of a connection, and explains a key that is not accepted."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from breakglass.errors import AGAIN, then
from breakglass.known_hosts import (
    REVOKED,
    Entry,
    Refusal,
    Status,
    Verdict,
    judge,
    parse,
)
from breakglass.local_files import MOST_BYTES_OF_KNOWN_HOSTS, read_text
from breakglass.signatures.keys import fingerprint
from breakglass.ssh.settings import Target

if TYPE_CHECKING:
    import paramiko

KNOWN_HOSTS_VARIABLE = "BREAKGLASS_SSH_KNOWN_HOSTS"


def known_entries(target: Target, environ: Mapping[str, str]) -> list[Entry]:
    """The known_hosts entries: those of the environment first, then those of the files."""
    text = environ.get(KNOWN_HOSTS_VARIABLE, "")
    entries = parse(text, source=f"${KNOWN_HOSTS_VARIABLE}")
    for file in target.known_hosts:
        with suppress(OSError):
            text = read_text(file, errors="replace", most_bytes=MOST_BYTES_OF_KNOWN_HOSTS)
            entries += parse(text, source=str(file))
    return entries


def check_host_key(
    key: "paramiko.PKey", target: Target, *, host: str, entries: Sequence[Entry]
) -> None:
    """Compare a server's key with the known_hosts entries. `host` is the name for messages. Raises
    Refusal.
    """
    blob = key.asbytes()
    verdict = judge(
        entries, host=target.hostname, port=target.port, key=blob, alias=target.host_key_alias
    )
    if verdict.status is Status.ACCEPTED:
        return
    if verdict.status is Status.REVOKED:
        raise _revoked(verdict, host, key.get_name(), blob)
    file = str(target.known_hosts[0]) if target.known_hosts else "the known_hosts file"
    if verdict.status is Status.CHANGED:
        raise _changed(verdict, host, key.get_name(), blob, file)
    raise _unknown(verdict, host, key.get_name(), blob, file)


def _revoked(verdict: Verdict, host: str, key_type: str, key: bytes) -> Refusal:
    lines = ", ".join(
        f"{entry.source}:{entry.line}"
        for entry in verdict.on_record
        if entry.marker == REVOKED and entry.key == key
    )
    return Refusal(
        f"the host key that {host} ({verdict.name}) offers is revoked: "
        f"{_offer(key_type, key)} ({lines}); nothing was sent to it",
        next_step=then(
            AGAIN,
            advice=(
                f"find out who answers there before anything else; the fingerprint is shown "
                f"{_look(host, key_type)} . Try again only when the right key is there"
            ),
        ),
    )


def _changed(verdict: Verdict, host: str, key_type: str, key: bytes, file: str) -> Refusal:
    plain = [entry for entry in verdict.on_record if not entry.marker]
    removals = tuple(
        shlex.join(("ssh-keygen", "-R", verdict.name, "-f", source))
        for source in dict.fromkeys(entry.source for entry in plain)
    )
    return Refusal(
        f"the host key of {host} ({verdict.name}) is not the one on record: it offers "
        f"{_offer(key_type, key)}; on record: {', '.join(map(str, plain))}; nothing was sent to it",
        next_step=then(
            *removals,
            _add(verdict, key_type, key, file),
            AGAIN,
            advice=(
                f"it was installed anew, or somebody else answers. Compare the fingerprint "
                f"{_look(host, key_type)} . Replace the key only if it is the same"
            ),
        ),
    )


def _unknown(verdict: Verdict, host: str, key_type: str, key: bytes, file: str) -> Refusal:
    authority = ""
    if verdict.on_record:
        authority = (
            " (only a certificate authority is on record; host certificates are not judged here, "
            "a plain key is needed)"
        )
    return Refusal(
        f"the host key of {host} ({verdict.name}) is not known: it offers "
        f"{_offer(key_type, key)}{authority}; nothing was sent to it",
        next_step=then(
            _add(verdict, key_type, key, file),
            AGAIN,
            advice=(
                f"compare the fingerprint {_look(host, key_type)} . Add the key only if it is the "
                f"same"
            ),
        ),
    )


def _offer(key_type: str, key: bytes) -> str:
    return f"{key_type} {fingerprint(key)}"


def _look(host: str, key_type: str) -> str:
    kind = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(key_type, "ecdsa")
    return f"on the console of {host}: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"


def _add(verdict: Verdict, key_type: str, key: bytes, file: str) -> str:
    """The command that adds the key to a file of known hosts."""
    line = f"{verdict.name} {key_type} {base64.b64encode(key).decode()}"
    return f"echo {shlex.quote(line)} >> {shlex.quote(file)}"
