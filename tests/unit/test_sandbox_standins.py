"""The sandbox's docker, containerd and registries: they behave as the real ones were measured to,
and refuse what they do not know.
"""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from breakglass import config
from breakglass.sandbox.environment import TAG, Environment, raise_environment
from breakglass.sandbox.image import INDEX, build
from tests.unit.sandbox_client import Ended, bring_up, with_paramiko

VM, NODE = "registry-vm", "k8s-node1"


@pytest.fixture(scope="module")
def shared() -> Iterator[Environment]:
    with raise_environment() as raised:
        yield raised


@pytest.fixture
def environment(shared: Environment) -> Iterator[Environment]:
    """The environment as it is at the start, whatever the test before did to it."""
    yield shared
    bring_up(shared)
    for name in (VM, NODE):
        shutil.rmtree(shared.hosts[name].root / "var/lib", ignore_errors=True)
    (shared.hosts[NODE].root / "etc/containerd/snapshotter").unlink(missing_ok=True)
    shared.push(TAG)


def image_name(environment: Environment) -> str:
    return f"{environment.registries['registry-private'].authority}/infra-ci"


def saved(environment: Environment, tag: str = TAG) -> bytes:
    """The archive that docker saves of a freshly pulled tag."""
    ended = with_paramiko(
        environment,
        VM,
        f"docker pull -q {image_name(environment)}:{tag} >&2 && "
        f"docker save {image_name(environment)}:{tag}",
    )
    assert ended.status == 0, ended.stderr
    return ended.stdout


def ctr(environment: Environment, arguments: str, stdin: bytes = b"") -> Ended:
    return with_paramiko(environment, NODE, f"sudo -n ctr -n k8s.io {arguments}", stdin)


def edited(
    archive: bytes,
    *,
    drop: str = "",
    flip: str = "",
    tags: list[str] | None = None,
    untag: bool = False,
) -> bytes:
    """The archive without a member, with a flipped bit in the first one of that name, or with other
    RepoTags.
    """
    target = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as source,
        tarfile.open(fileobj=target, mode="w") as copy,
    ):
        for member in source:
            content = (reader.read() if (reader := source.extractfile(member)) else b"") or b""
            if drop and member.name.endswith(drop):
                continue
            if flip and member.name.endswith(flip):
                content, flip = content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:], ""
            if member.name == "manifest.json" and (tags or untag):
                content = json.dumps(
                    [entry | {"RepoTags": None if untag else tags} for entry in json.loads(content)]
                ).encode()
            member.size = len(content)
            copy.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_an_image_goes_from_registry_to_containerd_and_keeps_its_image_id(
    environment: Environment,
) -> None:
    name, path = f"{image_name(environment)}:{TAG}", f"{environment.vm_directory}/x.tar.gz"
    pulled = with_paramiko(
        environment,
        VM,
        (
            f"docker pull {name} && docker image inspect --format '{{{{.Id}}}}' {name} && bash "
            f"-o pipefail -c 'docker save {name} | gzip > {path}'"
        ),
    )
    assert pulled.stdout.split()[-1].decode() == build(f"infra-ci {TAG}\n").image_id
    tarball = with_paramiko(environment, VM, f"cat {path}").stdout
    imported = with_paramiko(
        environment,
        NODE,
        "bash -o pipefail -c 'gzip -dc | sudo -n ctr -n k8s.io images import -'",
        tarball,
    )
    assert (imported.status, b"\tsaved\t\n" in imported.stdout) == (0, True)
    row = ctr(environment, f"images ls name=={name}").stdout.decode().splitlines()[1].split()
    manifest = json.loads(ctr(environment, f"content get {row[2]}").stdout)
    assert manifest["config"]["digest"] == build(f"infra-ci {TAG}\n").image_id
    check = ctr(environment, f"images check name=={name}").stdout.decode().splitlines()[1]
    assert (" complete (4/4) " in check, check.split()[-1]) == (True, "true")
    assert ctr(environment, "images ls -q name==nothing").stdout == b""


