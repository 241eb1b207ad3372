"""The network goes away without a word, in the middle of fetch and import. Deadlines take their
time, so several runs wait for theirs at once.
"""

import contextlib
import signal
import time
from collections.abc import Iterator

from ..host import Host
from ..roles import NAS_DIRECTORY
from .arrangements import NAMES, fetched, tolerating
from .injections import CANONICAL, black_hole, halfway, signal_all, slow, until
from .invariants import names_on
from .rows import row
from .streams import FILE, hold_at_a_third, is_locked, is_whole, long_stream, resumes
from .trial import Trial


@contextlib.contextmanager
def without_cables(*hosts: Host) -> Iterator[None]:
    for host in hosts:
        host.cable(up=False)
    try:
        yield
    finally:
        for host in hosts:
            host.cable(up=True)


@row(
    "fetch",
    "the node's cable pulled at a third",
    "reported within the deadlines; the next run continues from there",
    exit_code=(4, 5),
    within_seconds=120,
)
@row(
    "fetch",
    "the source's disk hangs at a third (it sends no more, the connection lives)",
    "given up after 30 s without progress",
    exit_code=4,
    within_seconds=120,
)
@row(
    "import",
    "link lost mid-import",
    "the outcome is reported as unknown; the rerun finishes",
    exit_code=4,
    within_seconds=120,
)
@row(
    "fetch",
    "the source vanishes at a third (a black hole), for each way",
    "reported within the deadlines and resumed: from the NAS at once, or by the next run",
    exit_code=(0, 4, 5),
    within_seconds=120,
)
def test_links_that_go_away_in_silence_are_noticed_in_time_and_the_next_run_resumes(
    trial: Trial,
) -> None:
    environment = trial.environment
    image = fetched(environment, "k8s-node3")
    long_stream(environment)
    environment.mirror()
    tolerating(environment, "node-role.kubernetes.io/control-plane")  # k8s-master is one of them
    trial.arranged()
    from_vm = ("--from", "registry-vm")
    commands = {
        "k8s-node1": ("fetch", "k8s-node1", "--via", "node", *from_vm),
        "k8s-node2": ("fetch", "k8s-node2", "--via", "node", *from_vm),
        "k8s-master": ("fetch", "k8s-master", "--via", "operator"),
        "k8s-node10": ("fetch", "k8s-node10", "--via", "operator", "--from", "synology"),
    }
    importing = ("import", "k8s-node3")
    with halfway(environment.nodes["k8s-node3"], "python3", '*" archive canonical "*') as unpacking:
        with (
            slow(environment.vm, kilobytes_per_second=3000),
            slow(environment.nas, kilobytes_per_second=1000),
        ):
            children = {"k8s-node3": trial.start(*importing)}
            until(unpacking.reached, child=children["k8s-node3"], what=CANONICAL)
            children |= {node: trial.start(*argv) for node, argv in commands.items()}
            go_on = hold_at_a_third(environment, *commands)
        with (
            black_hole(environment.vm),
            without_cables(environment.nodes["k8s-node2"], environment.nodes["k8s-node3"]),
        ):
            assert signal_all(environment.nas, f"cat {NAS_DIRECTORY}/{FILE}", signal.SIGSTOP) == 1
            unpacking.open()
            go_on()
            hung = time.monotonic()
            until(lambda: children["k8s-node10"].poll() is not None, timeout=90)
            hung = time.monotonic() - hung
            ended = {node: trial.ended(child) for node, child in children.items()}
    signal_all(environment.nas, "cat ", signal.SIGCONT)

    assert {
        node: ran.exit_code
        for node, ran in ended.items()
        if node in ("k8s-node1", "k8s-node10", "k8s-node3")
    } == {"k8s-node1": 4, "k8s-node10": 4, "k8s-node3": 4}
    assert "registry-vm" in ended["k8s-node1"].error["message"]
    assert "is kept for the next run" in ended["k8s-node1"].error["state"]
    assert "no sign of life" in ended["k8s-node10"].error["message"]
    assert (ended["k8s-master"].exit_code, ended["k8s-master"].result["source"]) == (0, "synology")
    assert resumes(ended["k8s-master"].lines)
    for node in ("k8s-node2", "k8s-node3"):
        assert ended[node].exit_code in (4, 5)
        assert node in ended[node].error["message"]
        assert "Nothing was changed" not in ended[node].error["state"]
        assert node in ended[node].error["next_commands"][-1]
    assert "not known" in ended["k8s-node3"].error["message"]

    until(
        lambda: not any(is_locked(host) for host in environment.nodes.values()),
        timeout=70,
        what="a lock outlives its holder's silence of 60 s",
    )
    # Without its cable a node was not Ready, and then it does not fit.
    environment.cluster.await_ready()
    for node, argv in commands.items():
        again = trial.recovers(node, argv=argv)
        assert is_whole(environment, node)
        assert resumes(again.lines) or node == "k8s-master"
    trial.recovers("k8s-node3", argv=importing)
    assert {
        name: names_on(environment.nodes["k8s-node3"]).get(name) for name in NAMES
    } == dict.fromkeys(NAMES, image.image_id)
    # What sshd had read before goes on for some seconds.
    assert hung < 45, (
        f"I6: {hung:.0f} s without progress, 30 are allowed; 60 are for the first byte of a NAS"
    )
