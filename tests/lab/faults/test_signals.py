"""A signal in the middle of each command: the state is reported, nothing is left behind, the next
run finishes. A second one ends it at once.
"""

import contextlib
import functools
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from .. import answering
from ..host import Host
from ..process import HostProcess
from ..runs import image_ids, run
from .arrangements import NAMES, fetched, held, published
from .gates import gate
from .injections import in_front_of, signal_all, until
from .invariants import names_on
from .rows import row
from .test_pin import OTHERS, PIN, RESTORE, is_pinned, is_unchanged, open_nodes
from .trial import Trial

SIGNALS = ((signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT, signal.SIGTERM))
CODES = (129, 130, 143)
HOLD, BEGUN = "/run/lab/hold", "/run/lab/begun"
TRICKLES = (
    f"| {{ head -c 1000; touch {BEGUN}; while [ -e {HOLD} ]; do dd bs=16 count=1 2>/dev/null || "
    f"exit 1; sleep 0.05; done; cat; }}"
)
"""Behind a program: its output comes drop by drop while HOLD is there."""


@contextlib.contextmanager
def slow(host: Host, command: str, arguments: str, *, then: str) -> Iterator[Callable[[], bool]]:
    """A program, called with such arguments, has begun and does not end; every other call of it is
    as ever.
    """
    host.write(HOLD, "")
    try:
        with in_front_of(
            host, command, f'case "$*" in {arguments}) ;; *) exec $real "$@" ;; esac\n{then}'
        ):
            yield lambda: host.path(BEGUN).exists()
    finally:
        for path in (HOLD, BEGUN):
            host.path(path).unlink(missing_ok=True)


def end(trial: Trial, child: HostProcess, signals: tuple[signal.Signals, ...]) -> None:
    """Send them; what is reported, and with which code it ends."""
    began = time.monotonic()
    for number in signals:
        child.send_signal(number)
        time.sleep(0.1)  # two at once would be one
    if len(signals) > 1:
        trial.killed(child)
        # In order it may have ended before the second came; that one that hangs ends at once is
        # seen in the sandbox.
        assert child.returncode in {128 + number for number in signals}
        assert time.monotonic() - began < 3, "the second signal does not end it at once"
        return
    ended = trial.ended(child)
    assert ended.exit_code == 128 + signals[0]
    assert ended.error["kind"] == "signal"
    assert "steps were done" in ended.error["state"], ended.error
    assert ended.error["next_commands"], ended.error


def each_signal(
    trial: Trial,
    argv: tuple[str, ...],
    begun: Callable[[], bool],
    again: Callable[[bool], object],
) -> None:
    """`again` looks at the host and makes it ready for the next signal; it gets whether a second
    signal ended the run at once, so that nothing was undone.
    """
    for signals in SIGNALS:
        child = trial.start(*argv)
        until(begun, child=child, what="the step has begun")
        end(trial, child, signals)
        trial.holds()
        again(len(signals) > 1)


@row(
    "snapshot",
    "SIGINT, SIGTERM, SIGHUP, a second signal in the middle of docker save",
    "128+n, the state is reported; nothing published, the next run finishes",
    exit_code=CODES,
)
def test_a_snapshot_ended_by_a_signal_publishes_nothing_and_the_next_one_finishes(
    trial: Trial,
) -> None:
    environment = trial.environment
    published(environment)
    environment.small("1b2c3d4e", "two")
    trial.arranged()
    with slow(environment.vm, "docker", '"save "*', then=f'$real "$@" {TRICKLES}') as begun:
        each_signal(
            trial,
            ("snapshot", "--tag", "1b2c3d4e", "--via", "docker"),
            begun,
            lambda _: environment.vm.path(BEGUN).unlink(),
        )
    trial.recovers("registry-vm")


@row(
    "fetch",
    "SIGINT, SIGTERM, SIGHUP, a second signal half-way through the transfer",
    "128+n, the state is reported; no final name, the next run resumes",
    exit_code=CODES,
)
def test_a_fetch_ended_by_a_signal_is_resumed_by_the_next_one(trial: Trial) -> None:
    environment, node = trial.environment, trial.environment.nodes["k8s-node1"]
    published(environment)
    trial.arranged()
    with slow(
        node, "ssh", '*"cat /"*.tar.gz | *"tail -c "*', then=f'$real "$@" {TRICKLES}'
    ) as begun:
        each_signal(
            trial,
            ("fetch", "k8s-node1", "--via", "node"),
            begun,
            lambda _: node.path(BEGUN).unlink(),
        )
    assert "tail -c +" in "\n".join(trial.recovers("k8s-node1").lines)


MOMENTS = {
    "while the archive is read": ("python3", '*" archive canonical "*', f'$real "$@" {TRICKLES}'),
    "after a name was set": (
        "ctr",
        '*"images tag"*"/viktor/infra-ci:latest"',
        f'$real "$@"; touch {BEGUN}; while [ -e {HOLD} ]; do sleep 0.05; done',
    ),
}


