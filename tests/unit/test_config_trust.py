"""Who may write a configuration, and which files it may name."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given

from breakglass import config
from breakglass.config.ctr_command import ctr_command
from breakglass.config.trust import Owned, fault
from breakglass.errors import Usage
from breakglass.local_files import read_regular
from tests.unit.strategies import DEEP, HOSTILE, VALUES, documents, examples

SMALLEST = """
image: {repository: "registry.example:5050/team/infra-ci"}
registry_vm: {ssh: root@10.0.20.10, directory: /opt/tarballs}
"""
ME, ROOT, STRANGER = 1000, 0, 1001
FILE, DIRECTORY = stat.S_IFREG, stat.S_IFDIR


@pytest.mark.parametrize(
    ("owner", "mode", "sticky_is_enough", "verdict"),
    [
        (ME, FILE | 0o600, False, ""),
        (ROOT, FILE | 0o644, False, ""),
        (ME, FILE | 0o444, False, ""),
        (STRANGER, FILE | 0o600, False, "belongs to UID 1001"),
        (ME, FILE | 0o664, False, "can be written by others (mode 0664)"),
        (ROOT, FILE | 0o646, False, "can be written by others (mode 0646)"),
        (ME, FILE | 0o1666, True, "can be written by others (mode 1666)"),
        (ME, DIRECTORY | 0o755, False, ""),
        (STRANGER, DIRECTORY | 0o755, True, "belongs to UID 1001"),
        (ME, DIRECTORY | 0o775, True, "can be written by others (mode 0775)"),
        (ROOT, DIRECTORY | 0o1777, True, ""),
        (ROOT, DIRECTORY | 0o1777, False, "can be written by others (mode 1777)"),
        (STRANGER, DIRECTORY | 0o1777, True, "belongs to UID 1001"),
    ],
)
def test_only_the_user_and_root_may_be_able_to_write(
    owner: int, mode: int, sticky_is_enough: bool, verdict: str
) -> None:
    found = fault(Owned(Path("/x"), owner, mode), user=ME, sticky_is_enough=sticky_is_enough)
    assert found.startswith(verdict)
    assert bool(found) == bool(verdict)


def written(directory: Path, *, mode: int = 0o600, text: str = SMALLEST) -> Path:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o700)
    path = directory / "breakglass.yaml"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_configuration_that_others_may_write_is_not_used_wherever_it_lies(
    tmp_path: Path, mode: int
) -> None:
    path = written(tmp_path / "d", mode=mode)
    with pytest.raises(Usage, match=r"can be written by others \(mode 0\d+\)") as caught:
        config.load(path)
    assert f"chmod go-w {path}" in str(caught.value.next_step)


def test_a_configuration_in_a_directory_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    path = written(tmp_path / "d")
    path.parent.chmod(0o777)
    with pytest.raises(Usage, match=r"its directory .* can be written by others"):
        config.load(path)
    path.parent.chmod(0o1777)
    assert config.load(path).source == path, "in a directory like /tmp nobody can replace it"


def test_a_link_is_followed_and_what_it_leads_to_is_judged(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir(mode=0o700)
    link = tmp_path / "here/breakglass.yaml"
    real = written(tmp_path / "there")
    link.symlink_to(real)
    assert config.load(link).source == link
    real.parent.chmod(0o770)
    with pytest.raises(Usage, match=r"its directory .*there can be written by others"):
        config.load(link)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_configuration_of_somebody_else_is_not_used_and_the_way_out_is_a_copy(
    tmp_path: Path,
) -> None:
    path = written(tmp_path / "d")
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(Usage, match="belongs to UID 1001, and not to you") as caught:
        config.load(path)
    assert f"install -D -m 600 {path} " in str(caught.value.next_step)


def test_what_a_stranger_put_into_the_current_directory_stops_the_run(tmp_path: Path) -> None:
    here, home = written(tmp_path / "shared").parent, tmp_path / "home"
    mine = home / ".config/breakglass/config.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(SMALLEST)
    nowhere = tmp_path / "nowhere.yaml"

    def find(*, searches_cwd: bool = True) -> Path:
        return config.find(
            None, environ={}, cwd=here, home=home, system=nowhere, searches_cwd=searches_cwd
        )

    assert find() == here / "breakglass.yaml"
    assert find(searches_cwd=False) == mine, "as completion looks for it"
    for mode in (0o777, 0o1777, 0o770):
        here.chmod(mode)
        with pytest.raises(Usage, match=r"shared/breakglass.yaml is not used: its directory"):
            find()
        assert find(searches_cwd=False) == mine
    (here / "breakglass.yaml").unlink()
    assert find() == mine, "the directory alone is no reason to stop"


def test_a_yml_beside_a_searched_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "breakglass.yml").touch()
    with pytest.raises(Usage, match=r"breakglass.yaml \(there is .*breakglass.yml: rename it\)"):
        config.find(None, environ={}, cwd=tmp_path, home=tmp_path, system=tmp_path / "none.yaml")


@contextmanager
def special(path: Path, kind: str) -> Iterator[Path]:
    """A file that is not regular."""
    if kind == "FIFO":
        os.mkfifo(path, 0o600)
        yield path
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            yield path
    else:
        path.symlink_to("/dev/zero")
        yield path


KINDS = pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])


@KINDS
def test_a_configuration_that_is_no_regular_file_is_reported_and_not_waited_for(
    tmp_path: Path, kind: str
) -> None:
    with special(tmp_path / "breakglass.yaml", kind) as path, pytest.raises(Usage) as caught:
        config.load(path)
    assert "cannot be read" in caught.value.message


@KINDS
def test_every_file_that_the_configuration_names_is_a_regular_one(
    tmp_path: Path, kind: str
) -> None:
    named = """
