"""snapshot: which tarball is the newest where directories, copies and clocks contradict each other,
and companions that cannot be had.
"""

import re
from dataclasses import replace

import pytest

from breakglass.commands.environment import Unread
from breakglass.commands.order import is_older, last_taken, next_sequence
from breakglass.commands.snapshot import plan, rotation
from breakglass.commands.snapshot_companions import missing_after
from breakglass.commands.snapshot_facts import Facts, Missing
from breakglass.errors import Refused, Unreachable
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Plan
from breakglass.ports import Result
from breakglass.registry import ImageId, State
from tests.facts import (
    IDENTITY,
    IMAGE,
    NAS,
    REPOSITORY,
    SETTINGS,
    VM,
    image_id,
    lines,
    shelf,
    tarball,
)
from tests.unit import test_plan_snapshot

NOW = IDENTITY.at
"""2026-04-19T03:00:00Z"""
MARCH, APRIL, NEXT_YEAR = "2026-03-01T00:00:00Z", "2026-04-18T00:00:00Z", "2027-04-01T00:00:00Z"
PLUGIN = "docker.io/woodpeckerci/plugin-git:2.5"


def facts(*tarballs: Tarball, tag: str = "new", latest: str | None = None, **more: object) -> Facts:
    known = test_plan_snapshot.facts(tag=tag, shelf=shelf(VM, tarballs, latest=latest))
    return replace(known, **more)  # type: ignore[arg-type]


def planned(known: Facts, *, keep: int = 5) -> Plan:
    image = replace(IMAGE, companions=tuple(reference for reference, _ in known.published[1:]))
    return plan(known, image=image, settings=replace(SETTINGS, keep=keep), identity=IDENTITY)


def sequence_of(made: Plan) -> int:
    found = re.search(r'"sequence":(\d+)', "".join(lines(made)))
    assert found
    return int(found[1])


def pointed_at(made: Plan) -> list[str]:
    return [line.split()[3] for line in lines(made) if " ln -sfnT " in line]


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        (tarball("a", 1), tarball("b", 2), True),
        (tarball("a", 2), tarball("b", 1), False),
        (tarball("a", 1, taken=MARCH), tarball("b", 50, taken=APRIL), True),
        (tarball("a", 1, taken=APRIL), tarball("b", 50, taken=MARCH), False),
        (tarball("a", 50, taken=MARCH), tarball("b", 1, taken=APRIL), False),
        (tarball("a", 1, taken="yesterday"), tarball("b", 50, taken=MARCH), True),
    ],
)
def test_a_tarball_is_older_where_sequence_and_time_do_not_contradict_each_other(
    one: Tarball, other: Tarball, is_so: bool
) -> None:
    assert is_older(one, other) is is_so


def test_a_time_that_is_yet_to_come_is_not_believed() -> None:
    true, wrong = tarball("a", 2, taken=APRIL), tarball("b", 1, taken=NEXT_YEAR)
    assert last_taken([wrong, true], at=NOW) == true


def test_a_directory_that_was_made_anew_goes_on_counting_where_the_fallbacks_have_got_to() -> None:
    nas = shelf(NAS, [tarball("t50", 50)], latest="t50")
    assert sequence_of(planned(facts(fallbacks=(nas,)))) == 51
    assert sequence_of(planned(facts(tarball("t60", 60), latest="t60", fallbacks=(nas,)))) == 61


def test_a_sequence_that_no_counting_leads_to_does_not_rule() -> None:
    assert next_sequence([shelf(NAS, [tarball("evil", 10**18), tarball("t7", 7)])]) == 8


def test_a_fallback_that_was_not_asked_is_named_where_counting_may_begin_anew() -> None:
    unread = Unread("synology", Unreachable("no route to host"))
    assert any("synology" in warning for warning in planned(facts(fallbacks=(unread,))).warnings)
    known = facts(tarball("t1"), latest="t1", fallbacks=(unread,))
    assert not any("synology" in warning for warning in planned(known).warnings)


def test_old_copies_that_were_brought_back_do_not_move_latest_backwards() -> None:
    known = facts(
        tarball("new", 3, taken=APRIL), tarball("t50", 50, taken=MARCH), tag="new", latest="new"
    )
    assert planned(known).steps == ()
    older = facts(
        tarball("other", 2, taken=MARCH),
        tarball("t50", 50, taken=MARCH),
        tarball("newest", 3, taken=APRIL),
        tag="other",
        latest="newest",
    )
    assert pointed_at(planned(older)) == []


def test_what_was_asked_for_and_is_the_newest_by_sequence_gets_latest_whatever_the_clock_was() -> (
    None
):
    known = facts(tarball("new", 4, taken=MARCH), tarball("t3", 3, taken=APRIL), latest="t3")
    assert pointed_at(planned(known)) == ["infra-ci-new.tar.gz"]


def test_a_clock_that_was_a_year_ahead_does_not_hold_latest_back() -> None:
    known = facts(
        tarball("t6", 6, taken=APRIL),
        tarball("t5", 5, taken=NEXT_YEAR),
        tarball("new", 4, taken=MARCH),
        latest="t5",
    )
    assert pointed_at(planned(known)) == ["infra-ci-t6.tar.gz"]