def test_the_saved_archive_has_the_layout_of_docker_20_10_and_the_same_bytes_each_time(
    environment: Environment,
) -> None:
    archive = saved(environment)
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        [entry] = json.load(read.extractfile("manifest.json") or io.BytesIO())
        configuration = (read.extractfile(entry["Config"]) or io.BytesIO()).read()
        layers = [(read.extractfile(layer) or io.BytesIO()).read() for layer in entry["Layers"]]
    assert entry["RepoTags"] == [f"{image_name(environment)}:{TAG}"]
    assert entry["Config"] == hashlib.sha256(configuration).hexdigest() + ".json"
    assert json.loads(configuration)["rootfs"]["diff_ids"] == [
        "sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers
    ]
    assert saved(environment) == archive


def test_docker_never_passes_a_local_copy_off_as_a_pull(environment: Environment) -> None:
    saved(environment)
    environment.stop("registry-private")
    ended = with_paramiko(environment, VM, f"docker pull {image_name(environment)}:{TAG}")
    assert (ended.status, b"connection refused" in ended.stderr) == (1, True)


@pytest.mark.parametrize("damage", ["missing tag", "lost child"])
def test_docker_says_manifest_unknown_for_a_missing_tag_and_for_a_lost_child_alike(
    environment: Environment, damage: str
) -> None:
    if damage == "lost child":
        environment.break_image("registry-private", TAG)
    tag = TAG if damage == "lost child" else "ffffffff"
    ended = with_paramiko(environment, VM, f"docker pull {image_name(environment)}:{tag}")
    assert (ended.status, b"manifest unknown" in ended.stderr) == (1, True)


def test_a_pull_by_digest_is_tagged_by_hand_and_goes_with_its_last_tag(
    environment: Environment,
) -> None:
    name = image_name(environment)
    built = build(f"infra-ci {TAG}\n")
    by_digest = f"{name}@{built.index}"
    assert with_paramiko(environment, VM, f"docker tag {by_digest} {name}:new").status == 1
    tagging = f"docker pull {by_digest} && docker tag {by_digest} {name}:new"
    assert with_paramiko(environment, VM, tagging).status == 0
    inspect = f"docker image inspect --format '{{{{.Id}}}}' {name}:new"
    image_id = with_paramiko(environment, VM, inspect).stdout.decode().strip()
    assert image_id == built.image_id
    removed = with_paramiko(environment, VM, f"docker image rm {name}:new").stdout.decode()
    assert removed.splitlines() == [f"Untagged: {name}:new", f"Untagged: {by_digest}"]


def test_docker_knows_no_image_that_was_not_pulled(environment: Environment) -> None:
    name = image_name(environment)
    assert with_paramiko(environment, VM, f"docker image inspect {name}:other").status == 1
    assert with_paramiko(environment, VM, f"docker save {name}:other").status == 1


@pytest.mark.parametrize(
    ("host", "command", "named"),
    [
        (VM, "docker run x", "run"),
        (VM, "docker save --platform linux/amd64 x", "--platform"),
        (VM, "docker info --format '{{range .Plugins}}x{{end}}'", "{{range .Plugins}}"),
        (VM, "docker pull debian", "debian"),
        (NODE, "ctr -n k8s.io images import --all-platforms -", "--all-platforms"),
        (NODE, "ctr -n k8s.io images pull x", "x"),
        (NODE, "ctr -n k8s.io images ls labels.x==y", "labels.x==y"),
        (NODE, "ctr --debug images ls", "--debug"),
        (NODE, "containerd config default", "config default"),
        (NODE, "sudo -u root true", "not '-u'"),
    ],
)
def test_a_stand_in_refuses_what_it_does_not_know_and_names_it(
    shared: Environment, host: str, command: str, named: str
) -> None:
    ended = with_paramiko(shared, host, command)
    assert (ended.status, ended.stdout) == (2, b"")
    assert named in ended.stderr.decode()


def test_ctr_takes_a_compressed_archive_as_well(environment: Environment) -> None:
    ended = ctr(environment, "images import -", gzip.compress(saved(environment), 1))
    assert (ended.status, ctr(environment, "images ls -q").stdout) == (
        0,
        f"{image_name(environment)}:{TAG}\n".encode(),
    )


