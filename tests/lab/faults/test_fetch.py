"""The faults of fetch: hosts and sessions that go away while the tarball streams, and the node's
disk.
"""

import os
import signal
from pathlib import Path

import pytest

from .arrangements import published
from .injections import (
    before,
    disk_of_its_own,
    read_only,
    signal_all,
    slow,
    stopped,
    unplugged,
    until,
)
from .invariants import NODE_DIRECTORY
from .rows import row
from .streams import NODE, at_a_third, hidden, is_locked, is_whole, long_stream, resumes
from .trial import Trial

WAYS = pytest.mark.parametrize(
    "via", ["node", pytest.param("operator", marks=pytest.mark.thorough)]
)


@row("fetch", "VM down", "falls back to the NAS", exit_code=0)
def test_with_the_vm_down_the_tarball_comes_from_the_nas(trial: Trial) -> None:
    published(trial.environment)
    trial.environment.mirror()
    trial.arranged()
    with unplugged(trial.environment.vm):
        assert trial.run("fetch", NODE).result["source"] == "synology"
    trial.recovers(NODE, goal=lambda: is_whole(trial.environment))


@row(
    "fetch",
    "VM and NAS down",
    "each is named with its reason; once one of them is back it is fetched from there",
    exit_code=5,
)
def test_with_vm_and_nas_down_each_is_named_with_its_reason(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    environment.mirror()
    trial.arranged()
    with stopped((environment.vm, "sshd")):
        with unplugged(environment.nas):
            error = trial.run("fetch", NODE).error
            for host, why in (("registry-vm", "refused"), ("synology", "route|timed out|within")):
                assert host in error["message"]
                assert any(word in error["message"] for word in why.split("|")), error
            assert "no verified tarball" in error["state"]
            assert "fetch" in error["next"]
        trial.recovers(NODE)
    assert is_whole(environment)


@row(
    "fetch",
    "the source's SSH server dies at a third",
    "the other method continues where the first one stopped",
    exit_code=0,
)
def test_when_the_sources_session_dies_the_other_way_resumes_from_there(trial: Trial) -> None:
    environment = trial.environment
    long_stream(environment)
    trial.arranged()
    with slow(environment.vm, kilobytes_per_second=6000):
        child = trial.start("fetch", NODE)
        at_a_third(environment, child)
        signal_all(environment.vm, "sshd: root", signal.SIGKILL)
    ran = trial.ended(child)
    assert ran.result["via"] == "operator"
    assert "via node" in ran.stderr
    assert resumes(ran.lines), ran.lines
    assert is_whole(environment)
    trial.recovers(NODE, "registry-vm")


@row(
    "fetch",
    "the node's SSH server dies at a third, every session with it",
    "reported; the next run continues where this one stopped",
    exit_code=4,
)
@WAYS
def test_when_the_nodes_ssh_server_dies_the_next_run_resumes_from_there(
    trial: Trial, via: str
) -> None:
    environment = trial.environment
    node = environment.nodes[NODE]
    long_stream(environment)
    trial.arranged()
    with slow(environment.vm, kilobytes_per_second=6000):
        child = trial.start("fetch", NODE, "--via", via)
        at_a_third(environment, child)
        node.kill("sshd")
        signal_all(node, "sshd: ", signal.SIGKILL)
        error = trial.ended(child).error
    assert NODE in error["message"]
    assert "Nothing was changed" not in error["state"]
    assert any("fetch" in command for command in error["next_commands"]), error
    node.start("sshd")
    again = trial.recovers(NODE, "registry-vm", goal=lambda: is_whole(environment))
    assert resumes(again.lines), again.lines


@row(
    "fetch",
    "breakglass itself killed at a third",
    "its partial is hidden; the next run continues from there",
    exit_code=-signal.SIGKILL,
)
@WAYS
def test_a_fetch_that_was_killed_is_gone_on_with(trial: Trial, via: str) -> None:
    environment = trial.environment
    long_stream(environment)
    trial.arranged()
    with slow(environment.vm, kilobytes_per_second=6000):
        child = trial.start("fetch", NODE, "--via", via)
        at_a_third(environment, child)
        child.kill()
        trial.killed(child)
    until(
        lambda: not is_locked(environment.nodes[NODE]), timeout=10, what="the lock is not let go of"
    )
    again = trial.recovers(NODE, "registry-vm", goal=lambda: is_whole(environment))
    assert resumes(again.lines), again.lines


@row("fetch", "two at once on one node", "one wins, the other names the holder", exit_code=(0, 7))
def test_of_two_fetches_at_once_one_wins_and_the_other_names_the_holder(trial: Trial) -> None:
    environment = trial.environment
    published(environment)
    trial.arranged()
    with before(environment.nodes[NODE], "python3", '*"archive receive"*') as receiving:
        first = trial.start("fetch", NODE)
        until(receiving.reached, child=first, what="archive receive")
        second = trial.run("fetch", NODE, "--via", "operator")
        assert second.exit_code == 7
        assert "root@operator, run " in second.error["message"]
        receiving.open()
        assert trial.ended(first).exit_code == 0
    trial.recovers(NODE, "registry-vm", goal=lambda: is_whole(environment))


@row(
    "fetch",
    "the node's disk is full at the start",
    "refused before anything is sent, with what is missing",
    exit_code=3,
)
@WAYS
def test_a_node_without_room_is_refused_before_anything_is_sent(trial: Trial, via: str) -> None:
    environment = trial.environment
    published(environment)
    with disk_of_its_own(environment.nodes[NODE], NODE_DIRECTORY, kilobytes=1024) as resize:
        trial.arranged()
        error = trial.run("fetch", NODE, "--via", via).error
        assert "no room" in error["message"]
        assert "1 MB free" in error["message"]
        assert "df -h" in error["next"]
        assert hidden(environment.nodes[NODE]) == []
        resize(16384)
        trial.recovers(NODE, goal=lambda: is_whole(environment))


@row(
    "fetch",
    "the node's disk is full half-way",
    "the partial is removed, the message says what is missing",
    exit_code=4,
)
@WAYS
def test_a_disk_that_becomes_full_half_way_is_cleaned_up_and_reported(
    trial: Trial, via: str
) -> None:
    environment = trial.environment
    node = environment.nodes[NODE]
    long_stream(environment)
    with disk_of_its_own(node, NODE_DIRECTORY, kilobytes=28672) as resize:
        trial.arranged()
        with slow(environment.vm, kilobytes_per_second=6000):
            child = trial.start("fetch", NODE, "--via", via)
            at_a_third(environment, child)
            fill(node.path(f"{NODE_DIRECTORY}/somebody-elses-log"))
            error = trial.ended(child).error
        assert "no room left" in error["message"]
        assert "missing" in error["message"]
        assert "df -h" in error["next"]
        assert hidden(node) == []
        resize(65536)
        trial.recovers(NODE, "registry-vm", goal=lambda: is_whole(environment))


def fill(path: Path) -> None:
    """Somebody else's file takes all the room that is left."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(65536))
    except OSError:
        return
    finally:
        os.close(descriptor)


@row(
    "fetch",
    "the node's directory is on a disk that is read-only",
    "refused, nothing changed",
    exit_code=3,
)
def test_a_read_only_disk_is_named(trial: Trial) -> None:
    published(trial.environment)
    trial.arranged()
    with read_only(trial.environment.nodes[NODE], NODE_DIRECTORY):
        error = trial.run("fetch", NODE).error
        assert "Read-only file system" in error["message"]
        assert NODE_DIRECTORY in error["message"]
    trial.recovers(NODE, goal=lambda: is_whole(trial.environment))
