"""What a step says of itself beside its command line."""

import pytest

from breakglass.errors import then
from breakglass.marks import Mark
from breakglass.plan import (
    Argv,
    Confirm,
    Copy,
    Host,
    Lock,
    PatchNode,
    Purpose,
    Run,
    Step,
    script,
    title,
)

NODE = Host("k8s-node1", "10.0.20.101")
LOOK = Run(NODE, (("true",),), title="look", purpose=Purpose.LOOKS)


def test_what_a_step_says_of_itself_makes_no_other_step_of_it() -> None:
    other = Run(NODE, (("true",),), title="see", resumed_bytes=3, repair=then("fetch"))
    assert other == LOOK
    assert hash(LOOK) == hash(other)
    assert str(LOOK) == str(other)


@pytest.mark.parametrize(
    ("step", "is_change"),
    [
        (LOOK, False),
        (Run(NODE, (("mkdir", "/d"),), purpose=Purpose.PREPARES), False),
        (Run(NODE, (("true",),)), True),
        (Copy(LOOK, LOOK), True),
        (Lock(NODE, "/d/.breakglass.lock", "somebody"), False),
        (PatchNode("k8s-node1", Mark(True, "ours"), Mark(False, None), "1"), True),
        (Confirm(NODE, ("ctr",), "k8s.io", "name", "sha256:0", "amd64"), False),
    ],
)
def test_a_step_that_does_not_say_its_purpose_counts_as_a_change_unless_its_kind_is_none(
    step: Step, is_change: bool
) -> None:
    assert step.is_change is is_change


@pytest.mark.parametrize(
    ("pipeline", "ends_in_script"),
    [
        ((script("taken", "show"),), True),
        ((("cat", "/a"), script("archive", "receive", "/d")), True),
        ((script("archive", "read", "/a"), ("ctr", "images", "import", "-")), False),
        ((("python3", "own.pyz"),), False),
    ],
)
def test_a_step_whose_last_command_is_our_own_script_ends_with_an_exit_code_of_ours(
    pipeline: tuple[Argv, ...], ends_in_script: bool
) -> None:
    assert Run(NODE, pipeline).ends_in_script is ends_in_script


def test_a_title_that_is_too_long_keeps_its_verb_and_the_end_of_the_name() -> None:
    short = title("fetch", f"infra-ci-{'a' * 120}1.tar.gz", " from synology")
    assert short.startswith("fetch infra-ci-a...aaa")
    assert short.endswith("aaa1.tar.gz from synology")
    assert len(short) == 60
    assert title("cordon", "k8s-node10") == "cordon k8s-node10"
