"""Whether a kubelet pulls an image again: its records as they lie on a node, what is read of them,
what follows for a name, and what the verdict says.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from breakglass.commands.answering_facts import Answers
from breakglass.commands.pull_again import Again, PullAgain, pulls_again, spellings_of
from breakglass.commands.verdict import Cluster, by_name, verdict
from breakglass.commands.verdict_names import NameVerdict, judge, starting
from breakglass.observe.answering import Taken
from breakglass.observe.pull_records import (
    Credentials,
    PullRecords,
    parse_pull_records,
    read_pull_records,
)
from breakglass.plan import Host
from breakglass.ports import Result
from tests.facts import image_id
from tests.interpreters import script
from tests.unit.test_verdict import NAMES, imported

PRIVATE, FORGEJO = "registry.example:5050/infra-ci", "forgejo.example/viktor/infra-ci"
NAME, OTHER = f"{PRIVATE}:latest", f"{FORGEJO}:latest"
HUB = "docker.io/woodpeckerci/plugin-git:2"
ID = image_id()
EVERY_POD, SECRET = Credentials(every_pod=True), Credentials(sources=("secret ci/regcred",))
KEPT = PullRecords(is_kept=True)
NEW = "v1.37.2"
V1BETA1 = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "ImagePulledRecord"}


def pulled(mapping: dict[str, Credentials], **more: Any) -> PullRecords:
    return replace(KEPT, pulled={ID: mapping}, **more)


@pytest.mark.parametrize(
    ("name", "records", "kubelet", "again"),
    [
        # The version and the feature gate
        (NAME, pulled({}), "v1.32.9", Again.NO),
        (NAME, PullRecords(), "v1.34.4", Again.NO),
        (NAME, pulled({}), "v1.34.4", Again.YES),  # the gate is on: it keeps records
        (NAME, pulled({}), NEW, Again.YES),
        (NAME, pulled({}, gate=False), NEW, Again.NO),
        (NAME, PullRecords(), NEW, Again.UNKNOWN),  # its records lie elsewhere
        (NAME, PullRecords(unread="no python3"), NEW, Again.UNKNOWN),
        (NAME, PullRecords(), "", Again.UNKNOWN),
        (NAME, pulled({}), "", Again.YES),
        # Images that kubelet has not pulled itself
        (NAME, KEPT, NEW, Again.NO),
        (NAME, replace(KEPT, pulled={image_id("b"): {}}), NEW, Again.NO),
        # Images that it has: by name, without the tag
        (NAME, pulled({PRIVATE: EVERY_POD}), NEW, Again.NO),
        (OTHER, pulled({PRIVATE: EVERY_POD}), NEW, Again.YES),
        (NAME, pulled({PRIVATE: SECRET}), NEW, Again.SOME),
        (OTHER, pulled({PRIVATE: SECRET}), NEW, Again.YES),
        (NAME, pulled({PRIVATE: Credentials()}), NEW, Again.YES),
        (HUB, pulled({"woodpeckerci/plugin-git": EVERY_POD}), NEW, Again.NO),
        (HUB, pulled({"docker.io/woodpeckerci/plugin-git": EVERY_POD}), NEW, Again.NO),
        # A pull that was cut short
        (NAME, replace(KEPT, pulling=frozenset({NAME})), NEW, Again.YES),
        (OTHER, replace(KEPT, pulling=frozenset({NAME})), NEW, Again.NO),
        (HUB, replace(KEPT, pulling=frozenset({"woodpeckerci/plugin-git:2"})), NEW, Again.YES),
        # Records that kubelet cannot read either
        (NAME, replace(KEPT, doubtful=frozenset({ID})), NEW, Again.YES),
        (NAME, replace(KEPT, doubtful=frozenset({NAME})), NEW, Again.YES),
        (OTHER, replace(KEPT, doubtful=frozenset({NAME})), NEW, Again.NO),
        # imagePullCredentialsVerificationPolicy
        (NAME, replace(KEPT, policy="AlwaysVerify"), NEW, Again.YES),
        (NAME, pulled({PRIVATE: EVERY_POD}, policy="AlwaysVerify"), NEW, Again.NO),
        (NAME, pulled({}, policy="NeverVerify"), NEW, Again.NO),
        (NAME, replace(KEPT, policy="NeverVerifyPreloadedImages"), NEW, Again.NO),
        (NAME, replace(KEPT, policy="NeverVerifyAllowlistedImages"), NEW, Again.YES),
    ],
)
def test_kubelet_pulls_an_image_again_whose_records_lack_the_name_or_the_secret(
    name: str, records: PullRecords, kubelet: str, again: Again
) -> None:
    assert pulls_again(name, ID, records, kubelet=kubelet).again is again


def test_a_pod_may_write_a_name_of_docker_hub_in_three_ways() -> None:
    assert spellings_of(("docker.io/library/alpine:3", NAME)) == (
        "docker.io/library/alpine:3",
        "alpine:3",
        "library/alpine:3",
        NAME,
    )


# The files on the node


def read(directory: Path, *, image_ids: Iterable[str] = (), names: Iterable[str] = ()) -> Any:
    words = [word for each in image_ids for word in ("--image-id", each)]
    words += [word for each in names for word in ("--name", each)]
    line = script("pulled", "--directory", directory, *words)
    ended = subprocess.run(line, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return parse_pull_records(json.loads(ended.stdout))


def write(directory: Path, kind: str, key: str, content: str | bytes) -> Path:
    file = directory / "image_manager" / kind / f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"
    for each in ("pulled", "pulling"):
        (directory / "image_manager" / each).mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.usefixtures("host_python")
def test_the_records_are_found_as_kubelet_calls_and_writes_them(tmp_path: Path) -> None:
    secret = {"uid": "u", "namespace": "ci", "name": "regcred", "credentialHash": "h"}
    account = {"uid": "u", "namespace": "ci", "name": "robot"}
    mapping = {
        PRIVATE: {"kubernetesSecrets": [secret, secret]},
        FORGEJO: {"nodePodsAccessible": True},
        "quay.io/x": {"kubernetesServiceAccounts": [account]},
    }
    record = {**V1BETA1, "lastUpdatedTime": "x", "imageRef": ID, "credentialMapping": mapping}
    write(tmp_path, "pulled", ID, json.dumps(record))
    intent = {"apiVersion": "kubelet.config.k8s.io/v1alpha1", "kind": "ImagePullIntent"}
    write(tmp_path, "pulling", NAME, json.dumps({**intent, "image": NAME}))
    assert read(tmp_path, image_ids=(ID, image_id("b")), names=(NAME, OTHER)) == PullRecords(
        is_kept=True,
        pulled={
            ID: {
                PRIVATE: SECRET,
                FORGEJO: EVERY_POD,
                "quay.io/x": Credentials(sources=("service account ci/robot",)),
            }
        },
        pulling=frozenset({NAME}),
    )


def test_a_kubelet_without_such_records_has_none(tmp_path: Path) -> None:
    assert read(tmp_path / "never", image_ids=(ID,), names=(NAME,)) == PullRecords()


def test_a_record_about_another_image_is_none_as_for_kubelet(tmp_path: Path) -> None:
    write(tmp_path, "pulled", ID, json.dumps({**V1BETA1, "imageRef": image_id("b")}))
    write(tmp_path, "pulling", NAME, json.dumps({"image": OTHER}))
    assert read(tmp_path, image_ids=(ID,), names=(NAME,)) == KEPT


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "it is no such record"),
        ('{"imageRef": 5}', "it is no such record"),
        (f'{{"imageRef": "{ID}", "credentialMapping": {{"x": 5}}}}', "it is no such record"),
        (b"\xff", "it is not UTF-8"),
        (b"x" * ((1 << 20) + 1), "it is too large"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(
    tmp_path: Path, content: str | bytes, why: str
) -> None:
    write(tmp_path, "pulled", ID, content)
    records = read(tmp_path, image_ids=(ID,))
    (fault,) = records.faults
    assert fault.startswith(
        f"the record of {ID} in {tmp_path}/image_manager/pulled cannot be read: {why}"
    )
    assert records.doubtful == {ID}
    text = verdict(imported(), Cluster(NEW), before=imported(), records=records)
    assert f"On k8s-node1 {fault}" in text


def test_a_directory_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    write(tmp_path, "pulling", NAME, "").unlink()
    (
        tmp_path / "image_manager/pulling" / f"sha256-{hashlib.sha256(NAME.encode()).hexdigest()}"
    ).mkdir()
    assert "Is a directory" in read(tmp_path, names=(NAME,)).faults[0]


@pytest.mark.parametrize(
    ("text", "policy", "gate"),
    [
        ("", "", None),
        ("imagePullCredentialsVerificationPolicy: AlwaysVerify\n", "AlwaysVerify", None),
        ('{"imagePullCredentialsVerificationPolicy": "NeverVerify"}', "NeverVerify", None),
        ("# imagePullCredentialsVerificationPolicy: AlwaysVerify\n", "", None),
        ("featureGates:\n  KubeletEnsureSecretPulledImages: false\n", "", False),
        ("featureGates: {KubeletEnsureSecretPulledImages: true}\n", "", True),
    ],
)
def test_kubelets_configuration_says_whether_and_when_it_asks(
    tmp_path: Path, text: str, policy: str, gate: bool | None
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    records = read(tmp_path)
    assert (records.policy, records.gate) == (policy, gate)


class Says:
    def __init__(self, result: Result) -> None:
        self.result = result

    def ask(self, *_: object, **__: object) -> Result:
        return self.result


@pytest.mark.parametrize(
    "result",
    [
        Result(None, b"", b"", "it gave no sign of life"),
        Result(0, b"5", b""),
        Result(4, b"", b"no"),
    ],
)
def test_a_node_that_does_not_say_leaves_the_verdict_open(result: Result) -> None:
    records = read_pull_records(
        Says(result), Host("k8s-node1", "x"), None, image_ids=(ID,), names=(NAME,)
    )
    assert records.unread
    (line,) = [
        line
        for line in verdict(imported(), Cluster(NEW), before=imported(), records=records)
        if "KubeletEnsureSecretPulledImages" in line
    ]
    assert line.endswith(f"its records could not be read: {records.unread}.")


# The verdict


@pytest.mark.parametrize(
    ("pull", "answers", "if_not_present", "always", "only_with"),
    [
        # What kubelet pulls again does not start, unless the node serves the image locally.
        (PullAgain(Again.NO), False, True, False, ()),
        (PullAgain(Again.NO), True, True, True, ()),
        (PullAgain(Again.YES), False, False, False, ()),
        (PullAgain(Again.YES), True, True, True, ()),
        (PullAgain(Again.SOME, ("secret ci/a", "secret ci/b")), False, True, False, ("a", "b")),
        (PullAgain(Again.SOME, ("secret ci/a",)), True, True, True, ()),
        # Without kubelet's records it is not known.
        (PullAgain(Again.UNKNOWN), False, None, False, ()),
        (PullAgain(Again.UNKNOWN), True, True, True, ()),
    ],
)
def test_which_pods_start_under_a_name(
    pull: PullAgain,
    answers: bool,
    if_not_present: bool | None,
    always: bool,
    only_with: tuple[str, ...],
) -> None:
    secrets = tuple(f"secret ci/{each}" for each in only_with)
    assert judge(NAME, pull, answers=answers) == NameVerdict(NAME, if_not_present, always, secrets)


def test_the_json_has_the_verdict_of_each_name_as_the_screen_has_it() -> None:
    records = pulled({PRIVATE: SECRET})
    found = by_name(imported(answers=WITHOUT), Cluster(NEW), records)
    assert {each.name: (each.if_not_present, each.only_with) for each in found} == {
        name: (True, SECRET.sources) if name.startswith(PRIVATE) else (False, ()) for name in NAMES
    }
    assert starting(found) == tuple(
        line
        for line in said(records, answers=WITHOUT)
        if line.endswith("IfNotPresent, only pods with secret ci/regcred")
    )


WITHOUT = Answers(Taken(True, True, namespace="k8s.io"))


def said(records: PullRecords, *, answers: Answers | None = None) -> list[str]:
    facts = imported(answers=answers) if answers else imported()
    return list(verdict(facts, Cluster(NEW), before=imported(), records=records))


def test_without_answered_pulls_a_name_that_kubelet_pulls_again_is_one_that_does_not_start() -> (
    None
):
    lines = said(pulled({PRIVATE: SECRET}), answers=WITHOUT)
    private = [name for name in NAMES if name.startswith(PRIVATE)]
    forgejo = [name for name in NAMES if name.startswith(FORGEJO)]
    assert len(private) == len(forgejo) == 2
    at = len(private) + 1
    assert lines[:at] == [
        "Pods that start on k8s-node1 now, by image and imagePullPolicy:",
        *(f"  {name}: IfNotPresent, only pods with secret ci/regcred" for name in private),
    ]
    assert lines[at] == (
        "kubelet v1.37.2 has pulled this image itself, and pulls it again for these names "
        "(KubeletEnsureSecretPulledImages). Their pods do NOT start while the registries are gone:"
    )
    assert sorted(lines[at + 1 : at + 1 + len(NAMES)]) == sorted(
        [
            *(f"  {name} (not for pods with secret ci/regcred)" for name in private),
            *(f"  {name}" for name in forgejo),
        ]
    )
    assert "They start with: breakglass import k8s-node1 --answer-pulls" in lines


def test_with_answered_pulls_such_a_name_starts_only_because_the_node_serves_the_image() -> None:
    lines = said(pulled({PRIVATE: EVERY_POD}))
    assert [f"  {name}: IfNotPresent, Always" for name in NAMES] == lines[1 : len(NAMES) + 1]
    assert lines[len(NAMES) + 1] == (
        "kubelet v1.37.2 has pulled this image itself, and pulls it again for these names "
        "(KubeletEnsureSecretPulledImages). Their pods start only because k8s-node1 serves it "
        "locally:"
    )
    assert lines[len(NAMES) + 2].startswith(f"  {FORGEJO}")


def test_an_image_that_kubelet_never_pulled_is_no_word_worth() -> None:
    assert not any("KubeletEnsureSecretPulledImages" in line for line in said(KEPT))


def test_a_policy_that_verifies_every_image_is_named() -> None:
    lines = said(replace(KEPT, policy="AlwaysVerify"), answers=WITHOUT)
    assert lines[1].startswith(
        "kubelet v1.37.2 pulls an image again for these names (AlwaysVerify). Their pods do NOT"
    )
