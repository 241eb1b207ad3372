"""Signed records: whoever can write to a source, and has no key of an allowed signer, gets nothing
onto a node.
"""

import json
import shutil
from pathlib import Path

import pytest

from breakglass.sandbox.environment import TAG
from breakglass.signatures.sshsig import armor
from tests.front.blocks import is_reported
from tests.front.rows import OTHER_TAG, configure
from tests.front.world import World
from tests.signing import (
    allow,
    make_key,
    public_line,
    running_agent,
    signed,
    verified_by_keygen,
    with_keygen,
)

CI = "ci@example"


@pytest.fixture
def key(world: World, tmp_path: Path) -> Path:
    """The key of CI: the configuration signs with it and allows it."""
    made = make_key(tmp_path, "ci")
    signers = allow(tmp_path / "signers", f"{CI} {public_line(made)}")
    configure(world, "image", sign_with=str(made), signers=str(signers))
    return made


def vm(world: World, end: str, tag: str = TAG) -> Path:
    return world.environment.vm_directory / f"infra-ci-{tag}.{end}"


def plant(directory: Path, *, sequence: int, stranger: Path | None) -> None:
    """A stranger's tarball under a new tag, with a record that fits it, as `latest`."""
    record = json.loads((directory / f"infra-ci-{TAG}.json").read_text())
    record |= {"tag": OTHER_TAG, "sequence": sequence, "created_at": "2026-04-20T00:00:00Z"}
    record["references"] = [record["references"][0].replace(TAG, OTHER_TAG)]
    text = json.dumps(record, separators=(",", ":")) + "\n"
    (directory / f"infra-ci-{OTHER_TAG}.json").write_text(text)
    shutil.copy(directory / f"infra-ci-{TAG}.tar.gz", directory / f"infra-ci-{OTHER_TAG}.tar.gz")
    sums = (directory / f"infra-ci-{TAG}.tar.gz.sha256").read_text()
    (directory / f"infra-ci-{OTHER_TAG}.tar.gz.sha256").write_text(sums.replace(TAG, OTHER_TAG))
    if stranger is not None:
        (directory / f"infra-ci-{OTHER_TAG}.json.sig").write_text(
            armor(signed(stranger, text.encode()))
        )
    link = directory / "infra-ci-latest.tar.gz"
    link.unlink()
    link.symlink_to(f"infra-ci-{OTHER_TAG}.tar.gz")


def test_a_snapshot_signs_its_record_and_everything_after_it_goes_its_way(
    world: World, key: Path
) -> None:
    planned = world.done("snapshot", "--tag", TAG, "--dry-run")
    (line,) = [each["line"] for each in planned["steps"] if "ssh-keygen" in each["line"]]
    assert f"| ssh-keygen -Y sign -n breakglass-record -f {key} | ssh " in line
    assert not vm(world, "json.sig").exists()
    assert world.done("snapshot", "--tag", TAG)["result"]["tag"] == TAG
    assert vm(world, "json.sig").read_text() == armor(signed(key, vm(world, "json").read_bytes()))
    assert world.done("snapshot", "--tag", TAG)["steps"] == []
    world.done("fetch", "k8s-node1")
    held = world.shelf("k8s-node1")
    for end in ("json", "json.sig"):
        copied = (held / f"infra-ci-{TAG}.{end}").read_bytes()
        assert copied == vm(world, end).read_bytes()
    world.done("import", "k8s-node1")
    (source, _) = world.done("status")["result"]["sources"]
    assert [(each["signature"], each["signed_by"]) for each in source["tarballs"]] == [
        ("signed", CI)
    ]
    assert f"1 verified tarball, signed by {CI}; latest is {TAG}" in world.run("status").stdout


@with_keygen
def test_a_person_verifies_by_hand_what_a_snapshot_has_signed(world: World, key: Path) -> None:
    world.done("snapshot", "--tag", TAG)
    record, signers = vm(world, "json").read_bytes(), key.with_name("signers")
    assert verified_by_keygen(record, vm(world, "json.sig"), signers, CI)
    assert not verified_by_keygen(record[:-1], vm(world, "json.sig"), signers, CI)


@pytest.mark.parametrize("by", ["nobody", "a stranger"])
@pytest.mark.usefixtures("key")
def test_what_no_allowed_signer_has_signed_is_not_used_and_nothing_is_moved(
    by: str, world: World, tmp_path: Path
) -> None:
    world.done("snapshot", "--tag", TAG)
    stranger = make_key(tmp_path, "stranger") if by == "a stranger" else None
    plant(world.environment.vm_directory, sequence=999_999_999, stranger=stranger)
    shutil.rmtree(world.environment.nas_directory)
    ended = world.run("fetch", "k8s-node1", "--tag", OTHER_TAG)
    why = "signed by the key SHA256:" if stranger else "not signed"
    is_reported(ended, 6, f"the record of infra-ci-{OTHER_TAG}.tar.gz on registry-vm is {why}")
    assert list(world.shelf("k8s-node1").iterdir()) == []
    ended = world.run("drill", "k8s-node1")
    is_reported(ended, 6, f"infra-ci-{OTHER_TAG}.tar.gz on registry-vm is {why}")
    assert "NOT SIGNED by image.signers" in world.run("status").stdout
    assert "1 verified tarball (1 NOT SIGNED by image.signers)" in world.run("check").stdout
    # Without a tag the older tarball that is signed is taken, with a warning.
    ended = world.run("fetch", "k8s-node1")
    assert ended.status == 0, ended.stderr
    assert f"the record of infra-ci-{OTHER_TAG}.tar.gz on registry-vm is {why}" in " ".join(
        (ended.stdout + ended.stderr).split()
    )
    assert (world.shelf("k8s-node1") / f"infra-ci-{TAG}.tar.gz").exists()


