"""The sandbox beside the real thing: the same requests to both.

What breakglass reads of the answers is compared. What it never sends is left out: pushing to a
registry; watching, creating and deleting objects of the API.
"""

import gzip
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from breakglass.marks import ANNOTATION
from breakglass.observe.containerd import PINNED
from breakglass.remote.distribution.manifests import ACCEPT
from breakglass.sandbox import image
from breakglass.sandbox.api import Api
from breakglass.sandbox.environment import raise_environment
from breakglass.sandbox.hosts import Host as SandboxHost
from breakglass.sandbox.objects import Objects
from breakglass.sandbox.registries import Registry as SandboxRegistry
from breakglass.text import version_numbers
from tests import archives

from . import beside
from .beside import Call, Conversation, Node, Pair, Server, assert_alike, here, read_registry
from .cluster import Cluster
from .environment import Environment
from .host import ENVIRONMENT, Host
from .registry import Registry, digest_of

# The API server

NODE = "/api/v1/nodes/k8s-node1"
NO_NODE = "/api/v1/nodes/k8s-node9"
UNFINISHED = "status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REVIEW = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SelfSubjectAccessReview",
    "spec": {"resourceAttributes": {"verb": "patch", "resource": "nodes"}},
}


def pin(version: str | None, annotation: object, unschedulable: object) -> Any:
    guard = {} if version is None else {"resourceVersion": version}
    metadata = {"annotations": {ANNOTATION: annotation}} | guard
    return {"metadata": metadata, "spec": {"unschedulable": unschedulable}}


READING = (
    Call("GET", "/api/v1/nodes?limit=500"),
    Call("GET", f"/api/v1/pods?fieldSelector={UNFINISHED}&limit=500"),
    Call("GET", "/api/v1/persistentvolumes?limit=500"),
    Call("GET", NODE),
    Call("POST", REVIEWS, REVIEW),
)
EACH = (*READING, Call("PATCH", NODE, pin(None, "{}", True)))
CALLS = (
    *READING,
    *(call._replace(user="nobody") for call in EACH),
    *(call._replace(user="stranger") for call in EACH),
    *(call._replace(user="anonymous") for call in EACH),
    Call("GET", "/api/v1/nodes?limit=1"),
    Call("GET", "/api/v1/nodes?limit=1&continue=CONTINUE"),
    Call("GET", "/api/v1/nodes?limit=500&continue=nonsense"),
    Call("GET", NO_NODE),
    Call("POST", REVIEWS, {"spec": 1}),
    Call("POST", REVIEWS, "{"),
    Call("GET", NODE),
    Call("PATCH", f"{NODE}?dryRun=All", pin("VERSION", '{"run":"1"}', True)),
    Call("PATCH", NODE, pin("VERSION", '{"run":"1"}', True)),
    Call("PATCH", NODE, pin("VERSION", '{"run":"1"}', True)),
    Call("PATCH", NODE, pin("1", None, None)),
    Call("PATCH", NODE, pin("VERSION", None, None)),
    Call("PATCH", NODE, pin("", "{}", None)),
    Call("PATCH", NODE, pin(None, None, False)),
    Call("PATCH", NO_NODE, pin("VERSION", "{}", True)),
    Call("PATCH", NODE, pin(None, 1, None)),
    Call("PATCH", NODE, pin(None, "x" * 270_000, None)),
    Call("PATCH", NODE, pin(None, None, "yes")),
    Call("PATCH", NODE, {"metadata": {"annotations": "text"}}),
    Call("PATCH", NODE, {"metadata": {"name": "k8s-node2"}}),
    Call("PATCH", NODE, {"metadata": 1}),
    Call("PATCH", NODE, {"spec": 1}),
    Call("PATCH", NODE, []),
    Call("PATCH", NODE, "{"),
    Call("PATCH", NODE, {}, content_type="application/json"),
    Call("GET", NODE),
    # Left out: 410 for a list that was begun too long ago, which a real server answers after
    # minutes; a resourceVersion that is no number, for ours always comes from the server.
)


