"""fetch and import: facts to exact lines."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from breakglass.commands import fetch, import_facts, import_image, import_names
from breakglass.commands.answering_facts import Answers
from breakglass.commands.environment import Unread
from breakglass.commands.fetch_facts import SSH_OPTIONS, Facts, Login
from breakglass.commands.fetch_options import Failures, choose_option
from breakglass.errors import Integrity, Refused, Unreachable
from breakglass.observe.answering import Taken
from breakglass.observe.containerd import Containerd
from breakglass.observe.leftovers import Partial
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Host, Plan, Run
from tests.facts import (
    IDENTITY,
    IMAGE,
    MANY,
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
OPTIONS = (
    "-o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o ConnectTimeout=5 -o "
    "ServerAliveInterval=10 -o ServerAliveCountMax=2"
)


def facts(
    on_vm: Iterable[Tarball] | None = (NEW,),
    on_nas: Iterable[Tarball] | None = (NEW,),
    on_node: Shelf | None = None,
    *,
    login: str = "",
    **more: object,
) -> Facts:
    """`on_vm` or `on_nas` None: not reached."""
    sources = tuple(
        shelf(host, held, latest="new")
        for host, held in ((VM, on_vm), (NAS, on_nas))
        if held is not None
    )
    unread = tuple(
        Unread(host.name, Unreachable(f"{host} does not answer", where=host.name))
        for host, held in ((VM, on_vm), (NAS, on_nas))
        if held is None
    )
    logins = {
        source.host.name: Login(("ssh", *SSH_OPTIONS, *source.host.login), login)
        for source in sources
    }
    known = Facts(
        NODE,
        "k8s-node1 is 10.0.20.101 (InternalIP)",
        machine(NODE),
        on_node or shelf(NODE),
        sources,
        unread,
        logins,
    )
    return replace(known, **more)  # type: ignore[arg-type]


def planned(
    known: Facts, *, tag: str | None = None, via: str = "auto", failed: Failures | None = None
) -> list[str]:
    return lines(plan(known, tag=tag, via=via, failed=failed))


def plan(
    known: Facts, *, tag: str | None = None, via: str = "auto", failed: Failures | None = None
) -> Plan:
    option, others = choose_option(known, image=IMAGE, tag=tag, via=via, failed=failed or {})
    return fetch.plan(known, option, image=IMAGE, identity=IDENTITY, tag=tag, others=others)


def copying(made: list[str]) -> str:
    return next(line for line in made if " receive " in line)


def test_the_node_pulls_from_the_vm_itself_checks_there_and_renames() -> None:
    made = planned(facts())
    assert made[0] == "k8s-node1$ sudo -n flock --nonblock /var/breakglass/.breakglass.lock cat"
    assert made[1].startswith(
        f"k8s-node1$ sudo -n bash --norc -o pipefail -c 'ssh {OPTIONS} root@10.0.20.10 '\"'\"'cat "
        "/shelf/infra-ci-new.tar.gz'\"'\"' | python3 breakglass-remote.pyz archive "
        "receive /var/breakglass"
    )
    assert made[2:] == [
        (
            "k8s-node1$ sudo -n python3 breakglass-remote.pyz archive publish "
            "/var/breakglass infra-ci-new.tar.gz"
        ),
        (
            "k8s-node1$ sudo -n ln -sfnT infra-ci-new.tar.gz "
            "/var/breakglass/.infra-ci-latest.tar.gz.partial"
        ),
        (
            "k8s-node1$ sudo -n mv -fT /var/breakglass/.infra-ci-latest.tar.gz.partial "
            "/var/breakglass/infra-ci-latest.tar.gz"
        ),
        "k8s-node1$ sudo -n sync /var/breakglass",
    ]


def test_where_the_nodes_root_cannot_log_in_the_tarball_goes_through_this_machine() -> None:
    made = planned(facts(login="Permission denied"))
    assert copying(made).startswith(
        "operator$ ssh root@10.0.20.10 'cat /shelf/infra-ci-new.tar.gz' | ssh "
        "wizard@10.0.20.101 'sudo -n python3 breakglass-remote.pyz archive receive /var/breakglass"
    )


def test_via_node_is_not_replaced_by_anything_else() -> None:
    with pytest.raises(Unreachable, match="cannot log in"):
        planned(facts(login="k8s-node1 cannot log in to it"), via="node")


def test_the_next_source_is_taken_when_the_vm_is_down() -> None:
    assert "192.168.1.13" in copying(planned(facts(on_vm=None)))


def test_with_every_source_down_each_reason_is_reported() -> None:
    with pytest.raises(
        Unreachable, match=r"(?s)registry-vm does not answer.*synology does not answer"
    ):
        planned(facts(on_vm=None, on_nas=None))


def test_a_bad_copy_is_passed_over_for_the_next_source_then_for_older_good_tarballs() -> None:
    older = tarball("older", 1, letter="b")
    known = facts(on_vm=(NEW, older), on_nas=(NEW,))
    failed: Failures = {("registry-vm", NEW.file, "node"): Integrity("bad")}
    assert "192.168.1.13" in copying(planned(known, failed=failed))
    failed["synology", NEW.file, "node"] = Integrity("bad too")
    assert "infra-ci-older.tar.gz" in copying(planned(known, failed=failed))
    failed["registry-vm", older.file, "node"] = Integrity("bad as well")
    with pytest.raises(Integrity, match=r"(?s)bad.*bad too.*bad as well"):
        planned(known, failed=failed)


def test_a_transport_that_failed_is_followed_by_the_other_transport_of_the_same_source() -> None:
    failed: Failures = {("registry-vm", NEW.file, "node"): Unreachable("cut")}
    assert copying(planned(facts(), failed=failed)).startswith("operator$ ssh root@10.0.20.10")


def test_an_explicit_tag_is_not_replaced_by_another_tarball() -> None:
    with pytest.raises(Refused, match="tag gone"):
        planned(facts(), tag="gone")


def test_a_partial_of_the_same_object_is_continued_and_any_other_is_written_anew() -> None:
    same = facts(on_node=shelf(NODE, partials=[_partial(300, "a" * 64)]))
    assert "tail -c +301 /shelf/infra-ci-new.tar.gz" in copying(planned(same))
    assert "--offset 300" in copying(planned(same))
    for via in ("node", "operator"):
        assert 300 in [getattr(step, "resumed_bytes", 0) for step in plan(same, via=via).steps]
    for partial in (_partial(300, "c" * 64), _partial(300, None), _partial(5000, "a" * 64)):
        assert "--offset 0" in copying(planned(facts(on_node=shelf(NODE, partials=[partial]))))


def test_left_over_partials_of_other_tarballs_are_removed() -> None:
    made = planned(facts(on_node=shelf(NODE, partials=[Partial("infra-ci-old.tar.gz", 5, None)])))
    assert made[1] == (
        "k8s-node1$ sudo -n python3 breakglass-remote.pyz archive discard "
        "/var/breakglass infra-ci-old.tar.gz"
    )


def test_a_node_that_has_it_leaves_nothing_to_do() -> None:
    assert planned(facts(on_node=shelf(NODE, [NEW], latest="new"))) == []


def test_a_tarball_on_the_node_whose_content_is_bad_is_fetched_anew() -> None:
    known = facts(on_node=shelf(NODE, [NEW], latest="new"), bad=frozenset({NEW.file}))
    assert copying(planned(known))


def test_a_node_that_holds_a_newer_tarball_than_the_sources_that_answer_is_not_taken_back() -> None:
    lagging = tarball("older", 1, letter="b")
    known = facts(on_vm=None, on_nas=(lagging,), on_node=shelf(NODE, [NEW], latest="new"))
    assert planned(known) == []
    assert "newer than what the sources offer" in plan(known).goal
    asked_for = planned(known, tag="older")
    assert copying(asked_for)
    assert not any(" rm " in line for line in asked_for)


def test_where_sequence_and_time_contradict_each_other_a_tarball_comes_and_none_goes() -> None:
    """The VM's directory was made anew, so its new tarball has a smaller sequence."""
    old = tarball("old", 50, letter="b", taken="2026-03-01T00:00:00Z")
    new = tarball("new", 1, taken="2026-04-01T00:00:00Z")
    known = facts(on_vm=(new,), on_nas=None, on_node=shelf(NODE, [old], latest="old"))
    assert "infra-ci-new.tar.gz" in copying(planned(known))
    assert not any(" rm " in line for line in planned(known))
    back = facts(on_vm=(old,), on_nas=None, on_node=shelf(NODE, [new], latest="new"))
    assert not any(" rm " in line for line in planned(back))


