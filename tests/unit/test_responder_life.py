"""The script responder as a process of a node: started, replaced, asked how it is, ended, and what
a wrong node is reported.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from breakglass.remote.responder.units import quoted
from breakglass.ssh.wire import wire
from tests.interpreters import HOST, python3_in, zipapp
from tests.unit.responder_node import (
    FORGEJO,
    MANIFEST,
    PRIVATE,
    Node,
    Ran,
    altered,
    process_status,
    unused_port,
)

pytestmark = pytest.mark.usefixtures("host_python")

KEPT = "breakglass.local/keep/0123456789abcdef:kept"
LATEST = f"{PRIVATE}:latest={KEPT}"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.keep(KEPT, node.manifest(node.blob(b"layer")))
    yield node
    node.environment = None
    node.stop()


def alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return process_status(process, "State")[0] != "Z"
    return False


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def nothing_runs(node: Node) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that has ended meanwhile
            if str(node.script).encode() in path.read_bytes():
                return False
    return True


def test_start_returns_and_the_responder_lives_on_without_the_session(node: Node) -> None:
    reported = node.start(LATEST, f"{FORGEJO}:latest={KEPT}").reported
    (process,) = reported["pids"]
    assert reported["port"] == reported["free_port"] == node.port
    assert reported["answers"] == dict.fromkeys(
        (f"{PRIVATE}:latest", f"{FORGEJO}:latest"), node.images[KEPT][1]
    )
    assert os.getsid(process) == process
    assert {str(Path(f"/proc/{process}/fd/{number}").readlink()) for number in range(3)} == {
        "/dev/null"
    }
    assert node.script.stat().st_mode & 0o777 == 0o600
    assert node.script.read_bytes() == zipapp().read_bytes()
    assert sorted(path.name for path in node.directory.iterdir()) == [node.script.name]
    assert node.status() == reported


def test_it_starts_from_the_text_that_the_wire_brings(node: Node) -> None:
    sent = wire(
        (("python3", "breakglass-remote.pyz", "responder", *node.start_line(LATEST)),), sudo=False
    )
    environment = {
        **os.environ,
        "PATH": f"{python3_in(node.root / 'bin')}:{os.environ['PATH']}",
        "http_proxy": "http://127.0.0.1:1",
    }
    ended = subprocess.run(
        ["sh", "-c", sent.line],
        input=sent.opening,
        capture_output=True,
        timeout=30,
        check=False,
        env=environment,
    )
    reported = Ran(ended.returncode, ended.stdout.decode(), ended.stderr.decode()).reported
    assert reported["answers"] == {f"{PRIVATE}:latest": node.images[KEPT][1]}
    assert node.script.read_bytes() == zipapp().read_bytes()


def test_a_second_start_replaces_the_first(node: Node) -> None:
    (first,) = node.start(LATEST).reported["pids"]
    (second,) = node.start(LATEST).reported["pids"]
    assert not alive(first)
    other_port = unused_port()
    reported = node.start(f"{FORGEJO}:latest={KEPT}", port=other_port).reported
    assert not alive(second)
    assert (len(reported["pids"]), reported["port"], list(reported["answers"])) == (
        1,
        other_port,
        [f"{FORGEJO}:latest"],
    )


def test_stop_ends_it_and_nothing_else_however_often(node: Node, tmp_path: Path) -> None:
    assert node.stop().reported == {"ended": []}
    (process,) = node.start(LATEST).reported["pids"]
    elsewhere = Node(tmp_path / "elsewhere")
    elsewhere.keep(KEPT, elsewhere.manifest(elsewhere.blob(b"layer")))
    sleep = "import time; time.sleep(60)"
    decoys = [
        subprocess.Popen([HOST.python, "-c", sleep, *argv])
        for argv in ([str(node.script), "serve"], ["-IS", str(node.script), "serve"])
    ]
    try:
        (other,) = elsewhere.start(LATEST).reported["pids"]
        assert node.stop().reported == {"ended": [process]}
        assert node.stop().reported == {"ended": []}
        assert not alive(process)
        assert alive(other)
        assert [decoy.poll() for decoy in decoys] == [None, None]
        assert not list(node.directory.iterdir())
        assert node.run("stop", str(tmp_path / "never" / "there")).reported == {"ended": []}
    finally:
        elsewhere.stop()
        for decoy in decoys:
            decoy.kill()
            decoy.wait()


@contextlib.contextmanager
def decoy(node: Node, *before: str, user: int | None = None) -> Iterator[int]:
    """A process with the responder's own command line, which becomes a user and sleeps; behind
    `before`, which replaces itself by it.
    """
    become = "" if user is None else f"os.setresuid({user}, {user}, {user}); "
    node.script.write_text(f"import os, time; {become}time.sleep(60)\n")
    line = [
        HOST.python,
        "-IS",
        str(node.script),
        "responder",
        "serve",
        "--port",
        "1",
        "--content",
        "/c",
        "--answer",
        f"{PRIVATE}:latest={MANIFEST}@sha256:{'0' * 64}",
    ]
    process = subprocess.Popen([*before, *line])
    try:
        command_line = Path(f"/proc/{process.pid}/cmdline")
        uid = str(os.geteuid() if user is None else user)
        assert until(
            lambda: (
                command_line.read_bytes().split(b"\0")[1:5]
                == [b"-IS", os.fsencode(node.script), b"responder", b"serve"]
                and process_status(process.pid, "Uid")[0] == uid
            )
        )
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_a_process_of_our_own_user_with_its_command_line_is_the_responder(node: Node) -> None:
    with decoy(node) as process:
        assert node.status()["pids"] == [process]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of others")
def test_a_process_of_another_user_with_the_same_command_line_is_not_ours(node: Node) -> None:
    with decoy(node, user=4321) as process:
        assert node.status()["pids"] == []
        assert node.stop().reported == {"ended": []}
        assert alive(process)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of others")
def test_a_process_of_nobody_with_its_command_line_is_the_responder(node: Node) -> None:
    with decoy(node, user=65534) as process:
        assert node.status()["pids"] == [process]


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root makes a mount namespace"
)
def test_a_process_in_another_mount_namespace_with_the_same_command_line_is_not_ours(
    node: Node,
) -> None:
    with decoy(node, "unshare", "--mount", "--") as process:
        assert node.status()["pids"] == []
        assert node.stop().reported == {"ended": []}
        assert alive(process)


def test_one_that_does_not_listen_to_sigterm_is_killed(node: Node) -> None:
    (process,) = node.start(LATEST).reported["pids"]
    os.kill(process, signal.SIGSTOP)
    hasty = altered(node.root, "waiting", ("STOP_SECONDS = 10.0, 3.0", "STOP_SECONDS = 10.0, 0.3"))
    assert node.run("stop", str(node.directory), archive=hasty).reported == {"ended": [process]}
    assert not alive(process)


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_it_ends_by_itself_when_its_file_is_gone(node: Node, way: str) -> None:
    (process,) = node.start(LATEST).reported["pids"]
    if way == "removed":
        node.script.unlink()
    else:
        (node.root / "other").write_text("")
        (node.root / "other").rename(node.script)
    assert until(lambda: not alive(process))


def test_status_tells_of_nothing_running_and_of_a_free_port_that_stays_the_same(node: Node) -> None:
    reported = node.status()
    assert (reported["pids"], reported["port"], reported["answers"]) == ([], None, {})
    assert 20000 <= reported["free_port"] < 30000
    assert node.status() == reported
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", reported["free_port"]))
        taken.listen()
        assert node.status()["free_port"] == (
            reported["free_port"] + 1 if reported["free_port"] < 29999 else 20000
        )
    assert not list(node.directory.iterdir())


def test_the_reported_port_is_free_again_at_once_after_stop(node: Node) -> None:
    node.port = node.status()["free_port"]
    assert node.start(LATEST).reported["free_port"] == node.port
    node.ask("/v2/")
    node.stop()
    assert node.status()["free_port"] == node.port


def test_status_names_only_what_is_answered_right_now(node: Node) -> None:
    other = node.manifest(node.blob(b"other"))
    node.keep("breakglass.local/keep/other:kept", other)
    assert (
        len(node.start(LATEST, f"{FORGEJO}:1=breakglass.local/keep/other:kept").reported["answers"])
        == 2
    )
    node.path_of(other).unlink()
    assert list(node.status()["answers"]) == [f"{PRIVATE}:latest"]


def test_a_port_that_is_let_go_of_in_a_moment_is_waited_for(node: Node) -> None:
    """The kernel closes the sockets of the one that was ended after its command line is gone."""
    node.start(LATEST)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        letting_go = threading.Timer(0.5, taken.close)
        letting_go.start()
        started = node.start(LATEST, port=taken.getsockname()[1])
        letting_go.join()
    assert len(started.reported["pids"]) == 1


def test_a_port_of_another_program_is_a_failure_that_leaves_nothing(node: Node) -> None:
    node.start(LATEST)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = node.start(LATEST, port=port)
    assert (failed.status, failed.sentence) == (
        4,
        f"port {port} of 127.0.0.1 is taken by another program",
    )
    assert nothing_runs(node)
    assert not list(node.directory.iterdir())


def test_a_responder_that_can_not_serve_says_why(node: Node) -> None:
    dark = altered(
        node.root,
        "commands",
        ("    become_nobody(shelf)\n", '    raise Fault(FAILED, "it is dark")\n'),
    )
    failed = node.run(*node.start_line(LATEST), archive=dark)
    assert (failed.status, failed.sentence) == (4, "the responder ended at once: it is dark")
    assert not list(node.directory.iterdir())


def test_a_faulty_node_keeps_what_ran_before(node: Node) -> None:
    before = node.start(LATEST).reported
    missing = node.start(f"{PRIVATE}:latest=breakglass.local/keep/ffffffffffffffff:kept")
    assert (missing.status, missing.sentence) == (
        4,
        (
            "containerd has no image called breakglass.local/keep/ffffffffffffffff:kept, so "
            "there is nothing to answer with"
        ),
    )
    damaged = node.manifest(node.blob(b"second"))
    node.keep("breakglass.local/keep/damaged:kept", damaged)
    node.path_of(damaged).chmod(0o644)
    node.path_of(damaged).write_bytes(b"{}")
    failed = node.start(f"{PRIVATE}:latest=breakglass.local/keep/damaged:kept")
    assert (failed.status, failed.sentence) == (
        6,
        f"the content store is damaged: the file of {damaged['digest']} has another sha256",
    )
    node.path_of(damaged).unlink()
    assert node.start(f"{PRIVATE}:latest=breakglass.local/keep/damaged:kept").status == 6
    node.ctr.write_text("#!/bin/sh\necho 'ctr: containerd is \033[31mnot running' >&2; exit 1\n")
    failed = node.start(LATEST)
    assert (failed.status, failed.sentence) == (
        4,
        f"{node.ctr} -n k8s.io images ls failed: ctr: containerd is  [31mnot running",
    )
    node.ctr.unlink()
    assert node.start(LATEST).status == 3
    assert node.status() == before


def test_a_wrong_content_store_is_named(node: Node) -> None:
    shutil.rmtree(node.content)
    failed = node.start(LATEST)
    assert (failed.status, failed.sentence) == (
        4,
        (
            f"{node.content} is not containerd's content store: {node.content}/blobs/sha256: No "
            f"such file or directory"
        ),
    )


SERVED = ("--port", "1", "--content", "/c")


def started_with(*answers: str) -> list[str]:
    """The arguments of a start that is right but for what may be wrong with the answers."""
    options = [word for answer in answers for word in ("--answer", answer)]
    return ["start", "/d", *SERVED, *options, "--", "ctr"]


@pytest.mark.parametrize(
    "argv",
    [
        ["start", "/d", "--port", "1", "--content", "/c", "--answer", LATEST],  # no ctr
        ["start", "/d", "--port", "1", "--content", "/c", "--", "ctr"],
        ["start", "/d/../e", "--port", "1", "--content", "/c", "--answer", LATEST, "--", "ctr"],
        ["start", "/d", "--port", "65536", "--content", "/c", "--answer", LATEST, "--", "ctr"],
        ["start", "/d", "--po", "1", "--content", "/c", "--answer", LATEST, "--", "ctr"],
        started_with(LATEST, LATEST),
        started_with(f"infra-ci:latest={KEPT}"),
        started_with(f"{PRIVATE}/../x:latest={KEPT}"),
        started_with(f"{PRIVATE}:latest\n={KEPT}"),
        ["serve", *SERVED, "--answer", f"{PRIVATE}:latest={MANIFEST}@sha256:../../x"],
        ["serve", *SERVED, "--answer", f"{PRIVATE}:latest=text/html@sha256:{'0' * 64}"],
        ["stop", "/d", "--", "ctr"],
        ["status", "/d\n"],
        [],
    ],
)
@pytest.mark.slow
def test_malformed_arguments_are_refused(node: Node, argv: list[str]) -> None:
    refused = node.run(*argv)
    assert refused.status == 2
    assert refused.sentence.startswith("breakglass-remote.pyz responder")


def test_a_head_that_does_not_come_to_its_end_is_cut_off(node: Node) -> None:
    # What starts it is also what serves, so a test can have a shorter time.
    hasty = altered(node.root, "loopback", ("HEAD_SECONDS = 8192, 5.0", "HEAD_SECONDS = 8192, 0.3"))
    assert node.run(*node.start_line(LATEST), archive=hasty).status == 0
    before = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert node.send(b"GET /v2/ HTTP/1.1\r\n") == b""
    assert time.monotonic() - before > 0.2


SYSTEMCTL = """#!/bin/sh
file={etc}/breakglass-responder.service
[ -e $file ] || file={run}/breakglass-responder.service
case $1 in
show) if [ -e $file ]
    then printf 'LoadState=loaded\\nMainPID=%s\\nExecStart={{ argv[]=%s ; ignore_errors=no }}\\nFragmentPath=%s\\n' "$(cat {pid} 2>/dev/null || echo 0)" "$(sed -n 's/^ExecStart=//p' $file)" $file
    else printf 'LoadState=not-found\\nMainPID=0\\n'; fi; exit 0;;
