"""A host whose python3 can not run our scripts: refused in a sentence, whichever script it is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.errors import Refused
from breakglass.plan import Copy, Lock, Run
from breakglass.ssh import Connections
from breakglass.ssh.wire import python_too_old, wire
from tests.interpreters import HOST_VERSIONS, TOO_OLD, find, parameter, python3_in
from tests.unit.loopback_sshd import Sshd, running_sshd

PRETENDS = f"""#!/bin/sh
shift; loader=$2; shift 2
exec {sys.executable} -IS -c "import sys; sys.version_info = (3, 7, 16); $loader" "$@"
"""
"""A python3 of today that the loader takes for an old one: for machines that have none."""

OLD = [pytest.param("", id="pretended"), *map(parameter, TOO_OLD)]
SCRIPTS = ("archive", "lock", "registries", "responder", "taken")


@pytest.fixture(params=OLD)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The version, and a directory for PATH in which `python3` is of it."""
    version = request.param
    if version:
        return version, python3_in(tmp_path / "bin", find(version))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(PRETENDS)
    (tmp_path / "bin/python3").chmod(0o755)
    return "3.7", tmp_path / "bin"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def sent_to(directory: Path, *pipeline: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    sent = wire(pipeline, sudo=False)
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}
    line = ["sh", "-c", sent.line]
    return subprocess.run(
        line,
        input=sent.opening,
        capture_output=True,
        timeout=30,
        check=False,
        env=environment,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_that_is_too_old_says_so_in_one_line(old: tuple[str, Path], script: str) -> None:
    version, directory = old
    line = ("python3", "breakglass-remote.pyz", script, "--help")
    for pipeline in ((line,), (("echo", "data"), line)):
        ended = sent_to(directory, *pipeline)
        assert (ended.returncode, ended.stdout) == (3, b"")
        assert ended.stderr.decode() == f"python3 is {version}, too old\n"


@pytest.mark.parametrize("version", [*map(parameter, HOST_VERSIONS)])
def test_one_that_is_new_enough_runs_it(version: str, tmp_path: Path) -> None:
    directory = python3_in(tmp_path / "bin", find(version))
    ended = sent_to(directory, ("python3", "breakglass-remote.pyz", "archive", "--help"))
    assert (ended.returncode, ended.stderr, ended.stdout[:6]) == (0, b"", b"usage:")


def test_only_our_loaders_own_line_counts() -> None:
    assert python_too_old(3, b"@progress 5\npython3 is 3.6, too old\n") == "3.6"
    assert python_too_old(4, b"python3 is 3.6, too old\n") is None
    assert python_too_old(3, b"the image's python3 is 3.6, too old\n") is None


def test_whatever_brings_a_script_is_refused_with_what_to_type(
    sshd: Sshd,
    old: tuple[str, Path],
    tmp_path: Path,
) -> None:
    version, directory = old
    host = sshd.host()
    source, sink = (
        (("cat", "/dev/zero"),),
        (("python3", "breakglass-remote.pyz", "archive", "receive"),),
    )
    copy = Copy(Run(host, source), Run(host, sink))
    lock = Lock(host, str(tmp_path / "lock"), "me")
    program = sshd.directory / "bin/python3"
    program.symlink_to(directory / "python3")
    try:
        with Connections(sshd.settings(tmp_path), environ={"HOME": str(tmp_path)}) as connections:
            with pytest.raises(Refused) as asked:
                connections.ask(
                    host, ("python3", "breakglass-remote.pyz", "taken", "read", "/none")
                )
            with pytest.raises(Refused) as copied:
                connections.copy(copy, lambda _: None)
            with pytest.raises(Refused) as locked, connections.hold(lock):
                pass
    finally:
        program.unlink()
    for refused in (asked.value, copied.value, locked.value):
        wrong = f"node: python3 is {version} there, and breakglass needs 3.8 or newer"
        assert refused.message == wrong
        look = f"ssh -p {sshd.port} 127.0.0.1 python3 --version"
        assert refused.next_step.typed_commands[0] == look
    assert not (tmp_path / "lock").exists()