def test_another_source_with_a_tarball_that_was_taken_later_is_named() -> None:
    old = tarball("old", 50, letter="b", taken="2026-03-01T00:00:00Z")
    later = tarball("new", 1, taken="2026-04-01T00:00:00Z")
    wrong = tarball("wrong", 1, taken="2027-04-01T00:00:00Z")
    assert "--tag new --from synology" in "".join(
        plan(facts(on_vm=(old,), on_nas=(later,))).warnings
    )
    assert not plan(facts(on_vm=(old,), on_nas=(wrong,))).warnings


def test_a_latest_on_the_node_that_is_no_link_is_refused_before_anything_is_copied() -> None:
    with pytest.raises(Refused, match="not what belongs there"):
        planned(
            facts(on_node=shelf(NODE, fault="is not a link", foreign=["infra-ci-latest.tar.gz"]))
        )


def test_an_older_tarball_of_ours_goes_after_the_new_one_is_in_place_and_a_foreign_one_stays() -> (
    None
):
    made = planned(
        facts(
            on_node=shelf(
                NODE,
                [tarball("older", 1, letter="b"), tarball("foreign", recorded=False)],
                latest="older",
            )
        )
    )
    assert made[-1] == (
        "k8s-node1$ sudo -n rm -f -- /var/breakglass/infra-ci-older.tar.gz "
        "/var/breakglass/infra-ci-older.tar.gz.sha256 /var/breakglass/infra-ci-older.json"
    )
    assert not any("infra-ci-foreign" in line for line in made)


