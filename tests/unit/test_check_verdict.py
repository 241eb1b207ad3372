"""check: what was answered, to verdict, exit code and what to type. The table reads as the
specification.
"""

from dataclasses import replace

import pytest

from breakglass.commands import check
from breakglass.commands.check_advice import Elsewhere, without_api
from breakglass.commands.check_asked import Asked, names
from breakglass.commands.check_verdict import Need, judge, unserved
from breakglass.commands.environment import Unread
from breakglass.config import Registry
from breakglass.errors import NoAnswer, Unreachable
from breakglass.observe.shelf import Tarball
from breakglass.registry import Found, State
from tests.facts import NAS, VM, shelf, tarball

A = Registry("a", "https://a.example", "infra-ci", names=("a.example/infra-ci",))
B = Registry("b", "https://b.example:5050", "infra-ci", names=("b.example:5050/infra-ci",))
UNNAMED = Registry("mirror", "https://mirror.example", "infra-ci")
"""Configured, and no name of the image points to it."""

SERVES, GONE, REFUSES = State.SERVES, State.UNREACHABLE, State.REFUSES
LACKS, BROKEN, UNTRUSTED = State.LACKS, State.BROKEN, State.UNTRUSTED

WELL = Elsewhere()
OFFLINE = Elsewhere(answers=False, has_api=False, has_tarball=False, lost=("registry-vm",))
NO_API = Elsewhere(has_api=False, nodes=("k8s-node1", "k8s-node2"))


def asked(
    *states: State, registries: tuple[Registry, ...] = (A, B), digests: str = "11"
) -> list[Asked]:
    return [
        Asked(
            registry, Found(registry.name, state, f"sha256:{digest}" if state is SERVES else None)
        )
        for registry, state, digest in zip(registries, states, digests, strict=False)
    ]


@pytest.mark.parametrize(
    ("states", "word", "exit_code", "exit_code_when_served_is_expected"),
    [
        ((SERVES, SERVES), "not needed", 10, 0),
        ((SERVES,), "not needed", 10, 0),
        ((SERVES, GONE), "partly", 11, 10),
        ((GONE, SERVES), "partly", 11, 10),
        ((SERVES, LACKS), "partly", 11, 10),
        ((SERVES, BROKEN), "partly", 11, 10),
        # Some do. Of the other it is not known, so it is not known of all either.
        ((SERVES, REFUSES), "partly", 11, 5),
        ((SERVES, UNTRUSTED), "partly", 11, 5),
        ((GONE, GONE), "start", 0, 10),
        ((GONE,), "start", 0, 10),
        ((BROKEN, LACKS), "start", 0, 10),
        ((LACKS, LACKS), "start", 0, 10),
        ((REFUSES, GONE), "unknown", 5, 5),
        ((REFUSES, REFUSES), "unknown", 5, 5),
        ((UNTRUSTED, GONE), "unknown", 5, 5),
        ((UNTRUSTED, UNTRUSTED), "unknown", 5, 5),
        # One of them certainly does not serve it: that is known.
        ((REFUSES, LACKS), "unknown", 5, 10),
        ((UNTRUSTED, BROKEN), "unknown", 5, 10),
    ],
)
def test_the_verdict_follows_from_the_registries(
    states: tuple[State, ...],
    word: str,
    exit_code: int,
    exit_code_when_served_is_expected: int,
) -> None:
    verdict = judge(asked(*states), WELL)
    assert (verdict.word, verdict.exit_code) == (word, exit_code)
    expected = judge(asked(*states), WELL, expect_served=True)
    assert (expected.word, expected.exit_code) == (word, exit_code_when_served_is_expected)
    assert bool(unserved(verdict)) is (word != "not needed")