@pytest.mark.parametrize("kept", [0, 512 * 3, 100_000])
def test_ctr_takes_nothing_from_an_archive_that_ends_early(
    environment: Environment, kept: int
) -> None:
    ended = ctr(environment, "images import -", saved(environment)[:kept])
    assert (ended.status, ctr(environment, "images ls -q").stdout) == (1, b"")


def test_a_flipped_bit_fails_the_import_and_leaves_an_empty_namespace(
    environment: Environment,
) -> None:
    ended = ctr(environment, "images import -", edited(saved(environment), flip="layer.tar"))
    assert (ended.status, b"wrong diff id" in ended.stderr) == (1, True)
    assert ctr(environment, "images check") == Ended(0, b"", b"")
    assert ctr(environment, "namespaces ls -q").stdout == b"k8s.io\n"
    assert ctr(environment, "namespaces rm k8s.io").status == 0


def test_a_layer_whose_file_is_lost_is_not_missed_and_a_manifest_is(
    environment: Environment,
) -> None:
    ctr(environment, "images import -", saved(environment))
    store = (
        environment.hosts[NODE].root
        / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
    )
    manifest = ctr(environment, "images ls").stdout.decode().splitlines()[1].split()[2]
    layer = json.loads(ctr(environment, f"content get {manifest}").stdout)["layers"][0]["digest"]
    (store / layer.removeprefix("sha256:")).unlink()
    assert b" complete (4/4) " in ctr(environment, "images check").stdout
    assert ctr(environment, f"content get {layer}").stderr.endswith(
        b": blob not found: not found\n"
    )
    (store / manifest.removeprefix("sha256:")).unlink()
    ended = ctr(environment, "images check")
    assert (ended.status, b" unavailable (0/?) " in ended.stdout) == (1, True)
    ended = ctr(environment, "images import -", saved(environment))
    assert (ended.status, b"unable to resolve platform" in ended.stderr) == (1, True)


def test_a_flipped_bit_over_a_good_image_goes_unnoticed_and_moves_the_name(
    environment: Environment,
) -> None:
    archive = saved(environment)
    assert ctr(environment, "images import -", archive).status == 0
    before = ctr(environment, "images ls").stdout
    assert ctr(environment, "images import -", edited(archive, flip="layer.tar")).status == 0
    assert ctr(environment, "images ls").stdout != before


def test_an_archive_without_names_imports_nothing_and_says_nothing(
    environment: Environment,
) -> None:
    assert ctr(environment, "images import -", edited(saved(environment), untag=True)) == Ended(
        0, b"", b""
    )
    assert (ctr(environment, "images ls -q").stdout, ctr(environment, "content ls -q").stdout) == (
        b"",
        b"",
    )


def test_an_archive_without_a_layer_fails_by_the_name_of_the_layer(
    environment: Environment,
) -> None:
    ended = ctr(environment, "images import -", edited(saved(environment), drop="layer.tar"))
    assert (ended.status, b"layer.tar" in ended.stderr) == (1, True)


def test_names_are_added_moved_labelled_and_removed_as_ctr_does(environment: Environment) -> None:
    ctr(environment, "images import -", edited(saved(environment), tags=["r.example/a:1"]))
    assert ctr(environment, "images tag r.example/a:1 r.example/b:1").stdout == b"r.example/b:1\n"
    assert (
        ctr(environment, "images tag --force r.example/a:1 r.example/b:1").stdout
        == b"r.example/b:1\n"
    )
    assert (
        ctr(environment, "images tag r.example/none:1 r.example/c:1").stderr
        == b'ctr: image "r.example/none:1": not found\n'
    )
    assert (
        ctr(environment, "images label r.example/b:1 io.cri-containerd.pinned=pinned").stdout
        == b"io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned\n"
    )
    assert [line.split()[-1] for line in ctr(environment, "images ls").stdout.splitlines()[1:]] == [
        b"io.cri-containerd.image=managed",
        b"io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned",
    ]
    assert ctr(environment, "images tag r.example/b:1 r.example/a:1").status == 0
    assert [line.split()[-1] for line in ctr(environment, "images ls").stdout.splitlines()[1:]] == [
        b"io.cri-containerd.image=managed",
        b"io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned",
    ]
    missing = ctr(environment, "images rm r.example/none:1")
    assert (missing.status, missing.stdout, b"not found" in missing.stderr) == (0, b"", True)
    assert ctr(environment, "namespaces rm k8s.io").status == 1
    assert (
        ctr(environment, "images rm r.example/a:1 r.example/b:1").stdout
        == b"r.example/a:1\nr.example/b:1\n"
    )
    assert ctr(environment, "content ls -q").stdout == b""
    assert (
        ctr(environment, "namespaces rm k8s.io").stdout,
        ctr(environment, "namespaces ls -q").stdout,
    ) == (
        b"k8s.io\n",
        b"",
    )


