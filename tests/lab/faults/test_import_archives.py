"""The faults of import: what the archive is. Sidecars vouch for the very bytes, so that only its
content can tell.
"""

from collections.abc import Callable

import pytest

from ... import archives
from ...archives import Entries, Image
from ..runs import Ran
from .arrangements import TAG, held
from .handmade import lay_tarball, means, whole
from .invariants import NODE_DIRECTORY, names_on
from .rows import row
from .trial import Trial

NODE = "k8s-node1"
OUTCOME = "caught before `ctr`, names as before; over a good image too"


def wanted(name: str, *, exit_code: int | tuple[int, ...] = 6) -> pytest.MarkDecorator:
    return row("import", name, OUTCOME, exit_code=exit_code)


ARCHIVES = [
    pytest.param(archives.flipped_bit, "is not what|damaged", marks=wanted("flipped bit")),
    pytest.param(
        archives.edited_configuration, "configuration|damaged", marks=wanted("edited configuration")
    ),
    pytest.param(archives.without_layer, "missing", marks=wanted("missing layer")),
    pytest.param(archives.with_tags(), "RepoTags|names no image", marks=wanted("no RepoTags")),
    pytest.param(
        archives.renamed_configuration,
        "image_id|image ID",
        marks=wanted("a whole archive of another image"),
    ),
]


def is_caught(ran: Ran, why: str) -> None:
    """What is wrong is named, and nothing was given to containerd."""
    assert any(word in ran.error["message"] for word in why.split("|")), ran.error
    assert (
        "names" in ran.error["state"]
        or "absent" in ran.error["state"]
        or "another image" in ran.error["state"]
    ), ran.error
    assert "fetch" in ran.error["next"] or "choose" in ran.error["next"]
    given = [
        step
        for step in ran.reported["steps"]
        if " ctr " in step["line"] and step["status"] not in ("planned", "not run")
    ]
    assert given == []


@pytest.mark.parametrize(("damage", "why"), ARCHIVES)
def test_a_bad_archive_is_caught_before_containerd_sees_it(
    trial: Trial, damage: Callable[[Entries], Entries], why: str
) -> None:
    environment = trial.environment
    node = environment.nodes[NODE]
    lay_tarball(node, archives.tarball(damage(archives.classic())), Image().image_id)
    trial.arranged()
    is_caught(trial.run("import", NODE), why)
    assert names_on(node) == {}
    trial.holds(NODE)

    good = held(environment, NODE)
    lay_tarball(
        node,
        archives.tarball(
            damage(archives.oci())
            if damage is not archives.renamed_configuration
            else damage(archives.classic())
        ),
        Image().image_id,
    )
    trial.arranged()
    is_caught(trial.run("import", NODE), why)
    assert means(environment, NODE, good.image_id)
    lay_tarball(node, archives.tarball(archives.oci()), Image().image_id)
    trial.recovers(NODE, goal=lambda: means(environment, NODE, Image().image_id))


@wanted("wrong architecture", exit_code=(3, 6))
def test_an_image_for_another_architecture_is_caught_whether_its_record_says_so_or_not(
    trial: Trial,
) -> None:
    environment = trial.environment
    node = environment.nodes[NODE]
    foreign = Image(architecture="arm64")
    content = archives.tarball(archives.classic(foreign))
    good = held(environment, NODE)
    lay_tarball(node, content, foreign.image_id, platform="linux/arm64")
    trial.arranged()
    honest = trial.run("import", NODE)
    assert honest.exit_code == 3
    is_caught(honest, "linux/arm64")
    lay_tarball(node, content, foreign.image_id)
    trial.arranged()
    lying = trial.run("import", NODE)
    assert lying.exit_code == 6
    is_caught(lying, "linux/arm64")
    assert means(environment, NODE, good.image_id)
    lay_tarball(node, *whole())
    trial.recovers(NODE, goal=lambda: means(environment, NODE, whole()[1]))


@row(
    "import",
    "the node's tarball has rotted under its sidecars",
    "caught before `ctr`; the next step is a fetch, which replaces it",
    exit_code=6,
)
def test_a_tarball_that_rotted_on_the_node_is_replaced_by_a_fetch(trial: Trial) -> None:
    environment = trial.environment
    node = environment.nodes[NODE]
    good = held(environment, NODE)
    for name in names_on(node):
        node.run("ctr", "-n", "k8s.io", "images", "rm", name)
    trial.arranged()
    path = node.path(f"{NODE_DIRECTORY}/infra-ci-{TAG}.tar.gz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    is_caught(trial.run("import", NODE), "damaged|sha256")
    assert names_on(node) == {}
    assert environment.operator.breakglass("fetch", NODE).returncode == 0
    trial.recovers(NODE, goal=lambda: means(environment, NODE, good.image_id))
