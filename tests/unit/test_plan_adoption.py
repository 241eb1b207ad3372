"""import without a tarball: what containerd has -> exact lines, or why it is not taken."""

from dataclasses import replace
from typing import Any

import pytest

from breakglass.commands import import_facts, import_image
from breakglass.commands.adoption import Adoption, offers, tagged_names
from breakglass.commands.answering_facts import Answers
from breakglass.commands.import_names import keep_name, kept_name
from breakglass.commands.verdict import Cluster, verdict
from breakglass.config import Image
from breakglass.errors import Refused
from breakglass.observe.answering import Answering, Responder, Taken
from breakglass.observe.containerd import Containerd
from breakglass.observe.containerd_config import Unpacking
from breakglass.observe.content import Content
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan
from tests.facts import (
    IDENTITY,
    IMAGE,
    NAS,
    NODE,
    NODES,
    REPOSITORY,
    image_id,
    lines,
    machine,
    shelf,
    tarball,
)

TAG = "0a1b2c3d"
NAME, OTHER = f"{REPOSITORY}:{TAG}", f"forgejo.example/viktor/infra-ci:{TAG}"
DIGEST = "sha256:" + "9" * 64
WHOLE = Content(NAME, image_id(), 195_000_000, 9)
SUDO = "k8s-node1$ sudo -n"


def facts(*contents: Content, elsewhere: str = "", **more: Any) -> import_facts.Facts:
    """A node that has these, unpacked, and no directory of ours."""
    adoption = Adoption(TAG, REPOSITORY, contents, elsewhere)
    containerd = Containerd(
        "1.7.24",
        {content.name: DIGEST for content in contents},
        {content.name: content.image_id for content in contents},
        frozenset(content.name for content in contents),
    )
    known = import_facts.Facts(
        NODE,
        "k8s-node1 was named",
        machine(NODE),
        shelf(NODE, present=False),
        None,
        adoption.names(IMAGE),
        containerd,
        Answers(Taken()),
        adoption=adoption,
    )
    return replace(known, **more)


def planned(known: import_facts.Facts, tag: str | None = TAG) -> Plan:
    return import_image.plan(known, nodes=NODES, identity=IDENTITY, tag=tag)


def refusal(known: import_facts.Facts, tag: str | None = TAG) -> Refused:
    with pytest.raises(Refused) as caught:
        planned(known, tag)
    return caught.value


def test_every_blob_is_read_before_the_first_change_and_every_name_is_a_tag_of_the_image() -> None:
    others = IMAGE.names(TAG)[1:]
    words = " ".join(f"--name {name}" for name in others)
    assert lines(planned(facts(WHOLE))) == [
        f"{SUDO} mkdir -p -m 700 /var/breakglass",
        f"{SUDO} flock --nonblock /var/breakglass/.breakglass.lock cat",
        f"{SUDO} python3 breakglass-remote.pyz content verify --platform linux/amd64 {NAME} "
        f"{image_id()} -- ctr -n k8s.io",
        f"{SUDO} python3 breakglass-remote.pyz taken begin /var/breakglass --namespace k8s.io",
        *(f"{SUDO} ctr -n k8s.io images tag --force {NAME} {name}" for name in others),
        f"{SUDO} python3 breakglass-remote.pyz marked {words} -- ctr -n k8s.io",
        f"{SUDO} ctr -n k8s.io images tag --force {NAME} {keep_name(image_id())}",
        f"{SUDO} ctr -n k8s.io images ls name=={keep_name(image_id())}  # image ID must be "
        f"{image_id()}, unpacked",
        f"{SUDO} ctr -n k8s.io images label {keep_name(image_id())} "
        f"io.cri-containerd.pinned=pinned",
    ]