@pytest.mark.usefixtures("key")
def test_a_tarball_that_lies_on_the_node_without_a_signature_is_not_imported(world: World) -> None:
    world.done("snapshot", "--tag", TAG)
    world.done("fetch", "k8s-node1")
    (world.shelf("k8s-node1") / f"infra-ci-{TAG}.json.sig").unlink()
    ended = world.run("import", "k8s-node1")
    is_reported(ended, 6, "is not signed", "breakglass fetch k8s-node1")
    world.done("fetch", "k8s-node1")
    world.done("import", "k8s-node1")


@pytest.mark.usefixtures("key")
def test_a_tarball_of_the_old_pipeline_is_not_accepted_where_signers_are_named(
    world: World,
) -> None:
    world.done("snapshot", "--tag", TAG)
    for end in ("json", "json.sig", "tar.gz.sha256"):
        vm(world, end).unlink()
    shutil.rmtree(world.environment.nas_directory)
    ended = world.run("fetch", "k8s-node1")
    is_reported(ended, 6, "has no complete record, so that nobody has signed it")


@pytest.mark.usefixtures("key")
def test_a_strangers_huge_sequence_stops_no_snapshot_and_is_not_counted_from(world: World) -> None:
    world.done("snapshot", "--tag", TAG)
    plant(world.environment.vm_directory, sequence=999_999_999, stranger=None)
    world.environment.push(OTHER_TAG)
    done = world.done("snapshot", "--tag", OTHER_TAG)
    assert done["result"]["tag"] == OTHER_TAG
    record = json.loads(vm(world, "json", OTHER_TAG).read_text())
    assert record["sequence"] == 2
    assert world.done("snapshot", "--tag", OTHER_TAG)["steps"] == []


def test_a_tarball_that_is_not_signed_yet_is_saved_anew_once_a_key_is_configured(
    world: World, tmp_path: Path
) -> None:
    world.done("snapshot", "--tag", TAG)
    assert not vm(world, "json.sig").exists()
    key = make_key(tmp_path, "ci")
    configure(world, "image", sign_with=str(key))
    world.done("snapshot", "--tag", TAG)
    assert vm(world, "json.sig").exists()
    assert world.done("snapshot", "--tag", TAG)["steps"] == []


@pytest.mark.usefixtures("key")
def test_without_a_key_that_would_be_trusted_there_is_no_snapshot(
    world: World, tmp_path: Path
) -> None:
    other = make_key(tmp_path, "other")
    configure(world, "image", sign_with=str(other))
    is_reported(world.run("snapshot", "--tag", TAG), 3, "it is not in image.signers")
    configure(world, "image", sign_with=None)
    is_reported(world.run("snapshot", "--tag", TAG), 3, "the record would not be signed")
    configure(world, "image", sign_with=str(tmp_path / "absent"))
    is_reported(world.run("snapshot", "--tag", TAG), 3, "it cannot be read", "ls -l")
    assert list(world.environment.vm_directory.iterdir()) == []


def test_the_private_key_may_be_in_the_agent_or_in_the_environment(
    world: World, key: Path, tmp_path: Path
) -> None:
    configure(world, "image", sign_with=f"{key}.pub")
    away = key.rename(tmp_path / "away")
    is_reported(world.run("snapshot", "--tag", TAG), 3, "neither in $BREAKGLASS_SSH_KEY nor")
    with running_agent(tmp_path, away) as socket:
        ended = world.run("snapshot", "--tag", TAG, environ={"SSH_AUTH_SOCK": socket})
        assert ended.status == 0, ended.stderr
    assert vm(world, "json.sig").exists()
    assert world.run("snapshot", "--tag", TAG, "--dry-run").status == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it lists no signer"),
        ("ci@example cert-authority KEY", "line 3: cert-authority is not supported"),
        ("ci@example ssh-ed25519 AAAA", "line 3: "),
    ],
)
def test_a_file_of_signers_that_cannot_be_honoured_is_an_error_of_the_configuration(
    text: str, reason: str, world: World, key: Path, tmp_path: Path
) -> None:
    allow(tmp_path / "signers", *([text.replace("KEY", public_line(key))] if text else []))
    is_reported(world.run("status"), 2, "image.signers: ", reason)