def test_a_tarball_without_sidecars_is_verified_by_content_and_warned_of() -> None:
    known = facts(on_vm=(tarball("new", recorded=False),))
    assert f"--reference {REPOSITORY}:new" in copying(planned(known))
    assert any("no sidecars" in warning for warning in plan(known).warnings)


def test_a_node_without_room_or_python_is_refused_before_anything_is_written() -> None:
    with pytest.raises(Refused, match="no room"):
        planned(facts(machine=machine(NODE, free_bytes=10)))
    with pytest.raises(Refused, match="no python3"):
        planned(facts(machine=machine(NODE, commands=MANY - {"python3"})))


@pytest.mark.parametrize(
    ("ssh", "arguments"),
    [
        ("192.168.1.13", ("192.168.1.13",)),
        ("root@10.0.20.10:2222", ("-p", "2222", "root@10.0.20.10")),
        ("root@[fd00::1]:22", ("-p", "22", "root@fd00::1")),
        ("fd00::1", ("fd00::1",)),
    ],
)
def test_a_destination_becomes_the_arguments_of_the_ssh_client(
    ssh: str, arguments: tuple[str, ...]
) -> None:
    assert Host("h", ssh).login == arguments


def _partial(size_bytes: int, sha256: str | None) -> Partial:
    return Partial(NEW.file, size_bytes, sha256)


NAMES = IMAGE.names("new")
MANIFEST = "sha256:" + "9" * 64


