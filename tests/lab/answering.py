"""What `import` makes of a node so that every pod starts, looked at from outside; and the outage
that it is for.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from . import listing, process
from .cri import Cri
from .environment import Environment
from .host import Host
from .images import Image
from .runs import run, stop_registries

TAG = "0a1b2c3d"
PRIVATE, FORGEJO = "registry.viktorbarzin.me:5050", "forgejo.viktorbarzin.me"
NAMES = (
    f"{PRIVATE}/infra-ci:{TAG}",
    f"{PRIVATE}/infra-ci:latest",
    f"{FORGEJO}/viktor/infra-ci:{TAG}",
    f"{FORGEJO}/viktor/infra-ci:latest",
)
DIRECTORY = "/var/breakglass"
CERTS = "/etc/containerd/certs.d"
OURS = "breakglass.local/"
NOISE = ("var/log", "var/lib", "run", "tmp", "dev", "proc", "sys", "home/wizard")

Traces = dict[str, set[str]]

_shelf: dict[str, tuple[int, bytes | str]] = {}


def outage(environment: Environment, *nodes: str) -> Image:
    """Every registry stopped, the tarball on these nodes: by snapshot and fetch the first time in a
    session, later as a copy of what they made.
    """
    image = environment.small(TAG)
    if not _shelf:
        run(environment, "snapshot", "--tag", TAG)
        run(environment, "fetch", nodes[0])
        for path in environment.nodes[nodes[0]].path(DIRECTORY).iterdir():
            _shelf[path.name] = (
                stat.S_IMODE(path.lstat().st_mode),
                str(path.readlink()) if path.is_symlink() else path.read_bytes(),
            )
    for node in nodes:
        lay_tarball(environment.nodes[node])
    stop_registries(environment)
    return image


def lay_tarball(node: Host) -> None:
    """What a fetch has left on the node."""
    node.path(DIRECTORY).mkdir(exist_ok=True)
    for name, (mode, content) in _shelf.items():
        path = node.path(f"{DIRECTORY}/{name}")
        if isinstance(content, str):
            path.unlink(missing_ok=True)
            path.symlink_to(content)
        else:
            node.write(f"{DIRECTORY}/{name}", content, mode=mode)


def back(environment: Environment, content: str = "one") -> Image:
    """The registries answer again, `latest` with this content."""
    image = environment.small(TAG if content == "one" else "1b2c3d4e", content)
    for registry in environment.registries:
        registry.host.start("registry")
    return image


def pulls_all(environment: Environment, node: str, image: Image) -> None:
    """Every name can be pulled, as for a pod with Always, and is the image."""
    cri = Cri(environment.nodes[node])
    assert {name: cri.pull(name) for name in NAMES} == dict.fromkeys(NAMES, image.image_id)


def is_taken_back(node: Host, before: Traces) -> None:
    """The node is as it was, but for the tarball and the imported images."""
    found = differences(before, traces(node))
    assert found == [], "\n".join(found)
    assert responder(node) is None
    assert keep_tags(node) == {}


def differences(before: Traces, after: Traces) -> list[str]:
    """What two traces do not share: `- ` was there before, `+ ` is there after."""
    return [
        f"{sign} {what}: {fact}"
        for what in before
        for sign, these, those in (("-", before, after), ("+", after, before))
        for fact in sorted(these[what] - those[what])
    ]


def responder(node: Host) -> tuple[int, int] | None:
    """(PID as the machine sees it, port) of the one responder; None where there is none."""
    found = []
    for pid, _ in process.within(node.init_pid):
        words = process.command_line(pid).split()
        if (
            words
            and "python3" in words[0]
            and f"{DIRECTORY}/.breakglass-responder.pyz" in words
            and "serve" in words
        ):
            found.append((pid, int(words[words.index("--port") + 1])))
    assert len(found) <= 1, f"more than one responder: {found}"
    return found[0] if found else None


def answers_on(node: Host) -> int:
    """The responder's port; it listens there, on loopback only."""
    found = responder(node)
    assert found, f"no responder on {node.name}"
    addresses = {
        line.split()[1].partition(":")[0]
        for line in tcp(node)
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == found[1]
    }
    assert addresses == {"0100007F"}, f"port {found[1]} of {node.name}: {addresses}"
    return found[1]


def tcp(node: Host) -> list[str]:
    return [
        line
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{node.init_pid}/net/{table}").read_text().splitlines()[1:]
    ]


def peak_bytes(pid: int) -> int:
    """The most that a process has had resident."""
    line = next(
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


def keep_tags(node: Host) -> dict[str, str]:
    """Private names of ours in kubelet's namespace -> digest of what they mean."""
    return {
        words[1]: words[3]
        for words in map(str.split, listing.containerd_images(node))
        if words[1].startswith(OURS)
    }


def registry_files(node: Host) -> dict[str, str]:
    """Everything below certs.d: kind, mode, owner and content, no times."""
    return dict(sorted((str(path), fact) for path, fact in described(node.path(CERTS))))


def traces(node: Host) -> Traces:
    """All of a node that `restore` has to restore: every file of its root that was ever changed,
    processes of ours, ports, every image with its labels but those that `import` brings.
    """
    brought = ("sha256:", f"{PRIVATE}/infra-ci", f"{FORGEJO}/viktor/infra-ci")
    images = listing.containerd_images(node)
    return {
        "file": {
            f"{path} {fact}"
            for path, fact in described(node.disk.upper)
            if not path.startswith(NOISE)
        }
        | {f"tmp/{path} {fact}" for path, fact in described(node.path("/tmp"))},
        "shelf": {f"{path} {fact}" for path, fact in described(node.path(DIRECTORY))},
        "in /run": {
            str(path)
            for place in ("/run", "/dev/shm")
            for path in node.path(place).glob("**/*breakglass*")
        },
        "process": {
            line
            for line in (process.command_line(pid) for pid, _ in process.within(node.init_pid))
            if DIRECTORY in line
        },
        "port": {str(port) for port in node.listening()},
        "image": {line for line in images if not line.split()[1].startswith(brought)},
        "pinned": {line for line in images if "pinned" in line and "/pause:" not in line},
    }


def described(top: Path) -> Iterator[tuple[str, str]]:
    """(path below top, kind, mode, owner and content) of all that is there; no times."""
    if not os.path.lexists(top):
        return
    for here, names, leaves in os.walk(top):
        for name in names + leaves:
            path = Path(here, name)
            facts = path.lstat()
            what = ""
            if stat.S_ISLNK(facts.st_mode):
                what = f" -> {path.readlink()}"
            elif stat.S_ISREG(facts.st_mode):
                what = f" {facts.st_size} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
            yield (
                str(path.relative_to(top)),
                f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid}{what}",
            )
