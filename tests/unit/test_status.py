"""status: what was found, as a page and as JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest

from breakglass.cli.outcome import to_json
from breakglass.cluster_name import ClusterName
from breakglass.commands import status_result
from breakglass.commands.check_asked import Asked
from breakglass.commands.environment import Unread
from breakglass.commands.fitness import Kind, Reason
from breakglass.commands.status_facts import Facts, Seen, Source, is_stale, lacking, newest
from breakglass.commands.status_headline import headline, line
from breakglass.commands.status_next import next_step
from breakglass.commands.status_page import lines, size_text
from breakglass.commands.whole_cluster import doubt
from breakglass.config import Registry
from breakglass.errors import NOTHING, NoAnswer, Refused, Unreachable, look_first
from breakglass.observe.answering import Responder, Taken, TakenFile
from breakglass.observe.cluster import Pin
from breakglass.observe.shelf import Tarball
from breakglass.plan import Host
from breakglass.registry import Found, State
from breakglass.signatures.judgement import Signature, SignatureState
from tests.facts import NAS, NODE, VM, node, shelf, tarball


def result(facts: Facts) -> dict[str, Any]:
    """As --json prints it."""
    found: dict[str, Any] = to_json(status_result.result(facts, next_step=NOTHING, last_run=None))
    return found


NOW = "2026-04-19T03:00:00Z"
LAST_NIGHT = "2026-04-18T23:00:00Z"
FIVE = [
    tarball(f"{number}a1b2c3d", number, letter="abcdef"[number], size_bytes=243_000_000)
    for number in range(1, 6)
]
PIN = Pin("0badcafe", "k8s-node1", "root@operator", LAST_NIGHT, "Forgejo is down").text()
HOSTS_TOML = "/etc/containerd/certs.d/forgejo.example/hosts.toml"
PORT = 5000
LISTED = f'[host."http://127.0.0.1:{PORT}"]\n'
ANSWERING = Taken(
    is_recorded=True,
    is_begun=True,
    has_responder=True,
    files=(TakenFile(HOSTS_TOML, None, LISTED, LISTED),),
)
KEEPING = Taken(is_recorded=True, is_begun=True, namespace="k8s.io")
"""After import --no-answer-pulls."""
CLEAN = Taken()
API_DOWN = Unread(
    "API server",
    Unreachable(
        "the API server https://10.0.20.100:6443 refuses connections",
        next_step=look_first("kubectl get nodes"),
    ),
)


def source(
    host: Host,
    tarballs: list[Tarball],
    *,
    latest: str | None = None,
    fault: str = "",
    present: bool = True,
) -> Source:
    return Source(
        host, "/shelf", shelf(host, tarballs, latest=latest, fault=fault, present=present)
    )


def gone(host: Host) -> Source:
    return Source(
        host,
        "/shelf",
        Unread(
            host.name,
            NoAnswer(
                f"{host.name} was not reached on port 22 (it did not answer within 5 s)",
                next_step="Look whether the machine is up.",
                where=host.name,
            ),
        ),
    )


def seen(
    name: str,
    *,
    cordoned: bool = False,
    annotation: str | None = None,
    ready: bool = True,
    taken: Taken = CLEAN,
    missing: tuple[str, ...] | None = ("x",),
    port: int | None = None,
) -> Seen:
    responder = (
        Responder(port, {"a": "sha256:b"} if port else {}, 5000) if taken.has_responder else None
    )
    found = shelf(NODE, [FIVE[4]] if not missing else [], latest=None)
    return Seen(
        name,
        node(name, cordoned=cordoned, annotation=annotation, ready=ready),
        Host(name, f"wizard@{name}"),
        found,
        missing,
        taken,
        responder,
    )


def lost(name: str, *, known: bool = True) -> Seen:
    return Seen(
        name,
        node(name) if known else None,
        unread=(
            Unread(
                name,
                NoAnswer(
                    f"{name}: no route to it",
                    next_step="Look whether the machine is up.",
                    where=name,
                ),
            ),
        ),
    )


def asked(forgejo: State, private: State) -> tuple[Asked, ...]:
    return (
        Asked(
            Registry(
                "forgejo",
                "https://forgejo.example",
                "viktor/infra-ci",
                names=("forgejo.example/viktor/infra-ci",),
            ),
            Found("forgejo", forgejo),
        ),
        Asked(
            Registry(
                "registry-private",
                "https://registry.example:5050",
                "infra-ci",
                names=("registry.example:5050/infra-ci",),
            ),
            Found("registry-private", private, detail="timed out"),
        ),
    )


SERVED = asked(State.SERVES, State.SERVES)
OUTAGE = asked(State.UNREACHABLE, State.UNREACHABLE)

SIGNED = replace(
    tarball("b"), signature=Signature(SignatureState.SIGNED, "ci@example", data=b"a signature")
)

WELL = Facts(
    now=NOW,
    registries=SERVED,
    max_age_hours=192,
    sources=(source(VM, FIVE, latest="5a1b2c3d"), source(NAS, FIVE, latest="5a1b2c3d")),
    nodes=(seen("k8s-node1", missing=()), seen("k8s-node10"), seen("k8s-node2"), seen("k8s-node3")),
)
PINNED = replace(
    WELL,
    registries=OUTAGE,
    nodes=(
        seen("k8s-node1", missing=(), taken=ANSWERING, port=PORT),
        seen("k8s-node10", cordoned=True, annotation=PIN),
        seen("k8s-node2", cordoned=True, annotation=PIN),
        seen("k8s-node3", cordoned=True),
    ),
)


def page(facts: Facts) -> str:
    """As one text, however its lines are wrapped."""
    return " ".join(" ".join(lines(facts)).split())


def at(moment: str, *tarballs: Tarball) -> list[Tarball]:
    return [
        replace(one, record=replace(one.record, created_at=moment))
        for one in tarballs
        if one.record
    ]


PRESSED = Reason(Kind.STATE, "MemoryPressure")
TAINTED = Reason(Kind.PODS, "has the taint x")


@pytest.mark.parametrize(
    ("size", "reported"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (2_200_000, "2.2 MB"),
        (243_000_000, "243 MB"),
        (1_240_000_000, "1.2 GB"),
        (12_000_000_000, "12 GB"),
    ],
)
def test_a_size_is_reported_as_disks_are(size: int, reported: str) -> None:
    assert size_text(size) == reported


def test_a_small_environment_with_a_pin_in_force_is_one_screen() -> None:
    reported = lines(PINNED, last_run="Last run here: restore, 3 d ago, ok")
    assert len(reported) + len(next_step(PINNED).lines) <= 24
    assert max(map(len, reported)) <= 80
    assert reported[-1].startswith("Last run here")


def test_the_page_says_what_is_there() -> None:
    reported = lines(PINNED)
    assert reported[:3] == (
        "OUTAGE   no registry serves the image; pinned to k8s-node1 for 4 h",
        "forgejo: unreachable",
        "registry-private: unreachable (timed out)",
    )
    rest = reported[3:]
    assert rest[0] == "Newest verified tarball: 5a1b2c3d, 3 h old, on registry-vm and synology."
    assert rest[1] == "registry-vm: 5 verified tarballs; latest is 5a1b2c3d"
    assert rest[2] == "  5a1b2c3d  2026-04-19 00:00Z     3 h old   243 MB  verified, latest"
    assert rest[3] == "  4a1b2c3d  2026-04-19 00:00Z     3 h old   243 MB  verified"
    assert rest[7] == "synology: 5 verified tarballs, all as on registry-vm; latest is 5a1b2c3d"
    assert (
        rest[9] == "k8s-node1   Ready            has the image; tarball 5a1b2c3d; serves it locally"
    )
    assert rest[10] == "k8s-node10  Ready, pinned    does not have the image"
    assert rest[12] == "k8s-node3   Ready, cordoned  does not have the image"
    assert rest[14:16] == (
        "Pinned to k8s-node1 for 4 h, since 2026-04-18 23:00Z, by root@operator: Forgejo",
        "    is down",
    )
    assert rest[16:] == ("  cordoned for it: k8s-node10, k8s-node2",)


def test_a_fallback_lags_also_where_the_vm_has_begun_to_count_anew() -> None:
    """The VM's directory was made anew: its new tarballs have smaller sequences than old copies."""
    old = tarball("old", 50, letter="b", taken="2026-03-01T00:00:00Z")
    vm = source(VM, [tarball("new", 1, taken="2026-04-01T00:00:00Z")], latest="new")
    facts = replace(WELL, sources=(vm, source(NAS, [old], latest="old")))
    assert [each.tag for each in lacking(facts, facts.sources[1]) or ()] == ["new"]


