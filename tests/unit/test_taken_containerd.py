"""taken: what it reads of containerd's configuration."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.taken_node import REGISTRY, Node

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


# containerd


@pytest.fixture
def programs(node: Node) -> Path:
    """The only directory on PATH."""
    directory = node.root / "bin"
    directory.mkdir()
    node.environment["PATH"] = str(directory)
    return directory


def program(directory: Path, name: str, *lines: str) -> None:
    (directory / name).write_text("\n".join(("#!/bin/sh", *lines)) + "\n")
    (directory / name).chmod(0o755)


def containerd_of(node: Node, *ctr: str) -> tuple[dict[str, Any], str | None]:
    reported = node.read("--registry", REGISTRY, *(("--", *ctr) if ctr else ()))
    # Those that run on the machine of the tests come first.
    return reported["containerd"][-1], reported["content"]


def test_without_containerd_on_path_the_file_beside_config_path_is_read(
    node: Node, programs: Path
) -> None:
    file = node.write(b'config_path = "here"\n', node.certs.parent / "config.toml")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"], reported["file"]) == (
        'config_path = "here"\n',
        "",
        str(file),
    )
    assert list(programs.iterdir()) == []


def test_without_containerd_and_without_the_file_the_fault_is_reported(
    node: Node, programs: Path
) -> None:
    reported, content = containerd_of(node)
    assert reported["configuration"] == ""
    assert "containerd" in reported["fault"]
    assert (reported["newer"], content) == ("", None)
    assert list(programs.iterdir()) == []


def test_containerd_is_asked_about_the_file_beside_config_path_where_there_is_one(
    node: Node, programs: Path
) -> None:
    program(programs, "containerd", 'echo "asked = \\"$*\\""', "echo noise >&2")
    assert containerd_of(node)[0]["configuration"] == 'asked = "config dump"\n'
    file = node.write(b"", node.certs.parent / "config.toml")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"]) == (
        f'asked = "--config {file} config dump"\n',
        "",
    )


def test_what_containerd_says_of_a_configuration_that_it_refuses_is_reported(
    node: Node, programs: Path
) -> None:
    program(programs, "containerd", "echo 'containerd: no such plugin' >&2", "exit 1")
    reported, _ = containerd_of(node)
    assert (reported["configuration"], reported["fault"]) == ("", "containerd: no such plugin")


def test_the_content_store_is_where_the_running_containerd_says(node: Node, programs: Path) -> None:
    program(
        programs,
        "ctr",
        'test "$*" = "-n k8s.io plugins ls -d id==content" || exit 1',
        "echo 'Type:          io.containerd.content.v1'",
        "echo 'Exports:'",
        "printf '    root      /data/my store/content\\n'",
    )
    assert containerd_of(node, "ctr", "-n", "k8s.io")[1] == "/data/my store/content"


@pytest.mark.parametrize(
    "lines",
    [("exit 1",), ("echo root",), ("echo '   root   relative/path'",), ("printf '\\377\\376'",)],
)
def test_where_containerd_does_not_tell_its_content_store_none_is_reported(
    node: Node, programs: Path, lines: tuple[str, ...]
) -> None:
    program(programs, "ctr", *lines)
    assert containerd_of(node, "ctr")[1] is None
    assert containerd_of(node, "k3s", "ctr")[1] is None
