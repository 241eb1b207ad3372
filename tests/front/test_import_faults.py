"""What may be wrong on the node: whatever happens, a name means the recorded image, what it meant
before, or nothing.
"""

import hashlib
import json
import signal

import pytest

from breakglass import config
from breakglass.sandbox.environment import TAG
from tests.front.blocks import is_reported
from tests.front.rows import OTHER_TAG, over_another_image
from tests.front.world import World, flip_a_bit

NODE = "k8s-node1"
FAILING_IMPORT = (
    'case "$*" in *"images import"*) head -c 100000 >/dev/null; echo "ctr: rpc error: connection '
    'refused" >&2; exit 1;; esac; exec $REAL "$@"'
)
LATE_FAILURE = (
    'case "$*" in *"images import"*) $REAL "$@"; echo "ctr: connection error" >&2; exit 1;; '
    'esac; exec $REAL "$@"'
)


@pytest.fixture(
    params=["nothing there before", pytest.param("over a good image", marks=pytest.mark.slow)]
)
def node(world: World, request: pytest.FixtureRequest) -> tuple[World, str]:
    """The node with a tarball to import, and its tag."""
    if request.param == "nothing there before":
        world.fetch(NODE)
        return world, TAG
    world.arrive("over another image", lambda: over_another_image(world))
    return world, OTHER_TAG


def test_a_flipped_bit_in_the_tarball_is_found_before_containerd_sees_it(
    node: tuple[World, str],
) -> None:
    world, tag = node
    before = world.names(NODE)
    flip_a_bit(world.shelf(NODE) / f"infra-ci-{tag}.tar.gz")
    is_reported(world.run("import", NODE), 6)
    assert world.names(NODE) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [FAILING_IMPORT, LATE_FAILURE], ids=["early", "after the names were set"]
)
def test_containerd_failing_in_the_middle_leaves_the_names_as_they_were_and_a_rerun_finishes(
    node: tuple[World, str], script: str
) -> None:
    world, tag = node
    before = world.names(NODE)
    with world.program(NODE, "ctr", script):
        is_reported(world.run("import", NODE), 4, "ctr: ", "Next:  breakglass import k8s-node1")
    assert world.names(NODE) == before
    reported = world.done("import", NODE)
    after = world.names(NODE)
    assert len({after[name] for name in reported["result"]["names"]}) == 1
    assert set(foreign(after)) == set(reported["result"]["names"]) | set(foreign(before))
    assert tag in reported["result"]["names"][0]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the link is cut", "killed"])
def test_an_import_that_nobody_waits_for_any_more_is_finished_by_the_next_run(
    world: World, how: str
) -> None:
    world.fetch(NODE)
    with world.held(NODE, "ctr", '*"images import"*') as gate:
        importing = world.start("import", NODE)
        gate.reached()
        if how == "killed":
            importing.send(signal.SIGKILL)
            assert importing.end().status == -9
        else:
            world.environment.cut(NODE)
            is_reported(importing.end(), 4, "Next:  breakglass import k8s-node1")
    finished = world.run("import", NODE)
    while (
        finished.status == 7
    ):  # it has met what the first one had running there, and says to run it again
        assert "Next:  breakglass import k8s-node1" in finished.stderr
        finished = world.run("import", NODE)
    assert finished.status == 0, finished.stderr
    assert len(set(world.names(NODE).values())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "held",
    ['*"images import"*', '*"images tag"*infra-ci:latest*'],
    ids=["while containerd imports", "while a name moves"],
)
def test_after_a_signal_the_names_are_as_they_were_and_a_rerun_finishes(
    node: tuple[World, str], held: str
) -> None:
    world, _ = node
    before = world.names(NODE)
    with world.held(NODE, "ctr", held) as gate:
        importing = world.start("import", NODE)
        gate.reached()
        importing.send(signal.SIGTERM)
        gate.open()  # what runs on the node goes on meanwhile, as it does on a real one
        ended = importing.end()
    is_reported(
        ended,
        128 + signal.SIGTERM,
        "What had begun was undone",
        "Next:  breakglass import k8s-node1",
    )
    assert world.names(NODE) == before
    reported = world.done("import", NODE)
    assert len({world.names(NODE)[name] for name in reported["result"]["names"]}) == 1


@pytest.mark.slow
def test_an_image_that_is_not_the_recorded_one_under_the_right_name_is_replaced(
    world: World,
) -> None:
    """Somebody imported another image by hand."""
    world.bring_in(NODE)
    names = world.names(NODE)
    world.environment.push(TAG, content="another image")
    world.done("snapshot", "--tag", TAG)
    world.done("fetch", NODE)
    world.done("import", NODE)
    after = world.names(NODE)
    assert set(foreign(after)) == set(foreign(names))
    assert not set(foreign(after).values()) & set(foreign(names).values())


def foreign(names: dict[str, str]) -> dict[str, str]:
    """Those that are not ours. A name by digest never means another image."""
    return {
        name: target
        for name, target in names.items()
        if not name.startswith("breakglass.local/") and "@sha256:" not in name
    }


def test_a_name_that_kubelet_pulls_again_is_named_as_one_that_does_not_start(world: World) -> None:
    world.fetch(NODE)
    manager = world.root(NODE) / "var/lib/kubelet/image_manager"
    for directory in ("pulled", "pulling"):
        (manager / directory).mkdir(parents=True)
    image_id = json.loads((world.shelf(NODE) / f"infra-ci-{TAG}.json").read_text())["image_id"]
    image = config.load(world.environment.config).image
    private, forgejo = image.repository, image.also_known_as[-1].rpartition(":")[0]
    record = {"imageRef": image_id, "credentialMapping": {private: {"nodePodsAccessible": True}}}
    file = manager / "pulled" / f"sha256-{hashlib.sha256(image_id.encode()).hexdigest()}"
    file.write_text(json.dumps(record))
    said = world.run("import", NODE, "--no-answer-pulls").stdout
    started, _, again = said.partition("Their pods do NOT start")
    assert f"  {private}:latest: IfNotPresent\n" in started
    assert forgejo not in started.partition("Pods that start")[2]
    assert f"\n  {forgejo}:latest\n" in again
    said = world.run("import", NODE).stdout
    assert f"  {forgejo}:latest: IfNotPresent, Always\n" in said
    assert f"Their pods start only because {NODE} serves it locally:\n  {forgejo}:" in said


@pytest.mark.slow
def test_names_that_kubelet_does_not_see_are_a_failure_and_no_pin(world: World) -> None:
    """kubelet on cri-dockerd: containerd is there, and its CRI plugin is disabled."""
    world.fetch(NODE)
    before = world.names(NODE)
    off = world.root(NODE) / "etc/containerd/cri-is-off"
    off.touch()
    is_reported(world.run("import", NODE), 4, "kubelet does not see", f"get node {NODE} -o wide")
    assert world.names(NODE) == before
    off.unlink()
    world.done("import", NODE)