registries: [{name: a, url: "https://registry.example:5050", repository: team/infra-ci, ca: x}]
ssh: {config: x, known_hosts: x}
kubernetes: {kubeconfig: x}
"""
    path = written(tmp_path / "d", text=SMALLEST + named)
    with special(path.with_name("x"), kind), pytest.raises(Usage) as caught:
        config.load(path)
    for key in ("registries[0].ca", "ssh.config", "ssh.known_hosts", "kubernetes.kubeconfig"):
        assert f"{key}: {path.with_name('x')} cannot be used: it is not a regular file" in (
            caught.value.message
        )


def test_a_file_is_read_up_to_a_limit_and_the_null_device_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    assert read_regular(path, most_bytes=11).content == b"x" * 11
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular(path, most_bytes=10)
    assert read_regular(Path(os.devnull)).content == b""


@pytest.mark.parametrize(
    "words",
    [
        ["ctr"],
        ["/usr/local/bin/ctr"],
        ["k3s", "ctr"],
        ["/usr/local/bin/k3s", "ctr"],
        ["k0s", "ctr"],
        ["microk8s", "ctr"],
        ["microk8s.ctr"],
        ["/var/lib/rancher/rke2/bin/ctr", "--address", "/run/k3s/containerd/containerd.sock"],
        ["ctr", "--address=/run/containerd/containerd.sock"],
        ["ctr", "-a", "/run/containerd/containerd.sock"],
        ["k3s", "ctr", "-a", "/run/x.sock"],
    ],
)
def test_the_forms_in_which_ctr_is_shipped_are_accepted(words: list[object]) -> None:
    assert ctr_command(words) == tuple(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        None,
        "ctr",
        [3],
        ["sh"],
        ["sh", "-c", "id"],
        ["ctr", "ctr"],
        ["k3s"],
        ["k3s", "kubectl"],
        ["bin/ctr"],
        ["../ctr"],
        ["/a/../ctr"],
        ["/ctr/"],
        ["-ctr"],
        ["nerdctl"],
        ["ctr", "images"],
        ["ctr", "--address"],
        ["ctr", "--address", "relative.sock"],
        ["ctr", "--address", "/a.sock", "images"],
        ["ctr", "--address=/a b"],
        ["ctr", "-a=/a.sock"],
        ["ctr", "--config=/tmp/x"],
        ["env", "ctr"],
        ["FOO=bar", "ctr"],
        *([word] for word in HOSTILE),
        *(["ctr", word] for word in HOSTILE),
        *(["ctr", "--address", word] for word in HOSTILE),
    ],
)
def test_any_other_command_line_is_refused_in_one_printable_line(words: object) -> None:
    with pytest.raises(Usage, match="the known forms: ") as caught:
        ctr_command(words)
    assert caught.value.message.isprintable()


WHOLE = {
    "image": {"repository": "r.example/ci", "also_known_as": ["r.example/ci:{tag}"]},
    "registry_vm": {"ssh": "root@10.0.20.10", "directory": "/opt/tarballs", "keep": 5},
    "fallbacks": [{"name": "nas", "ssh": "nas", "directory": "/volume1"}],
    "nodes": {"hosts": {"n1": "10.0.20.1"}, "ctr": ["k3s", "ctr"], "selector": {"role": "ci"}},
    "registries": [{"name": "r", "url": "https://r.example", "repository": "ci", "ca": "ca.pem"}],
    "ssh": {"config": "~/.ssh/config", "connect_timeout_seconds": 5},
    "kubernetes": {"kubeconfig": "kubeconfig", "context": "home"},
}


@examples(60)
@given(documents(WHOLE) | VALUES.map(str))
@example("kubernetes: {kubeconfig: /dev/zero}")
def test_a_hostile_configuration_is_read_or_reported_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.yaml"
    # Hypothesis allows a deeper recursion, for which PyYAML needs minutes; test_config.py has this.
    text = text.replace(DEEP, "[" * 50)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    path.chmod(0o600)
    try:
        read = config.load(path)
    except Usage as error:
        message = error.message
    else:
        message = ""
        assert ctr_command(list(read.nodes.ctr)) == read.nodes.ctr
    assert all(line.isprintable() for line in message.splitlines())