def test_a_second_import_has_nothing_to_do() -> None:
    known = facts(WHOLE)
    everything = (*IMAGE.names(TAG), keep_name(image_id()))
    containerd = Containerd(
        "1.7.24",
        dict.fromkeys(everything, DIGEST),
        dict.fromkeys(everything, image_id()),
        frozenset(everything),
        frozenset({keep_name(image_id())}),
    )
    known = replace(known, containerd=containerd, answers=Answers(Taken(is_recorded=True)))
    assert planned(known).steps == ()


def test_the_first_name_whose_image_is_whole_is_taken() -> None:
    damaged = Content(NAME, image_id("b"), 100, 3, missing=("sha256:1",))
    known = facts(damaged, replace(WHOLE, name=OTHER))
    assert known.adopted == replace(WHOLE, name=OTHER)
    made = lines(planned(known))
    assert any(
        f" content verify --platform linux/amd64 {OTHER} {image_id()} " in line for line in made
    )
    # What the damaged name meant is kept until the import has succeeded.
    assert f"{SUDO} ctr -n k8s.io images tag --force {NAME} {kept_name(NAME)}" in made
    assert f"{SUDO} ctr -n k8s.io images tag --force {OTHER} {NAME}" in made
    (warning,) = planned(known).warnings
    assert warning.startswith(f"on k8s-node1, {NAME} points to ")


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        # A name with another, fixed tag may mean another image.
        (TAG, (NAME, OTHER)),
        (
            "latest",
            (
                f"{REPOSITORY}:latest",
                "forgejo.example/viktor/infra-ci:latest",
            ),
        ),
    ],
)
def test_only_names_that_have_the_tag_are_taken(tag: str, expected: tuple[str, ...]) -> None:
    assert tagged_names(IMAGE, tag) == expected


def test_a_tag_with_something_around_it_is_the_tag() -> None:
    image = Image("r.example/a", "a", ("r.example/b:v-{tag}", "r.example/c:stable"))
    assert tagged_names(image, "1") == ("r.example/a:1", "r.example/b:v-1")


@pytest.mark.parametrize(
    ("known", "words", "next_words"),
    [
        (facts(), ["k8s-node1 has no infra-ci-0a1b2c3d"], ["breakglass fetch k8s-node1 --tag"]),
        (
            facts(WHOLE, elsewhere="synology"),
            ["synology has one", "is taken only where there is no tarball"],
            ["breakglass fetch k8s-node1 --tag 0a1b2c3d"],
        ),
        (
            facts(replace(WHOLE, missing=("sha256:1", "sha256:2"))),
            [f"containerd has {NAME}, but not whole", "2 of its 9 blobs", "discard_unpacked"],
            ["breakglass fetch"],
        ),
        (
            facts(Content(NAME, None, 0, 0, fault="the content store lacks sha256:1")),
            ["not whole", "the content store lacks sha256:1"],
            ["breakglass fetch"],
        ),
        (
            facts(
                WHOLE, containerd=Containerd("2", {NAME: DIGEST}, {NAME: image_id()}, frozenset())
            ),
            [f"containerd has not unpacked {NAME}"],
            ["breakglass fetch"],
        ),
        (
            facts(
                containerd=Containerd(
                    "2",
                    {f"{REPOSITORY}:older": DIGEST, f"{REPOSITORY}@{DIGEST}": DIGEST},
                    {},
                    frozenset(),
                )
            ),
            ["has no infra-ci-0a1b2c3d"],
            ["other tags: older", "breakglass import k8s-node1 --tag older"],
        ),
    ],
)
def test_what_is_not_taken_is_named_with_the_reason(
    known: import_facts.Facts, words: list[str], next_words: list[str]
) -> None:
    error = refusal(known)
    assert all(word in error.message for word in words), error.message
    assert all(word in str(error.next_step) for word in next_words), error.next_step


def test_anyway_the_image_is_taken_though_another_host_has_a_tarball_with_a_warning() -> None:
    known = facts(WHOLE, elsewhere="synology", anyway=True)
    assert planned(known).steps == planned(facts(WHOLE)).steps
    assert planned(known).warnings == (
        "synology has a tarball: the image that containerd on k8s-node1 has is taken because of "
        "--anyway",
    )


