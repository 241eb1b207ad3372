"""Resolves an SSH destination as `ssh -G` would: its host, port, user, keys and jump hosts."""

import getpass
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from breakglass.errors import AGAIN, Next, Usage, look_first, then
from breakglass.plan import Host
from breakglass.quoting import join
from breakglass.ssh.config_file import (
    SYSTEM_CONFIG,
    ConfigReader,
    Destination,
    expand,
)

GLOBAL_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
DEFAULT_IDENTITIES = (
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
)
ADDRESS_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}


@dataclass(frozen=True)
class Target:
    """The host that a destination means, and how to log in there."""

    typed: str
    """The host as it was typed. `Host` patterns are matched with it."""
    hostname: str
    port: int
    user: str | None
    """None if no user is configured: then it is the local user's name."""
    host_key_alias: str | None = None
    identity_files: tuple[Path, ...] = ()
    identity_files_named: bool = False
    identities_only: bool = False
    certificate_files: tuple[Path, ...] = ()
    agent_socket: str | None = None
    jumps: tuple[str, ...] = ()
    """ProxyJump: the jump hosts, in the order in which they are passed."""
    proxy_command: str | None = None
    known_hosts: tuple[Path, ...] = ()
    """The known_hosts files, the user's files first."""
    address_family: socket.AddressFamily = socket.AF_UNSPEC
    client: tuple[str, ...] = field(default=(), compare=False)
    """The arguments with which the ssh client logs in the same way."""

    @property
    def login(self) -> str:
        """The user's name to log in with. Raises Usage if there is none."""
        name = self.user or local_user()
        if name is None:
            raise Usage(
                f"nobody is named to log in as on {self.typed}, and the system has no name for "
                f"this user (UID {os.getuid()})",
                state="Nothing was changed.",
                next_step=then(
                    AGAIN,
                    advice="name one in the configuration: user@host, or nodes.ssh_user",
                ),
            )
        return name


