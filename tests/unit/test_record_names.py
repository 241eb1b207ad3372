"""Names come from the configuration only."""

from dataclasses import replace

import pytest

from breakglass.apply.compared import unexpected
from breakglass.commands.fetch_facts import Facts
from breakglass.commands.fetch_options import Option, choose_option
from breakglass.commands.fetch_warnings import doubts
from breakglass.commands.record_names import fault_of_names
from breakglass.errors import Integrity
from breakglass.observe.shelf import Tarball
from tests.facts import (
    IDENTITY,
    IMAGE,
    NAS,
    NODE,
    REPOSITORY,
    VM,
    image_id,
    machine,
    shelf,
    tarball,
)

PLUGIN = "docker.io/woodpeckerci/plugin-git:2"
IMAGE_WITH_PLUGIN = replace(IMAGE, companions=(PLUGIN, "docker.io/library/busybox:1.36"))
NEW = tarball("new", 2)
EVIL = "evil.example/pause:3.9"


def recorded(references: tuple[str, ...], companions: tuple[str, ...] = ()) -> Tarball:
    assert NEW.record is not None
    images = tuple((name, image_id("c")) for name in companions)
    return replace(NEW, record=replace(NEW.record, references=references, companions=images))


USUAL = (f"{REPOSITORY}:new",)
RECORDS: list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = [
    # what, references, companions, the names that are foreign
    ("what snapshot writes", USUAL, (PLUGIN,), ()),
    ("without a companion", USUAL, (), ()),
    ("also known as", (*USUAL, "forgejo.example/viktor/infra-ci:new"), (), ()),
    ("a companion in its short form", USUAL, ("busybox:1.36",), ()),
    ("another companion", USUAL, (PLUGIN, EVIL), (EVIL,)),
    ("another tag of a companion", USUAL, ("docker.io/woodpeckerci/plugin-git:3",), ("3",)),
    ("another reference", (*USUAL, EVIL), (), (EVIL,)),
    ("another repository", ("elsewhere.example/infra-ci:new",), (), ("elsewhere.example",)),
    ("another tag", (f"{REPOSITORY}:other",), (), (":other",)),
    ("a companion as the image", (*USUAL, PLUGIN), (), (PLUGIN,)),
    ("the image as a companion", USUAL, USUAL, USUAL),
    ("an option of ctr", USUAL, ("--all",), ("--all",)),
    ("nothing", USUAL, ("",), ("''",)),
    ("control characters", USUAL, ("a\x1b[2J",), (r"a\x1b[2J",)),
]


@pytest.mark.parametrize(
    ("references", "companions", "foreign"),
    [row[1:] for row in RECORDS],
    ids=[row[0] for row in RECORDS],
)
def test_a_record_is_used_only_with_the_names_of_the_configuration(
    references: tuple[str, ...], companions: tuple[str, ...], foreign: tuple[str, ...]
) -> None:
    fault = fault_of_names(IMAGE_WITH_PLUGIN, shelf(VM), recorded(references, companions))
    if not foreign:
        assert fault is None
        return
    assert isinstance(fault, Integrity)
    assert all(name in fault.message for name in foreign)
    assert fault.message.isprintable()
    assert not any(name in fault.message for name in USUAL if name not in foreign)


# fetch


def facts(on_vm: Tarball, *on_nas: Tarball) -> Facts:
    sources = (shelf(VM, [on_vm], latest=on_vm.tag), shelf(NAS, on_nas, latest="new"))
    return Facts(NODE, "", machine(NODE), shelf(NODE), sources, (), {})


def test_fetch_passes_over_a_tarball_whose_record_has_foreign_names_and_says_so() -> None:
    known = facts(recorded(USUAL, (EVIL,)), NEW)
    option, others = choose_option(known, image=IMAGE, tag=None, via="operator", failed={})
    assert (option.shelf.host, others) == (NAS, ())
    warnings = list(doubts(known, option, IMAGE, None, IDENTITY.at))
    assert any(EVIL in warning and "registry-vm" in warning for warning in warnings)


def test_with_foreign_names_everywhere_nothing_is_moved() -> None:
    known = facts(recorded(USUAL, (EVIL,)), recorded((EVIL,)))
    with pytest.raises(Integrity, match=r"(?s)registry-vm.*evil.*synology.*evil"):
        choose_option(known, image=IMAGE, tag="new", via="operator", failed={})


def test_an_option_is_chosen_from_good_records_as_before() -> None:
    option, _ = choose_option(facts(NEW), image=IMAGE, tag=None, via="operator", failed={})
    assert option == Option(facts(NEW).sources[0], NEW, "operator")


# What an import has changed

OLD, OURS, FOREIGN = (f"sha256:{letter * 64}" for letter in "abc")
MEANT = ("r.example/x:1", "r.example/x:latest")
BEFORE = {"r.example/x:latest": OLD, "r.example/pause:3": FOREIGN}
AFTER = {**BEFORE, "r.example/x:1": OURS, "r.example/x:latest": OURS}
CHANGES: list[tuple[str, dict[str, str], dict[str, str | None]]] = [
    ("only what was meant", {}, {}),
    ("the ID that the CRI plugin gives", {f"sha256:{'d' * 64}": OURS}, {}),
    ("a pull of kubelet", {"q.example/y:2": OLD, f"q.example/y@{OLD}": OLD}, {}),
    ("a pull of our image by digest", {f"r.example/x@{OURS}": OURS}, {}),
    ("a name more", {"evil.example/y:2": OURS}, {"evil.example/y:2": None}),
    ("a name more, of another image", {"evil.example/y:2": OLD}, {"evil.example/y:2": None}),
    ("another name moved", {"r.example/pause:3": OURS}, {"r.example/pause:3": FOREIGN}),
    (
        "our image under a foreign name, disguised as a pull",
        {"r.example/pause:3": OURS, f"r.example/pause@{OURS}": OURS},
        {"r.example/pause:3": FOREIGN},
    ),
    (
        "a digest that is another one",
        {f"r.example/pause@{OLD}": OURS},
        {f"r.example/pause@{OLD}": None},
    ),
]


@pytest.mark.parametrize(
    ("changes", "expected"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_a_name_that_an_import_was_not_to_change_is_found(
    changes: dict[str, str], expected: dict[str, str | None]
) -> None:
    assert unexpected(BEFORE, {**AFTER, **changes}, MEANT) == expected


def test_an_image_that_kubelet_removes_meanwhile_is_no_fault() -> None:
    assert unexpected(BEFORE, {name: AFTER[name] for name in MEANT}, MEANT) == {}