def imported(
    *,
    has: dict[str, str] | None = None,
    tarballs: Iterable[Tarball] = (NEW,),
    extra_targets: Iterable[str] = (),
    latest: str | None = "new",
    **more: object,
) -> import_facts.Facts:
    """`has`: name -> image ID in containerd; the names that keep images are there as well. The node
    is not to serve the image locally.
    """
    letters = "a" + ("c" if any(one.record and one.record.companions for one in tarballs) else "")
    keeps = {import_names.keep_name(image_id(letter)): image_id(letter) for letter in letters}
    found_ids: dict[str, str | None] = {**keeps, **(has or {})}
    held = shelf(NODE, tarballs, latest=latest)
    found = held.find(latest) if latest else None
    containerd = Containerd(
        "1.7.24",
        dict.fromkeys((*found_ids, *extra_targets), MANIFEST),
        found_ids,
        frozenset(found_ids),
        frozenset(keeps),
    )
    known = import_facts.Facts(
        NODE,
        "k8s-node1 is 10.0.20.101 (InternalIP)",
        machine(NODE),
        held,
        found,
        NAMES if found else (),
        containerd,
        Answers(Taken(is_recorded=True)),
    )
    return replace(known, **more)  # type: ignore[arg-type]


def import_lines(known: import_facts.Facts) -> list[str]:
    return lines(import_image.plan(known, nodes=NODES, identity=IDENTITY, tag=None))


def test_import_verifies_writes_anew_compares_confirms_the_image_id_and_gives_every_name() -> None:
    made = import_lines(imported())
    assert made == [
        "k8s-node1$ sudo -n flock --nonblock /var/breakglass/.breakglass.lock cat",
        (
            "k8s-node1$ sudo -n python3 breakglass-remote.pyz archive verify "
            f"/var/breakglass/infra-ci-new.tar.gz --reference {NAMES[0]}"
        ),
        (
            "k8s-node1$ sudo -n bash --norc -o pipefail -c 'python3 breakglass-remote.pyz archive "
            f"canonical /var/breakglass/infra-ci-new.tar.gz {NAMES[0]}={image_id('a')} | "
            "ctr -n k8s.io images import -'"
        ),
        (
            "k8s-node1$ sudo -n ctr -n k8s.io images ls  # of the names, only these may have "
            f"changed: {NAMES[0]}"
        ),
        (
            f"k8s-node1$ sudo -n ctr -n k8s.io images ls name=={NAMES[0]}  # image ID must be "
            f"{image_id('a')}, unpacked"
        ),
        *(
            f"k8s-node1$ sudo -n ctr -n k8s.io images tag --force {NAMES[0]} {name}"
            for name in NAMES[1:]
        ),
        (
            "k8s-node1$ sudo -n python3 breakglass-remote.pyz marked "
            f"{' '.join(f'--name {name}' for name in NAMES)} -- ctr -n k8s.io"
        ),
    ]


def test_what_an_import_says_it_leaves_are_the_names_that_its_steps_lead_to() -> None:
    stale = [import_names.keep_name(image_id("d")), import_names.kept_name(NAMES[1])]
    known = imported(has={NAMES[1]: image_id("b")}, extra_targets=[*stale, "breakglass.local/x:1"])
    names = set(known.containerd.targets)
    for step in import_image.plan(known, nodes=NODES, identity=IDENTITY, tag=None).steps:
        words = step.pipeline[-1] if isinstance(step, Run) else ()
        if "tag" in words:
            names.add(words[-1])
        elif "rm" in words:
            names.remove(words[-1])
    taken, left = import_image.left_by(known, NODES)
    assert left == tuple(sorted(name for name in names if name.startswith("breakglass.local/")))
    assert (taken.is_recorded, taken.namespace) == (True, "k8s.io")


def test_a_second_import_has_nothing_to_do() -> None:
    assert import_lines(imported(has=dict.fromkeys(NAMES, image_id("a")))) == []


def test_only_the_missing_names_are_given_when_the_image_is_there() -> None:
    made = import_lines(imported(has={NAMES[0]: image_id("a"), NAMES[1]: image_id("a")}))
    assert not any("import -" in line for line in made)
    assert [line.split()[-1] for line in made if " tag " in line] == list(NAMES[2:])