NOT_PINNED = replace(PINNED, nodes=WELL.nodes)
DARK = replace(
    WELL,
    registries=OUTAGE,
    sources=(gone(VM), gone(NAS)),
    api=Unread("API server", NoAnswer("the API server refuses connections")),
    nodes=(lost("k8s-node1", known=False),),
)
"""Nothing answers."""


@pytest.mark.parametrize(
    ("facts", "word", "reported"),
    [
        (WELL, "OK", "served by forgejo and registry-private"),
        (NOT_PINNED, "OUTAGE", "no registry serves the image"),
        (PINNED, "OUTAGE", "no registry serves the image; pinned to k8s-node1 for 4 h"),
        (
            replace(WELL, registries=asked(State.SERVES, State.BROKEN)),
            "PARTLY",
            "pods that name forgejo.example/viktor/infra-ci:latest start; pods that name "
            "registry.example:5050/infra-ci:latest do not",
        ),
        (
            replace(WELL, registries=asked(State.REFUSES, State.UNREACHABLE)),
            "UNKNOWN",
            "forgejo refused us (401, 403); nothing else serves the image",
        ),
        (
            replace(WELL, registries=asked(State.UNREACHABLE, State.UNTRUSTED)),
            "UNKNOWN",
            "registry-private shows a certificate that is not trusted here; nothing else serves "
            "the image",
        ),
        (
            replace(PINNED, registries=SERVED),
            "PINNED",
            "served by forgejo and registry-private; pinned to k8s-node1 for 4 h",
        ),
        (
            replace(WELL, nodes=(seen("n", cordoned=True, annotation="{}"),)),
            "PINNED",
            "served by forgejo and registry-private",
        ),
        (
            DARK,
            "UNKNOWN",
            "no registry, no source and no API server answers this machine",
        ),
        # What answers shows that this machine has a network.
        (
            replace(DARK, sources=(source(VM, []), gone(NAS))),
            "OUTAGE",
            "no registry serves the image",
        ),
        (replace(DARK, nodes=WELL.nodes), "OUTAGE", "no registry serves the image"),
        (replace(DARK, api=None), "OUTAGE", "no registry serves the image"),
    ],
)
def test_the_page_begins_with_one_word_for_the_whole_and_why(
    facts: Facts, word: str, reported: str
) -> None:
    assert headline(facts) == word
    assert line(facts) == f"{word:<8} {reported}"
    assert page(facts).startswith(f"{word} {reported} forgejo: ")
    assert result(facts)["headline"] == word
    if word not in ("OK", "PINNED"):
        assert "nothing to do" not in str(next_step(facts))


