"""The lab is what it says it is."""

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from .environment import Environment
from .registry import PASSWORD, USER
from .roles import NODES, VM_DIRECTORY, WORKERS

TAG = "0a1b2c3d"


def test_every_node_reports_ready(fresh: Environment) -> None:
    assert fresh.cluster.ready() == set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_a_node_runs_the_containerd_it_is_said_to_run(environment: Environment, name: str) -> None:
    versions = [
        line.split()[1]
        for line in environment.nodes[name].run("ctr", "version").stdout.splitlines()
        if line.strip().startswith("Version:")
    ]
    assert len(versions) == 2
    assert all(version.startswith(NODES[name].version) for version in versions)


def test_pods_start_while_the_registries_are_up_and_wait_in_vain_while_they_are_down(
    fresh: Environment,
) -> None:
    image = fresh.small(TAG)
    for number, node in enumerate(WORKERS):
        pod = fresh.cluster.run_pod(
            f"up-{number}", image.references[number % len(image.references)], node=node
        )
        assert (pod.started, pod.node) == (True, node), pod
    for name in ("registry-vm", "forgejo"):
        fresh.host(name).stop("registry")
    for number, node in enumerate(WORKERS):
        pod = fresh.cluster.run_pod(
            f"down-{number}", image.references[0], pull_policy="Always", node=node
        )
        assert pod.reason in ("ErrImagePull", "ImagePullBackOff"), pod


def test_docker_pulls_the_very_image_that_was_published(fresh: Environment) -> None:
    image = fresh.small(TAG, "two")
    for reference in image.references:
        fresh.vm.run("docker", "pull", "--quiet", reference)
        assert (
            fresh.vm.run(
                "docker", "image", "inspect", "--format", "{{.Id}}", reference
            ).stdout.strip()
            == image.image_id
        )
    assert fresh.small(TAG, "three").image_id != image.image_id == fresh.small(TAG, "two").image_id


def test_an_index_can_lose_its_child_and_is_still_served(fresh: Environment) -> None:
    image = fresh.small(TAG)
    index = fresh.private.put_index(TAG, children={"amd64": image.digest})
    reference = f"{fresh.private.reference}:{TAG}"
    fresh.vm.run("docker", "pull", "--quiet", reference)
    fresh.vm.run("docker", "rmi", "--force", reference)
    fresh.private.delete_manifest(image.digest)
    ask = (
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "--head",
        "--header",
        "Accept: application/vnd.docker.distribution.manifest.list.v2+json",
    )
    url = "https://registry.viktorbarzin.me:5050/v2/infra-ci/manifests/"
    assert fresh.operator.run(*ask, url + index).stdout == "200"
    assert fresh.operator.run(*ask, url + image.digest).stdout == "404"
    assert (
        "manifest unknown"
        in fresh.vm.run("docker", "pull", "--quiet", reference, check=False).stderr
    )


def test_a_registry_can_refuse_strangers(fresh: Environment) -> None:
    image = fresh.small(TAG)
    fresh.forgejo.refuse(on=True)
    done = fresh.vm.run("docker", "pull", "--quiet", image.references[-1], check=False)
    assert done.returncode != 0
    assert "no basic auth" in done.stderr
    ask = (
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "https://forgejo.viktorbarzin.me/v2/",
    )
    assert [
        fresh.operator.run(*ask).stdout,
        fresh.operator.run(*ask, "--user", f"{USER}:{PASSWORD}").stdout,
    ] == ["401", "200"]


def test_the_nas_has_a_shell_and_five_commands_and_nothing_else(fresh: Environment) -> None:
    ssh = ("ssh", "-o", "BatchMode=yes", "192.168.1.13")
    assert fresh.operator.run(
        *ssh, "printf abc | wc -c; ls /volume1; readlink /bin/cat; echo abc | tail -c +3"
    ).stdout.split() == ["3", "Backup", "/usr/libexec/busybox", "c"]
    for program in ("bash", "sha256sum", "python3", "sudo", "sed", "rsync", "dd", "busybox"):
        assert (
            fresh.operator.run(*ssh, f"command -v {program}", check=False).returncode == 127
            or not fresh.operator.run(*ssh, f"command -v {program}", check=False).stdout
        )
    assert (
        fresh.operator.run("sftp", "-b", "-", "192.168.1.13", input="ls\n", check=False).returncode
        != 0
    )