def test_namespaces_share_content_and_a_scratch_one_leaves_the_other_whole(
    environment: Environment,
) -> None:
    archive = saved(environment)
    ctr(environment, "images import -", archive)
    before = ctr(environment, "content ls -q").stdout
    scratch = with_paramiko(
        environment,
        NODE,
        (
            "ctr -n scratch images import - && ctr -n scratch images rm $(ctr -n scratch images "
            "ls -q) && ctr namespaces rm scratch"
        ),
        archive,
    )
    assert scratch.status == 0, scratch.stderr
    assert ctr(environment, "content ls -q").stdout == before != b""
    assert all(
        ctr(environment, f"content get {digest}").status == 0 for digest in before.decode().split()
    )


def test_imports_at_the_same_time_lose_no_name(environment: Environment) -> None:
    archive = saved(environment)
    with ThreadPoolExecutor(4) as pool:
        ended = list(
            pool.map(
                lambda number: ctr(
                    environment, "images import -", edited(archive, tags=[f"r.example/a:{number}"])
                ),
                range(4),
            )
        )
    assert [result.status for result in ended] == [0] * 4
    assert ctr(environment, "images ls -q").stdout.split() == [
        b"r.example/a:%d" % number for number in range(4)
    ]


def test_containerd_names_the_directory_that_the_configuration_names(shared: Environment) -> None:
    dump = with_paramiko(shared, NODE, "sudo -n containerd config dump").stdout.decode()
    assert f'config_path = "{config.load(shared.config).nodes.registry_config}"' in dump


def test_a_pull_keeps_the_registrys_manifest_and_is_unpacked(environment: Environment) -> None:
    name = f"{image_name(environment)}:{TAG}"
    built = build(f"infra-ci {TAG}\n")
    assert ctr(environment, f"images pull --plain-http {name}").status == 0
    row = ctr(environment, f"images ls name=={name}").stdout.decode().splitlines()[1].split()
    assert row[1:3] == [INDEX, built.index]
    check = ctr(environment, f"images check name=={name}").stdout.decode().splitlines()[1]
    assert (" complete (4/4) " in check, check.split()[-1]) == (True, "true")
    layer = json.loads(ctr(environment, f"content get {built.children[0]}").stdout)["layers"][0]
    assert ctr(environment, f"content rm {layer['digest']}").status == 0
    check = ctr(environment, f"images check name=={name}").stdout.decode().splitlines()[1]
    assert (" incomplete (3/4) " in check, check.split()[-1]) == (True, "true")


def test_what_another_snapshotter_has_unpacked_is_not_unpacked_for_the_first(
    environment: Environment,
) -> None:
    archive, name = saved(environment), f"{image_name(environment)}:{TAG}"
    etc = environment.hosts[NODE].root / "etc/containerd"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "snapshotter").write_text("zfs\n")

    def unpacked(*options: str) -> str:
        line = " ".join(("images check", *options, f"name=={name}"))
        return ctr(environment, line).stdout.decode().split()[-1]

    # The transfer service does not know that snapshotter.
    assert ctr(environment, "images import --snapshotter zfs -", archive).status == 0
    assert (unpacked(), unpacked("--snapshotter zfs")) == ("false", "false")
    assert ctr(environment, "images import -", archive).status == 0
    assert (unpacked(), unpacked("--snapshotter zfs")) == ("true", "false")
    assert ctr(environment, "images import --local --snapshotter zfs -", archive).status == 0
    assert (unpacked(), unpacked("--snapshotter zfs")) == ("true", "true")
    ended = ctr(environment, "images check --snapshotter btrfs")
    assert (ended.status, b"not loaded" in ended.stderr) == (1, True)