def test_the_json_has_each_registry_as_check_has_it() -> None:
    assert result(PINNED)["registries"][1] == {
        "name": "registry-private",
        "state": "unreachable",
        "digest": None,
        "missing": [],
        "detail": "timed out",
        "names": ["registry.example:5050/infra-ci"],
    }


def test_a_fallback_tells_only_what_differs_and_how_far_it_lags() -> None:
    facts = replace(
        WELL,
        sources=(WELL.sources[0], source(NAS, [tarball("0ld", 0), *FIVE[:3]], latest="3a1b2c3d")),
    )
    assert (
        "synology: 4 verified tarballs, 3 as on registry-vm; latest is 3a1b2c3d; LAGS by 2: "
        "5a1b2c3d, 4a1b2c3d 0ld 2026"
    ) in page(facts)
    assert [len(lacking(facts, each) or ()) for each in facts.sources] == [0, 2]


@pytest.mark.parametrize(
    ("vm", "nas", "lags"),
    [
        (source(VM, FIVE), source(NAS, FIVE), 0),
        (source(VM, FIVE), source(NAS, FIVE[1:]), 0),  # rotation there is another matter
        (source(VM, FIVE), source(NAS, []), 5),
        (source(VM, FIVE), source(NAS, [], present=False), 5),
        (source(VM, []), source(NAS, FIVE), 0),
        (
            source(VM, [*FIVE[:4], tarball("5a1b2c3d", 9, recorded=False)]),
            source(NAS, FIVE[:4]),
            0,
        ),  # what is not verified is none that it lacks
        (
            source(VM, [*FIVE[:4], tarball("4a1b2c3d", 6, letter="f")]),
            source(NAS, FIVE[:4]),
            1,
        ),  # the same tag, built anew
        (gone(VM), source(NAS, FIVE), None),
        (source(VM, FIVE), gone(NAS), None),
    ],
)
def test_a_fallback_lags_by_the_newer_verified_tarballs_that_it_lacks(
    vm: Source, nas: Source, lags: int | None
) -> None:
    facts = replace(WELL, sources=(vm, nas))
    reported = result(facts)["sources"]
    assert reported[1]["lags"] == lags
    assert reported[0]["lags"] == (None if vm.shelf is None else 0)


