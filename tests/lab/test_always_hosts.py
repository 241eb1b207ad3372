"""Whatever hosts.toml a node has: pulls are answered beside it, and it is restored byte for
byte.
"""

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest

from . import furniture, pki
from .answering import (
    CERTS,
    FORGEJO,
    NAMES,
    PRIVATE,
    answers_on,
    back,
    is_taken_back,
    outage,
    pulls_all,
    traces,
)
from .cri import Cri
from .environment import Environment
from .faults.rows import row
from .host import Host
from .mirror import remove
from .reset import empty
from .runs import image_ids, run, stop_registries

NODE = "k8s-node1"
LATEST = f"{FORGEJO}/viktor/infra-ci:latest"


def nothing_at_all(node: Host) -> None:
    remove(node.path(CERTS))


def directories_without_a_file(node: Host) -> None:
    for registry in furniture.REGISTRY_HOSTS:
        node.path(f"{CERTS}/{registry}/hosts.toml").unlink()


def one_has_no_directory(node: Host) -> None:
    remove(node.path(f"{CERTS}/{FORGEJO}"))


def only_a_server(node: Host) -> None:
    for registry in furniture.REGISTRY_HOSTS:
        node.write(
            f"{CERTS}/{registry}/hosts.toml", f'server = "https://{registry}"', mode=0o600
        )  # without a newline at its end


def directories_are_links(node: Host) -> None:
    for number, registry in enumerate(furniture.REGISTRY_HOSTS):
        node.path(f"{CERTS}/{registry}").rename(node.path(f"/var/tmp/real-{number}"))
        node.path(f"{CERTS}/{registry}").symlink_to(f"/var/tmp/real-{number}")


def files_are_links(node: Host) -> None:
    for number, registry in enumerate(furniture.REGISTRY_HOSTS):
        node.path(f"{CERTS}/{registry}/hosts.toml").rename(
            node.path(f"/var/tmp/real-{number}.toml")
        )
        node.path(f"{CERTS}/{registry}/hosts.toml").symlink_to(f"/var/tmp/real-{number}.toml")


def only_a_default(node: Host) -> None:
    empty(node.path(CERTS))
    node.write(
        f"{CERTS}/_default/hosts.toml",
        '[host."https://10.0.20.30:5999"]\n  capabilities = ["pull", "resolve"]\n',
    )


def the_port_is_part_of_a_name_with_underscores(node: Host) -> None:
    """containerd looks for this directory before the one with the colon."""
    node.path(f"{CERTS}/{PRIVATE}").rename(node.path(f"{CERTS}/{PRIVATE.replace(':', '_')}_"))


def a_mirror_and_comments(node: Host) -> None:
    for registry in furniture.REGISTRY_HOSTS:
        text = f"""# ours since 2023 \u2014 do not touch
server = "https://{registry}"
[host."https://10.0.20.30:5999/mirror/v2"]
  capabilities = ["pull"]
  override_path = true
  dial_timeout = "1s"
  [host."https://10.0.20.30:5999/mirror/v2".header]
    x-team = ["infra", "ci"]
[host."https://{registry}"]\r
  capabilities = ["pull", "resolve", "push"]
"""
        node.write(f"{CERTS}/{registry}/hosts.toml", text)


VARIATIONS: tuple[Callable[[Host], None], ...] = (
    nothing_at_all,
    directories_without_a_file,
    one_has_no_directory,
    only_a_server,
    directories_are_links,
    files_are_links,
    only_a_default,
    the_port_is_part_of_a_name_with_underscores,
    a_mirror_and_comments,
)
SHORT = (nothing_at_all, only_a_server, files_are_links, a_mirror_and_comments)


@row(
    "import",
    "hosts.toml missing, present, with its own host, a link, shared by registries",
    "pulls are answered; `restore` puts it back byte for byte",
    exit_code=0,
)
@pytest.mark.parametrize(
    "lay",
    [
        *SHORT,
        *(pytest.param(lay, marks=pytest.mark.thorough) for lay in VARIATIONS if lay not in SHORT),
    ],
)
def test_whatever_lies_in_certs_d_pulls_are_answered_and_it_is_put_back(
    fresh: Environment, lay: Callable[[Host], None]
) -> None:
    image = outage(fresh, NODE)
    node = fresh.nodes[NODE]
    lay(node)
    before = traces(node)
    run(fresh, "import", NODE)
    assert run(fresh, "import", NODE).lines == []
    pulls_all(fresh, NODE, image)
    newer = back(fresh, "two")
    latest = [name for name in NAMES if name.endswith(":latest")]
    assert [Cri(node).pull(name) for name in latest] == [image.image_id] * 2
    run(fresh, "import", NODE)
    # containerd waits for a mirror that does not answer, so the node stays before it.
    expected = image if lay is a_mirror_and_comments else newer
    assert [Cri(node).pull(name) for name in latest] == [expected.image_id] * 2
    stop_registries(fresh)
    run(fresh, "restore", NODE, "--yes")
    is_taken_back(node, before)


