"""snapshot: facts to exact lines, with docker."""

from dataclasses import replace

import pytest

from breakglass.commands.snapshot import plan, result, rotation
from breakglass.commands.snapshot_docker import explain
from breakglass.commands.snapshot_facts import DOCKER, Facts
from breakglass.errors import BreakglassError, Integrity, Refused, Unreachable
from breakglass.observe.docker import LocalImages
from breakglass.observe.leftovers import Partial
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan
from breakglass.ports import Result
from breakglass.registry import ImageId, State
from tests.facts import (
    IDENTITY,
    IMAGE,
    MANY,
    REPOSITORY,
    SETTINGS,
    VM,
    docker,
    image_id,
    lines,
    machine,
    shelf,
    tarball,
)

SERVED = ImageId(State.SERVES, image_id("a"))


def facts(*, tag: str = "0a1b2c3d", published: ImageId = SERVED, **more: object) -> Facts:
    known = Facts(
        VM, machine(VM), docker(), shelf(VM), tag, ((f"{REPOSITORY}:{tag}", published),), None, {}
    )
    known = replace(known, via=DOCKER)
    return replace(known, **more)  # type: ignore[arg-type]


def bad(*tarballs: Tarball) -> dict[tuple[str, int], str]:
    """The hashes of tarballs whose content is something else."""
    return {(one.file, one.size_bytes): "f" * 64 for one in tarballs}


def planned(known: Facts, keep: int = 5) -> Plan:
    return plan(known, image=IMAGE, settings=replace(SETTINGS, keep=keep), identity=IDENTITY)


def removed(known: Facts, keep: int = 5) -> list[str]:
    return [line for line in lines(planned(known, keep)) if " rm " in line]


def test_a_first_snapshot_pulls_saves_with_verification_publishes_and_points_in_this_order() -> (
    None
):
    assert lines(planned(facts())) == [
        "registry-vm$ flock --nonblock /shelf/.breakglass.lock cat",
        f"registry-vm$ docker pull {REPOSITORY}:0a1b2c3d",
        f"registry-vm$ bash --norc -o pipefail -c 'docker save {REPOSITORY}:0a1b2c3d | gzip | "
        f"python3 breakglass-remote.pyz archive write /shelf infra-ci-0a1b2c3d.tar.gz --reference "
        f"{REPOSITORY}:0a1b2c3d"
        f" --image-id {REPOSITORY}:0a1b2c3d={image_id('a')}"
        """ --record '"'"'{"tag":"0a1b2c3d","sequence":1,"version":"0.1.0"}'"'"''""",
        (
            "registry-vm$ python3 breakglass-remote.pyz archive publish /shelf "
            "infra-ci-0a1b2c3d.tar.gz"
        ),
        "registry-vm$ ln -sfnT infra-ci-0a1b2c3d.tar.gz /shelf/.infra-ci-latest.tar.gz.partial",
        "registry-vm$ mv -fT /shelf/.infra-ci-latest.tar.gz.partial /shelf/infra-ci-latest.tar.gz",
        "registry-vm$ sync /shelf",
    ]


def test_where_the_digest_is_known_it_is_pulled_by_that_so_that_no_mirror_has_another_image() -> (
    None
):
    digest = "sha256:" + "9" * 64
    known = facts(published=replace(SERVED, digest=digest))
    pulling = [line for line in lines(planned(known)) if "docker pull" in line or " tag " in line]
    assert pulling == [
        f"registry-vm$ docker pull {REPOSITORY}@{digest}",
        f"registry-vm$ docker tag {REPOSITORY}@{digest} {REPOSITORY}:0a1b2c3d",
    ]
    error = explain(planned(known).steps[1], Result(1, b"", b"manifest unknown"), facts=known)
    assert isinstance(error, Refused)
    # The containerd store of docker would keep the image by its digest for ever.
    store = replace(docker(), containerd_root="/var/lib/containerd")
    made = lines(planned(replace(known, docker=store)))
    assert any(f"docker pull {REPOSITORY}:0a1b2c3d" in line for line in made)


def test_the_directory_is_made_before_its_lock_where_it_is_not_there() -> None:
    assert (
        lines(planned(facts(shelf=shelf(VM, present=False))))[0] == "registry-vm$ mkdir -p /shelf"
    )


def test_pigz_is_used_where_the_vm_has_it() -> None:
    assert any(
        " | pigz | " in line
        for line in lines(planned(facts(machine=machine(VM, commands=MANY | {"pigz"}))))
    )