@pytest.mark.parametrize(
    ("sources", "stale", "tag"),
    [
        (WELL.sources, False, "5a1b2c3d"),
        ((source(VM, at("2026-04-11T03:00:00Z", FIVE[0])), gone(NAS)), False, "1a1b2c3d"),
        ((source(VM, at("2026-04-11T02:59:59Z", FIVE[0])), gone(NAS)), True, "1a1b2c3d"),
        ((gone(VM), source(NAS, FIVE)), False, "5a1b2c3d"),
        ((gone(VM), gone(NAS)), True, None),
        ((source(VM, []), source(NAS, [])), True, None),
        ((source(VM, [tarball("old", recorded=False)]), gone(NAS)), True, None),
        # A clock that was ahead once: the sequence decides which is the newest, so the alarm comes
        # all the same.
        (
            (
                source(
                    VM, [*at("2031-01-01T00:00:00Z", FIVE[0]), *at("2026-01-01T00:00:00Z", FIVE[1])]
                ),
                gone(NAS),
            ),
            True,
            "2a1b2c3d",
        ),
        (
            (source(VM, [*at(LAST_NIGHT, FIVE[0]), *at("nonsense", FIVE[1])]), gone(NAS)),
            True,
            "2a1b2c3d",
        ),
        # The VM's disk was lost, its numbers have begun anew.
        (
            (source(VM, FIVE[:1]), source(NAS, at("2026-01-01T00:00:00Z", *FIVE[1:]))),
            False,
            "1a1b2c3d",
        ),
    ],
)
def test_stale_is_whatever_leaves_no_verified_tarball_that_is_young_enough(
    sources: tuple[Source, ...], stale: bool, tag: str | None
) -> None:
    facts = replace(WELL, sources=sources)
    found = newest(facts)
    assert (is_stale(facts), found[0].tag if found else None) == (stale, tag)
    assert result(facts)["stale"] is stale
    assert lines(facts)[3].startswith("STALE") is stale


SILENT = seen("k8s-node1", missing=(), taken=ANSWERING)