def test_the_nas_gets_links_and_times_as_they_are(fresh: Environment) -> None:
    fresh.vm.write(f"{VM_DIRECTORY}/infra-ci-{TAG}.tar.gz", "not really")
    fresh.vm.path(f"{VM_DIRECTORY}/infra-ci-latest.tar.gz").symlink_to(f"infra-ci-{TAG}.tar.gz")
    fresh.mirror()
    seen = fresh.listing()
    vm, nas = (
        sorted(line for path, line in seen[key].items() if path.endswith(".gz"))
        for key in ("registry-vm files", "synology files")
    )
    assert len(vm) == 2
    assert vm == nas


@pytest.mark.parametrize("name", NODES)
def test_root_of_a_node_may_log_in_to_both_sources_and_wizard_may_sudo(
    environment: Environment, name: str
) -> None:
    login = (
        "ssh",
        "-o",
        "BatchMode=yes",
        f"wizard@{NODES[name].address}",
        "sudo",
        "-n",
        "ssh",
        "-o",
        "BatchMode=yes",
    )
    assert environment.operator.run(*login, "root@10.0.20.10", "hostname").stdout == "registry-vm\n"
    assert environment.operator.run(*login, "192.168.1.13", "echo", "nas").stdout == "nas\n"


def test_a_host_can_lose_its_plug_its_cable_and_its_daemons(fresh: Environment) -> None:
    login = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=1", "root@10.0.20.10", "hostname")
    fresh.vm.write("/opt/kept", "kept")
    vm = fresh.vm
    faults: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (vm.unplug, vm.plug),
        (partial(vm.cable, up=False), partial(vm.cable, up=True)),
        (partial(vm.black_hole, on=True), partial(vm.black_hole, on=False)),
        (partial(vm.pause, "sshd"), partial(vm.resume, "sshd")),
        (partial(vm.stop, "sshd"), partial(vm.start, "sshd")),
    ]
    for away, back in faults:
        away()
        assert fresh.operator.run(*login, check=False, timeout=20).returncode == 255
        back()
        assert fresh.operator.run(*login, timeout=20).stdout == "registry-vm\n"
    assert fresh.vm.read("/opt/kept") == "kept"
    fresh.vm.path("/opt/kept").unlink()


def test_room_can_run_out_and_come_back(fresh: Environment) -> None:
    fill = ("dd", "if=/dev/zero", "bs=1M", "count=9")
    with fresh.vm.room("system", free_megabytes=5):
        assert (
            "No space left" in fresh.vm.run(*fill, f"of={VM_DIRECTORY}/filler", check=False).stderr
        )
    fresh.vm.run(*fill, f"of={VM_DIRECTORY}/filler")
    with fresh.vm.room("data", free_megabytes=5):
        assert (
            "No space left" in fresh.vm.run(*fill, "of=/var/lib/docker/filler", check=False).stderr
        )
    fresh.vm.run("rm", "/var/lib/docker/filler")


def test_looking_changes_nothing(fresh: Environment) -> None:
    assert fresh.listing() == fresh.listing()


def test_nothing_of_the_lab_is_reachable_from_the_machine_itself(environment: Environment) -> None:
    routes = subprocess.run(
        ["ip", "route", "show", "table", "all"], text=True, capture_output=True, check=True
    ).stdout
    assert not any(line.startswith(("10.0.20.", "192.168.1.")) for line in routes.splitlines())
    own = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path("/proc/self/net", table).read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    theirs = {
        line.split()[9]
        for host in environment.hosts.values()
        if host.running
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{host.init_pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    assert theirs
    assert not own & theirs