def local_user() -> str | None:
    """The name of the user who runs breakglass. None if the system has none, as in many
    containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def resolve(
    ssh: str,
    *,
    config: Path,
    known_hosts: Path,
    environ: Mapping[str, str],
    jumps: tuple[str, ...] | None = None,
) -> Target:
    """Resolve a destination. `jumps` overrides ProxyJump, as `ssh -J` does. Raises Usage."""
    destination = parse_destination(ssh)
    home = Path(environ.get("HOME") or Path.home())
    user = local_user() or str(os.getuid())
    reader = ConfigReader(destination, home=home, local_user=user)
    if jumps is not None:
        reader.values["proxyjump"] = [",".join(jumps) or "none"]
    reader.read(config, active=True)
    if config == home / ".ssh" / "config":
        # As with `ssh -F`, the system's file is read only beside the user's own.
        reader.user_config = False
        reader.read(SYSTEM_CONFIG, active=True)
    client = list(Host(ssh, ssh).login)
    if jumps:
        client = ["-J", ",".join(jumps), *client]
    if known_hosts != home / ".ssh" / "known_hosts" and "userknownhostsfile" not in reader.values:
        client = ["-o", f"UserKnownHostsFile={known_hosts}", *client]
    if config != home / ".ssh" / "config":
        # The client does not start with a file that is missing.
        client = ["-F", str(config) if config.exists() else "none", *client]
    target = _target(reader, environ=environ, known_hosts=known_hosts)
    return replace(target, client=tuple(client))


def parse_destination(ssh: str) -> Destination:
    """The parts of `[user@]host[:port]`. An IPv6 address with a port needs brackets. Raises
    Usage.
    """
    user, at, rest = ssh.rpartition("@")
    host, port = rest, None
    if bracketed := re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?", rest):
        host, port = bracketed.groups()
    elif rest.count(":") == 1:
        host, port = rest.split(":")
    is_host = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._:%-]*|::[0-9A-Fa-f:.%]*", host)
    is_user = not at or re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._@\\+-]*\$?", user)
    if not (is_host and is_user):
        raise Usage(
            f"{ssh!r} is no SSH destination",
            next_step=then(advice="write it as [user@]host[:port]"),
        )
    if port is not None and not _is_port(port):
        raise Usage(
            f"{ssh!r} names no port between 1 and 65535",
            next_step=then(advice="write it as [user@]host[:port]"),
        )
    return Destination(host, user or None, int(port) if port else None)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


def _target(reader: ConfigReader, *, environ: Mapping[str, str], known_hosts: Path) -> Target:
    values = reader.values

    def first(keyword: str) -> str | None:
        value = values.get(keyword, [""])[0]
        return None if value == "" or (value.lower() == "none" and keyword != "user") else value

    user, alias, jump = first("user"), first("hostkeyalias"), first("proxyjump")
    port = first("port") or "22"
    if not _is_port(port):
        raise Usage(
            f"the SSH configuration names {port!r} as the port of {reader.destination.host}"
        )
    tokens = _tokens(reader, port=port, user=user, alias=alias, jump=jump)

    def path(text: str) -> Path:
        return Path(expand(_variables(reader.tilde(text), environ), tokens))

    def paths(keyword: str, default: Sequence[str]) -> tuple[Path, ...]:
        names = values.get(keyword, default)
        return tuple(path(name) for name in names if name.lower() != "none")

    known_hosts_files = [known_hosts]
    if "userknownhostsfile" in values:
        known_hosts_files = [*paths("userknownhostsfile", ())]
    known_hosts_files += paths("globalknownhostsfile", GLOBAL_KNOWN_HOSTS)
    family = (first("addressfamily") or "any").lower()
    agent = values.get("identityagent", [None])[0]
    return Target(
        typed=reader.destination.host,
        hostname=reader.hostname.lower(),
        port=int(port),
        user=user,
        host_key_alias=alias,
        identity_files=paths("identityfile", DEFAULT_IDENTITIES),
        identity_files_named="identityfile" in values,
        certificate_files=paths("certificatefile", ()),
        identities_only=(first("identitiesonly") or "no").lower() in ("yes", "true"),
        agent_socket=_agent_socket(agent, environ=environ, path=path),
        jumps=tuple(expand(part.strip().removeprefix("ssh://"), tokens) for part in jump.split(","))
        if jump
        else (),
        proxy_command=first("proxycommand"),
        known_hosts=tuple(dict.fromkeys(known_hosts_files)),
        address_family=ADDRESS_FAMILIES.get(family, socket.AF_UNSPEC),
    )


def _tokens(
    reader: ConfigReader, *, port: str, user: str | None, alias: str | None, jump: str | None
) -> dict[str, str]:
    """The values of the tokens of ssh_config(5)."""
    local_host = socket.gethostname()
    return {
        "h": reader.hostname.lower(),
        "n": reader.destination.host,
        "p": port,
        "r": user or reader.local_user,
        "u": reader.local_user,
        "d": str(reader.home),
        "L": local_host.split(".")[0],
        "l": local_host,
        "i": str(os.getuid()),
        "k": alias or reader.destination.host,
        "j": jump or "",
    }


def _agent_socket(
    value: str | None, *, environ: Mapping[str, str], path: Callable[[str], Path]
) -> str | None:
    """The agent's socket: IdentityAgent is `none`, a variable or a path; the default is
    $SSH_AUTH_SOCK.
    """
    if value is None or value == "SSH_AUTH_SOCK":
        return environ.get("SSH_AUTH_SOCK") or None
    if value.lower() == "none":
        return None
    if value.startswith("$") and not value.startswith("${"):
        return environ.get(value[1:]) or None
    return str(path(value))


def _variables(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${NAME}` by the environment's value."""
    return re.sub(r"\$\{([^}]*)\}", lambda match: environ.get(match[1], ""), text)


def ask_openssh(target: Target, advice: str = "see what the server says, then try again") -> Next:
    """The same login by OpenSSH, with all that it says."""
    return look_first(join(("ssh", "-v", *target.client, "true")), advice=advice)


def correct_jumps(target: Target) -> Next:
    """How the jump hosts that a configuration leads to are seen."""
    return look_first(join(("ssh", "-G", *target.client)), advice="correct ProxyJump")
