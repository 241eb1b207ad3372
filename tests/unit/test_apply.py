"""apply: what a failing step stops, in a plan whose hosts wait for each other and in one whose
hosts do not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from breakglass.apply import apply
from breakglass.apply.failures import check_run
from breakglass.errors import BreakglassError, Busy, Failed, Integrity, Unreachable
from breakglass.marks import Mark
from breakglass.plan import Argv, Copy, Host, Lock, PatchNode, Plan, Run, Sign, Step
from breakglass.ports import Patched, PatchOutcome, Progress, Result

A, B, C = Host("a", "a"), Host("b", "b"), Host("c", "c")
CHANGED = "things have changed since they were read"


def lock(host: Host) -> Lock:
    return Lock(host, "/d/.breakglass.lock", "somebody")


def run(host: Host, what: str) -> Run:
    return Run(host, ((what,),))


def script(host: Host, *argv: str) -> Run:
    return Run(host, (("python3", "breakglass-remote.pyz", "taken", *argv),))


def patch(node: str) -> PatchNode:
    return PatchNode(node, Mark(True, "ours"), Mark(False, None), "1")


def of(host: Host) -> tuple[Step, ...]:
    return (lock(host), run(host, "one"), run(host, "two"))


@dataclass
class Held:
    """A lock of a host, until its connection breaks."""

    hosts: "Hosts"
    host: Host

    def lost(self) -> bool:
        return self.host in self.hosts.broken | self.hosts.lapsed


@dataclass
class Hosts:
    """ports.Writes: hosts that know the commands of their list, and fail any other."""

    knows: tuple[str, ...] = ("one", "two", "back")
    fails: dict[tuple[Host, str], Result] = field(default_factory=dict)
    busy: tuple[Host, ...] = ()
    signals: list[tuple[Host, str]] = field(default_factory=list)
    """With which commands a signal comes, once each."""
    breaks: tuple[Host, str] | None = None
    """Whose connection breaks with which command."""
    broken: set[Host] = field(default_factory=set)
    sleeps: tuple[Host, str] | None = None
    """With which command this machine sleeps: the command ends well, and the lock has lapsed."""
    lapsed: set[Host] = field(default_factory=set)
    did: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        raise AssertionError(f"{host} was asked {pipeline} ({quiet_seconds})")

    def run(self, step: Run, progress: Progress) -> Result:
        progress(0)
        what = step.pipeline[0][3 if step.pipeline[0][0] == "python3" else 0]
        if step.host in self.broken or (step.host, what) == self.breaks:
            self.broken.add(step.host)
            return Result(None, b"", b"", "the connection was lost")
        if (step.host, what) in self.signals:
            self.signals.remove((step.host, what))
            raise KeyboardInterrupt
        if (step.host, what) in self.fails:
            return self.fails[step.host, what]
        if what not in self.knows:
            return Result(127, b"", f"{what}: command not found\n".encode())
        self.did.append(f"{step.host} {what}")
        if (step.host, what) == self.sleeps:
            self.lapsed.add(step.host)
        return Result(0, b"", b"")

    def copy(self, step: Copy, progress: Progress) -> tuple[Result, Result]:
        for done_bytes in (0, 30, 60):
            progress(done_bytes)
        self.did.append(f"{step.source.host} to {step.sink.host}")
        return Result(0, b"", b""), Result(0, b"", b"")

    def sign(self, step: Sign, record: bytes) -> Result:
        raise AssertionError(f"{step.host} was to take a signature of {record!r}")

    @contextmanager
    def hold(self, step: Lock) -> Iterator[Held]:
        if step.host in self.busy:
            raise Busy(f"{step.host} is held by another run")
        self.locked.append(step.host.name)
        try:
            yield Held(self, step.host)
        finally:
            self.locked.remove(step.host.name)


@dataclass
class Cluster:
    """ports.WritesCluster: nodes that can be patched, once, from what they were; any other is
    gone.
    """

    nodes_: dict[str, Mark]
    refuses: tuple[str, ...] = ()
    sent: list[list[str]] = field(default_factory=list)

    def nodes(self) -> list[dict[str, Any]]:
        raise AssertionError("apply reads nothing of the cluster")

    def pods(self) -> list[dict[str, Any]]:
        raise AssertionError("apply reads nothing of the cluster")

    def volumes(self) -> list[dict[str, Any]]:
        raise AssertionError("apply reads nothing of the cluster")

    def patch(
        self, steps: Sequence[PatchNode], finished: Callable[[Patched], None]
    ) -> list[Patched]:
        outcomes = []
        self.sent.append([step.node for step in steps])
        for step in steps:
            there = self.nodes_.get(step.node)
            outcome = (
                "refused"
                if step.node in self.refuses
                else "gone"
                if there is None
                else "done"
                if there == step.before
                else "changed"
            )
            if outcome == "done":
                self.nodes_[step.node] = step.after
            outcomes.append(Patched(step, PatchOutcome(outcome)))
            finished(outcomes[-1])
        return outcomes


@dataclass
class Reported:
    """Reports: every step is announced before it ends, and none ends twice."""

    open: dict[int, Step] = field(default_factory=dict)
    ended_: list[tuple[int, bool]] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    done_bytes: list[int] = field(default_factory=list)

    def started(self, index: int, step: Step) -> None:
        assert index not in self.open
        self.open[index] = step

    def progress(self, done_bytes: int) -> None:
        assert done_bytes >= 0
        self.done_bytes.append(done_bytes)

    def ended(self, index: int, step: Step, *, ok: bool, seconds: float) -> None:
        assert self.open[index] is step
        assert seconds >= 0
        self.ended_.append((index, ok))

    def undoing(self, step: Step) -> None:
        self.undone.append(str(step))


def independent(*steps: Step) -> Plan:
    return Plan("all is restored", steps, independent=True)


def applied(
    plan: Plan,
    hosts: Hosts,
    cluster: Cluster | None = None,
    *,
    again: Callable[[], Plan] | None = None,
) -> tuple[BreakglassError | None, Reported]:
    reports = Reported()
    error = None
    try:
        apply(
            plan,
            hosts=hosts,
            cluster=cluster or Cluster({}),
            reports=reports,
            plan_again=again or (lambda: plan),
            explain=lambda _step, _ended: None,
        )
    except BreakglassError as raised:
        error = raised
    assert hosts.locked == [], "every lock is given up"
    assert sorted(index for index, _ in reports.ended_) == sorted(reports.open), (
        "what was announced has ended"
    )
    assert all(plan.steps[index] is step for index, step in reports.open.items())
    return error, reports


# No host waits for another


def test_where_nothing_fails_everything_is_done_in_order() -> None:
    hosts, cluster = Hosts(), Cluster({"n": Mark(True, "ours")})
    error, reported = applied(independent(patch("n"), *of(A), *of(B)), hosts, cluster)
    assert error is None
    assert hosts.did == ["a one", "a two", "b one", "b two"]
    assert cluster.nodes_ == {"n": Mark(False, None)}
    assert reported.ended_ == [(index, True) for index in range(7)]


def test_a_host_that_fails_ends_its_own_steps_only_and_is_reported_in_the_end() -> None:
    hosts = Hosts(fails={(A, "one"): Result(1, b"", b"disk full\n")})
    error, reported = applied(independent(*of(A), *of(B)), hosts)
    assert isinstance(error, Failed)
    assert error.message.startswith("a: this failed with ")
    assert "disk full" in error.message
    assert hosts.did == ["b one", "b two"]
    assert reported.ended_ == [(0, True), (1, False), (3, True), (4, True), (5, True)]


def test_a_host_that_is_held_by_another_run_does_not_hinder_the_others() -> None:
    hosts = Hosts(busy=(A,))
    error, _ = applied(independent(*of(A), *of(B)), hosts)
    assert isinstance(error, Busy)
    assert hosts.did == ["b one", "b two"]


def test_a_host_on_which_things_have_changed_does_not_hinder_the_others() -> None:
    plan = independent(*of(A), *of(B))
    hosts = Hosts()
    error, _ = applied(plan, hosts, again=lambda: independent(lock(A), run(A, "two"), *of(B)))
    assert isinstance(error, Busy)
    assert CHANGED in error.message
    assert hosts.did == ["b one", "b two"]


def test_what_became_of_other_hosts_meanwhile_is_no_change_of_this_one() -> None:
    """The one before is clean by then, and one behind may have been cleaned by somebody else."""
    plan = independent(patch("n"), *of(A), *of(B))
    hosts, cluster = Hosts(), Cluster({"n": Mark(True, "ours")})

    def again() -> Plan:
        return (
            plan
            if not hosts.locked
            else independent(*of(B))
            if "b" in hosts.locked
            else independent(*of(A))
        )

    error, _ = applied(plan, hosts, cluster, again=again)
    assert error is None
    assert hosts.did == ["a one", "a two", "b one", "b two"]


def test_a_host_on_which_nothing_is_to_do_any_more_is_reported_as_changed() -> None:
    hosts = Hosts()
    error, _ = applied(independent(*of(A), *of(B)), hosts, again=lambda: independent(*of(A)))
    assert isinstance(error, Busy)
    assert hosts.did == ["a one", "a two"]


def test_the_worst_of_several_failures_decides_and_says_the_words_of_all_once_each() -> None:
    hosts = Hosts(
        knows=("one",),
        fails={
            (A, "end"): Result(4, b"", b"it was edited\n"),
            (B, "end"): Result(6, b"", b"it is damaged\n"),
        },
        busy=(C,),
    )
    error, _ = applied(
        independent(
            *(step for host in (A, B, C) for step in (lock(host), script(host, "end", "/d")))
        ),
        hosts,
    )
    assert isinstance(error, Integrity)
    assert error.message == "b: it is damaged; a: it was edited; c is held by another run"


def test_a_patch_that_fails_does_not_stop_the_hosts() -> None:
    hosts, cluster = (
        Hosts(),
        Cluster({"n": Mark(True, "ours"), "m": Mark(True, "ours")}, refuses=("n",)),
    )
    error, reported = applied(independent(patch("n"), patch("m"), *of(A)), hosts, cluster)
    assert isinstance(error, Failed)
    assert error.message == "1 of 2 nodes were not patched: n: the API refused"
    assert cluster.nodes_["m"] == Mark(False, None)
    assert hosts.did == ["a one", "a two"]
    assert reported.ended_[:2] == [(0, False), (1, True)]


def test_a_patch_and_a_host_that_fail_are_both_reported() -> None:
    hosts, cluster = Hosts(busy=(A,)), Cluster({"n": Mark(True, "ours")}, refuses=("n",))
    error, _ = applied(independent(patch("n"), *of(A), *of(B)), hosts, cluster)
    assert isinstance(error, Unreachable)
    assert error.message == "no node was patched: n: the API refused; a is held by another run"
    assert hosts.did == ["b one", "b two"]


def test_nothing_is_undone_where_no_host_waits_for_another() -> None:
    hosts = Hosts(fails={(A, "one"): Result(1, b"", b"")})
    steps = of(A)
    error, reported = applied(
        replace(independent(*steps, *of(B)), undo=((steps[1], run(A, "back")),)), hosts
    )
    assert error is not None
    assert reported.undone == []


def test_patches_whose_nodes_have_changed_since_they_were_read_are_not_sent() -> None:
    cluster = Cluster({"n": Mark(True, "ours")})
    error, _ = applied(
        independent(patch("n"), *of(A)), Hosts(), cluster, again=lambda: independent(*of(A))
    )
    assert isinstance(error, Busy)
    assert cluster.nodes_ == {"n": Mark(True, "ours")}


def test_patches_that_other_steps_separate_are_sent_in_their_own_group_and_once() -> None:
    hosts = Hosts()
    cluster = Cluster({"n": Mark(True, "ours"), "m": Mark(True, "ours")})
    error, reported = applied(independent(patch("n"), *of(A), patch("m")), hosts, cluster)
    assert error is None
    assert cluster.sent == [["n"], ["m"]]
    assert reported.ended_ == [(index, True) for index in range(5)]


# Progress


def test_a_copy_that_resumes_is_counted_from_the_bytes_that_are_there_already() -> None:
    copy = Copy(run(A, "one"), run(B, "two"), total_bytes=100, resumed_bytes=40)
    error, reported = applied(Plan("done", (copy,)), Hosts())
    assert error is None
    assert reported.done_bytes == [40, 70, 100]


# Every other plan


@pytest.mark.parametrize(
    "steps", [(*of(A), run(B, "one")), (lock(A), run(A, "one"), run(B, "two"))]
)
def test_where_nothing_fails_every_other_plan_is_done_too(steps: tuple[Step, ...]) -> None:
    hosts = Hosts()
    assert applied(Plan("done", steps), hosts)[0] is None
    assert hosts.did == [
        f"{step.host} {step.pipeline[0][0]}" for step in steps if isinstance(step, Run)
    ]


def test_in_every_other_plan_a_failure_stops_everything_and_undoes_what_had_begun() -> None:
    first, second, third, other = run(A, "one"), run(A, "wrong"), run(A, "two"), run(B, "one")
    plan = Plan(
        "done",
        (lock(A), first, second, third, lock(B), other),
        undo=((third, run(A, "never")), (second, run(A, "back")), (first, run(A, "back"))),
    )
    hosts = Hosts()
    error, reported = applied(plan, hosts)
    assert isinstance(error, Failed)
    assert "wrong: command not found" in error.message
    assert hosts.did == ["a one", "a back", "a back"]
    assert reported.undone == ["a$ back", "a$ back"]


def test_in_every_other_plan_what_fails_behind_the_goal_is_not_undone() -> None:
    plan = Plan(
        "done",
        (lock(A), run(A, "one"), run(A, "wrong")),
        undo=((run(A, "one"), run(A, "back")),),
        settled=2,
    )
    hosts = Hosts()
    error, reported = applied(plan, hosts)
    assert isinstance(error, Failed)
    assert (hosts.did, reported.undone) == (["a one"], [])


def test_in_every_other_plan_the_first_lock_that_is_held_stops_everything() -> None:
    hosts = Hosts(busy=(A,))
    error, _ = applied(Plan("done", (*of(A), *of(B))), hosts)
    assert isinstance(error, Busy)
    assert hosts.did == []


def test_in_every_other_plan_whatever_changed_behind_a_lock_stops_everything() -> None:
    plan = Plan("done", (lock(A), run(A, "one"), run(B, "one")))
    hosts = Hosts()
    error, _ = applied(
        plan, hosts, again=lambda: replace(plan, steps=(lock(A), run(A, "one"), run(B, "two")))
    )
    assert isinstance(error, Busy)
    assert CHANGED in error.message
    assert hosts.did == []


def test_in_every_other_plan_a_patch_that_fails_stops_everything() -> None:
    hosts, cluster = Hosts(), Cluster({"n": Mark(True, "ours")}, refuses=("n",))
    error, _ = applied(Plan("done", (patch("n"), run(A, "one"))), hosts, cluster)
    assert isinstance(error, Unreachable)
    assert hosts.did == []


def test_in_every_other_plan_a_lock_that_is_lost_stops_everything() -> None:
    hosts = Hosts(breaks=(A, "one"))
    error, reported = applied(Plan("done", (*of(A), *of(B))), hosts)
    assert isinstance(error, Failed)
    assert "the outcome of this step is not known" in error.message
    assert hosts.did == []
    assert [index for index, _ in reported.ended_] == [0, 1]


def test_nothing_is_undone_without_the_lock() -> None:
    """A laptop sleeps in mid-import; another run takes the lock and confirms the same names."""
    first, second = run(A, "one"), run(A, "two")
    plan = Plan(
        "done", (lock(A), first, second), undo=((second, run(A, "back")), (first, run(A, "back")))
    )
    hosts = Hosts(sleeps=(A, "one"))
    error, reported = applied(plan, hosts)
    assert isinstance(error, Failed)
    assert "a: the lock was lost" in error.message
    assert "so nothing was undone there" in error.state
    assert (hosts.did, reported.undone) == (["a one"], [])


def test_what_began_on_a_host_whose_lock_holds_is_undone_though_that_of_another_was_lost() -> None:
    first, second = run(A, "one"), run(B, "one")
    plan = Plan(
        "done",
        (lock(A), lock(B), first, second, run(B, "two")),
        undo=((second, run(B, "back")), (first, run(A, "back"))),
    )
    hosts = Hosts(sleeps=(B, "one"))
    error, _ = applied(plan, hosts)
    assert isinstance(error, Failed)
    assert "The lock of b was lost" in error.state
    assert hosts.did == ["a one", "b one", "a back"]


def test_a_connection_that_breaks_ends_the_steps_of_its_own_host_only() -> None:
    hosts = Hosts(breaks=(A, "one"))
    error, _ = applied(independent(*of(A), *of(B)), hosts)
    assert isinstance(error, Failed)
    assert "the outcome of this step is not known" in error.message
    assert hosts.did == ["b one", "b two"], (
        "the lock of another host that was lost is none of theirs"
    )


@pytest.mark.parametrize(
    "coming", ["with the step", "with the first thing that is restored, after a failure"]
)
def test_a_signal_does_not_keep_anything_from_being_put_back(coming: str) -> None:
    first, second = run(A, "one"), run(A, "two")
    plan = Plan(
        "done", (lock(A), first, second), undo=((second, run(A, "back")), (first, run(A, "back")))
    )
    hosts = (
        Hosts(signals=[(A, "two")])
        if coming == "with the step"
        else Hosts(fails={(A, "two"): Result(1, b"", b"no room in it")}, signals=[(A, "back")])
    )
    reported = Reported()
    with pytest.raises(KeyboardInterrupt) as signalled:
        apply(
            plan,
            hosts=hosts,
            cluster=Cluster({}),
            reports=reported,
            plan_again=lambda: plan,
            explain=lambda *_: None,
        )
    assert hosts.did == ["a one", "a back", "a back"]
    notes = " ".join(signalled.value.__notes__)
    assert "What had begun was undone." in notes
    assert ("no room in it" in notes) is (coming != "with the step")


@pytest.mark.parametrize(
    ("stderr", "helps"),
    [
        (b"@no-room it does not fit\n", "make room"),
        (b"write: No space left on device\n", "make room"),
        (b"no room for doubt\n", "the same command again"),
    ],
    ids=["our mark", "another program's words", "words that only look like it"],
)
def test_a_full_disk_is_known_by_the_mark_of_our_script(stderr: bytes, helps: str) -> None:
    with pytest.raises(Failed) as caught:
        check_run(script(A, "keep"), Result(4, b"", stderr), lambda _step, _result: None)
    assert str(caught.value.next_step).startswith(helps)
    assert "@no-room" not in caught.value.message