@contextlib.contextmanager
def another_authority(environment: Environment) -> Iterator[str]:
    """Forgejo with a certificate that only who is reported of it trusts; that authority's
    certificate.
    """
    registry = environment.forgejo.host
    own = [
        (f"/etc/lab/registry.{kind}", registry.read(f"/etc/lab/registry.{kind}"))
        for kind in ("crt", "key")
    ]
    pki.make_certificate(
        "forgejo-other", f"/CN={FORGEJO}", f"DNS:{FORGEJO}", authority="kubernetes-ca"
    )
    registry.stop("registry")
    for kind in ("crt", "key"):
        registry.write(f"/etc/lab/registry.{kind}", pki.text(f"forgejo-other.{kind}"), mode=0o600)
    try:
        yield pki.text("kubernetes-ca.crt")
    finally:
        registry.stop("registry")
        for path, content in own:
            registry.write(path, content, mode=0o600)


@pytest.mark.parametrize(
    "docker_style",
    [False, True],
    ids=["hosts.toml with ca", "docker's ca.crt beside no hosts.toml"],
)
def test_a_registry_trusted_by_a_ca_of_its_own_is_still_trusted_when_it_is_back(
    fresh: Environment, docker_style: bool
) -> None:
    image = outage(fresh, NODE)
    node = fresh.nodes[NODE]
    with another_authority(fresh) as authority:
        node.write(f"{CERTS}/{FORGEJO}/ca.crt", authority)
        if docker_style:
            node.path(f"{CERTS}/{FORGEJO}/hosts.toml").unlink()
        else:
            mirror = (
                f'[host."https://10.0.20.30:5999"]\n  capabilities = ["pull", "resolve"]\n  ca = '
                f'["{CERTS}/{FORGEJO}/ca.crt"]\n  skip_verify = false\n'
            )
            node.write(
                f"{CERTS}/{FORGEJO}/hosts.toml",
                f'server = "https://{FORGEJO}"\nca = "{CERTS}/{FORGEJO}/ca.crt"\n{mirror}',
            )
        before = traces(node)
        run(fresh, "import", NODE)
        assert run(fresh, "import", NODE).lines == []
        pulls_all(fresh, NODE, image)
        newer = back(fresh, "two")
        assert Cri(node).pull(LATEST) == image.image_id
        if docker_style:  # without the mirror, which does not answer
            run(fresh, "import", NODE)
            assert Cri(node).pull(LATEST) == newer.image_id
        fresh.forgejo.host.stop("registry")
        run(fresh, "restore", NODE, "--yes")
        is_taken_back(node, before)
        fresh.forgejo.host.start("registry")
        assert Cri(node).pull(LATEST) == newer.image_id


@row(
    "import",
    "the responder's port taken",
    "another one is used; the port's owner is left alone",
    exit_code=0,
)
def test_a_port_that_is_taken_is_left_to_whom_it_belongs(fresh: Environment) -> None:
    image = outage(fresh, NODE)
    node = fresh.nodes[NODE]
    run(fresh, "import", NODE)
    port = answers_on(node)
    run(fresh, "restore", NODE, "--yes")
    with node.popen("python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)) as other:
        try:
            while port not in node.listening():
                assert other.poll() is None
            before = traces(node)
            run(fresh, "import", NODE)
            assert run(fresh, "import", NODE).lines == []
            assert answers_on(node) != port
            pulls_all(fresh, NODE, image)
            run(fresh, "restore", NODE, "--yes")
            is_taken_back(node, before)
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("name", ["k8s-node1", "k8s-node3"])
def test_where_config_path_is_not_in_force_import_refuses_and_says_what_starts_all_the_same(
    fresh: Environment, name: str
) -> None:
    image = outage(fresh, name)
    node = fresh.nodes[name]
    node.write(
        "/etc/containerd/config.toml",
        re.sub(r"(?m)^ *config_path = .*\n", "", node.read("/etc/containerd/config.toml")),
    )
    node.stop("containerd")
    node.start("containerd")
    before = fresh.listing()
    error = run(fresh, "import", name, expect=3).error
    reported = " ".join(map(str, error.values()))
    for word in ("config_path", "Always", "IfNotPresent", "--no-answer-pulls"):
        assert word in reported
    assert fresh.listing() == before
    brought = run(fresh, "import", name, "--no-answer-pulls").result
    assert (brought["answers_pulls"], brought["image_id"]) == (False, image.image_id)
    assert {image_ids(fresh, name)[one] for one in NAMES} == {image.image_id}


def test_a_hosts_toml_that_somebody_edited_after_us_is_left_and_reported_each_time(
    fresh: Environment,
) -> None:
    outage(fresh, NODE)
    node = fresh.nodes[NODE]
    file = f"{CERTS}/{FORGEJO}/hosts.toml"
    original, before = node.read(file), traces(node)
    run(fresh, "import", NODE)
    edited = node.read(file) + "# by hand, during the outage\n"
    node.path(file).write_text(edited)
    error = run(fresh, "restore", NODE, "--yes", expect=4).error
    assert file in error["message"]
    assert node.read(file) == edited
    assert traces(node)["process"] == set()
    assert run(fresh, "restore", NODE, "--yes", expect=4).error["message"] == error["message"]
    node.path(file).write_text(original + "# by hand, during the outage\n")
    assert (
        "/var/breakglass/.breakglass.json"
        in run(fresh, "restore", NODE, "--yes", expect=4).error["next"]
    )
    node.path("/var/breakglass/.breakglass.json").unlink()
    run(fresh, "restore", NODE, "--yes")  # now that the host is clean: its mark in the cluster
    assert run(fresh, "restore", NODE, "--yes").reported["steps"] == []
    assert node.read(file) == original + "# by hand, during the outage\n"
    node.path(file).write_text(original)
    is_taken_back(node, before)