@pytest.mark.parametrize(
    ("states", "elsewhere", "word", "exit_code"),
    [
        ((GONE, GONE), OFFLINE, "unknown", 5),
        ((GONE, GONE), replace(OFFLINE, answers=True), "start", 0),
        # A registry that answers in any way shows that this machine has a network.
        ((GONE, LACKS), OFFLINE, "start", 0),
        ((GONE, BROKEN), OFFLINE, "start", 0),
        ((GONE, SERVES), OFFLINE, "partly", 11),
        ((SERVES, SERVES), OFFLINE, "not needed", 10),
        # Sources and the API server change nothing else.
        ((SERVES, SERVES), NO_API, "not needed", 10),
        ((GONE, GONE), NO_API, "start", 0),
        ((GONE, GONE), replace(WELL, has_tarball=False), "start", 0),
        ((REFUSES, GONE), OFFLINE, "unknown", 5),
    ],
)
def test_nothing_that_answers_is_a_question_for_this_machines_network(
    states: tuple[State, ...], elsewhere: Elsewhere, word: str, exit_code: int
) -> None:
    verdict = judge(asked(*states), elsewhere)
    assert (verdict.word, verdict.exit_code) == (word, exit_code)


def test_an_offline_machine_is_told_to_look_at_its_network_and_nothing_about_the_runbook() -> None:
    for expect_served in (False, True):
        verdict = judge(asked(GONE, GONE), OFFLINE, expect_served=expect_served)
        assert (verdict.word, verdict.exit_code) == (Need.UNKNOWN, 5)
        assert "this machine's network first" in verdict.advice
        assert verdict.commands == ("ip route", "breakglass check")


def test_a_registry_that_no_name_points_to_decides_only_after_a_push() -> None:
    registries = (A, UNNAMED)
    assert judge(asked(SERVES, GONE, registries=registries)).word == "not needed"
    assert judge(asked(GONE, SERVES, registries=registries)).word == "start"
    assert judge(asked(GONE, REFUSES, registries=registries)).word == "start"
    pushed = judge(asked(SERVES, GONE, registries=registries), expect_served=True)
    assert (pushed.exit_code, pushed.sentence) == (
        10,
        "served by a, but mirror was not reached",
    )


@pytest.mark.parametrize(
    ("states", "digests", "exit_code", "sentence"),
    [
        ((SERVES, SERVES), "11", 0, "served by a and b, as expected"),
        (
            (SERVES, SERVES),
            "12",
            10,
            "served by a and b, but the digests of a and b differ",
        ),
        ((SERVES, GONE), "11", 10, "served by a, but b was not reached"),
        (
            (LACKS, GONE),
            "11",
            10,
            "no registry serves the image, but a lacks the tag and b was not reached",
        ),
        ((SERVES, REFUSES), "11", 5, "not known: b refused us (401, 403); served by a"),
    ],
)
def test_after_a_push_every_registry_has_to_serve_the_same_digest(
    states: tuple[State, ...], digests: str, exit_code: int, sentence: str
) -> None:
    verdict = judge(asked(*states, digests=digests), expect_served=True)
    assert (verdict.exit_code, verdict.sentence) == (exit_code, sentence)
    assert "recover" not in str(verdict.next_step)


def test_partly_names_the_names_that_start_and_those_that_do_not() -> None:
    both = asked(SERVES, GONE)
    assert judge(both, tag="0a1b2c3d").sentence == (
        "partly: pods that name a.example/infra-ci:0a1b2c3d start; pods that name "
        "b.example:5050/infra-ci:0a1b2c3d do not"
    )
    assert names(both, "latest") == (
        ("a.example/infra-ci:latest",),
        ("b.example:5050/infra-ci:latest",),
    )
    refused = asked(SERVES, REFUSES)
    assert names(refused, "latest") == (("a.example/infra-ci:latest",), ())
    assert judge(refused).sentence.endswith(
        "of pods that name b.example:5050/infra-ci:latest it is not known"
    )
    assert judge(both).commands == ("breakglass recover",)


@pytest.mark.parametrize(
    ("states", "commands"),
    [
        (
            (REFUSES, GONE),
            ("docker login a.example", "breakglass check --tag x"),
        ),
        (
            (REFUSES, UNTRUSTED),
            (
                "docker login a.example",
                "curl -vI https://b.example:5050/v2/",
                "breakglass check --tag x",
            ),
        ),
    ],
)
def test_where_it_is_not_known_the_commands_find_out(
    states: tuple[State, ...], commands: tuple[str, ...]
) -> None:
    assert judge(asked(*states), again="breakglass check --tag x").commands == commands


