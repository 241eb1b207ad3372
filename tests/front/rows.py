"""The commands that change something, each with a state of the environment in which it has much to
do. A new command is one more row.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from breakglass.sandbox.environment import NAS, TAG, VM
from tests.front.world import World
from tests.signing import allow, make_key, public_line

OTHER_TAG = "1b2c3d4e"
REGISTRIES = ("forgejo", "registry-private")


@dataclass(frozen=True)
class Row:
    name: str
    arguments: tuple[str, ...]
    given: Callable[[World], None]
    """Brings the environment, fresh from `reset`, to where the command is run."""
    steps: int
    """How many there are then."""
    consent: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    """What else a dry run is given where it is compared with the run; it alters no step."""
    also: tuple[tuple[str, ...], ...] = ()
    """What else may be passed, in which a dry run has to stay one."""
    kills: tuple[int, ...] = ()
    """After which steps the run is killed in every test run, where the row is not slow; after each
    of the others in the slow ones.
    """
    slow: bool = False
    """A further state of a command that has another row, or all commands in one; for the slow
    tests.
    """
    down: tuple[str, ...] = ()
    """What is stopped once all that is given is there."""
    every: int = 1
    """With 3, after every third of the others only: the lab's sweep takes every one."""

    def __str__(self) -> str:
        return self.name


def _without_directory(world: World) -> None:
    world.environment.vm_directory.rmdir()


def _over_a_full_shelf(world: World) -> None:
    """The tag has been built anew since its tarball was saved, a newer tarball of another tag is
    one too many, and a partial lies about.
    """
    world.publish()
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG, "--via", "docker")
    world.environment.push(TAG, content="built anew")
    (world.environment.vm_directory / ".infra-ci-ffffffff.tar.gz.partial").write_bytes(
        b"half of it"
    )
    configure(world, "registry_vm", keep=1)


def _over_an_unsigned_tarball(world: World) -> None:
    """The tag's tarball was saved before records were signed."""
    world.publish()
    key = make_key(world.directory, "signer")
    signers = allow(world.directory / "signers", f"ci@example {public_line(key)}")
    configure(world, "image", sign_with=str(key), signers=str(signers))


def _published(world: World) -> None:
    world.publish()
    for node in ("k8s-node1", "k8s-node2"):
        world.shelf(node).rmdir()


def _over_an_older_tarball(world: World) -> None:
    """The node has the tarball of another tag, and the beginning of the one that it is to get."""
    world.fetch("k8s-node1")
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG)
    for tarball in world.environment.vm_directory.glob(f"infra-ci-{OTHER_TAG}.tar.gz"):
        (world.shelf("k8s-node1") / f".{tarball.name}.partial").write_bytes(
            tarball.read_bytes()[:100_000]
        )
    for sidecar in world.environment.vm_directory.glob(f"infra-ci-{OTHER_TAG}.tar.gz.sha256"):
        (world.shelf("k8s-node1") / f".infra-ci-{OTHER_TAG}.tar.gz.partial.sha256").write_text(
            sidecar.read_text().split()[0] + "\n"
        )


def _fetched(world: World) -> None:
    world.fetch("k8s-node1")


def _pulled(world: World) -> None:
    """The node's containerd has the image, and nobody has a tarball."""
    world.environment.pull("k8s-node1", TAG)


def over_another_image(world: World) -> None:
    """All names but those with the new tag mean an older image."""
    world.bring_in("k8s-node1")
    world.environment.push(OTHER_TAG)
    world.done("snapshot", "--tag", OTHER_TAG)
    world.done("fetch", "k8s-node1")


def _imported(world: World) -> None:
    """Somebody else has cordoned one of the nodes."""
    world.bring_in("k8s-node1")
    world.environment.api.patch_node("k8s-node3", {"spec": {"unschedulable": True}})


def _rebooted(world: World) -> None:
    """The node that had the image was switched off and on again: who answered pulls is gone."""
    world.bring_in("k8s-node1")
    world.end_responders()


def _pinned(world: World) -> None:
    _imported(world)
    world.done("pin", "k8s-node1", "--yes", "--reason", "Forgejo is down")