@pytest.mark.parametrize(
    ("facts", "reported"),
    [
        (WELL, ["nothing to do; in an outage:", "breakglass check"]),
        (PINNED, ["run the pipeline, then undo everything:", "breakglass restore"]),
        (
            replace(PINNED, nodes=(SILENT, *PINNED.nodes[1:])),
            [
                "the last one undoes everything; before it, run the pipeline:",
                "breakglass import k8s-node1",
                "breakglass restore",
            ],
        ),
        (
            replace(PINNED, nodes=(*PINNED.nodes, seen("k8s-node7"))),
            [
                "the last one undoes everything; before it, run the pipeline:",
                "breakglass pin k8s-node1",
                "breakglass restore",
            ],
        ),
        (
            replace(PINNED, nodes=(lost("k8s-node1"), *PINNED.nodes[1:])),
            (
                [
                    (
                        "see whether k8s-node1 is up; if it is, run the pipeline, then "
                        "restore; else restore, and recover chooses another node:"
                    ),
                    "breakglass restore",
                    "breakglass recover",
                ]
            ),
        ),
        (
            replace(PINNED, nodes=(seen("k8s-node1", ready=False, missing=()), *PINNED.nodes[1:])),
            (
                [
                    "bring k8s-node1 back; or restore, and recover chooses another node:",
                    "breakglass restore",
                    "breakglass recover",
                ]
            ),
        ),
        (
            replace(PINNED, nodes=(lost("k8s-node1", known=False), *PINNED.nodes[1:])),
            ["the pin is for k8s-node1, which is no node of the cluster:", "breakglass restore"],
        ),
        (
            replace(PINNED, sources=(gone(VM), gone(NAS))),
            ["run the pipeline, then undo everything:", "breakglass restore"],
        ),
        (
            replace(WELL, nodes=(seen("n", annotation="{}"),)),
            ["the annotation of n cannot be read; restore undoes these too:", "breakglass restore"],
        ),
        (
            replace(NOT_PINNED, nodes=(SILENT,), sources=(gone(VM), gone(NAS))),
            [
                "go on, or undo it when the outage is over:",
                "breakglass import k8s-node1",
                "breakglass restore",
            ],
        ),
        (
            replace(NOT_PINNED, nodes=PINNED.nodes[:1]),
            [
                "go on, or undo it when the outage is over:",
                "breakglass pin k8s-node1",
                "breakglass restore",
            ],
        ),
        (
            replace(NOT_PINNED, nodes=PINNED.nodes[:1], api=API_DOWN),
            (
                [
                    (
                        "k8s-node1 serves the image locally; whether a pin is in force is not "
                        "known: bring the API server back:"
                    ),
                    "the same command again",
                ]
            ),
        ),
        (
            replace(NOT_PINNED, nodes=(seen("n", missing=(), taken=KEEPING),)),
            [
                "go on, or undo it when the outage is over:",
                "breakglass pin n",
                "breakglass restore",
            ],
        ),
        (
            replace(NOT_PINNED, nodes=(seen("n", taken=KEEPING),)),
            [
                "go on, or undo it when the outage is over:",
                "breakglass import n",
                "breakglass restore",
            ],
        ),
        (
            replace(NOT_PINNED, nodes=(seen("n", missing=(), taken=KEEPING),), api=API_DOWN),
            (
                [
                    (
                        "n keeps the image; whether a pin is in force is not known: bring the "
                        "API server back:"
                    ),
                    "the same command again",
                ]
            ),
        ),
        (
            replace(
                NOT_PINNED,
                nodes=(replace(seen("n", missing=(), taken=KEEPING), unfit=(TAINTED,)),),
            ),
            [
                (
                    "n does not fit any more: has the taint x; restore, and during an "
                    "outage recover:"
                ),
                "breakglass restore",
                "breakglass recover",
            ],
        ),
        (
            replace(PINNED, nodes=(replace(PINNED.nodes[0], unfit=(PRESSED,)), *PINNED.nodes[1:])),
            [
                (
                    "k8s-node1 takes no new pods: MemoryPressure; restore, and recover "
                    "chooses another node:"
                ),
                "breakglass restore",
                "breakglass recover",
            ],
        ),
        (
            replace(WELL, sources=(source(VM, []), source(NAS, []))),
            ["save the image of a build with snapshot and its tag:", "breakglass snapshot --help"],
        ),
        (
            replace(WELL, max_age_hours=1),
            ["save the image of a build with snapshot and its tag:", "breakglass snapshot --help"],
        ),
        (
            replace(WELL, sources=(gone(VM), source(NAS, [])), api=API_DOWN),
            (
                [
                    (
                        "API server: see the cause, then try again. bring registry-vm back. "
                        "save the image of a build with snapshot and its tag:"
                    ),
                    "kubectl get nodes",
                    "breakglass snapshot --help",
                    "the same command again",
                ]
            ),
        ),
        (
            replace(
                WELL,
                sources=(source(VM, FIVE, latest="5a1b2c3d"), source(NAS, FIVE[:4])),
                api=API_DOWN,
            ),
            (
                [
                    (
                        "API server: see the cause, then try again. look at the job that "
                        "copies from registry-vm to synology: 1 newer is not there yet:"
                    ),
                    "kubectl get nodes",
                    "ssh 192.168.1.13 ls -l /shelf",
                    "the same command again",
                ]
            ),
        ),
        (
            replace(WELL, sources=(source(VM, FIVE, fault="is missing"),)),
            [
                "latest is missing; snapshot points it at the newest tarball:",
                "breakglass snapshot --tag 5a1b2c3d",
            ],
        ),
        (
            replace(
                WELL,
                sources=(source(VM, [*FIVE, tarball("old", recorded=False)], latest="5a1b2c3d"),),
            ),
            ["see whether the unverified ones are wanted:", "ssh root@10.0.20.10 ls -l /shelf"],
        ),
        (
            replace(WELL, sources=(*WELL.sources[:1], gone(NAS)), api=API_DOWN),
            (
                [
                    (
                        "API server: see the cause, then try again. synology: Look whether the "
                        "machine is up."
                    ),
                    "kubectl get nodes",
                    "the same command again",
                ]
            ),
        ),
        (
            replace(WELL, api=API_DOWN),
            [
                "API server: see the cause, then try again:",
                "kubectl get nodes",
                "the same command again",
            ],
        ),
        (
            replace(WELL, nodes=(*WELL.nodes, lost("k8s-node9"))),
            ["k8s-node9: Look whether the machine is up."],
        ),
        # The outage is over, and something is left.
        (
            replace(PINNED, registries=SERVED),
            (
                [
                    "every registry serves the image; when no pipeline runs on k8s-node1 any more:",
                    "breakglass restore",
                ]
            ),
        ),
        (
            replace(WELL, nodes=(SILENT,)),
            (
                [
                    "every registry serves the image, and k8s-node1 still has what import set up:",
                    "breakglass restore",
                ]
            ),
        ),
        (
            replace(WELL, nodes=(seen("n", missing=(), taken=KEEPING),), api=API_DOWN),
            (
                [
                    "every registry serves the image, and n still has what import set up:",
                    "breakglass restore n",
                ]
            ),
        ),
        # An outage, and nothing was done yet.
        (NOT_PINNED, ["breakglass recover"]),
        (
            replace(NOT_PINNED, api=API_DOWN),
            (
                [
                    (
                        "the API server is down, so name a node: k8s-node1 (or another of "
                        "nodes.hosts: k8s-node10, k8s-node2, k8s-node3):"
                    ),
                    "breakglass fetch k8s-node1",
                    "breakglass import k8s-node1",
                ]
            ),
        ),
        (
            replace(NOT_PINNED, registries=asked(State.SERVES, State.UNREACHABLE)),
            ["pods that start need nothing; for the others:", "breakglass recover"],
        ),
        (
            replace(NOT_PINNED, registries=asked(State.REFUSES, State.UNREACHABLE)),
            ["log in:", "docker login forgejo.example", "breakglass check"],
        ),
        (
            DARK,
            (
                [
                    "look at this machine's network first (cable, VPN, route, DNS):",
                    "ip route",
                    "breakglass check",
                ]
            ),
        ),
        (
            replace(NOT_PINNED, sources=(gone(VM), gone(NAS))),
            ["k8s-node1 has a tarball:", "breakglass import k8s-node1"],
        ),
        (
            replace(
                NOT_PINNED,
                sources=(gone(VM), gone(NAS)),
                nodes=(replace(seen("n", missing=()), shelf=shelf(NODE)),),
            ),
            ["n has the image:", "breakglass pin n"],
        ),
        (
            replace(
                NOT_PINNED,
                sources=(gone(VM), gone(NAS)),
                nodes=(replace(seen("m"), is_whole=False), replace(seen("n"), is_whole=True)),
            ),
            ["containerd on n has the image whole:", "breakglass import n"],
        ),
        (
            replace(NOT_PINNED, sources=(gone(VM), source(NAS, [])), nodes=(seen("n"),)),
            (
                [
                    (
                        "no source that was reached has a tarball, and no node has the image. "
                        "registry-vm: Look whether the machine is up."
                    ),
                ]
            ),
        ),
    ],
)
def test_the_closing_line_names_what_presses_most(facts: Facts, reported: list[str]) -> None:
    assert list(next_step(facts).lines) == reported


