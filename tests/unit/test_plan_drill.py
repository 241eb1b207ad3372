"""drill: facts to exact lines and findings."""

from dataclasses import replace

import pytest

from breakglass.commands import drill, drill_candidate, fetch_facts, readiness
from breakglass.commands.answering_facts import Answers
from breakglass.commands.drill_candidate import Candidate
from breakglass.commands.drill_facts import NAMESPACE, Facts, tidied
from breakglass.commands.drill_removal import leftover, state
from breakglass.commands.environment import Unread
from breakglass.commands.fetch_facts import SSH_OPTIONS, Login
from breakglass.commands.fetch_options import Option
from breakglass.config import Image
from breakglass.errors import BreakglassError, Integrity, Refused, Unreachable
from breakglass.observe.answering import Answering, Responder, Taken
from breakglass.observe.containerd import Ctr
from breakglass.observe.containerd_namespace import Namespace
from breakglass.observe.leftovers import Partial
from breakglass.observe.machine import Disk
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Plan
from tests.facts import (
    IDENTITY,
    IMAGE,
    NAS,
    NODE,
    NODES,
    REPOSITORY,
    VM,
    image_id,
    lines,
    machine,
    shelf,
    tarball,
)

NEW = tarball("new", 2)
AT = "2026-04-19T03:00:00Z"
SCRATCH = "/var/breakglass/.drill"
NO_SCRATCH = Shelf(NODE, SCRATCH, "infra-ci", present=False)
ANSWERING = Answering((), Responder(None, {}, 22509), "/content", "/etc/containerd/certs.d")
READINGS = readiness.Readings(Answers(Taken(), ANSWERING), True)
RM = f"k8s-node1$ sudo -n ctr -n breakglass-drill images rm --sync {REPOSITORY}:new"
NAMESPACES_RM = "k8s-node1$ sudo -n ctr namespaces rm breakglass-drill"
FILES_RM = (
    f"k8s-node1$ sudo -n rm -f -- {SCRATCH}/infra-ci-new.tar.gz "
    f"{SCRATCH}/infra-ci-new.tar.gz.sha256 {SCRATCH}/infra-ci-new.json"
)
DIRECTORY_RM = f"k8s-node1$ sudo -n rm -df -- {SCRATCH}"


def facts(
    *,
    login: str = "",
    scratch: Shelf = NO_SCRATCH,
    on_vm: Tarball | None = NEW,
    free_bytes: int = 10**12,
    **more: object,
) -> Facts:
    sources = (shelf(VM, (on_vm,) if on_vm else (), latest=on_vm.tag if on_vm else None),)
    unread = (Unread(NAS.name, Unreachable("synology does not answer", where="synology")),)
    logins = {VM.name: Login(("ssh", *SSH_OPTIONS, *VM.login), login)}
    reach = fetch_facts.Facts(
        NODE,
        "k8s-node1 is 10.0.20.101 (InternalIP)",
        machine(NODE, free_bytes=free_bytes),
        scratch,
        sources,
        unread,
        logins,
    )
    known = Facts(reach, True, None, Disk(10**12, 5 * 10**11), Ctr(("ctr",), NAMESPACE), READINGS)
    return replace(known, **more)  # type: ignore[arg-type]


def plan(known: Facts, offered: Tarball = NEW, via: str = "node", *, image: Image = IMAGE) -> Plan:
    return drill.plan(
        known,
        Option(known.reach.sources[0], offered, via),
        image=image,
        nodes=NODES,
        identity=IDENTITY,
    )


def candidate(known: Facts, source: str = VM.name, *, max_age_hours: float = 192) -> Candidate:
    return drill_candidate.candidate_of(known, source, at=AT, max_age_hours=max_age_hours)


def fault(offer: Candidate) -> BreakglassError:
    assert offer.fault is not None
    return offer.fault


