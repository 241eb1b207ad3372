"""The sandbox's registries and the command that stops, fills and damages them."""

import http.client
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from breakglass.sandbox.environment import REPOSITORIES, TAG, Environment, raise_environment
from breakglass.sandbox.image import INDEX, MANIFEST, build
from tests.unit.sandbox_client import bring_up

NODE = "k8s-node1"


@pytest.fixture(scope="module")
def shared() -> Iterator[Environment]:
    with raise_environment() as raised:
        yield raised


@pytest.fixture
def environment(shared: Environment) -> Iterator[Environment]:
    """The environment with its image whole and everything up, whatever a test does to it."""
    yield shared
    bring_up(shared)
    shared.push(TAG)


def ask(
    environment: Environment,
    registry: str,
    path: str,
    *,
    method: str = "GET",
    accept: str = f"{INDEX}, {MANIFEST}",
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(environment.registries[registry].authority, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": accept})
        with connection.getresponse() as response:
            return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("registry", REPOSITORIES)
def test_a_registry_serves_the_whole_image_by_get_and_tells_of_it_by_head(
    environment: Environment, registry: str
) -> None:
    image, name = build(f"infra-ci {TAG}\n"), REPOSITORIES[registry]
    assert ask(environment, registry, "/v2/")[0] == 200
    for reference in (TAG, "latest", image.index):
        status, headers, body = ask(environment, registry, f"/v2/{name}/manifests/{reference}")
        assert (status, headers["Docker-Content-Digest"], headers["Content-Type"], body) == (
            200,
            image.index,
            INDEX,
            image.blobs[image.index],
        )
    for digest, content in image.blobs.items():
        kind = "manifests" if digest in (image.index, *image.children) else "blobs"
        status, headers, body = ask(
            environment, registry, f"/v2/{name}/{kind}/{digest}", method="HEAD"
        )
        assert (status, headers["Content-Length"], body) == (200, str(len(content)), b"")
        assert ask(environment, registry, f"/v2/{name}/{kind}/{digest}")[2] == content


def test_a_registry_says_what_it_lacks_and_takes_nothing(environment: Environment) -> None:
    status, _, body = ask(environment, "forgejo", "/v2/viktor/infra-ci/manifests/none")
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert ask(environment, "forgejo", "/v2/../../etc/passwd")[0] == 404
    assert ask(environment, "forgejo", "/v2/viktor/infra-ci/manifests/x", method="PUT")[0] == 405


def test_a_registry_serves_manifests_as_manifests_only_and_only_to_who_accepts_them(
    environment: Environment,
) -> None:
    image, registry = build(f"infra-ci {TAG}\n"), environment.registries["forgejo"]
    assert ask(environment, "forgejo", f"/v2/viktor/infra-ci/blobs/{image.index}")[0] == 404
    assert ask(environment, "forgejo", f"/v2/viktor/infra-ci/manifests/{image.image_id}")[0] == 500
    assert (
        ask(environment, "forgejo", f"/v2/viktor/infra-ci/manifests/{TAG}", accept=MANIFEST)[0]
        == 404
    )
    registry.blob(image.index).write_bytes(b"")
    assert ask(environment, "forgejo", f"/v2/viktor/infra-ci/manifests/{TAG}")[0] == 500


def test_a_broken_image_keeps_its_index_and_lacks_its_children(environment: Environment) -> None:
    children = environment.break_image("forgejo", TAG)
    assert len(children) == 2
    assert ask(environment, "forgejo", f"/v2/viktor/infra-ci/manifests/{TAG}")[0] == 200
    for child in children:
        assert ask(environment, "forgejo", f"/v2/viktor/infra-ci/manifests/{child}")[0] == 404
        assert ask(environment, "registry-private", f"/v2/infra-ci/manifests/{child}")[0] == 200


def test_a_stopped_registry_answers_nobody_not_even_on_an_open_connection(
    environment: Environment,
) -> None:
    registry = environment.registries["forgejo"]
    connection = http.client.HTTPConnection(registry.authority, timeout=10)
    connection.request("GET", "/v2/")
    connection.getresponse().read()
    authority = registry.authority
    registry.stop()
    connection.auto_open = 0
    connection.request("GET", "/v2/")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        ask(environment, "forgejo", "/v2/")
    registry.start()
    assert (registry.authority, ask(environment, "forgejo", "/v2/")[0]) == (authority, 200)


def sandbox(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sandbox", *arguments],
        env=environment.variables(),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_the_sandbox_command_stops_and_starts_what_it_is_reported_to(
    environment: Environment,
) -> None:
    for name in ("forgejo", "synology", "api"):
        assert sandbox(environment, "stop", name).returncode == 0
        assert f"{name}: down\n" in sandbox(environment, "status").stdout
        assert sandbox(environment, "start", name).returncode == 0
    assert set(environment.status().values()) == {"up"}
    assert [
        item["metadata"]["name"] for _, item in environment.api.select("nodes", None, "")[1]
    ] == [
        "k8s-node1",
        "k8s-node10",
        "k8s-node2",
        "k8s-node3",
    ]


def test_the_sandbox_command_pushes_breaks_refuses_and_runs(environment: Environment) -> None:
    assert sandbox(environment, "push", "1b2c3d4e", "new").stdout.strip() == build("new").image_id
    assert (
        ask(environment, "forgejo", "/v2/viktor/infra-ci/manifests/latest")[1][
            "Docker-Content-Digest"
        ]
        == build("new").index
    )
    assert sandbox(environment, "break", "forgejo", "1b2c3d4e").stdout == "".join(
        f"deleted {child}\n" for child in build("new").children
    )
    sandbox(environment, "refuse", "forgejo", "403")
    assert ask(environment, "forgejo", "/v2/")[0] == 403
    sandbox(environment, "refuse", "forgejo")
    assert ask(environment, "forgejo", "/v2/")[0] == 200
    ran = sandbox(environment, "run", NODE, "--", "sh", "-c", "hostname; exit 3")
    assert (ran.returncode, ran.stdout) == (3, f"{NODE}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("stop", "nothing"),
        ("break", "forgejo", "none"),
        ("run", "nowhere", "--", "true"),
        ("frob",),
        (),
    ],
)
def test_the_sandbox_command_says_what_it_did_not_understand(
    environment: Environment, arguments: tuple[str, ...]
) -> None:
    ended = sandbox(environment, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(("sandbox: ", "usage: "))


def test_the_mirror_keeps_links_and_times_and_drops_what_is_gone(environment: Environment) -> None:
    tarball, link = (
        environment.vm_directory / "infra-ci-a.tar.gz",
        environment.vm_directory / "infra-ci-latest.tar.gz",
    )
    tarball.write_bytes(b"content")
    os.utime(tarball, (1_700_000_000, 1_700_000_000))
    link.symlink_to(tarball.name)
    sandbox(environment, "mirror")
    copy = environment.nas_directory / tarball.name
    assert (copy.read_bytes(), int(copy.stat().st_mtime)) == (b"content", 1_700_000_000)
    assert (environment.nas_directory / link.name).readlink().name == tarball.name
    tarball.unlink()
    link.unlink()
    assert f"deleted {tarball.name}" in sandbox(environment, "mirror").stdout
    assert not copy.exists()