@pytest.mark.parametrize(
    ("facts", "reported"),
    [
        (
            replace(WELL, sources=(gone(VM), WELL.sources[1])),
            "registry-vm: was not reached on port 22 (it did not answer within 5 s)",
        ),
        (
            replace(WELL, sources=(source(VM, [], present=False), WELL.sources[1])),
            "registry-vm: there is no /shelf",
        ),
        (
            replace(
                WELL,
                sources=(
                    source(
                        VM,
                        [
                            tarball("b", recorded=False, size_bytes=10**9),
                            tarball("a", recorded=False),
                        ],
                    ),
                ),
            ),
            "not verified, 1.0 GB, never removed by breakglass: b, a",
        ),
        (
            replace(
                WELL,
                sources=(source(VM, [replace(tarball("b", size_bytes=10**9), trusted=False)]),),
            ),
            "NOT SIGNED by image.signers, 1.0 GB, never removed by breakglass: b",
        ),
        (
            replace(WELL, sources=(source(VM, [SIGNED, replace(SIGNED, tag="a")], latest="b"),)),
            "registry-vm: 2 verified tarballs, signed by ci@example; latest is b",
        ),
        (
            replace(WELL, api=API_DOWN),
            (
                "API server: not reached: the API server https://10.0.20.100:6443 "
                "refuses connections"
            ),
        ),
        (replace(WELL, api=API_DOWN), "Whether a pin is in force is not known"),
        (
            replace(WELL, api=API_DOWN, nodes=(lost("n", known=False),)),
            "n not known no route to it",
        ),
        (replace(WELL, api=API_DOWN, nodes=()), "Nodes: none known; nodes.hosts names none."),
        (
            replace(WELL, nodes=(lost("old", known=False),)),
            "old no node of the cluster no route to it",
        ),
        (
            replace(WELL, nodes=(seen("n", ready=False, missing=()),)),
            "n not Ready has the image; tarball 5a1b2c3d",
        ),
        (replace(WELL, nodes=(SILENT,)), "should serve it locally and does NOT"),
        (
            replace(WELL, nodes=(seen("n", missing=(), taken=KEEPING),)),
            "n Ready keeps the image; tarball 5a1b2c3d",
        ),
        (replace(WELL, nodes=(seen("n", annotation=PIN),)), "uncordoned by somebody since: n"),
        (
            replace(PINNED, nodes=(*PINNED.nodes, seen("k8s-node7"))),
            "joined since, and not cordoned: k8s-node7",
        ),
        (WELL, "No pin is in force."),
    ],
)
def test_whatever_is_down_or_odd_is_said(facts: Facts, reported: str) -> None:
    assert reported in page(facts)