def test_a_tarball_is_imported_into_a_separate_namespace_compared_and_removed_again() -> None:
    made = lines(plan(facts()))
    assert (
        " | python3 breakglass-remote.pyz archive receive /var/breakglass/.drill "
        "infra-ci-new.tar.gz --size "
        "1000 --offset 0 "
    ) in made[2]
    assert [*made[:2], *made[3:]] == [
        "k8s-node1$ sudo -n flock --nonblock /var/breakglass/.breakglass.lock cat",
        f"k8s-node1$ sudo -n mkdir -p -m 700 {SCRATCH}",
        (
            f"k8s-node1$ sudo -n python3 breakglass-remote.pyz archive publish {SCRATCH} "
            "infra-ci-new.tar.gz"
        ),
        (
            "k8s-node1$ sudo -n python3 breakglass-remote.pyz archive verify "
            f"{SCRATCH}/infra-ci-new.tar.gz --reference {REPOSITORY}:new"
        ),
        (
            "k8s-node1$ sudo -n bash --norc -o pipefail -c 'python3 breakglass-remote.pyz archive "
            f"canonical {SCRATCH}/infra-ci-new.tar.gz {REPOSITORY}:new={image_id()} | "
            "ctr -n breakglass-drill images import -'"
        ),
        (
            "k8s-node1$ sudo -n ctr -n breakglass-drill images ls  # of the names, only these may "
            f"have changed: {REPOSITORY}:new"
        ),
        (
            f"k8s-node1$ sudo -n ctr -n breakglass-drill images ls name=={REPOSITORY}:new  # "
            f"image ID must be {image_id()}, unpacked"
        ),
        RM,
        NAMESPACES_RM,
        FILES_RM,
        DIRECTORY_RM,
    ]


def test_whichever_step_fails_what_was_begun_is_removed() -> None:
    made = plan(facts())
    begun = {
        str(step): [str(undoing) for other, undoing in made.undo if other == step]
        for step in made.steps
    }
    undoings = [undoing for undoing in begun.values() if undoing]
    assert [len(undoing) for undoing in undoings] == [1, 2, 4]
    assert undoings[0] == [DIRECTORY_RM]
    assert undoings[1][1] == FILES_RM
    assert undoings[2][0] == RM
    assert undoings[2][-1] == NAMESPACES_RM


def test_companions_are_compared_and_removed_as_well() -> None:
    assert NEW.record is not None
    companion = "docker.io/woodpeckerci/plugin-git:2"
    record = replace(NEW.record, companions=((companion, image_id("b")),))
    with_companion = replace(NEW, record=record)
    image = replace(IMAGE, companions=(companion,))
    made = lines(plan(facts(on_vm=with_companion), with_companion, image=image))
    assert sum("image ID must be" in line for line in made) == 2
    assert f"{RM} {companion}" in made


def test_what_a_killed_drill_has_left_is_removed_first() -> None:
    older = tarball("old", 1)
    left = Shelf(
        NODE,
        SCRATCH,
        "infra-ci",
        True,
        (older,),
        partials=(Partial("infra-ci-new.tar.gz", 5, None),),
    )
    made = lines(
        plan(facts(scratch=left, namespace=Namespace((f"{REPOSITORY}:old",), ("123-abc",))))
    )
    assert made[1:6] == [
        RM.replace(":new", ":old"),
        "k8s-node1$ sudo -n ctr -n breakglass-drill leases rm --sync 123-abc",
        NAMESPACES_RM,
        (
            f"k8s-node1$ sudo -n python3 breakglass-remote.pyz archive discard {SCRATCH} "
            "infra-ci-new.tar.gz"
        ),
        FILES_RM.replace("-new", "-old"),
    ]
    assert not any("mkdir" in line for line in made)
    assert " --offset 0 " in made[6]


def test_after_a_drill_there_is_nothing_left_to_remove() -> None:
    left = facts(scratch=shelf(NODE), namespace=Namespace((), ()))
    assert len(leftover(left).steps) == 2
    assert leftover(tidied(left)).steps == ()
    assert "Nothing of the drill is left" in state(tidied(left))
    assert "breakglass-drill" in state(left)


def test_where_the_nodes_root_cannot_log_in_the_tarball_comes_through_this_machine() -> None:
    known = facts(login="Permission denied")
    option = candidate(known).option
    assert option is not None
    assert option.via == "operator"
    check = next(
        check
        for check in readiness.checks(
            READINGS, machine(NODE), nodes=NODES, login=known.reach.logins[VM.name]
        )
        if "login" in check.name
    )
    assert (check.error, check.warns, str(check)[:8]) == (None, True, "warning ")


@pytest.mark.parametrize(
    ("disk", "fits"),
    [
        (Disk(100_000, 24_000), True),
        (Disk(100_000, 23_999), False),
        (Disk(100_000, 9_000), False),
        (None, True),
    ],
    ids=["15 % stay free", "one byte less", "full already", "not known"],
)
def test_an_import_that_would_wake_the_image_garbage_collection_is_refused(
    disk: Disk | None, fits: bool
) -> None:
    if fits:
        assert bool(plan(facts(disk=disk)).warnings) is (disk is None)
        return
    with pytest.raises(Refused, match=r"no room on k8s-node1: .* free on containerd's disk"):
        plan(facts(disk=disk))