def test_times_that_are_yet_to_come_are_one_warning() -> None:
    wrong = [tarball(f"t{number}", number, taken=NEXT_YEAR) for number in range(1, 4)]
    (warning,) = planned(facts(*wrong, latest="t3")).warnings
    assert warning.startswith("infra-ci-t3.tar.gz and 2 more: ")


def test_rotation_does_not_take_what_was_taken_last_where_old_copies_have_larger_sequences() -> (
    None
):
    copies = [tarball(f"t{number}", number, taken=MARCH) for number in range(50, 53)]
    known = facts(tarball("newest", 3, taken=APRIL), tarball("x", 2, taken=MARCH), *copies)
    gone = [each.tag for each in rotation(known, keep=3, adding=True, at=NOW)]
    assert gone == ["x", "t50"]
    assert any("is not clear" in warning for warning in planned(known).warnings)


def test_a_directory_that_is_gone_while_a_fallback_has_its_tarballs_is_refused() -> None:
    gone: Shelf = shelf(VM, present=False)
    nas = shelf(NAS, [tarball("t1"), tarball("t2", 2)], latest="t2")
    with pytest.raises(Refused, match="synology has 2 of its tarballs: is its disk") as caught:
        planned(facts(shelf=gone, fallbacks=(nas,)))
    assert VM.by_hand("findmnt", "--fstab") in str(caught.value.next_step)
    assert VM.by_hand("mkdir", "-p", "/shelf") in str(caught.value.next_step)


@pytest.mark.parametrize(
    ("present", "others", "sentence"),
    [
        (False, (), "will be made: if it lies on a disk"),
        (True, (shelf(NAS, [tarball("t1")]),), "synology has 1: is the disk mounted?"),
    ],
)
def test_a_directory_that_may_lie_on_another_disk_is_a_warning(
    present: bool, others: tuple[Shelf, ...], sentence: str
) -> None:
    made = planned(facts(shelf=shelf(VM, present=present), fallbacks=others))
    assert [sentence in warning for warning in made.warnings] == [True]


# Companions


def with_companion(state: State, *tarballs: Tarball, missing: tuple[Missing, ...] = ()) -> Facts:
    known = facts(*tarballs, latest=tarballs[0].tag if tarballs else None, missing=missing)
    served = ImageId(state, image_id("c") if state is State.SERVES else None)
    return replace(known, published=(*known.published, (PLUGIN, served)))


HELD = tarball("old", companions=((PLUGIN, image_id("c")),))


@pytest.mark.parametrize("state", [State.LACKS, State.BROKEN])
def test_a_companion_that_cannot_be_had_is_taken_from_the_last_tarball(state: State) -> None:
    made = planned(with_companion(state, HELD))
    words = "\n".join(lines(made))
    assert (
        f"archive canonical /shelf/infra-ci-old.tar.gz {REPOSITORY}:old={image_id()} "
        f"{PLUGIN}={image_id('c')} | docker load"
    ) in words
    assert f"docker pull {PLUGIN}" not in words
    assert f"docker save {REPOSITORY}:new {PLUGIN} | " in words
    assert f"--image-id {PLUGIN}={image_id('c')}" in words
    assert [PLUGIN in warning for warning in made.warnings] == [True]
    assert "the copy in infra-ci-old.tar.gz is taken" in made.warnings[0]


def test_docker_never_gets_a_name_that_the_configuration_does_not_give() -> None:
    evil = ("evil.example/pause:3.9", image_id("d"))
    strange = tarball("old", companions=((PLUGIN, image_id("c")), evil))
    made = planned(with_companion(State.LACKS, strange))
    assert "docker load" not in "\n".join(lines(made))
    assert "left out" in made.warnings[0]


def test_a_companion_that_no_tarball_has_is_left_out() -> None:
    made = planned(with_companion(State.LACKS, tarball("old")))
    assert PLUGIN not in "\n".join(lines(made))
    assert "left out" in made.warnings[0]


def test_a_companion_that_docker_could_not_pull_or_load_is_left_out_in_the_next_attempt() -> None:
    limited = Result(1, b"", b"toomanyrequests: 429")
    first = with_companion(State.SERVES, HELD)
    pull = next(step for step in planned(first).steps if f"pull {PLUGIN}" in str(step))
    missing = missing_after(first, pull, limited)
    assert missing == Missing(PLUGIN, "exit 1: toomanyrequests: 429")
    second = replace(first, missing=(missing,))
    load = next(step for step in planned(second).steps if "docker load" in str(step))
    unloaded = missing_after(second, load, limited)
    assert unloaded is not None
    third = planned(replace(second, missing=(missing, unloaded)))
    assert PLUGIN not in "\n".join(lines(third))
    assert "left out" in third.warnings[0]


def test_the_image_itself_is_never_left_out() -> None:
    known = with_companion(State.SERVES)
    pull = next(step for step in planned(known).steps if f"pull {REPOSITORY}" in str(step))
    assert missing_after(known, pull, Result(1, b"", b"429")) is None


def test_a_tarball_with_the_image_is_enough_while_a_companion_cannot_be_had() -> None:
    made = planned(with_companion(State.LACKS, tarball("new")))
    assert made.steps == ()
    assert PLUGIN in made.warnings[0]