def test_a_node_that_would_not_be_chosen_says_why_in_the_words_of_the_choice() -> None:
    unfit = replace(
        seen("k8s-node1"), node=node("k8s-node1", ready=False, cordoned=True, pressure=True)
    )
    assert "k8s-node1 not Ready, cordoned, DiskPressure " in page(replace(PINNED, nodes=(unfit,)))
    tainted = replace(seen("n", missing=()), unfit=(PRESSED, TAINTED))
    assert "has the image; does not fit: has the taint x; tarball" in page(
        replace(WELL, nodes=(tainted,))
    )


def test_a_node_whose_containerd_is_down_still_tells_the_rest() -> None:
    dead = Unread("n", Refused("containerd on n does not answer: exit 1"))
    facts = replace(
        WELL, nodes=(replace(seen("n", taken=ANSWERING, port=PORT), missing=None, unread=(dead,)),)
    )
    assert (
        "n Ready image: not known; serves it locally; containerd on n does not answer: "
        "exit 1" in page(facts)
    )
    reported = result(facts)["nodes"][0]
    assert (
        reported["reached"],
        reported["holds"],
        reported["answers_pulls"],
        reported["error"],
    ) == (
        True,
        None,
        True,
        "containerd on n does not answer: exit 1",
    )


def test_a_hosts_toml_that_was_edited_after_us_is_named() -> None:
    taken = replace(
        ANSWERING,
        files=(TakenFile(HOSTS_TOML, None, "ours", "theirs"),),
        strays=("/etc/containerd/certs.d/other/hosts.toml",),
    )
    facts = replace(WELL, nodes=(seen("n", taken=taken, port=PORT),))
    assert f"n:{HOSTS_TOML} was edited after breakglass wrote it" in page(facts)
    assert "certs.d/other/hosts.toml holds lines of breakglass that no record knows" in page(facts)
    assert result(facts)["nodes"][0]["edited"] == [HOSTS_TOML]


@pytest.mark.parametrize(
    ("now", "serves"),
    [
        (LISTED, True),
        (f'[host."https://mirror.example"]\n{LISTED}# edited', True),
        # k3s writes the file anew at each start, Spegel moves it away.
        ('[host."https://registry.example"]\n', False),
        (None, False),
        ('[host."http://127.0.0.1:5999"]\n', False),
        ("no TOML", False),
    ],
)
def test_a_node_serves_the_image_only_where_hosts_toml_lists_its_responder(
    now: str | None, serves: bool
) -> None:
    taken = replace(ANSWERING, files=(TakenFile(HOSTS_TOML, None, LISTED, now),))
    node_of_ours = seen("n", missing=(), taken=taken, port=PORT)
    facts = replace(WELL, nodes=(node_of_ours,), registries=OUTAGE)
    assert result(facts)["nodes"][0]["answers_pulls"] is serves
    assert ("does NOT (hosts.toml was rewritten)" in page(facts)) is not serves
    assert ("breakglass import n" in next_step(facts).commands) is not serves


@pytest.mark.parametrize(
    ("taken", "should"),
    [
        (CLEAN, False),
        (KEEPING, False),
        (
            Taken(
                is_recorded=True, is_begun=True, files=(TakenFile(HOSTS_TOML, None, "ours", None),)
            ),
            False,
        ),  # cut short before it was written, or put back
        (
            Taken(
                is_recorded=True,
                is_begun=True,
                files=(TakenFile(HOSTS_TOML, None, "ours", "ours"),),
            ),
            True,
        ),
        (
            Taken(
                is_recorded=True,
                is_begun=True,
                files=(TakenFile(HOSTS_TOML, None, "ours", "ours, edited"),),
            ),
            True,
        ),
        (Taken(has_responder=True), True),
    ],
)
def test_a_node_should_answer_pulls_if_an_import_left_a_responder_or_a_hosts_toml(
    taken: Taken, should: bool
) -> None:
    assert Seen("n", taken=taken).should_answer is should