def test_a_tarball_that_does_not_fit_into_the_directory_is_refused() -> None:
    with pytest.raises(Refused, match=r"no room in /var/breakglass/\.drill"):
        plan(facts(free_bytes=999))


def test_what_import_would_refuse_drill_refuses() -> None:
    assert NEW.record is not None
    with pytest.raises(Refused, match="no pod would start"):
        plan(facts(), replace(NEW, record=replace(NEW.record, platform="linux/arm64")))


@pytest.mark.parametrize("name", ["--all", "evil.example/pause:3.9"])
def test_ctr_never_gets_a_name_that_the_configuration_does_not_give(name: str) -> None:
    assert NEW.record is not None
    with pytest.raises(Integrity, match="does not give") as caught:
        plan(
            facts(),
            replace(NEW, record=replace(NEW.record, companions=((name, image_id("b")),))),
        )
    assert repr(name) in caught.value.message


def test_the_findings_of_a_source() -> None:
    short = replace(NEW, size_bytes=999)
    assert isinstance(fault(candidate(facts(), NAS.name)), Unreachable)
    assert "no tarball" in fault(candidate(facts(on_vm=None))).message
    without = candidate(facts(on_vm=tarball("new", recorded=False)))
    assert "sidecar" in fault(without).message
    assert "fetch would still take it" in fault(without).message
    assert not without.is_tried
    assert isinstance(fault(candidate(facts(on_vm=short))), Integrity)
    assert not candidate(facts(on_vm=short)).is_tried
    assert str(fault(candidate(facts(on_vm=short))).next_step) == "breakglass snapshot --tag new"


@pytest.mark.parametrize(("max_age_hours", "is_old"), [(3.0, False), (2.9, True)])
def test_a_tarball_that_is_too_old_is_a_finding_and_tried_all_the_same(
    max_age_hours: float, is_old: bool
) -> None:
    offer = candidate(facts(), max_age_hours=max_age_hours)
    assert (offer.fault is not None) is is_old
    assert offer.is_tried


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("yesterday", "was taken yesterday, which is no moment"),
        ("2033-01-01T00:00:00Z", "yet to come"),
        ("2026-04-11T02:59:00", "was taken 2026-04-11T02:59:00, 8 d ago"),
        ("2026-04-11T03:01:00", ""),
    ],
    ids=["no moment", "to come", "too old, in UTC without a zone", "young enough"],
)
def test_a_time_that_is_invalid_or_in_the_future_counts_as_too_old(moment: str, said: str) -> None:
    assert NEW.record is not None
    offer = candidate(facts(on_vm=replace(NEW, record=replace(NEW.record, created_at=moment))))
    assert said in offer.fault.message if offer.fault else not said


CHECKS = {
    "all is well": (READINGS, NODES, []),
    "config_path elsewhere": (
        replace(READINGS, answers=Answers(Taken(), replace(ANSWERING, config_path="/elsewhere"))),
        NODES,
        [("answering pulls", 3)],
    ),
    "config_path elsewhere, and pulls are not to be answered": (
        replace(READINGS, answers=Answers(Taken(), replace(ANSWERING, config_path="/elsewhere"))),
        replace(NODES, answer_pulls=False),
        [],
    ),
    "the API is down": (
        replace(READINGS, may_patch=Unreachable("the API was not reached")),
        NODES,
        [("rights", 5)],
    ),
    "no right to patch": (replace(READINGS, may_patch=False), NODES, [("rights", 5)]),
    "the API does not say": (replace(READINGS, may_patch=None), NODES, []),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_checks(name: str) -> None:
    readings, nodes, wrong = CHECKS[name]
    checks = readiness.checks(readings, machine(NODE), nodes=nodes, login=Login((), ""))
    assert [(check.name, check.error.exit_code) for check in checks if check.error] == wrong
    assert all(
        str(check).startswith("FAILED" if check.error else "warning" if check.warns else "ok")
        for check in checks
    )


def test_a_missing_program_is_named() -> None:
    checks = readiness.checks(
        READINGS,
        machine(NODE, commands=frozenset({"python3", "bash", "ctr"})),
        nodes=NODES,
        login=None,
    )
    assert [check.detail for check in checks if check.error] == ["k8s-node1: has no sha256sum"]
