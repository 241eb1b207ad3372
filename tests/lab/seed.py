"""The files that every host has before its first boot: accounts, names, trust, SSH."""

import uuid
from pathlib import Path

from . import pki
from .components import KUBERNETES
from .disk import Disk
from .roles import ADDRESSES, LAB, MASTER, NAMES, NODES, OTHER_API, SSH_HOSTS

WIZARD = 2000
SSHD = """HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
PidFile /run/sshd.pid
"""


def make_pki() -> None:
    """All keys and certificates of the environment."""
    pki.make_authority()
    pki.make_authority("kubernetes-ca")
    addresses = ",".join(f"IP:{ADDRESSES[host]}" for host in (MASTER, OTHER_API))
    pki.make_certificate(
        "api",
        "/CN=kube-apiserver",
        f"{addresses},IP:127.0.0.1,DNS:{MASTER},DNS:localhost",
        authority="ca",
    )
    for host, names in NAMES.items():
        pki.make_certificate(
            host,
            f"/CN={names[0]}",
            ",".join([f"DNS:{name}" for name in names] + [f"IP:{ADDRESSES[host]}"]),
        )
    for user, subject in {
        "admin": "/O=system:masters/CN=admin",
        "breakglass": "/CN=breakglass",
    }.items():
        pki.make_certificate(user, subject, authority="kubernetes-ca")
    pki.make_key("service-accounts")
    pki.make_ssh_key("operator", comment="operator")
    pki.make_ssh_key("node-root", comment="root of the nodes")
    for host in SSH_HOSTS:
        for kind in ("ed25519", "ecdsa"):
            pki.make_ssh_key(f"{host}-{kind}", kind, comment=host)


def lay_common(name: str, disk: Disk) -> None:
    """What every whole host has."""
    disk.write("/etc/hosts", hosts_file(name))
    disk.write("/etc/hostname", f"{name}\n")
    disk.write("/etc/machine-id", f"{uuid.uuid4().hex}\n", mode=0o444)
    disk.write("/etc/resolv.conf", "# the lab has no name server\n")
    bundle = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    disk.write("/etc/ssl/certs/ca-certificates.crt", bundle + pki.text("ca.crt"))
    disk.write("/usr/local/share/ca-certificates/breakglass-lab.crt", pki.text("ca.crt"))
    disk.link(
        "/etc/ssl/certs/breakglass-lab.pem", "/usr/local/share/ca-certificates/breakglass-lab.crt"
    )
    disk.link(f"/etc/ssl/certs/{pki.subject_hash('ca')}.0", "breakglass-lab.pem")
    for directory, mode in {
        "/root/.ssh": 0o700,
        "/root/.kube": 0o755,
        "/root/.docker": 0o700,
        "/usr/local/bin": 0o755,
        "/usr/local/sbin": 0o755,
        "/etc/containerd": 0o755,
        "/etc/docker": 0o755,
        "/etc/cni": 0o755,
        "/var/lib/kubelet": 0o755,
        "/var/breakglass": 0o755,
        "/opt/registry": 0o755,
    }.items():
        if directory in ("/var/breakglass", "/opt/registry") and not Path(directory).exists():
            continue  # nothing of the machine's to hide, and the tool makes these itself
        disk.directory(directory, mode=mode, empty=True)
    for profile in (".bashrc", ".profile", ".bash_profile"):
        disk.write(
            f"/root/{profile}",
            "",
            # what this machine's root has there is none of the hosts' business, and bash reads it
            # for every command over SSH
        )
    disk.link("/usr/local/bin/kubectl", f"{LAB}/{KUBERNETES}/usr/bin/kubectl")
    for user, number, shell in (("wizard", WIZARD, "/bin/bash"),):
        if name in NODES:
            disk.write(
                "/etc/passwd",
                Path("/etc/passwd").read_text()
                + f"{user}:x:{number}:{number}::/home/{user}:{shell}\n",
            )
            disk.write("/etc/group", Path("/etc/group").read_text() + f"{user}:x:{number}:\n")
            disk.write(
                "/etc/shadow",
                Path("/etc/shadow").read_text() + f"{user}:*:20000:0:99999:7:::\n",
                mode=0o640,
            )
            disk.write(f"/etc/sudoers.d/{user}", f"{user} ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)


def hosts_file(name: str) -> str:
    lines = [
        "127.0.0.1 localhost",
        *(
            f"{address} {' '.join([host, *NAMES.get(host, ())])}"
            for host, address in ADDRESSES.items()
        ),
    ]
    return "\n".join(lines) + "\n" + (f"127.0.1.1 {name}\n" if name not in ADDRESSES else "")


def lay_sshd(name: str, disk: Disk, *, sftp: bool = True) -> None:
    """sshd with the host's own keys."""
    disk.write(
        "/etc/ssh/sshd_config",
        SSHD + ("Subsystem sftp /usr/lib/openssh/sftp-server\n" if sftp else ""),
    )
    for kind in ("ed25519", "ecdsa"):
        disk.write(f"/etc/ssh/ssh_host_{kind}_key", pki.text(f"{name}-{kind}"), mode=0o600)
        disk.write(f"/etc/ssh/ssh_host_{kind}_key.pub", pki.text(f"{name}-{kind}.pub"))


def lay_login(disk: Disk, *keys: str, home: str = "/root", owner: int = 0) -> None:
    """Let the holders of these keys in."""
    disk.directory(home, mode=0o700, owner=owner)
    disk.directory(f"{home}/.ssh", mode=0o700, owner=owner)
    disk.write(
        f"{home}/.ssh/authorized_keys",
        "".join(pki.text(f"{key}.pub") for key in keys),
        mode=0o600,
        owner=owner,
    )


def lay_identity(disk: Disk, key: str, known: tuple[str, ...]) -> None:
    """root's own SSH key, and the hosts it knows."""
    disk.directory("/root/.ssh", mode=0o700)
    disk.write("/root/.ssh/id_ed25519", pki.text(key), mode=0o600)
    disk.write("/root/.ssh/id_ed25519.pub", pki.text(f"{key}.pub"))
    disk.write("/root/.ssh/known_hosts", known_hosts(known), mode=0o600)


def known_hosts(hosts: tuple[str, ...] = SSH_HOSTS) -> str:
    """known_hosts lines of these hosts, by name and address, both kinds of key."""
    lines = []
    for host in hosts:
        names = ",".join([host, ADDRESSES[host], *NAMES.get(host, ())])
        lines += [
            f"{names} {' '.join(pki.text(f'{host}-{kind}.pub').split()[:2])}\n"
            for kind in ("ed25519", "ecdsa")
        ]
    return "".join(lines)
