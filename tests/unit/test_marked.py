"""Whether kubelet sees a name: the CRI plugin's mark in containerd's table, and the wait for it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breakglass.commands import import_image
from breakglass.commands.answering_facts import Answers
from breakglass.commands.import_steps import names_to_give
from breakglass.observe.answering import Answering, Responder, Taken
from breakglass.observe.containerd import MANAGED, PINNED, Ctr, parse_labelled, read_checks
from breakglass.plan import Host, Run
from breakglass.ports import Result
from tests.facts import IDENTITY, NODES, image_id
from tests.interpreters import script
from tests.unit.test_plan_fetch_import import NAMES, import_lines, imported

DIGEST = "sha256:" + "9" * 64
HERE = dict.fromkeys(NAMES, image_id("a"))


def row(name: str, labels: str) -> str:
    return f"{name} application/x {DIGEST} 195.3 MiB linux/amd64,linux/arm64 {labels}"


def containerd(**more: Any) -> Any:
    return replace(imported(has=HERE).containerd, **more)


@pytest.fixture
def ctr(tmp_path: Path) -> Path:
    """A `ctr images ls` that prints the rows in a file."""
    program = tmp_path / "ctr"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/rows\n")
    program.chmod(0o755)
    return program


def test_a_row_of_the_table_has_a_label_whatever_blanks_the_other_labels_have() -> None:
    table = "\n".join(
        [
            "REF TYPE DIGEST SIZE PLATFORMS LABELS",
            row("a/x:1", MANAGED),
            row("a/x:2", f"a=b c,{MANAGED},{PINNED},z=a b"),
            row("a/x:3", "-"),
            row("a/x:4", f"{MANAGED}s"),
        ]
    ).encode()
    assert parse_labelled(table, MANAGED) == {"a/x:1", "a/x:2"}
    assert parse_labelled(table, PINNED) == {"a/x:2"}


@pytest.mark.usefixtures("host_python")
def test_a_mark_that_comes_a_moment_later_is_waited_for(ctr: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_text(f"{row('a/x:1', MANAGED)}\n{row('a/x:2', '-')}\n")
    line = script("marked", "--name", "a/x:1", "--name", "a/x:2", "--", ctr)
    waiting = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=1)
    (tmp_path / "new").write_text(f"{row('a/x:1', MANAGED)}\n{row('a/x:2', MANAGED)}\n")
    os.rename(tmp_path / "new", rows)  # noqa: PTH104
    out, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (0, b'{"marked":["a/x:1","a/x:2"]}\n')


@pytest.mark.slow
def test_names_that_are_never_marked_are_a_failure_that_names_them(
    ctr: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows").write_text(f"{row('a/x:1', MANAGED)}\n{row('a/x:2', '-')}\n")
    line = script("marked", "--name", "a/x:1", "--name", "a/x:2", "--name", "a/x:3", "--", ctr)
    ended = subprocess.run(line, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 4
    assert b"kubelet does not see a/x:2, a/x:3" in ended.stderr


def test_after_the_names_are_given_import_waits_until_kubelet_sees_them() -> None:
    words = " ".join(f"--name {name}" for name in NAMES)
    assert import_lines(imported())[-1] == (
        f"k8s-node1$ sudo -n python3 breakglass-remote.pyz marked {words} -- ctr -n k8s.io"
    )


def test_names_that_are_right_but_that_kubelet_does_not_see_are_no_success() -> None:
    known = imported(has=HERE, containerd=containerd(unseen=frozenset(NAMES[1:2])))
    made = import_image.plan(known, nodes=NODES, identity=IDENTITY, tag=None)
    (step,) = made.steps[1:]
    assert isinstance(step, Run)
    assert f"--name {NAMES[1]} -- " in str(step)
    assert "kubectl get node k8s-node1 -o wide" in step.failed_next.commands


# Layers that were removed after they were unpacked


@pytest.mark.parametrize(
    ("table", "unpacked", "incomplete"),
    [
        ("a/x:1 t d complete (7/7) 1.0 MiB/1.0 MiB true", True, False),
        ("a/x:1 t d incomplete (2/7) 0.1 MiB/1.0 MiB true", True, True),
        ("a/x:1 t d incomplete (2/7) 0.1 MiB/1.0 MiB false", False, True),
        ("a/x:1 t d complete (7/7) 1.0 MiB/1.0 MiB false", False, False),
        ("a/x:1 t d unavailable (0/?) 0.0 B/? false", False, True),
        ("", False, False),
    ],
)
def test_pods_start_from_what_is_unpacked_whether_or_not_its_blobs_are_still_there(
    table: str, unpacked: bool, incomplete: bool
) -> None:
    class Says:
        def ask(self, *_: object, **__: object) -> Result:
            return Result(0, f"REF TYPE DIGEST STATUS SIZE UNPACKED\n{table}\n".encode(), b"")

    checks = read_checks(Says(), Host("n", "n"), Ctr(("ctr",), "k8s.io"), ("a/x:1",))
    assert tuple(map(bool, checks)) == (unpacked, incomplete)


def test_blobs_are_imported_again_only_where_the_node_serves_them() -> None:
    known = imported(has=HERE, containerd=containerd(incomplete=frozenset(NAMES)))
    assert import_lines(known) == []
    serves = Answers(Taken(True), Answering((), Responder(None, {}, 4000), "/c", "/certs"))
    assert names_to_give(known, HERE) == []
    assert names_to_give(replace(known, answers=serves), HERE) == list(NAMES)