def test_pins_for_several_targets_and_annotations_of_others_are_reported_one_by_one() -> None:
    other = Pin("1", "k8s-node2", "ci@runner", "2026-04-18T22:00:00Z", "").text()
    facts = replace(
        PINNED,
        nodes=(
            *PINNED.nodes,
            seen("a", cordoned=True, annotation=other),
            seen("b", cordoned=True, annotation='{"target": 3}'),
            seen("c", cordoned=True, annotation="\x1b[31m"),
        ),
    )
    reported = page(facts)
    assert "Pinned to k8s-node2 for 5 h, since 2026-04-18 22:00Z, by ci@runner" in reported
    assert "Pinned to k8s-node1 for 4 h" in reported
    assert "the annotation cannot be read: b, c" in reported
    found = result(facts)
    assert (
        found["pin"]["target"],
        [pin["target"] for pin in found["other_pins"]],
        found["unreadable_pins"],
    ) == ("k8s-node2", ["k8s-node1"], ["b", "c"])


def test_a_pin_that_was_taken_up_again_by_a_second_run_is_one_pin_with_the_first_ones_words() -> (
    None
):
    again = Pin("2", "k8s-node1", "other@laptop", NOW, "went on").text()
    facts = replace(
        PINNED, nodes=(*PINNED.nodes[:2], seen("k8s-node2", cordoned=True, annotation=again))
    )
    pin = result(facts)["pin"]
    assert (pin["by"], pin["age_seconds"], pin["cordoned"], pin["joined"]) == (
        "root@operator",
        14400,
        ["k8s-node10", "k8s-node2"],
        [],
    )


def test_the_json_has_the_ages_in_seconds_and_is_json() -> None:
    facts = replace(
        PINNED,
        sources=(
            source(
                VM, [*FIVE[3:], tarball("old", recorded=False, size_bytes=7)], latest="5a1b2c3d"
            ),
            gone(NAS),
        ),
        nodes=(*PINNED.nodes, lost("k8s-node9")),
    )
    reported: dict[str, Any] = json.loads(json.dumps(result(facts)))
    vm, nas = reported["sources"]
    assert vm["tarballs"][0] == {
        "tag": "5a1b2c3d",
        "taken_at": "2026-04-19T00:00:00Z",
        "age_seconds": 10800,
        "size_bytes": 243_000_000,
        "verified": True,
        "latest": True,
        "signature": "not signed",
        "signed_by": None,
    }
    assert vm["tarballs"][2] == {
        "tag": "old",
        "taken_at": None,
        "age_seconds": None,
        "size_bytes": 7,
        "verified": False,
        "latest": False,
        "signature": "not signed",
        "signed_by": None,
    }
    assert (vm["reached"], vm["error"], vm["latest"], vm["unverified_bytes"]) == (
        True,
        None,
        "5a1b2c3d",
        7,
    )
    assert (nas["reached"], nas["tarballs"], nas["lags"], nas["unverified_bytes"]) == (
        False,
        [],
        None,
        None,
    )
    assert nas["error"].startswith("synology was not reached")
    assert reported["newest"] == {"tag": "5a1b2c3d", "age_seconds": 10800}
    assert reported["pin"]["target"] == "k8s-node1"
    assert reported["nodes"][1] | {"name": ""} == {
        **{
            "name": "",
            "reached": True,
            "error": None,
            "ready": True,
            "cordoned": True,
            "pinned": True,
        },
        **{
            "tarballs": [],
            "holds": False,
            "answers_pulls": False,
            "should_answer": False,
            "edited": [],
            "unfit": [],
            "whole": None,
            "verdicts": [],
        },
    }
    assert (
        reported["nodes"][-1]["reached"],
        reported["nodes"][-1]["holds"],
        reported["nodes"][-1]["should_answer"],
    ) == (False, None, None)
    assert reported["api"] == {"reached": True, "error": None, "doubt": None}


def test_long_names_and_long_errors_stay_within_the_page() -> None:
    long = tarball("t" * 128, 7)
    facts = replace(
        WELL,
        sources=(source(VM, [long], latest=long.tag), gone(NAS)),
        nodes=(lost("n" * 200), seen("m" * 60, missing=())),
    )
    assert max(map(len, lines(facts))) <= 80


def test_the_cluster_is_named_and_a_list_of_nodes_that_cannot_be_whole_is_a_finding() -> None:
    home = ClusterName("home", "https://10.0.20.100:6443")
    assert "cluster: home (https://10.0.20.100:6443)" in lines(replace(WELL, cluster=home))
    empty = replace(WELL, nodes=(), cluster=home, doubt=doubt((), (), home))
    assert "home (https://10.0.20.100:6443) lists no nodes" in page(empty)
    assert str(next_step(empty)).startswith("choose another context")
    assert result(empty)["api"]["doubt"] == empty.doubt