is-enabled) [ -e {enabled} ]; exit;;
daemon-reload) ;;
enable|start) [ $1 = start ] || touch {enabled}
    sh -c "exec setsid $(sed -n 's/^ExecStart=//p' $file)" </dev/null >/dev/null 2>&1 &
    echo $! >{pid};;
stop) kill "$(cat {pid})"; rm {pid};;
disable) rm {enabled};;
reset-failed) code=1;;
*) exit 9;;
esac
echo "$*" >>{log}
exit ${{code:-0}}
"""  # noqa: E501
SERVICE = "breakglass-responder.service"
STARTED = ["daemon-reload", f"enable --quiet --now {SERVICE}"]
ENDED = [
    f"stop {SERVICE}",
    f"disable --quiet {SERVICE}",
    "daemon-reload",
    f"reset-failed {SERVICE}",
]


class Systemd:
    """A host that systemd runs: a program that behaves as systemctl does, as far as it is used."""

    def __init__(self, node: Node) -> None:
        self.node = node
        root = node.root
        self.etc, self.run_time, self.pid = root / "etc", root / "run", root / "pid"
        for directory in (self.etc, self.run_time, root / "bin"):
            directory.mkdir()
        self.log, self.enabled = root / "log", root / "enabled"
        self.log.touch()
        program = root / "bin" / "systemctl"
        program.write_text(
            SYSTEMCTL.format(
                etc=self.etc,
                run=self.run_time,
                pid=self.pid,
                enabled=self.enabled,
                log=self.log,
            )
        )
        program.chmod(0o755)
        node.environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
        self.archive = altered(
            root,
            "units",
            ("/run/systemd/system", str(self.run_time)),
            ("/etc/systemd/system", str(self.etc)),
        )

    @property
    def unit(self) -> Path:
        return self.etc / SERVICE

    @property
    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def run(self, *argv: str) -> Ran:
        return self.node.run(*argv, archive=self.archive)

    def start(self) -> Ran:
        return self.run(*self.node.start_line(LATEST))

    def stop(self) -> Ran:
        return self.run("stop", str(self.node.directory))

    def status(self) -> dict[str, Any]:
        return self.run("status", str(self.node.directory)).reported


@pytest.fixture
def systemd(node: Node) -> Iterator[Systemd]:
    systemd = Systemd(node)
    yield systemd
    systemd.stop()


def test_under_systemd_it_is_an_enabled_unit_until_stop(node: Node, systemd: Systemd) -> None:
    (process,) = systemd.start().reported["pids"]
    assert systemd.pid.read_text().split() == [str(process)]
    media_type, digest = node.images[KEPT]
    lines = systemd.unit.read_text().splitlines()
    serve = (
        f"ExecStart={HOST.python} -IS {node.script} responder serve --port {node.port} --content "
        f"{node.content} "
        f"--answer {PRIVATE}:latest={media_type}@{digest}"
    )
    assert serve in lines
    assert {
        f"ConditionPathExists={node.script}",
        "StartLimitIntervalSec=0",
        "Restart=always",
        "MemoryMax=64M",
        "WantedBy=multi-user.target",
    } <= set(lines)
    assert systemd.unit.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in systemd.etc.iterdir()] == [SERVICE]
    assert systemd.said == STARTED
    assert systemd.status()["survives_reboot"] is True
    assert len(systemd.start().reported["pids"]) == 1
    assert systemd.stop().status == systemd.stop().status == 0
    assert systemd.said == [*STARTED, *ENDED, *STARTED, *ENDED, f"reset-failed {SERVICE}"][:-1]
    assert not list(systemd.etc.iterdir())
    assert nothing_runs(node)


def test_what_the_unit_file_says_is_enough_to_serve_the_same_after_a_reboot(
    node: Node, systemd: Systemd
) -> None:
    before = systemd.start().reported
    (process,) = before["pids"]
    os.kill(process, signal.SIGKILL)
    assert until(lambda: not alive(process))
    systemd.pid.unlink()
    environment = node.environment
    subprocess.run(["systemctl", "start", SERVICE], env=environment, check=True)  # as at boot
    assert until(lambda: systemd.status()["answers"] == before["answers"])


def test_a_unit_that_somebody_disabled_does_not_survive_a_reboot(systemd: Systemd) -> None:
    systemd.start()
    systemd.enabled.unlink()
    assert systemd.status()["survives_reboot"] is False


def test_where_etc_is_read_only_the_unit_lasts_until_the_next_reboot(
    node: Node, systemd: Systemd
) -> None:
    systemd.etc.rmdir()
    systemd.etc.write_text("")  # root may write into every directory
    reported = systemd.start().reported
    assert (len(reported["pids"]), reported["survives_reboot"]) == (1, False)
    assert [path.name for path in systemd.run_time.iterdir()] == [SERVICE]
    assert systemd.said == ["daemon-reload", f"start {SERVICE}"]
    assert systemd.stop().status == 0
    assert not list(systemd.run_time.iterdir())
    assert nothing_runs(node)


@pytest.mark.parametrize(
    "kind", ["of another directory", "of somebody else", "masked", "masked until the next reboot"]
)
def test_a_unit_file_that_is_not_ours_is_refused_and_left_alone(
    node: Node, systemd: Systemd, kind: str
) -> None:
    file = systemd.unit
    if kind == "of another directory":
        systemd.start()
        text = file.read_text().replace(str(node.script), "/elsewhere/.breakglass-responder.pyz")
        systemd.stop()
        file.write_text(text)
    elif kind == "of somebody else":
        file.write_text("[Service]\nExecStart=/usr/bin/true\n")
    else:
        file = systemd.run_time / SERVICE if "until" in kind else file
        file.symlink_to("/dev/null")
    systemd.log.write_text("")
    before = listing(systemd.etc) + listing(systemd.run_time)
    assert systemd.status()["foreign_unit"] == str(file)
    refused = systemd.start()
    assert (refused.status, refused.sentence) == (
        3,
        f"systemd has a unit {SERVICE} that breakglass did not write for {node.script}: {file}",
    )
    assert systemd.stop().reported == {"ended": []}
    assert listing(systemd.etc) + listing(systemd.run_time) == before
    assert not systemd.said
    assert not node.script.exists()


def listing(directory: Path) -> list[tuple[str, str]]:
    return [(path.name, path.read_text()) for path in sorted(directory.iterdir())]


def test_a_unit_whose_process_is_gone_is_ended_too(node: Node, systemd: Systemd) -> None:
    (process,) = systemd.start().reported["pids"]
    os.kill(process, signal.SIGKILL)
    assert until(lambda: not alive(process))
    systemd.pid.write_text("0")  # as systemd has it while it waits to restart
    program = node.root / "bin" / "systemctl"
    program.write_text(program.read_text().replace("kill ", "true "))
    assert systemd.stop().reported == {"ended": []}
    assert f"stop {SERVICE}" in systemd.said
    assert not systemd.unit.exists()


def test_a_unit_that_systemd_does_not_start_leaves_nothing(node: Node, systemd: Systemd) -> None:
    program = node.root / "bin" / "systemctl"
    refusal = "enable) echo 'Operation refused' >&2; exit 1;;\nenable|start)"
    program.write_text(program.read_text().replace("enable|start)", refusal))
    failed = systemd.start()
    assert (failed.status, failed.sentence) == (
        4,
        f"systemctl enable --quiet --now {SERVICE} failed: Operation refused",
    )
    assert not list(systemd.etc.iterdir())
    assert not list(node.directory.iterdir())


def test_the_unit_file_quotes_what_systemd_would_read_otherwise() -> None:
    assert [quoted(each) for each in ("/a b", "50%", "$HOME", 'a"b\\c', "x=y@z")] == [
        '"/a b"',
        "50%%",
        "$$HOME",
        '"a\\"b\\\\c"',
        "x=y@z",
    ]