def test_the_containerd_image_store_of_docker_28_is_reported_the_platform() -> None:
    made = lines(planned(facts(docker=docker(version="28.1.0", driver="overlayfs"))))
    saving = next(line for line in made if "docker save" in line)
    assert "docker save --platform linux/amd64 " in saving
    # The check asks docker of that platform too.
    assert saving.count("--platform linux/amd64") == 2


def test_a_tag_that_is_published_with_the_image_that_the_registry_serves_leaves_nothing_to_do() -> (
    None
):
    assert lines(planned(facts(shelf=shelf(VM, [tarball("0a1b2c3d")], latest="0a1b2c3d")))) == []


def test_only_the_link_is_missing_when_a_run_was_cut_short_after_publishing() -> None:
    known = facts(shelf=shelf(VM, [tarball("0a1b2c3d", 2), tarball("older", 1)], latest="older"))
    assert [line.split("$ ")[1].split()[0] for line in lines(planned(known))] == [
        "flock",
        "ln",
        "mv",
        "sync",
    ]


def test_a_tag_that_was_built_again_is_saved_again() -> None:
    known = facts(shelf=shelf(VM, [tarball("0a1b2c3d", letter="b")], latest="0a1b2c3d"))
    assert any("docker save" in line for line in lines(planned(known)))
    assert not any("ln -sfnT" in line for line in lines(planned(known)))


def test_a_tarball_whose_content_is_bad_is_saved_again() -> None:
    known = facts(
        shelf=shelf(VM, [tarball("0a1b2c3d")], latest="0a1b2c3d"), hashes=bad(tarball("0a1b2c3d"))
    )
    assert any("docker save" in line for line in lines(planned(known)))


def test_a_replacement_that_was_cut_short_gets_its_sidecars() -> None:
    known = facts(shelf=shelf(VM, [tarball("0a1b2c3d", being_replaced=True)], latest="0a1b2c3d"))
    assert lines(planned(known))[1:] == [
        "registry-vm$ python3 breakglass-remote.pyz archive publish /shelf infra-ci-0a1b2c3d.tar.gz"
    ]


def test_left_over_partials_of_other_tags_are_discarded_and_this_tags_is_written_anew() -> None:
    partials = (
        Partial("infra-ci-0a1b2c3d.tar.gz", 3, None),
        Partial("infra-ci-old.tar.gz", 3, None),
    )
    discards = [
        line
        for line in lines(planned(facts(shelf=shelf(VM, partials=partials))))
        if "discard" in line
    ]
    assert discards == [
        "registry-vm$ python3 breakglass-remote.pyz archive discard /shelf infra-ci-old.tar.gz"
    ]


def test_rotation_keeps_the_newest_by_sequence_and_names_every_file_that_goes() -> None:
    old = [tarball(f"t{number}", number) for number in range(1, 6)]
    assert removed(facts(shelf=shelf(VM, old, latest="t5"))) == [
        (
            "registry-vm$ rm -f -- /shelf/infra-ci-t1.tar.gz /shelf/infra-ci-t1.tar.gz.sha256 "
            "/shelf/infra-ci-t1.json"
        )
    ]


def test_what_was_removed_are_tarballs_and_not_the_sidecars_that_a_removal_cut_short_left() -> None:
    there = shelf(VM, [tarball(f"t{number}", number) for number in range(1, 6)], latest="t5")
    known = facts(shelf=replace(there, orphans=("infra-ci-gone.json",)))
    made = planned(known)
    assert made.steps[1].title == "remove 1 sidecar without a tarball"
    assert result(known, made, before=known).removed == ("t1",)


def test_rotation_counts_only_good_ones_so_that_the_last_good_one_stays() -> None:
    newest_bad = [tarball(f"t{number}", number) for number in range(2, 7)]
    known = facts(
        shelf=shelf(VM, [*newest_bad, tarball("good", 1)], latest="t6"), hashes=bad(*newest_bad)
    )
    assert rotation(known, keep=5, adding=True, at=IDENTITY.at) == ()


def test_rotation_leaves_unverified_tarballs_alone_whatever_their_number() -> None:
    known = facts(shelf=shelf(VM, [tarball(f"u{number}", recorded=False) for number in range(9)]))
    assert removed(known, keep=1) == []


def test_rotation_never_takes_what_latest_means() -> None:
    known = facts(
        tag="t3",
        shelf=shelf(VM, [tarball("t3", 3), tarball("t2", 2), tarball("t1", 1)], latest="t1"),
    )
    assert [one.tag for one in rotation(known, keep=1, adding=False, at=IDENTITY.at)] == ["t2"]