NO_TARBALL = replace(WELL, has_tarball=False)
RECOVER, STATUS = ("breakglass recover",), ("breakglass status",)
BY_HAND = ("breakglass fetch k8s-node1", "breakglass import k8s-node1")


@pytest.mark.parametrize(
    ("states", "elsewhere", "words", "commands"),
    [
        ((GONE, BROKEN), WELL, "", RECOVER),
        ((GONE, GONE), replace(WELL, lost=("synology",)), "", RECOVER),
        (
            (GONE, GONE),
            NO_API,
            "name a node: k8s-node1 (or another of nodes.hosts: k8s-node2)",
            BY_HAND,
        ),
        ((SERVES, GONE), NO_API, "for the others: the API server is down", BY_HAND),
        (
            (GONE, GONE),
            replace(NO_API, nodes=()),
            "fetch and import work with a node's address",
            ("breakglass fetch --help", "breakglass import --help"),
        ),
        ((GONE, GONE), NO_TARBALL, "push the image again (runbook.md, 7)", STATUS),
        (
            (GONE, GONE),
            replace(NO_TARBALL, whole=("k8s-node2", "k8s-node3")),
            "containerd on k8s-node2, k8s-node3 has the image:",
            RECOVER,
        ),
        (
            (GONE, GONE),
            replace(NO_TARBALL, whole=("k8s-node2",), tag="0a1b2c3d"),
            "no tarball was found",
            ("breakglass recover --tag 0a1b2c3d",),
        ),
        (
            (BROKEN, GONE),
            replace(NO_TARBALL, lost=("synology",)),
            "synology may have one: bring it back",
            STATUS,
        ),
        ((LACKS, GONE), WELL, "push the image to a, or check the tag: that is shorter", RECOVER),
        ((LACKS, LACKS), NO_TARBALL, "push the image to a or b", STATUS),
        ((LACKS, BROKEN), WELL, "", RECOVER),
        ((SERVES, SERVES), WELL, "nothing to do: pipelines work, so skip the runbook", ()),
    ],
)
def test_what_to_type_is_what_helps(
    states: tuple[State, ...], elsewhere: Elsewhere, words: str, commands: tuple[str, ...]
) -> None:
    verdict = judge(asked(*states), elsewhere)
    assert verdict.commands == commands
    assert words in verdict.advice
    assert (
        str(verdict.next_step).splitlines()[-len(commands) or None :] == list(commands)
        or not commands
    )


def test_a_single_known_node_is_named_alone() -> None:
    assert without_api(["k8s-node9"]) == (
        "the API server is down, so name a node: k8s-node9",
        ("breakglass fetch k8s-node9", "breakglass import k8s-node9"),
    )


@pytest.mark.parametrize(
    ("tarballs", "error", "nodes", "expected"),
    [
        ([tarball("0a1b2c3d")], None, 4, Elsewhere(lost=())),
        # fetch takes it after a full verification.
        ([tarball("0a1b2c3d", recorded=False)], None, 4, Elsewhere()),
        # It has not the size of its record.
        ([replace(tarball("0a1b2c3d"), size_bytes=1)], None, 4, Elsewhere(has_tarball=False)),
        ([], None, None, Elsewhere(has_api=False, has_tarball=False)),
        (None, NoAnswer("no route"), None, replace(OFFLINE, lost=("synology", "registry-vm"))),
        # It answered, and did not let us in: this machine has a network.
        (
            None,
            Unreachable("the login was refused"),
            None,
            replace(OFFLINE, answers=True, lost=("synology", "registry-vm")),
        ),
    ],
)
def test_what_was_read_beside_the_registries(
    tarballs: list[Tarball] | None,
    error: Unreachable | None,
    nodes: int | None,
    expected: Elsewhere,
) -> None:
    shelves = () if tarballs is None else (shelf(VM, tarballs), shelf(NAS))
    unread = [Unread(name, error) for name in ("synology", "registry-vm") if error]
    if nodes is None:
        unread.append(Unread("API server", NoAnswer("the API server refuses connections")))
    facts = check.Facts("latest", (), shelves, tuple(unread), nodes)
    assert check.elsewhere(facts) == expected