def test_what_a_name_meant_before_is_kept_until_the_import_succeeds_or_is_put_back() -> None:
    known = imported(has={NAMES[1]: image_id("b")})
    made = import_image.plan(known, nodes=NODES, identity=IDENTITY, tag=None)
    before = import_names.kept_name(NAMES[1])
    text = lines(made)
    assert text[2] == f"k8s-node1$ sudo -n ctr -n k8s.io images tag --force {NAMES[1]} {before}"
    assert text[-1] == f"k8s-node1$ sudo -n ctr -n k8s.io images rm {before}"
    undo = [str(undoing) for _, undoing in made.undo]
    assert f"k8s-node1$ sudo -n ctr -n k8s.io images tag --force {before} {NAMES[1]}" in undo
    assert f"k8s-node1$ sudo -n ctr -n k8s.io images rm {NAMES[0]}" in undo
    assert f"k8s-node1$ sudo -n ctr -n k8s.io images rm {NAMES[1]}" not in undo


def test_a_failure_after_the_names_are_given_undoes_nothing() -> None:
    made = import_image.plan(
        imported(has={NAMES[1]: image_id("b")}), nodes=NODES, identity=IDENTITY, tag=None
    )
    assert made.settled == len(made.steps) - 1


def test_what_a_cut_short_import_has_kept_goes_in_the_end_whatever_tag_it_was_for() -> None:
    before, stale = import_names.kept_name(NAMES[1]), import_names.BEFORE + "0123456789abcdef:kept"
    made = import_lines(imported(has={NAMES[1]: image_id("b")}, extra_targets=[before, stale]))
    assert not any(f"{NAMES[1]} {before}" in line for line in made), (
        "what it means now is kept already"
    )
    assert sorted(line.split()[-1] for line in made if " images rm " in line) == sorted(
        [before, stale]
    )
    assert import_lines(imported(has=dict.fromkeys(NAMES, image_id("a")), extra_targets=[before]))[
        1:
    ] == [f"k8s-node1$ sudo -n ctr -n k8s.io images rm {before}"]


def test_a_companion_that_is_missing_is_loaded_and_confirmed_by_its_own_image_id() -> None:
    companion = "docker.io/woodpeckerci/plugin-git:2"
    record = NEW.record
    assert record is not None
    held = replace(NEW, record=replace(record, companions=((companion, image_id("c")),)))
    known = imported(has=dict.fromkeys(NAMES, image_id("a")), tarballs=[held])
    made = import_lines(known)
    assert any("images import -" in line for line in made)
    assert (
        f"k8s-node1$ sudo -n ctr -n k8s.io images ls name=={companion}  # image ID must be "
        f"{image_id('c')}, unpacked"
    ) in made
    assert (
        import_lines(
            imported(
                has={**dict.fromkeys(NAMES, image_id("a")), companion: image_id("c")},
                tarballs=[held],
            )
        )
        == []
    )


def test_a_tarball_whose_size_differs_from_its_record_is_not_imported_and_both_are_named() -> None:
    short = replace(tarball("new", size_bytes=1000), size_bytes=999)
    with pytest.raises(Integrity, match="has 999 bytes, its sidecar says 1000") as caught:
        import_lines(imported(tarballs=(short,)))
    assert str(caught.value.next_step) == f"breakglass fetch {NODE} --tag new"


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        (imported(latest=None, tarballs=()), "no tarball"),
        (imported(tarballs=(tarball("new", recorded=False),)), "no complete sidecar"),
        (imported(machine=machine(NODE, architecture="arm64")), "is for linux/amd64"),
        (imported(names=("other.example/x:new",)), "not other.example"),
    ],
)
def test_import_is_refused_with_its_reason_and_a_next_step(
    known: import_facts.Facts, sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        import_lines(known)
    assert str(caught.value.next_step)
