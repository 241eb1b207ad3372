"""The hosts of both registries hang: pods with Always start within a minute all the same, on each
containerd, because containerd asks the node itself first.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from .answering import FORGEJO, NAMES, PRIVATE, back, outage
from .cri import Cri
from .environment import Environment
from .faults.injections import black_hole, paused
from .faults.rows import row
from .host import Host
from .images import Image
from .roles import WORKERS
from .runs import run
from .test_always import holds

LATEST = f"{FORGEJO}/viktor/infra-ci:latest"
PODS = 16


def accepts_and_never_answers(host: Host) -> AbstractContextManager[None]:
    return paused(host, "registry")


def hanging(
    environment: Environment, how: Callable[[Host], AbstractContextManager[None]]
) -> contextlib.ExitStack:
    """Both registries run, and hang."""
    back(environment)
    stack = contextlib.ExitStack()
    for registry in environment.registries:
        stack.enter_context(how(registry.host))
    return stack


def sixteen_start(environment: Environment, node: str, image: Image) -> None:
    """Within a minute, four pods of each name."""
    names = [f"pod-{number}" for number in range(PODS)]
    for number, name in enumerate(names):
        environment.cluster.start_pod(
            name,
            NAMES[number % len(NAMES)],
            pull_policy="Always",
            node=node,
            command=holds("one"),
        )
    try:
        pods = environment.cluster.ended(*names, timeout=60)
    finally:
        environment.cluster.delete_pods()
    assert [pod.phase for pod in pods] == ["Succeeded"] * PODS, pods
    assert Cri(environment.nodes[node]).pull(LATEST) == image.image_id


@row(
    "import",
    "both registries accept connections and never answer",
    "16 of 16 pods with `Always` start within a minute, on each containerd",
    exit_code=0,
)
@pytest.mark.parametrize("node", WORKERS)
def test_with_both_registries_frozen_sixteen_pods_of_sixteen_start_within_a_minute(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    with hanging(fresh, accepts_and_never_answers):
        brought = run(fresh, "import", node)
        for registry in (FORGEJO, PRIVATE):
            assert f"{registry} does not serve the image to {node}" in brought.stderr
        assert "means this image" in brought.stderr
        sixteen_start(fresh, node, image)


@row(
    "import",
    "both registries are black-holed",
    "16 of 16 pods with `Always` start within a minute",
    exit_code=0,
)
@pytest.mark.parametrize(
    "node", ["k8s-node1", *(pytest.param(name, marks=pytest.mark.thorough) for name in WORKERS[1:])]
)
def test_with_both_registries_black_holed_sixteen_pods_of_sixteen_start_within_a_minute(
    fresh: Environment, node: str
) -> None:
    image = outage(fresh, node)
    with hanging(fresh, black_hole):
        run(fresh, "import", node)
        sixteen_start(fresh, node, image)
