"""Patches of nodes, over the wire of the sandbox's API server: conflicts, doubt, deadlines."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from breakglass.marks import ANNOTATION, Mark
from breakglass.plan import PatchNode
from breakglass.ports import Patched, PatchOutcome
from breakglass.sandbox.api_server import Request
from breakglass.sandbox.rules import Declined
from tests.unit.kube_wire import FREE, PINNED, FaultyApi, cluster, mark, patch_one, step, warm


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyApi]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FaultyApi() as server:
        server.add_node("k8s-node1", internal_ip="127.0.0.1")
        yield server


def on_patch(act: Callable[[], None], *, times: int = 10_000) -> Callable[[Request], None]:
    """Do something at each of the first so many patches."""
    left = [times]

    def maybe(request: Request) -> None:
        if request.method == "PATCH" and left[0] > 0:
            left[0] -= 1
            act()

    return maybe


def fail(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_pin_and_restore_are_one_patch_each_and_restore_leaves_the_node_as_it_was(
    api: FaultyApi, tmp_path: Path
) -> None:
    adapter, before = cluster(api, tmp_path), api.node("k8s-node1")
    assert patch_one(adapter, step(api, "k8s-node1")).outcome == "done"
    assert mark(api, "k8s-node1") == PINNED
    assert patch_one(adapter, step(api, "k8s-node1", PINNED, FREE)).outcome == "done"
    after = api.node("k8s-node1")
    del after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]
    assert after == before
    assert api.methods() == ["PATCH", "PATCH"]


def test_the_request_is_a_merge_patch_guarded_by_the_version_that_was_read(
    api: FaultyApi, tmp_path: Path
) -> None:
    wanted = step(api, "k8s-node1")
    patch_one(cluster(api, tmp_path), wanted)
    (request,) = api.requests
    assert request.content_type == "application/merge-patch+json"
    assert request.body == {
        "metadata": {
            "annotations": {ANNOTATION: PINNED.annotation},
            "resourceVersion": wanted.resource_version,
        },
        "spec": {"unschedulable": True},
    }


def test_a_conflict_with_an_unrelated_change_is_tried_again(api: FaultyApi, tmp_path: Path) -> None:
    wanted = step(api, "k8s-node1")
    api.patch_node("k8s-node1", {"metadata": {"labels": {"kubelet": "was here"}}})
    assert patch_one(cluster(api, tmp_path), wanted).outcome == "done"
    assert mark(api, "k8s-node1") == PINNED
    assert api.node("k8s-node1")["metadata"]["labels"]["kubelet"] == "was here"
    assert api.methods() == ["PATCH", "GET", "PATCH"]


def test_a_writer_at_100_hz_does_not_keep_us_out(api: FaultyApi, tmp_path: Path) -> None:
    over = threading.Event()

    def write() -> None:
        count = 0
        while not over.wait(0.01):
            count += 1
            api.patch_node("k8s-node1", {"metadata": {"labels": {"count": str(count)}}})

    writer = threading.Thread(target=write)
    writer.start()
    # As slow as a real API server: more than half of the tries meet a newer version.
    api.before = lambda _: time.sleep(0.004)
    try:
        adapter = cluster(api, tmp_path, request=10.0, operation=30.0)
        for before, after in [(FREE, PINNED), (PINNED, FREE)] * 5:
            assert patch_one(adapter, step(api, "k8s-node1", before, after)).outcome == "done"
    finally:
        over.set()
        writer.join()
    assert len(api.requests) > 10, "no try met a conflict: the test proves nothing"


def test_a_node_that_is_never_left_alone_is_left_as_it_was(api: FaultyApi, tmp_path: Path) -> None:
    count = iter(range(10_000))
    api.before = on_patch(
        lambda: void(
            api.patch_node("k8s-node1", {"metadata": {"labels": {"count": str(next(count))}}})
        )
    )
    result = patch_one(cluster(api, tmp_path), step(api, "k8s-node1"))
    assert (result.outcome, mark(api, "k8s-node1")) == ("changed", FREE)
    assert "keeps changing" in result.why


def void(_: object) -> None:
    """Drop a value."""


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        ({"spec": {"unschedulable": True}}, "somebody else cordoned it meanwhile"),
        (
            {"metadata": {"annotations": {ANNOTATION: "theirs"}}},
            f"somebody else set its annotation {ANNOTATION} meanwhile",
        ),
        (
            {"spec": {"unschedulable": True}, "metadata": {"annotations": {ANNOTATION: "theirs"}}},
            f"somebody else cordoned it and set its annotation {ANNOTATION} meanwhile",
        ),
    ],
)
def test_a_node_that_somebody_else_took_meanwhile_is_left_to_them(
    api: FaultyApi, tmp_path: Path, theirs: dict[str, object], why: str
) -> None:
    wanted = step(api, "k8s-node1")
    api.patch_node("k8s-node1", theirs)
    before = api.node("k8s-node1")
    assert patch_one(cluster(api, tmp_path), wanted) == Patched(wanted, PatchOutcome.CHANGED, why)
    assert api.node("k8s-node1") == before


def test_a_node_that_another_run_of_ours_already_patched_is_done(
    api: FaultyApi, tmp_path: Path
) -> None:
    wanted = step(api, "k8s-node1")
    api.patch_node("k8s-node1", wanted.body())
    assert patch_one(cluster(api, tmp_path), wanted).outcome == "done"
    assert api.methods() == ["PATCH", "GET"]


def test_a_patch_that_was_applied_but_whose_answer_was_lost_is_found_done_and_not_sent_twice(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.after = on_patch(fail(ConnectionAbortedError()))
    assert patch_one(cluster(api, tmp_path), step(api, "k8s-node1")).outcome == "done"
    assert api.methods() == ["PATCH", "GET"]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionAbortedError(),
        Declined(500, "InternalError", "etcdserver: request timed out"),
        Declined(429, "TooManyRequests", "later"),
    ],
)
def test_a_patch_that_was_lost_before_it_was_applied_is_sent_again(
    api: FaultyApi, tmp_path: Path, error: Exception
) -> None:
    api.before = on_patch(fail(error), times=2)
    assert patch_one(cluster(api, tmp_path), step(api, "k8s-node1")).outcome == "done"
    assert mark(api, "k8s-node1") == PINNED
    assert api.methods() == ["PATCH", "GET"] * 2 + ["PATCH"]


def test_a_server_that_takes_the_patch_but_drops_the_annotation_is_not_believed(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.after = on_patch(
        lambda: void(api.patch_node("k8s-node1", {"metadata": {"annotations": {ANNOTATION: None}}}))
    )

    def strip(request: Request) -> None:
        if request.method == "PATCH":
            request.body["metadata"].pop("annotations")

    api.before = strip
    result = patch_one(cluster(api, tmp_path), step(api, "k8s-node1"))
    assert result.outcome == "changed"


def test_a_server_that_goes_silent_half_way_is_unknown_within_the_deadline(
    api: FaultyApi, tmp_path: Path
) -> None:
    for number in range(2, 101):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")
    steps = [step(api, f"k8s-node{number}") for number in range(1, 101)]
    warm(tmp_path)
    adapter = cluster(api, tmp_path, request=0.3, operation=1.0)
    done: list[Patched] = []

    def pause(request: Request) -> None:
        if len(done) >= 40:
            api.hang(request)

    api.before = pause
    started = time.monotonic()
    results = adapter.patch(steps, done.append)
    # The server would be silent for 20 s.
    assert time.monotonic() - started < 10
    assert [result.step for result in results] == steps
    assert sorted(result.step.node for result in done) == sorted(wanted.node for wanted in steps)
    for result in results:
        assert result.outcome in ("done", "unknown", "unsent")
        # Said to be done means done; and what was never sent is said to be so.
        assert result.outcome != "done" or mark(api, result.step.node) == PINNED
        assert result.outcome != "unsent" or mark(api, result.step.node) == FREE
    whys = {result.why for result in results if result.outcome == "unknown"}
    assert any("did not answer within 0.3 s; and it could not be read again" in why for why in whys)
    assert any(result.outcome == "unsent" for result in results)


def test_a_server_that_only_hangs_on_patches_is_unknown_and_says_how_the_node_was(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.before = lambda request: api.hang(request) if request.method == "PATCH" else None
    result = patch_one(cluster(api, tmp_path, request=0.3, operation=1.0), step(api, "k8s-node1"))
    assert result.outcome == "unknown"
    assert "did not answer within" in result.why
    assert result.why.endswith("when last read, the node was as before")


def test_who_may_list_but_not_patch_touches_no_node_and_learns_which_right_is_missing(
    api: FaultyApi, tmp_path: Path
) -> None:
    api.add_node("k8s-node2", internal_ip="127.0.0.1")
    api.forbidden.add(("patch", "nodes"))
    adapter = cluster(api, tmp_path)
    results = adapter.patch([step(api, name) for name in ("k8s-node1", "k8s-node2")], void)
    assert {result.outcome for result in results} == {"refused"}
    assert all("does not let us patch nodes (403)" in result.why for result in results)
    assert mark(api, "k8s-node1") == mark(api, "k8s-node2") == FREE


def test_a_node_that_left_meanwhile_is_gone(api: FaultyApi, tmp_path: Path) -> None:
    wanted = step(api, "k8s-node1")
    api.remove_node("k8s-node1")
    assert patch_one(cluster(api, tmp_path), wanted).outcome == "gone"


def test_one_bad_node_does_not_keep_the_others_from_being_patched(
    api: FaultyApi, tmp_path: Path
) -> None:
    for name in ("k8s-node2", "k8s-node3"):
        api.add_node(name, internal_ip="127.0.0.1")
    steps = [step(api, f"k8s-node{number}") for number in (1, 2, 3)]
    api.remove_node("k8s-node2")
    api.patch_node("k8s-node3", {"spec": {"unschedulable": True}})
    assert [result.outcome for result in cluster(api, tmp_path).patch(steps, void)] == [
        "done",
        "gone",
        "changed",
    ]


def test_restore_of_a_node_that_somebody_uncordoned_only_takes_the_annotation(
    api: FaultyApi, tmp_path: Path
) -> None:
    before = Mark(unschedulable=False, annotation="ours")
    api.patch_node("k8s-node1", {"metadata": {"annotations": {ANNOTATION: "ours"}}})
    assert patch_one(cluster(api, tmp_path), step(api, "k8s-node1", before, FREE)).outcome == "done"
    assert api.requests[0].body.keys() == {"metadata"}


def test_an_exception_of_the_caller_stops_the_patches_and_is_raised(
    api: FaultyApi, tmp_path: Path
) -> None:
    for number in range(2, 201):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")

    def broken(_: Patched) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cluster(api, tmp_path).patch(
            [step(api, f"k8s-node{number}") for number in range(1, 201)], broken
        )
    assert len(api.requests) < 100


def test_after_an_interrupt_no_further_patch_is_sent_and_what_was_done_is_reported(
    api: FaultyApi, tmp_path: Path
) -> None:
    for number in range(2, 401):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")
    steps = [step(api, f"k8s-node{number}") for number in range(1, 401)]
    reported: list[Patched] = []

    def interrupt_half_way(result: Patched) -> None:
        reported.append(result)
        if len(reported) == 100:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    api.before = lambda _: time.sleep(0.005)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cluster(api, tmp_path).patch(steps, interrupt_half_way)
    finally:
        signal.signal(signal.SIGINT, previous)
    sent = len(api.requests)
    time.sleep(0.2)
    assert len(api.requests) == sent < 400
    pinned = {wanted.node for wanted in steps if mark(api, wanted.node) == PINNED}
    assert pinned == {result.step.node for result in reported if result.outcome == "done"}


def test_a_thousand_nodes_are_patched_in_one_go(api: FaultyApi, tmp_path: Path) -> None:
    for number in range(2, 1001):
        api.add_node(f"k8s-node{number}", internal_ip="127.0.0.1")
    adapter = cluster(api, tmp_path, request=10.0, operation=30.0)
    steps = [
        PatchNode(
            node["metadata"]["name"],
            before=FREE,
            after=PINNED,
            resource_version=node["metadata"]["resourceVersion"],
        )
        for node in adapter.nodes()
    ]
    results = adapter.patch(steps, void)
    assert [result.outcome for result in results] == ["done"] * 1000
    assert all(mark(api, f"k8s-node{number}") == PINNED for number in range(1, 1001))