class SandboxApi(Api):
    user = ""

    def may(self, verb: str, resource: str) -> bool:  # noqa: ARG002
        return self.user == "breakglass" or resource == REVIEWS.rpartition("/")[2]

    def log_in(self, user: str) -> tuple[dict[str, str], tuple[str, ...]]:
        self.user = user
        token = "wrong" if user == "stranger" else "right"
        return ({} if user == "anonymous" else {"Authorization": f"Bearer {token}"}), ()


def log_in(user: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """On the host of a real API server."""
    options = ("--cacert", "/etc/lab/pki/ca.crt")
    if user in ("stranger", "anonymous"):
        return ({"Authorization": "Bearer wrong"} if user == "stranger" else {}), options
    admin = ("--cert", "/etc/lab/pki/admin.crt", "--key", "/etc/lab/pki/admin.key")
    return {"Impersonate-User": user}, options + admin


def fill(api: Objects) -> None:
    taint = {"key": "dedicated", "value": "ci", "effect": "NoSchedule"}
    api.add_node("k8s-node1", internal_ip="10.0.20.101", disk_pressure=True, taints=[taint])
    api.add_node("k8s-node10", internal_ip="10.0.20.110", ready=False)
    api.add_node("k8s-node2", internal_ip="::1", unschedulable=True, labels={"team": "ci"})
    api.add_pod("runs", image="r.example/infra-ci:1", node="k8s-node1")
    api.add_pod("done", image="r.example/infra-ci:1", node="k8s-node1", phase="Succeeded")
    api.add_pod(
        "waits",
        image="r.example/infra-ci",
        namespace="kube-public",
        phase="Pending",
        waiting="ImagePullBackOff",
        pull_policy="Always",
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    api.add_volume("free", claim="other")
    api.add_volume("tied", claim="data", namespace="kube-public", nodes=["k8s-node2"])


def copy(api: Objects, cluster: Cluster) -> None:
    """The sandbox's own objects into the real cluster, which takes only what is valid."""
    for kind in ("nodes", "pods", "persistentvolumes"):
        for (namespace, name), item in api.select(kind, None, "")[1]:
            given = ("uid", "resourceVersion", "creationTimestamp")
            own = {key: value for key, value in item["metadata"].items() if key not in given}
            cluster.kubectl("create", "-f", "-", input=json.dumps(item | {"metadata": own}))
            where = [kind, name, *(["--namespace", namespace] if namespace else [])]
            patch = ("patch", *where, "--type=merge", "--patch")
            cluster.kubectl(*patch, json.dumps({"status": item["status"]}), "--subresource=status")
            if kind == "nodes":
                # A new node has a taint until a controller has looked at it.
                taints = {"spec": {"taints": item["spec"].get("taints")}}
                cluster.kubectl(*patch, json.dumps(taints))


def test_the_sandbox_answers_for_a_cluster_as_its_api_server_does(fresh: Environment) -> None:
    with SandboxApi(token="right") as api, fresh.other.empty() as cluster:
        fill(api)
        copy(api, cluster)
        real = Conversation(Server(fresh.other.host.run, "https://127.0.0.1:6443"), log_in)
        sandbox = Conversation(Server(here, api.url), api.log_in)
        assert_alike([Pair(str(call)[:300], real.ask(call), sandbox.ask(call)) for call in CALLS])


def test_a_node_of_the_sandbox_says_of_itself_what_a_kubelet_says(fresh: Environment) -> None:
    api = Objects()
    api.add_node("k8s-node1", internal_ip="10.0.20.101")
    real = beside.node(fresh.cluster.nodes()["k8s-node1"])
    sandbox = beside.node(api.node("k8s-node1"))
    assert set(sandbox.labels) <= set(real.labels)
    assert version_numbers(real.kubelet)
    assert version_numbers(sandbox.kubelet)
    assert real.boot_id
    assert sandbox.boot_id
    own = {"labels": (), "kubelet": "", "boot_id": "", "machine_id": "", "pods": None}
    assert replace(sandbox, **own) == replace(real, **own)


# The registry

IMAGE = image.build("the sandbox beside the real thing")
CHILD, _ = IMAGE.children
LAYER = json.loads(IMAGE.blobs[CHILD])["layers"][-1]["digest"]
ABSENT = ("sha256:" + "0" * 64, "sha512:" + "0" * 128)
TAG = "0a1b2c3d"
REPOSITORY = "viktor/infra-ci"
MANIFESTS, BLOBS = (f"/v2/{REPOSITORY}/{kind}" for kind in ("manifests", "blobs"))
NS = "ns=forgejo.viktorbarzin.me"
ANY = {"Accept": ACCEPT}
Question = tuple[str, str, dict[str, str]]
DAMAGEABLE: tuple[Question, ...] = (
    ("HEAD", f"{MANIFESTS}/{CHILD}", ANY),
    ("GET", f"{MANIFESTS}/{CHILD}", ANY),
    ("HEAD", f"{BLOBS}/{LAYER}", {}),
)
REFERENCES = (TAG, f"{TAG}?{NS}", IMAGE.index, "absent", *ABSENT, LAYER)
DIGESTS = (IMAGE.image_id, f"{IMAGE.image_id}?{NS}", *ABSENT, IMAGE.index)
QUESTIONS: tuple[Question, ...] = (
    ("GET", "/v2/", {}),
    *DAMAGEABLE,
    *(("HEAD", f"{MANIFESTS}/{reference}", ANY) for reference in REFERENCES),
    *(("GET", f"{MANIFESTS}/{reference}", ANY) for reference in REFERENCES),
    *(("HEAD", f"{BLOBS}/{digest}", {}) for digest in DIGESTS),
    *(("GET", f"{BLOBS}/{digest}", {}) for digest in DIGESTS),
    ("GET", f"{MANIFESTS}/{TAG}", {}),
    ("GET", f"/v2/absent/manifests/{TAG}", ANY),
    ("HEAD", f"/v2/absent/blobs/{LAYER}", {}),
    # Left out: what is no digest, which breakglass never asks for, and docker-registry answers
    # with 400 or 500; ranges, which it does not use; tokens, for which the sandbox has no service;
    # 403, which docker-registry never answers.
)
Blob = Callable[[str], Path]
DAMAGES: dict[str, Callable[[Blob], object]] = {
    "a child with other bytes": lambda blob: blob(CHILD).write_bytes(IMAGE.blobs[CHILD] + b" "),
    "a child that is no JSON": lambda blob: blob(CHILD).write_bytes(b"{"),
    "an empty child": lambda blob: blob(CHILD).write_bytes(b""),
    "no child": lambda blob: blob(CHILD).unlink(),
    "a layer cut short": lambda blob: blob(LAYER).write_bytes(IMAGE.blobs[LAYER][:-1]),
    "no layer": lambda blob: blob(LAYER).unlink(),
}


def push(registry: Registry) -> None:
    for digest, content in IMAGE.blobs.items():
        if digest not in (IMAGE.index, *IMAGE.children):
            registry.put_blob(content)
    for child in IMAGE.children:
        registry.put_manifest(IMAGE.blobs[child])
    registry.put_manifest(IMAGE.blobs[IMAGE.index], TAG)


def test_the_sandbox_answers_pulls_as_docker_registry_does(
    fresh: Environment, tmp_path: Path
) -> None:
    registry, stand_in = fresh.forgejo, SandboxRegistry("forgejo", tmp_path)
    push(registry)
    stand_in.push(REPOSITORY, TAG, IMAGE)
    stand_in.start()
    real = Server(fresh.operator.run, "https://forgejo.viktorbarzin.me")
    sandbox = Server(here, stand_in.url)
    answered: list[Pair] = []

    def ask(state: str, questions: tuple[Question, ...]) -> None:
        for question in questions:
            both = (read_registry(server.ask(*question)) for server in (real, sandbox))
            answered.append(Pair(f"{state}: {question}", *both))

    try:
        ask("whole", QUESTIONS)
        for state, damage in DAMAGES.items():
            damage(registry.blob)
            damage(stand_in.blob)
            ask(state, DAMAGEABLE)
        registry.refuse(on=True)
        stand_in.refuses_with = 401
        ask("wants a login", QUESTIONS)
    finally:
        stand_in.stop()
    assert_alike(answered)


# ctr

NAME, SECOND = "r.example/infra-ci:1", "r.example/infra-ci:latest"
COMPANION, KEEP = "r.example/base:1", "breakglass.local/keep/0:kept"
NAMES = (NAME, SECOND, COMPANION, KEEP)
GOOD = archives.Image(references=(NAME,))
BASE = archives.Image(references=(COMPANION,), layers=(archives.layer(seed=11),))
UNLIKE = replace(GOOD, layers=(archives.layer(seed=12),))
NO_LAYER = replace(GOOD, layers=(archives.layer(seed=13),))
NO_CONFIGURATION = replace(GOOD, layers=(archives.layer(seed=14),))
NO_MANIFEST = replace(GOOD, layers=(archives.layer(seed=15),))
saved, classic = archives.tar, archives.classic
PLAIN = saved(classic(GOOD))
EXTRA_LAYER = archives.with_manifest(lambda it: it[0]["Layers"].append(it[0]["Layers"][0]))
TAKEN = {
    "other": saved(classic(replace(GOOD, command="/bin/other"))),
    "two names": saved(classic(replace(GOOD, references=(NAME, SECOND)))),
    "companion": saved(classic(GOOD, BASE)),
    "short name": saved(classic(replace(GOOD, references=("docker.io/library/infra-ci:1",)))),
    "no names": saved(archives.with_tags()(classic(GOOD))),
    "edited configuration": saved(archives.edited_configuration(classic(GOOD))),
    "cut at its very end": archives.cut_before_the_second_zero_block(PLAIN),
    "error behind": archives.docker_error_behind_the_end(PLAIN),
    "compressed twice": gzip.compress(PLAIN),
}
LATER = {
    "good": PLAIN,
    "unlike": saved(classic(UNLIKE)),
    "no layer later": saved(classic(NO_LAYER)),
    "no configuration later": saved(classic(NO_CONFIGURATION)),
    "no manifest later": saved(classic(NO_MANIFEST)),
}
REFUSED = {
    "foreign": saved(classic(replace(GOOD, architecture="s390x"))),
    "flipped bit": saved(archives.flipped_bit(classic(GOOD))),
    "flipped companion": saved(archives.flipped_bit(classic(BASE, GOOD))),
    "no layer": saved(archives.without_layer(classic(GOOD))),
    "extra layer": saved(EXTRA_LAYER(classic(GOOD))),
    "no manifest": saved(archives.without_member("manifest.json")(classic(GOOD))),
    "no configuration": saved(archives.without_member(f"{GOOD.image_id[7:]}.json")(classic(GOOD))),
    "cut at a header": archives.cut_at_a_header(PLAIN),
    "cut in a layer": archives.cut_mid_member(PLAIN),
    "cut in a small file": PLAIN[:1536],
    "error inside": archives.docker_error(PLAIN),
    "nothing": b"",
    "a word": b"hello",
    "no tar": b"x" * 5000,
    # Left out: what newer dockers save, for the sandbox's docker is a 20.10; images of two
    # platforms in one archive, which breakglass does not save.
}
PLAYS: dict[str, tuple[str, ...]] = {
    **{f"import {name}": (f"import {name}",) for name in TAKEN},
    "twice": ("import good", "import good"),
    "over another": ("import other", "import good"),
    "a failed import": ("import no tar",),
    "failed imports over an image": ("import unlike", *(f"import {name}" for name in REFUSED)),
    "a flipped bit in a known layer": ("import good", "import flipped bit"),
    "a lost layer": (
        "import no layer later",
        f"lose {digest_of(NO_LAYER.layers[0])}",
        "look",
        "import no layer later",
    ),
    "a lost configuration": (
        "import no configuration later",
        f"lose {NO_CONFIGURATION.image_id}",
        "look",
        "import no configuration later",
    ),
    "a lost manifest": (
        "import no manifest later",
        f"lose {NAME}",
        "look",
        "import no manifest later",
    ),
    "an empty namespace": (
        f"ctr images check name=={NAME}",
        f"ctr content get {ABSENT[0]}",
        f"ctr images tag --force {NAME} {SECOND}",
        f"ctr images label {NAME} {PINNED}",
        f"ctr images rm {NAME}",
        f"ctr images rm --sync {NAME} {SECOND}",
        "ctr leases rm --sync drill",
        "ctr namespaces rm NAMESPACE",
    ),
    "names": (
        "import good",
        f"ctr images tag --force {NAME} {SECOND}",
        f"ctr images tag --force {NAME} {KEEP}",
        f"ctr images label {KEEP} {PINNED}",
        "look",
        f"ctr images tag --force {KEEP} {SECOND}",
        "import other",
        f"ctr images tag --force absent {SECOND}",
        "look",
        f"ctr images rm {NAME} absent",
        "ctr namespaces rm NAMESPACE",
        f"ctr images rm --sync {SECOND} {KEEP}",
        "look",
        "ctr namespaces rm NAMESPACE",
    ),
    "a drill": (
        "ctr leases create --id drill",
        "ctr leases create --id drill",
        "import companion",
        "look",
        f"ctr images rm --sync {NAME} {COMPANION}",
        "ctr leases ls -q | xargs -r ctr leases rm --sync",
        "look",
        "ctr namespaces rm NAMESPACE",
    ),
    "the node itself": ("ctr plugins ls -d id==content", "containerd config dump"),
    # Left out: `ctr content ls`, which breakglass does not ask, and containerd collects when it
    # likes; what `ctr images import` prints meanwhile, which nobody reads; the lease that a killed
    # import leaves behind, for a killed import of the sandbox leaves none.
}


def nodes(host: Host, stand_in: SandboxHost, root: Path) -> tuple[Node, Node]:
    """The real one and the sandbox's, with the tarballs; `root`: what the latter's is called."""

    def run(*argv: str) -> subprocess.CompletedProcess[bytes]:
        line = [*host.entry(), *argv]
        return subprocess.run(line, env=ENVIRONMENT, capture_output=True, check=False)

    def run_in_sandbox(*argv: str) -> subprocess.CompletedProcess[bytes]:
        return stand_in.run(argv)

    both = Node(run, host.path("/")), Node(run_in_sandbox, stand_in.root, str(root))
    for node in both:
        (node.files / beside.TARBALLS).mkdir(parents=True, exist_ok=True)
        for name, content in (TAKEN | LATER | REFUSED).items():
            file = node.files / beside.TARBALLS / f"{name}.tar.gz"
            file.write_bytes(gzip.compress(content, 1))
    return both


def test_the_sandbox_imports_names_and_removes_images_as_ctr_does(fresh: Environment) -> None:
    played: list[Pair] = []
    with raise_environment() as environment, ThreadPoolExecutor(2) as pool:
        both = nodes(
            fresh.nodes["k8s-node1"], environment.hosts["k8s-node1"], environment.this_node
        )
        for number, (title, lines) in enumerate(PLAYS.items()):
            plays = [pool.submit(node.play, lines, NAMES, f"beside-{number}") for node in both]
            ended = (play.result() for play in plays)
            played += [Pair(title, *pair) for pair in zip(*ended, strict=True)]
    assert_alike(played)