def test_pointing_comes_before_rotating() -> None:
    known = facts(
        shelf=shelf(VM, [tarball(f"t{number}", number) for number in range(1, 6)], latest="t5")
    )
    words = [line.split("$ ")[1].split()[0] for line in lines(planned(known))]
    assert words.index("mv") < words.index("sync") < words.index("rm")


@pytest.mark.parametrize(
    ("known", "kind", "sentence"),
    [
        (facts(published=ImageId(State.LACKS)), Refused, "does not have"),
        (
            facts(published=ImageId(State.BROKEN, missing=("sha256:dead",), detail="child 404")),
            Integrity,
            "sha256:dead",
        ),
        (facts(docker=None, machine=machine(VM, commands=MANY - {"docker"})), Refused, "no docker"),
        (facts(machine=machine(VM, commands=MANY - {"python3"})), Refused, "no python3"),
        (
            facts(shelf=shelf(VM, fault="is not a link", foreign=["infra-ci-latest.tar.gz"])),
            Refused,
            "is not a link",
        ),
        (
            facts(shelf=shelf(VM, foreign=["infra-ci-0a1b2c3d.tar.gz"])),
            Refused,
            "not a regular file",
        ),
        (
            facts(
                machine=machine(VM, free_bytes=10), shelf=shelf(VM, [tarball("old")], latest="old")
            ),
            Refused,
            "no room",
        ),
        (facts(docker=docker(free_bytes=10), local_size_bytes=11), Refused, "/var/lib/docker"),
        (
            facts(
                docker=replace(docker(free_bytes=10), containerd_root="/var/lib/containerd"),
                shelf=shelf(VM, [tarball("old")], latest="old"),
            ),
            Refused,
            "in /var/lib/containerd on registry-vm: 0 MB free, pulling",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason_and_a_next_step(
    known: Facts, kind: type[BreakglassError], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        planned(known)
    assert str(caught.value.next_step)


def test_the_containerd_store_needs_no_room_for_an_image_that_docker_has() -> None:
    store = replace(docker(free_bytes=10), containerd_root="/var/lib/containerd")
    known = facts(docker=store, local_size_bytes=10**9, shelf=shelf(VM, [tarball("old")]))
    assert any("docker save" in line for line in lines(planned(known)))


def test_without_room_the_next_step_names_images_of_ours_that_no_tarball_is_kept_of() -> None:
    full = facts(docker=docker(free_bytes=10), local_size_bytes=11)
    tags = ("0a1b2c3d", "latest", "kept", "used", "gone")
    local = LocalImages(tags, frozenset({f"{REPOSITORY}:used"}))
    known = replace(full, local=local, shelf=shelf(VM, [tarball("kept", size_bytes=1)]))
    with pytest.raises(Refused) as caught:
        planned(known)
    assert caught.value.next_step.commands[0] == (
        VM.by_hand("docker", "image", "rm", f"{REPOSITORY}:gone")
    )


def test_what_docker_pulled_for_a_tag_goes_before_its_tarball_unless_a_container_uses_it() -> None:
    old = [tarball(f"t{number}", number) for number in range(1, 7)]
    known = facts(
        shelf=shelf(VM, old, latest="t6"),
        local=LocalImages(("t1", "t2", "t3", "foreign"), frozenset({f"{REPOSITORY}:t2"})),
    )
    assert [line.split("/shelf")[0] for line in lines(planned(known))[-3:]] == [
        f"registry-vm$ docker image rm {REPOSITORY}:t1",
        "registry-vm$ rm -f -- ",
        "registry-vm$ rm -f -- ",
    ]


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        (
            (
                b"Error response from daemon: manifest for x not found: manifest unknown: "
                b"manifest unknown"
            ),
            Refused,
        ),
        (
            b"Error response from daemon: Get https://x/v2/: dial tcp: connect: connection refused",
            Unreachable,
        ),
        (
            b"Error response from daemon: Get https://x/v2/: unauthorized: authentication required",
            Unreachable,
        ),
        (b"write /var/lib/docker/tmp/x: no space left on device", Refused),
    ],
)
def test_a_failed_pull_means_what_docker_says(stderr: bytes, kind: type[BreakglassError]) -> None:
    step = next(step for step in planned(facts()).steps if "docker pull" in str(step))
    error = explain(step, Result(1, b"", stderr), facts=facts())
    assert type(error) is kind
    assert "local" in error.state


def test_a_registry_that_could_not_be_asked_from_here_is_a_warning_and_the_pull_decides() -> None:
    made = planned(facts(published=ImageId(State.UNREACHABLE, detail="connection refused")))
    assert any("docker pull" in line for line in lines(made))
    assert any("could not be asked" in warning for warning in made.warnings)
