"""snapshot: when a record is signed, what exactly is signed, and what a stranger's tarball cannot
do.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from breakglass.apply.failures import check_run
from breakglass.apply.signing import sign
from breakglass.commands.order import is_older, next_sequence
from breakglass.commands.snapshot import plan
from breakglass.commands.snapshot_facts import Facts
from breakglass.config import Image
from breakglass.errors import BreakglassError, Integrity, Refused
from breakglass.observe.shelf import Tarball, newest_first
from breakglass.plan import Argv, Host, Plan, Sign
from breakglass.ports import Result
from breakglass.registry import ImageId, State
from breakglass.signatures.allowed_signers import Signer
from breakglass.signatures.judgement import Signature, SignatureState
from breakglass.signatures.keys import fingerprint
from tests.facts import (
    IDENTITY,
    IMAGE,
    NAS,
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

KEY, OTHER = b"the key of CI", b"another key"
FILE = Path("/keys/ci.pub")
SIGNS = replace(IMAGE, sign_with=FILE)
TRUSTS = replace(SIGNS, signers=(Signer("ci@example", KEY),))
SIGNED = Signature(SignatureState.SIGNED, "ci@example", data=b"a signature")
BOUND = 10**9


def facts(*tarballs: Tarball, tag: str = "new", latest: str | None = None, **more: object) -> Facts:
    served = ((f"{REPOSITORY}:{tag}", ImageId(State.SERVES, image_id("a"))),)
    known = Facts(
        VM, machine(VM), docker(), shelf(VM, tarballs, latest=latest), tag, served, None, {}
    )
    return replace(known, signing=KEY, **more)  # type: ignore[arg-type]


def planned(known: Facts, image: Image = SIGNS) -> Plan:
    return plan(known, image=image, settings=SETTINGS, identity=IDENTITY)


def signing_step(made: Plan) -> Sign:
    (step,) = [step for step in made.steps if isinstance(step, Sign)]
    return step


def untrusted(tag: str, sequence: int, *, taken: str = "2026-04-19T00:00:00Z") -> Tarball:
    return replace(tarball(tag, sequence, taken=taken), trusted=False)


def test_the_record_is_signed_between_saving_and_publishing_as_a_person_would_do_it() -> None:
    made = lines(planned(facts()))
    at = next(number for number, line in enumerate(made) if "ssh-keygen" in line)
    assert " archive pull " in made[at - 1]
    assert made[at] == (
        "operator$ ssh root@10.0.20.10 'cat /shelf/.infra-ci-new.json.partial'"
        " | ssh-keygen -Y sign -n breakglass-record -f /keys/ci.pub"
        " | ssh root@10.0.20.10"
        " 'python3 breakglass-remote.pyz archive sign /shelf infra-ci-new.tar.gz'"
    )
    assert " archive publish " in made[at + 1]


def test_without_a_key_in_the_configuration_nothing_is_signed() -> None:
    made = planned(replace(facts(), signing=None), IMAGE)
    assert not any(isinstance(step, Sign) for step in made.steps)


# (key, image, why it is refused; empty: it is not)
REFUSALS: list[tuple[bytes | Refused | None, Image, str]] = [
    (KEY, SIGNS, ""),
    (KEY, TRUSTS, ""),
    (None, IMAGE, ""),
    (None, replace(TRUSTS, sign_with=None), "image.signers is set and image.sign_with is not"),
    (OTHER, TRUSTS, f"({fingerprint(OTHER)}) would sign the record, and it is not in image.sig"),
    (
        KEY,
        replace(SIGNS, signers=(Signer("ci@example", KEY, namespaces="file"),)),
        "image.signers does not allow it now",
    ),
    (Refused("the private part is not here"), SIGNS, "the private part is not here"),
]


@pytest.mark.parametrize(("key", "image", "why"), REFUSALS)
def test_a_record_that_nobody_would_trust_is_refused_before_anything_is_saved(
    key: bytes | Refused | None, image: Image, why: str
) -> None:
    known = replace(facts(), signing=key)
    if not why:
        assert planned(known, image).steps
        return
    with pytest.raises(Refused) as raised:
        planned(known, image)
    assert why in raised.value.message


def test_what_is_published_and_signed_leaves_nothing_to_do_whatever_became_of_the_key() -> None:
    present = replace(tarball("new"), signature=SIGNED)
    for key in (KEY, Refused("the private part is not here")):
        known = replace(facts(present, latest="new"), signing=key)
        assert lines(planned(known, TRUSTS)) == []


@pytest.mark.parametrize(
    "present",
    [
        tarball("new"),
        replace(tarball("new"), signature=Signature(SignatureState.INVALID, why="damaged")),
        replace(tarball("new"), trusted=False),
    ],
)
def test_a_tarball_under_this_tag_that_nobody_has_signed_is_saved_anew(present: Tarball) -> None:
    assert signing_step(planned(facts(present, latest="new"), TRUSTS)).sequence > 0


# What is signed


class Reads:
    """ports.Writes: prints one record, and takes signatures."""

    def __init__(self, record: bytes) -> None:
        self.record, self.signed = record, b""

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        assert (host, pipeline[0][0]) == (VM, "cat"), quiet_seconds
        return Result(0, self.record, b"")

    def sign(self, step: Sign, record: bytes) -> Result:
        assert step.host == VM
        self.signed = record
        return Result(0, b"", b"")


def record_with(**changes: object) -> bytes:
    record = tarball("new", 1).record
    assert record is not None
    changed = json.loads(record.text) | changes
    return json.dumps(changed, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (record_with(), ""),
        (record_with(size_bytes=5, created_at="2026-04-19T01:00:00Z"), ""),
        (record_with(tag="other"), "its tag is other, not new"),
        (record_with(sequence=7), "its sequence is 7, not 1"),
        (record_with(references=["evil.example/infra-ci:new"]), "it names evil.example"),
        (record_with(companions={"evil.example/tool:1": image_id("b")}), "evil.example/tool:1"),
        (record_with(image_id=image_id("b")), f"is image ID {image_id('b')} in it"),
        (record_with(previous=json.loads(record_with())), "it is not one complete record"),
        (record_with()[:-1], "it is not one complete record in our form"),
        (b" " + record_with(), "it is not one complete record in our form"),
        (b"", "it is not one complete record in our form"),
    ],
)
def test_only_the_record_that_was_asked_for_is_signed(record: bytes, why: str) -> None:
    hosts = Reads(record)
    step = signing_step(planned(facts()))
    error: BreakglassError | None = None
    try:
        sign(step, hosts, lambda _step, _ended: None)  # type: ignore[arg-type]
    except Integrity as raised:
        error = raised
    assert (error is None) == (not why)
    assert hosts.signed == (b"" if why else record)
    if error is not None:
        assert why in error.message


def test_a_record_that_cannot_be_read_is_an_error_and_is_not_signed() -> None:
    step = signing_step(planned(facts()))
    with pytest.raises(BreakglassError, match="No such file"):
        check_run(step.source, Result(1, b"", b"No such file"), lambda _step, _ended: None)


# A stranger's sequence


def test_a_sequence_of_a_record_that_nobody_trusts_is_not_counted_from() -> None:
    own = [tarball("ours", 4), untrusted("theirs", 999_999)]
    assert next_sequence([shelf(VM, own), shelf(NAS, [untrusted("theirs", BOUND)])]) == 5


def test_at_the_largest_sequence_the_time_decides() -> None:
    early = tarball("b", BOUND, taken="2026-04-17T00:00:00Z")
    late = tarball("a", BOUND, taken="2026-04-18T00:00:00Z")
    assert newest_first([early, late]) == (late, early)
    assert (is_older(early, late), is_older(late, early)) == (True, False)
    # Below it, an equal sequence means that counting has begun anew: nothing is sure.
    assert not is_older(tarball("b", 7, taken="2026-04-17T00:00:00Z"), tarball("a", 7))


@pytest.mark.parametrize("sequence", [BOUND, BOUND - 1, 5])
@pytest.mark.parametrize("taken", ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "never"])
def test_a_strangers_sequence_stops_no_snapshot_even_where_nobody_signs(
    sequence: int, taken: str
) -> None:
    """Three snapshots, one after the other: each is finished when it is read back."""
    planted, own = tarball("zzzz", sequence, taken=taken), [tarball("b", 1, taken="2026-04-18")]
    for hour, tag in enumerate(("x", "a", "m")):
        known = replace(facts(planted, *own, tag=tag, latest=own[-1].tag), signing=None)
        made = planned(known, IMAGE)
        assert any(f"ln -sfnT infra-ci-{tag}.tar.gz" in line for line in lines(made))
        number = next_sequence([shelf(VM, [planted, *own])])
        own.append(tarball(tag, number, taken=f"2026-04-19T0{hour}:00:00Z"))
        again = replace(facts(planted, *own, tag=tag, latest=tag), signing=None, published=())
        assert lines(planned(again, IMAGE)) == []
