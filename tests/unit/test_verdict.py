"""The verdict that closes an import, line by line, and which versions keep an image."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breakglass.commands import import_facts, import_image
from breakglass.commands.answering_facts import Answers
from breakglass.commands.environment import Environment
from breakglass.commands.verdict import Cluster, heeds_pinned, read_cluster, verdict
from breakglass.config import Config, Kubernetes, Nodes, Ssh, Status
from breakglass.errors import Unreachable
from breakglass.grammar import full_reference
from breakglass.observe.answering import Answering, Responder, Taken
from breakglass.observe.cluster import Pod
from breakglass.observe.containerd import (
    PINNED,
    Containerd,
    honours_pinned,
    parse_labelled,
    parse_targets,
)
from breakglass.observe.pulls import Pull
from breakglass.plan import Argv, Host, Plan
from breakglass.ports import Result
from breakglass.registry import State
from tests.facts import (
    IDENTITY,
    IMAGE,
    NODE,
    NODES,
    SETTINGS,
    image_id,
    lines,
    machine,
    shelf,
    tarball,
)

NAMES = IMAGE.names("new")
FORGEJO, PRIVATE = sorted({name.partition("/")[0] for name in NAMES})
COMPANION = "docker.io/woodpeckerci/plugin-git:2"
DIGEST = "sha256:" + "9" * 64
TAKEN = Taken(True, True, (), True, "k8s.io")
ANSWERS = Answers(
    TAKEN, Answering((), Responder(4000, {}, 4000), "/content", "/etc/containerd/certs.d")
)
NEW = "v1.30.2"


def imported(
    *,
    companion: bool = False,
    version: str = "1.7.24",
    answers: Answers = ANSWERS,
    others: Iterable[str] = (),
) -> import_facts.Facts:
    one = tarball("new")
    if companion and one.record:
        one = replace(one, record=replace(one.record, companions=((COMPANION, image_id("c")),)))
    targets = dict.fromkeys((*NAMES, *others, *((COMPANION,) if companion else ())), DIGEST)
    containerd = Containerd(
        version, targets, dict.fromkeys(targets, image_id()), frozenset(targets), frozenset()
    )
    return import_facts.Facts(
        NODE, "", machine(NODE), shelf(NODE, [one], latest="new"), one, NAMES, containerd, answers
    )


def reported(
    facts: import_facts.Facts | None = None,
    *,
    kubelet: str = NEW,
    waiting: Iterable[Pod] = (),
    unread: str = "",
    before: import_facts.Facts | None = None,
) -> list[str]:
    return list(
        verdict(
            facts or imported(),
            Cluster(kubelet, tuple(waiting), unread),
            before=before or imported(),
        )
    )


def known(**more: Any) -> Answering:
    assert ANSWERS.answering
    return replace(ANSWERS.answering, **more)


def waits(*images: str, name: str = "apply", node: str | None = None) -> Pod:
    return Pod("ci", name, node, images, waiting_for_image=False, pending=True)


def test_the_whole_verdict_of_a_node_that_answers_pulls_and_keeps_the_image() -> None:
    assert reported() == [
        "Pods that start on k8s-node1 now, by image and imagePullPolicy:",
        *(f"  {name}: IfNotPresent, Always" for name in NAMES),
        (
            f"Always is answered by k8s-node1 itself (127.0.0.1:4000): before {FORGEJO} and "
            f"{PRIVATE}. After a reboot of the node: breakglass import k8s-node1"
        ),
        (
            f"A tag of {FORGEJO} and {PRIVATE} means this image on k8s-node1 until "
            f"breakglass restore, also when the registry is back."
        ),
        "By digest no pod starts: docker save changes the manifest's digest.",
        "The image is kept from kubelet's image garbage collection.",
    ]


def test_a_responder_that_systemd_starts_at_boot_needs_no_other_import_after_a_reboot() -> None:
    lasting = Responder(4000, {}, 4000, survives_reboot=True)
    answers = replace(ANSWERS, answering=known(responder=lasting))
    (line,) = [each for each in reported(imported(answers=answers)) if "a reboot" in each]
    assert line.endswith(f"{PRIVATE}. It does so after a reboot too, until: breakglass restore")


def test_without_answering_pulls_only_if_not_present_starts_and_the_verdict_says_so() -> None:
    lines = reported(imported(answers=Answers(Taken(True, True, namespace="k8s.io"))))
    assert lines[1:4] == [f"  {name}: IfNotPresent" for name in NAMES[:3]]
    assert not any(line.startswith("  ") and "Always" in line for line in lines)
    assert any("Always (the default of :latest) does not start" in line for line in lines)
    assert any("AlwaysPullImages" in line for line in lines)


def test_companions_are_reported_as_well() -> None:
    assert f"  {COMPANION}: IfNotPresent, Always" in reported(imported(companion=True))


def always(*pulls: Pull) -> list[str]:
    """The sentences on Always."""
    lines = reported(imported(answers=replace(ANSWERS, pulls=pulls)))
    at = next(index for index, line in enumerate(lines) if line.startswith("Always is answered"))
    return lines[at : at + 2]


def test_a_registry_that_does_not_serve_comes_after_the_node_until_restore() -> None:
    promise, means = always(
        Pull(PRIVATE, NAMES[0], State.UNREACHABLE, "no answer"),
        Pull(FORGEJO, NAMES[-1], State.SERVES, ""),
    )
    assert f": before {PRIVATE}, after {FORGEJO}, which serves the image now." in promise
    assert means == (
        f"A tag of {PRIVATE} means this image on k8s-node1 until breakglass restore, "
        f"also when the registry is back."
    )


def test_registries_that_serve_come_before_the_node() -> None:
    promise, after = always(
        Pull(PRIVATE, NAMES[0], State.SERVES, ""), Pull(FORGEJO, NAMES[-1], State.SERVES, "")
    )
    both = " and ".join(sorted((PRIVATE, FORGEJO)))
    assert f": after {both}, which serves the image now." in promise
    assert "until breakglass restore" not in after


def test_a_configuration_newer_than_containerd_is_reported_behind_the_promise() -> None:
    newer = known(config_is_newer=True, config_file="/etc/containerd/config.toml")
    lines = reported(imported(answers=replace(ANSWERS, answering=newer)))
    at = next(index for index, line in enumerate(lines) if line.startswith("Always is answered"))
    assert lines[at + 2] == (
        "But /etc/containerd/config.toml was changed after containerd started: if "
        "config_path was what changed, Always starts only after a restart of containerd."
    )


def test_names_that_an_earlier_import_had_answered_are_reported() -> None:
    answered = dict.fromkeys((*NAMES, "registry.example:5050/infra-ci:old", COMPANION), DIGEST)
    before = imported(
        answers=replace(ANSWERS, answering=known(responder=Responder(4000, answered, 4000)))
    )
    gone = [line for line in reported(before=before) if line.startswith("No longer answered")]
    assert gone == [
        (
            f"No longer answered, nor kept, from an earlier import: {COMPANION}, "
            f"registry.example:5050/infra-ci:old"
        )
    ]
    with_companion = [
        line
        for line in reported(imported(companion=True), before=before)
        if line.startswith("No longer answered")
    ]
    assert with_companion == [
        "No longer answered, nor kept, from an earlier import: registry.example:5050/infra-ci:old"
    ]
    assert not any(line.startswith("No longer") for line in reported(before=imported()))
    assert not any(
        line.startswith("No longer") for line in reported(before=imported(answers=Answers(TAKEN)))
    )


# The plan, as far as it promises what the verdict tells


def planned(facts: import_facts.Facts) -> Plan:
    return import_image.plan(facts, nodes=NODES, identity=IDENTITY, tag=None)


def bare(version: str, *, taken: Taken) -> import_facts.Facts:
    """A node that has the tarball only."""
    facts = imported(version=version, answers=Answers(taken))
    return replace(facts, containerd=Containerd(version, {}, {}, frozenset(), frozenset()))


@pytest.mark.parametrize(
    ("version", "answer"),
    [("1.7.24", True), ("1.6.25", True), ("1.6.20", False), ("unknown", False)],
)
def test_the_goal_promises_to_keep_the_image_only_where_containerd_honours_the_label(
    version: str, answer: bool
) -> None:
    for facts in (imported(version=version), bare(version, taken=Taken())):
        assert (", kept there" in planned(facts).goal) is answer


def test_the_record_begins_after_the_tarball_is_verified_and_before_anything_is_taken() -> None:
    made = [line for line in lines(planned(bare("1.7.24", taken=Taken()))) if "flock" not in line]
    at = made.index(
        "k8s-node1$ sudo -n python3 breakglass-remote.pyz taken begin /var/breakglass "
        "--namespace k8s.io"
    )
    (verify,) = [index for index, line in enumerate(made) if "archive verify" in line]
    changing = [
        index
        for index, line in enumerate(made)
        if any(
            word in line
            for word in (
                "images import",
                "images tag",
                "images label",
                "taken insert",
                "responder start",
            )
        )
    ]
    assert (verify, at) == (0, 1)
    assert changing
    assert min(changing) > at


def test_a_record_whose_first_writing_was_cut_short_is_begun_and_one_that_is_whole_is_not() -> None:
    assert [
        line
        for line in lines(planned(bare("1.7.24", taken=Taken(is_begun=True))))
        if "taken begin" in line
    ]
    assert not [
        line
        for line in lines(planned(bare("1.7.24", taken=Taken(True, True, namespace="k8s.io"))))
        if "taken begin" in line
    ]


def test_a_record_that_was_begun_ends_again_where_the_import_fails() -> None:
    plan = planned(bare("1.7.24", taken=Taken()))
    assert [str(undoing) for step, undoing in plan.undo if "taken begin" in str(step)] == [
        "k8s-node1$ sudo -n python3 breakglass-remote.pyz taken end /var/breakglass"
    ]
    assert "taken end" in str(plan.undo[-1][1]), "the names come back first"


# Image garbage collection


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        ("1.6.20", False),
        ("1.6.24", False),
        ("1.6.25", True),
        ("1.6.100", True),
        ("1.7.0", False),
        ("1.7.9", False),
        ("1.7.10", True),
        ("1.7.24", True),
        ("2.0.0", True),
        ("2.1.9", True),
        ("v1.7.24", True),
        ("1.7.24~ds1", True),
        ("1.7.24+k3s1", True),
        ("1.5.18", False),
        ("1.6.20~ds1", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_containerd_keeps_an_image_that_it_knew_already_from_1_6_25_and_1_7_10_on(
    version: str, answer: bool
) -> None:
    assert honours_pinned(version) is answer
    assert import_image.result(imported(version=version)).kept is answer
    (line,) = [
        line for line in reported(imported(version=version)) if "image garbage collection" in line
    ]
    assert ("cannot keep" in line) is not answer
    assert ("watch the disk" in line) is not answer


@pytest.mark.parametrize(
    ("kubelet", "answer"),
    [
        ("v1.20.2", False),
        ("v1.24.17", False),
        ("v1.25.13", False),
        ("v1.25.14", True),
        ("v1.26.8", False),
        ("v1.26.9", True),
        ("v1.27.5", False),
        ("v1.27.6", True),
        ("v1.28.1", False),
        ("v1.28.2", True),
        ("v1.29.0", True),
        ("v1.29.0-alpha.1", True),
        ("v1.35.0", True),
        ("v2.0.0", True),
        ("v1.28.2+k3s1", True),
        ("v1.27.5-eks-43840fb", False),
        ("", None),
        ("unknown", None),
    ],
)
def test_a_kubelet_heeds_what_is_pinned_from_the_first_version_of_its_minor_that_has_the_change(
    kubelet: str, answer: bool | None
) -> None:
    assert heeds_pinned(kubelet) is answer
    (line,) = [
        line
        for line in reported(kubelet=kubelet)
        if "image garbage collection" in line or "pinned" in line
    ]
    assert ("watch the disk" in line) is (answer is False)
    assert (", if the kubelet is" in line) is (answer is None)


def test_where_neither_keeps_the_image_containerd_is_the_one_that_is_reported() -> None:
    lines = [
        line
        for line in reported(imported(version="1.6.20"), kubelet="v1.20.2")
        if "watch the disk" in line
    ]
    assert len(lines) == 1
    assert lines[0].startswith("containerd 1.6.20 on k8s-node1 cannot keep the image")


@pytest.mark.parametrize(
    ("kubelet", "words"),
    [
        ("v1.34.9", None),
        ("v1.20.2", None),
        ("v1.35.0", "kubelet v1.35.0 may ask"),
        ("v1.36.1", "kubelet v1.36.1 may ask"),
        ("v2.0.0", "kubelet v2.0.0 may ask"),
        ("", "A kubelet from 1.35 on may ask"),
    ],
)
def test_from_1_35_on_a_kubelet_may_ask_for_credentials(kubelet: str, words: str | None) -> None:
    lines = [
        line for line in reported(kubelet=kubelet) if "KubeletEnsureSecretPulledImages" in line
    ]
    assert [line.startswith(words or "") for line in lines] == ([True] if words else [])


def test_a_name_is_pinned_only_by_the_label_itself() -> None:
    row = "{} application/vnd.oci.image.manifest.v1+json " + DIGEST + " 1.0 KiB linux/amd64 {}\n"
    listing = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + "".join(
        row.format(name, labels)
        for name, labels in {
            "a/x:1": PINNED,
            "a/x:2": f"io.cri-containerd.image=managed,{PINNED}",
            "a/x:3": "io.cri-containerd.image=managed",
            "a/x:4": "-",
            "a/x:5": f"{PINNED}-not",
            "a/x:6": f"x.{PINNED}",
            f"a/{PINNED}:7": "-",
        }.items()
    )
    assert parse_labelled(listing.encode(), PINNED) == {"a/x:1", "a/x:2"}
    assert set(parse_targets(listing.encode())) >= {"a/x:1", "a/x:2", "a/x:3"}


# Pods that wait


def test_images_that_waiting_pods_name_and_the_node_lacks_are_reported_with_their_pods() -> None:
    lines = reported(
        waiting=[
            waits(NAMES[0], "alpine"),
            waits("alpine", name="other"),
            waits("ghcr.io/x/y:1", name="third"),
        ]
    )
    at = next(
        index
        for index, line in enumerate(lines)
        if line.startswith("Waiting pods name images that k8s-node1 does not have")
    )
    assert lines[at + 1 :] == ["  alpine: ci/apply, ci/other", "  ghcr.io/x/y:1: ci/third"]


def test_an_image_that_the_node_has_under_its_full_name_is_not_lacking() -> None:
    has = [
        "docker.io/library/alpine:latest",
        "docker.io/library/debian:12",
        "docker.io/x/y:1",
        f"quay.io/z@{DIGEST}",
    ]
    for image in (
        "alpine",
        "alpine:latest",
        "library/alpine",
        "docker.io/library/alpine",
        "debian:12",
        "x/y:1",
        f"quay.io/z@{DIGEST}",
        *NAMES,
    ):
        assert not any(
            "does not have" in line
            for line in reported(imported(others=has), waiting=[waits(image)])
        ), image


def test_a_pod_that_names_an_image_twice_is_reported_once() -> None:
    assert reported(waiting=[waits("alpine", "alpine")])[-1] == "  alpine: ci/apply"


def test_a_long_list_is_cut_short_with_its_count() -> None:
    lines = reported(
        waiting=[
            waits(*(f"image{number:02}" for number in range(12)), name=f"p{pod}")
            for pod in range(5)
        ]
    )
    assert lines[-1] == "  and 2 more images"
    assert lines[-2] == "  image09: ci/p0, ci/p1, ci/p2 and 2 more"
    assert sum(line.startswith("  image") for line in lines) == 10


def test_what_a_pod_calls_its_image_is_printed_inert() -> None:
    lines = reported(
        waiting=[Pod("ci\x1b[31m", "a\nb", None, ("evil\x1b]0;x\x07\u202e:1",), False, True)],
        kubelet=NEW,
    )
    assert all(line.isprintable() for line in lines)


def test_with_the_api_down_the_verdict_says_what_it_does_not_know() -> None:
    lines = reported(kubelet="", unread="the API server was not reached")
    assert (
        lines[-1]
        == "Which other images waiting pods name is not known: the API server was not reached"
    )
    assert any(", if the kubelet is" in line for line in lines)
    assert any("A kubelet from 1.35 on may ask" in line for line in lines)


# As containerd names it (distribution's reference.ParseDockerRef)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("library/alpine", "docker.io/library/alpine:latest"),
        ("x/y/z:1", "docker.io/x/y/z:1"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/alpine:3", "docker.io/library/alpine:3"),
        ("docker.io/x/y", "docker.io/x/y:latest"),
        ("index.docker.io/library/alpine:3", "docker.io/library/alpine:3"),
        ("index.docker.io/x/y:1", "docker.io/x/y:1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("registry.example:5050/infra-ci", "registry.example:5050/infra-ci:latest"),
        ("registry.example:5050/infra-ci:abc", "registry.example:5050/infra-ci:abc"),
        ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"registry.example:5050/x@{DIGEST}", f"registry.example:5050/x@{DIGEST}"),
        (f"registry.example:5050/x:1@{DIGEST}", f"registry.example:5050/x@{DIGEST}"),
    ],
)
def test_what_a_pod_calls_an_image_is_looked_for_as_containerd_names_it(
    image: str, name: str
) -> None:
    assert full_reference(image) == name
    assert full_reference(name) == name


# Reading


class Api:
    """ports.ReadsCluster."""

    def __init__(self, *, nodes: bool = True, pods: bool = True) -> None:
        self._nodes, self._pods = nodes, pods

    def nodes(self) -> list[dict[str, Any]]:
        if not self._nodes:
            raise Unreachable("the API server was not reached")
        status = {
            "addresses": [{"type": "InternalIP", "address": "10.0.20.101"}],
            "nodeInfo": {"kubeletVersion": "v1.30.2\x1b"},
        }
        return [
            {"metadata": {"name": "k8s-node0"}},
            {"metadata": {"name": "k8s-node1"}, "status": status},
        ]

    def pods(self) -> list[dict[str, Any]]:
        if not self._pods:
            raise Unreachable("the API does not let us list pods")

        def pod(name: str, phase: str, node: str | None) -> dict[str, Any]:
            return {
                "metadata": {"namespace": "ci", "name": name},
                "spec": {"nodeName": node, "containers": [{"image": "alpine"}]},
                "status": {"phase": phase},
            }

        return [
            pod("unbound", "Pending", None),
            pod("here", "Pending", "k8s-node1"),
            pod("elsewhere", "Pending", "k8s-node2"),
            pod("runs", "Running", "k8s-node1"),
            {},
        ]

    def volumes(self) -> list[dict[str, Any]]:
        raise AssertionError("the verdict asks for no volumes")


class Nobody:
    """ports.Reads: no host is asked anything."""

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        raise AssertionError(f"{host} was asked {pipeline} ({quiet_seconds})")


def read(api: Api, node: str = "k8s-node1") -> Cluster:
    config = Config(
        IMAGE,
        SETTINGS,
        (),
        Nodes(),
        (),
        Ssh(Path("c"), Path("k")),
        Kubernetes(),
        Status(),
        Path("f"),
    )

    def image_id(*_: str) -> Any:
        raise AssertionError("no registry is asked")

    return read_cluster(
        Environment(config, Nobody(), api, IDENTITY, lambda _: (), image_id, image_id), node
    )


@pytest.mark.parametrize("node", ["k8s-node1", "10.0.20.101"])
def test_pods_that_wait_for_any_node_or_for_this_one_are_read_with_the_kubelets_version(
    node: str,
) -> None:
    cluster = read(Api(), node)
    assert cluster.kubelet.startswith("v1.30.2")
    assert cluster.kubelet.isprintable()
    assert [str(pod) for pod in cluster.waiting] == ["ci/unbound", "ci/here"]
    assert cluster.unread == ""


def test_the_verdict_can_be_reported_while_the_api_is_down() -> None:
    assert read(Api(nodes=False)) == Cluster(unread="the API server was not reached")


def test_pods_that_may_not_be_listed_do_not_hide_the_kubelets_version() -> None:
    cluster = read(Api(pods=False))
    assert cluster.unread == "the API does not let us list pods"
    assert cluster.kubelet.startswith("v1.30.2")


def test_a_node_that_the_api_does_not_know_has_no_version() -> None:
    assert read(Api(), "elsewhere").kubelet == ""