def _recovered(world: World) -> None:
    """As `recover` leaves it."""
    _published(world)
    for name in REGISTRIES:
        world.environment.stop(name)
    world.done("recover", "--yes")


def configure(world: World, section: str, **values: object) -> None:
    """Change some keys of the configuration; JSON is YAML."""
    document = json.loads(world.environment.config.read_text("utf-8"))
    document[section] = document.get(section, {}) | values
    world.environment.config.write_text(json.dumps(document), encoding="utf-8")


ROWS = (
    Row(
        "snapshot",
        ("snapshot", "--tag", TAG),
        _without_directory,
        7,
        harmless=("--tolerate-failure", "--verbose"),
        kills=(3,),
        every=3,
    ),
    Row(
        "snapshot via docker",
        ("snapshot", "--tag", TAG, "--via", "docker"),
        _without_directory,
        9,
        harmless=("--tolerate-failure", "--verbose"),
        kills=(6,),
        every=3,
    ),
    Row(
        "snapshot over a full shelf",
        ("snapshot", "--tag", TAG),
        _over_a_full_shelf,
        9,
        harmless=("--tolerate-failure", "--via", "registry"),
        slow=True,
        every=3,
    ),
    Row(
        "snapshot over a full shelf via docker",
        ("snapshot", "--tag", TAG, "--via", "docker"),
        _over_a_full_shelf,
        11,
        slow=True,
        every=3,
    ),
    Row(
        "snapshot that is signed",
        ("snapshot", "--tag", TAG),
        _over_an_unsigned_tarball,
        4,
        slow=True,
    ),
    Row(
        "fetch via node",
        ("fetch", "k8s-node1"),
        _published,
        7,
        harmless=("--via", "node"),
        also=(("--from", "synology", "--via", "operator"),),
        every=3,
    ),
    Row(
        "fetch via operator",
        ("fetch", "k8s-node2", "--via", "operator"),
        _published,
        7,
        harmless=("--from", "registry-vm"),
        slow=True,
        every=3,
    ),
    Row(
        "fetch of a newer tarball",
        ("fetch", "k8s-node1", "--via", "operator"),
        _over_an_older_tarball,
        7,
        harmless=("--tag", OTHER_TAG),
        slow=True,
        every=3,
    ),
    Row(
        "import",
        ("import", "k8s-node1"),
        _fetched,
        19,
        harmless=("--tag", TAG, "--verbose", "--answer-pulls"),
        every=3,
    ),
    Row(
        "import over another image",
        ("import", "k8s-node1"),
        over_another_image,
        20,
        slow=True,
        every=3,
    ),
    Row(
        "import without a tarball",
        ("import", "k8s-node1", "--tag", TAG),
        _pulled,
        14,
        slow=True,
        every=3,
        down=(*REGISTRIES, VM, NAS),
    ),
    Row("import after a reboot", ("import", "k8s-node1"), _rebooted, 2, slow=True, every=3),
    Row(
        "import that is not to serve the image locally any more",
        ("import", "k8s-node1", "--no-answer-pulls"),
        _imported,
        4,
        slow=True,
        every=3,
    ),
    Row(
        "pin",
        ("pin", "k8s-node1"),
        _imported,
        3,
        consent=("--yes",),
        harmless=("--yes",),
        also=(("--yes", "--json", "--reason", "practice"),),
    ),
    Row(
        "restore",
        ("restore",),
        _pinned,
        9,
        consent=("--yes",),
        harmless=("--yes",),
        also=(("k8s-node2", "--yes", "--json"),),
    ),
    Row(
        "restore of one node, after a reboot",
        ("restore", "k8s-node1"),
        _rebooted,
        7,
        consent=("--yes",),
        slow=True,
        every=3,
    ),
    Row(
        "recover",
        ("recover",),
        _published,
        29,
        consent=("--yes",),
        harmless=("--yes",),
        down=(*REGISTRIES, VM),
        kills=(24,),
        slow=True,
        every=8,
    ),
    Row(
        "restore after a recover",
        ("restore",),
        _recovered,
        10,
        consent=("--yes",),
        slow=True,
        every=4,
    ),
)