@pytest.mark.parametrize(
    "moment",
    ["while the archive is read", pytest.param("after a name was set", marks=pytest.mark.thorough)],
)
@row(
    "import",
    (
        "SIGINT, SIGTERM, SIGHUP, a second signal while the archive is read or names are set, "
        "over a good image"
    ),
    "128+n, the state is reported; each name means what it meant before, the next run finishes",
    exit_code=CODES,
)
def test_an_import_ended_by_a_signal_leaves_each_name_as_it_was(trial: Trial, moment: str) -> None:
    environment, node = trial.environment, trial.environment.nodes["k8s-node1"]
    other = environment.small("0ther", "other", registries=[environment.private])
    image = fetched(environment, "k8s-node1")
    node.run(
        "ctr",
        "-n",
        "k8s.io",
        "images",
        "pull",
        "--hosts-dir",
        "/etc/containerd/certs.d",
        f"{environment.private.reference}:0ther",
    )
    for name in NAMES[:3]:
        node.run(
            "ctr", "-n", "k8s.io", "images", "tag", f"{environment.private.reference}:0ther", name
        )
    trial.arranged()
    before = names_on(node)
    assert {before[name] for name in NAMES[:3]} == {other.image_id}

    def are_as_before(was_cut_short: bool) -> None:
        node.path(HOLD).unlink()
        # What was begun on the node may end by itself.
        signal_all(node, "/bin/sh /usr/local/bin/ctr", signal.SIGKILL)
        quiet = functools.partial(signal_all, node, "ctr -n k8s.io images import", 0)
        until(lambda: not quiet(), what="no import runs on the node")
        after = names_on(node)
        # The import of a run that a second signal ended goes on by itself on the node.
        recorded = {image.image_id} if was_cut_short else set()
        assert before.keys() <= after.keys()
        assert all(after[name] in {before.get(name), *recorded} for name in after)
        node.path(BEGUN).unlink()
        node.write(HOLD, "")

    command, arguments, then = MOMENTS[moment]
    with slow(node, command, arguments, then=then) as begun:
        each_signal(trial, ("import", "k8s-node1", "--no-answer-pulls"), begun, are_as_before)
    trial.recovers(
        "k8s-node1",
        goal=lambda: (
            {name: image_ids(environment, "k8s-node1").get(name) for name in NAMES}
            == dict.fromkeys(NAMES, image.image_id)
        ),
    )


@row(
    "pin",
    "SIGINT, SIGTERM, SIGHUP, a second signal after 2 of 4 patches",
    "128+n, the state is reported; the nodes carry our annotation, the next run finishes",
    exit_code=CODES,
)
def test_a_pin_ended_by_a_signal_is_finished_by_the_next_one(trial: Trial) -> None:
    environment = trial.environment
    held(environment, "k8s-node1")
    trial.arranged()
    with gate(environment) as patches:
        for signals in SIGNALS:
            patches.let(2)
            child = trial.start(*PIN)
            patches.await_standstill(child, passed=2, held=3)
            end(trial, child, signals)
            patches.say("none")
            trial.holds()
            # The second of the two may be the target's.
            assert len(OTHERS - open_nodes(environment)) in (1, 2)
            patches.say("all")
            if signals != SIGNALS[-1]:
                environment.cluster.reset_nodes()
    trial.recovers("k8s-node1", goal=lambda: is_pinned(environment))
    assert run(environment, *RESTORE).exit_code == 0
    is_unchanged(trial)


@row(
    "restore",
    "SIGINT, SIGTERM, SIGHUP, a second signal after 2 of 4 patches, and while a node is restored",
    "128+n, the state is reported; the next run undoes the rest",
    exit_code=CODES,
)
def test_a_restore_ended_by_a_signal_is_finished_by_the_next_one(trial: Trial) -> None:
    environment, node = trial.environment, trial.environment.nodes["k8s-node1"]
    fetched(environment, "k8s-node1")
    trial.arranged()
    traces = answering.traces(node)
    run(environment, "import", "k8s-node1")
    run(environment, *PIN)
    with gate(environment) as patches:
        patches.let(2)
        child = trial.start(*RESTORE)
        patches.await_standstill(child, passed=2, held=2)
        end(trial, child, SIGNALS[0])
        patches.say("none")
        trial.holds()
        assert len(OTHERS - open_nodes(environment)) == 2
        patches.say("all")
    with slow(
        node,
        "ctr",
        '*"images rm breakglass.local/keep/"*',
        then=f"touch {BEGUN}; while [ -e {HOLD} ]; do sleep 0.05; done; exit 1",
    ) as begun:
        for signals in SIGNALS[1:]:
            child = trial.start(*RESTORE)
            until(begun, child=child, what="the step has begun")
            end(trial, child, signals)
            trial.holds()
            signal_all(node, "/bin/sh /usr/local/bin/ctr", signal.SIGKILL)
            node.path(BEGUN).unlink()
    trial.recovers(*environment.nodes)
    is_unchanged(trial)
    answering.is_taken_back(node, traces)