def test_where_only_the_link_is_missing_the_newest_tarball_is_named() -> None:
    held = shelf(NODE, [tarball(TAG, 2), tarball("older", 1)])
    error = refusal(facts(adoption=None, names=(), shelf=held), tag=None)
    assert error.message == (
        f"k8s-node1 has infra-ci-{TAG}.tar.gz, but /var/breakglass/infra-ci-latest.tar.gz is "
        "missing"
    )
    assert error.next_step.commands == (f"breakglass import k8s-node1 --tag {TAG}",)


GOOD = tarball(TAG)
UNTRUSTED = replace(tarball("new", 2), trusted=False)
FOREIGN = replace(
    GOOD, record=replace(GOOD.record, references=("a.example/b:c",)) if GOOD.record else None
)


@pytest.mark.parametrize(
    ("held", "latest", "tag", "offered"),
    [
        ([GOOD], TAG, None, True),
        ([GOOD], TAG, TAG, True),
        ([GOOD], TAG, "other", False),
        ([], None, None, False),
        # No allowed signer has signed it.
        ([UNTRUSTED], "new", None, False),
        ([UNTRUSTED], "new", "new", False),
        # Its record has names that the configuration does not give.
        ([FOREIGN], TAG, None, False),
        ([FOREIGN], TAG, TAG, False),
        # Without a tag the older tarball that is good is taken.
        ([UNTRUSTED, GOOD], "new", None, True),
        ([UNTRUSTED, GOOD], "new", "new", False),
    ],
)
def test_only_a_tarball_that_fetch_would_take_counts_as_offered(
    held: list[Tarball], latest: str | None, tag: str | None, offered: bool
) -> None:
    assert offers(IMAGE, shelf(NAS, held, latest=latest), tag) is offered


def test_a_tarball_that_is_there_comes_before_the_image() -> None:
    held = tarball(TAG)
    known = facts(tarball=held, shelf=shelf(NODE, [held], latest=TAG), adoption=None)
    known = replace(known, names=IMAGE.names(TAG))
    assert any("images import" in line for line in lines(planned(known)))


def test_the_snapshotter_of_the_cri_plugin_is_where_the_image_has_to_be_unpacked() -> None:
    unpacking = Unpacking("zfs", has_local=True)
    known = facts(WHOLE, answers=Answers(Taken(), unpacking=unpacking))
    assert any(line.endswith(f"{image_id()}, unpacked with zfs") for line in lines(planned(known)))
    held = tarball(TAG)
    known = replace(
        known, adoption=None, tarball=held, shelf=shelf(NODE, [held]), names=IMAGE.names(TAG)
    )
    made = lines(planned(replace(known, containerd=facts().containerd)))
    assert any("ctr -n k8s.io images import --local --snapshotter zfs -" in line for line in made)


def test_the_verdict_names_the_digests_under_which_the_registrys_image_is_there() -> None:
    answers = Answers(
        Taken(), Answering((), Responder(4000, {}, 4000), "/content", "/etc/containerd/certs.d")
    )
    known = facts(WHOLE, answers=answers)
    said = verdict(known, Cluster("v1.30.2"), before=known)
    assert "By digest no pod starts: containerd has no name with the image's digest." in said
    by_digest = f"{REPOSITORY}@{DIGEST}"
    targets = {**known.containerd.targets, by_digest: DIGEST, "other/x@" + DIGEST: DIGEST}
    known = replace(known, containerd=replace(known.containerd, targets=targets))
    said = verdict(known, Cluster("v1.30.2"), before=known)
    at = said.index("By digest, with IfNotPresent:")
    assert said[at + 1] == f"  {by_digest}"
    assert not any("other/x" in line for line in said)
