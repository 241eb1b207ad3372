"""What docker on the registry VM says of itself: where it writes images, and which it has."""

import pytest

from breakglass.observe.docker import LocalImages, read_docker, read_local_images
from breakglass.plan import Argv, Host
from breakglass.ports import Result
from tests.facts import REPOSITORY, VM

DAEMON = "/var/lib/docker/containerd/daemon"


class Vm:
    """Implements ports.Reads."""

    def __init__(self, **answers: str) -> None:
        self._answers = answers
        self.asked_for_room: list[str] = []

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:  # noqa: ARG002
        (words,) = pipeline
        if words[0] == "df":
            self.asked_for_room.append(words[2])
            return Result(0, b"Filesystem\n/dev/x 100 50 50 50% /\n", b"")
        known = [text for key, text in self._answers.items() if key in " ".join(words)]
        return Result(0, known[0].encode(), b"") if known else Result(127, b"", b"not found")


@pytest.mark.parametrize(
    ("driver", "answers", "directory"),
    [
        ("overlay2", {}, "/var/lib/docker"),
        ("overlayfs", {}, "/var/lib/containerd"),
        ("overlayfs", {"config": 'version = 3\nroot = "/mnt/c"\n'}, "/mnt/c"),
        ("overlayfs", {"config": "root = '/mnt/c'\nstate = '/run/c'\n"}, "/mnt/c"),
        ("overlayfs", {"Address": "/run/containerd/containerd.sock\n"}, "/var/lib/containerd"),
        ("overlayfs", {"Address": "/var/run/docker/containerd/containerd.sock\n"}, DAEMON),
    ],
)
def test_room_is_asked_of_the_disk_that_images_are_written_to(
    driver: str, answers: dict[str, str], directory: str
) -> None:
    vm = Vm(ServerVersion=f"28.5.2 {driver} /var/lib/docker\n", **answers)
    docker = read_docker(vm, VM)
    assert docker.directory == directory
    assert vm.asked_for_room == [directory]
    assert docker.free_bytes == 50 * 1024


def test_the_images_of_the_repository_are_read_with_those_that_containers_use() -> None:
    vm = Vm(ls="a1\nb2\n<none>\n", ps=f"{REPOSITORY}:b2\nother\n")
    local = read_local_images(vm, VM, REPOSITORY)
    assert local.tags == ("a1", "b2")
    assert local.has_unused(REPOSITORY, "a1")
    assert not local.has_unused(REPOSITORY, "b2")
    assert read_local_images(Vm(ls="a1\n"), VM, REPOSITORY) == LocalImages()
