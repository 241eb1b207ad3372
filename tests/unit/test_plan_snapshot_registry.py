"""snapshot: the VM reads the image from the registry itself, and when docker does it instead."""

from dataclasses import replace

import pytest

from breakglass.commands.snapshot import explain, plan, result
from breakglass.commands.snapshot_companions import chosen_via, missing_after
from breakglass.commands.snapshot_facts import AUTO, DOCKER, REGISTRY, Facts, Missing
from breakglass.commands.snapshot_registry import manifest_url
from breakglass.config import Registry
from breakglass.errors import AGAIN, BreakglassError, Refused, Unreachable, then
from breakglass.observe.docker import LocalImages
from breakglass.observe.shelf import Tarball
from breakglass.plan import Plan, Purpose, Step
from breakglass.ports import Result
from breakglass.registry import ImageId, State
from tests.facts import (
    IDENTITY,
    IMAGE,
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
from tests.unit import test_plan_snapshot

DIGEST = "sha256:" + "9" * 64
SERVED = ImageId(State.SERVES, image_id("a"), digest=DIGEST, size_bytes=777)
PLUGIN = "docker.io/woodpeckerci/plugin-git:2.5"
HELD = tarball("old", companions=((PLUGIN, image_id("c")),))
PYTHON_ONLY = machine(VM, commands=frozenset({"python3", "sha256sum"}))


def facts(*tarballs: Tarball, via: str = AUTO, **more: object) -> Facts:
    known = test_plan_snapshot.facts(
        published=SERVED, shelf=shelf(VM, tarballs, latest=tarballs[0].tag if tarballs else None)
    )
    return replace(known, via=via, **more)  # type: ignore[arg-type]


def with_companion(served: ImageId, *tarballs: Tarball, **more: object) -> Facts:
    known = facts(*tarballs)
    return replace(known, published=(*known.published, (PLUGIN, served)), **more)  # type: ignore[arg-type]


def planned(known: Facts) -> Plan:
    image = replace(IMAGE, companions=tuple(reference for reference, _ in known.published[1:]))
    return plan(known, image=image, settings=SETTINGS, identity=IDENTITY)


def reading(known: Facts) -> Step:
    (step,) = [step for step in planned(known).steps if step.purpose is Purpose.TRANSFERS]
    return step


def failed(status: int, sentence: str) -> Result:
    return Result(status, b"", b"@progress 4711\n" + sentence.encode() + b"\n")


def test_a_first_snapshot_copies_from_the_registry_publishes_and_points_in_this_order() -> None:
    assert lines(planned(facts())) == [
        "registry-vm$ flock --nonblock /shelf/.breakglass.lock cat",
        "registry-vm$ python3 breakglass-remote.pyz archive pull /shelf infra-ci-0a1b2c3d.tar.gz "
        f"--platform linux/amd64 --reference {REPOSITORY}:0a1b2c3d="
        f"https://registry.example:5050/v2/infra-ci/manifests/{DIGEST}"
        f" --image-id {REPOSITORY}:0a1b2c3d={image_id('a')}"
        """ --record '{"tag":"0a1b2c3d","sequence":1,"version":"0.1.0"}'""",
        "registry-vm$ python3 breakglass-remote.pyz archive publish /shelf "
        "infra-ci-0a1b2c3d.tar.gz",
        "registry-vm$ ln -sfnT infra-ci-0a1b2c3d.tar.gz /shelf/.infra-ci-latest.tar.gz.partial",
        "registry-vm$ mv -fT /shelf/.infra-ci-latest.tar.gz.partial /shelf/infra-ci-latest.tar.gz",
        "registry-vm$ sync /shelf",
    ]
    step = reading(facts())
    assert (step.title, step.total_bytes) == (  # type: ignore[union-attr]
        "copy infra-ci:0a1b2c3d from registry.example:5050",
        777,
    )


def test_a_companion_comes_from_its_own_registry() -> None:
    known = with_companion(ImageId(State.SERVES, image_id("c"), digest=DIGEST, size_bytes=23))
    line = str(reading(known))
    url = f"https://registry-1.docker.io/v2/woodpeckerci/plugin-git/manifests/{DIGEST}"
    assert f" --companion {PLUGIN}={url} --image-id " in line
    assert f" --image-id {PLUGIN}={image_id('c')} --record " in line
    assert reading(known).total_bytes == 800  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("registries", "url"),
    [
        ((), "https://registry.example:5050/v2/infra-ci/manifests/0a1b2c3d"),
        (
            (Registry("ours", "http://registry.example:5050", "other"),),
            "http://registry.example:5050/v2/infra-ci/manifests/0a1b2c3d",
        ),
    ],
)
def test_without_a_digest_the_tag_is_asked_for_where_the_configuration_says_it_is_served(
    registries: tuple[Registry, ...], url: str
) -> None:
    reference = f"{REPOSITORY}:0a1b2c3d"
    known = facts(published=((reference, ImageId(State.UNREACHABLE)),), registries=registries)
    assert manifest_url(known, reference) == url
    assert f"{reference}={url} --record " in str(reading(known))


def test_a_vm_without_docker_needs_nothing_but_python3() -> None:
    assert lines(planned(facts(docker=None, machine=PYTHON_ONLY))) == lines(planned(facts()))
    with pytest.raises(Refused, match="has no python3"):
        planned(facts(docker=None, machine=machine(VM, commands=frozenset())))


def test_docker_is_taken_where_it_is_asked_for_or_the_registry_cannot_be_read_without_it() -> None:
    refused = (Missing(REGISTRY, "its login is kept by docker-credential-pass"),)
    assert [
        chosen_via(facts(via=via, missing=missing))
        for via in (AUTO, REGISTRY, DOCKER)
        for missing in ((), refused)
    ] == [REGISTRY, DOCKER, REGISTRY, REGISTRY, DOCKER, DOCKER]
    assert chosen_via(facts(missing=refused, docker=None)) == REGISTRY
    made = planned(facts(missing=refused))
    assert any("docker pull" in line for line in lines(made))
    assert made.warnings == (
        "registry-vm cannot read from the registry itself, so docker pulls and saves (its login is "
        "kept by docker-credential-pass)",
    )


def test_what_docker_has_does_not_matter_for_room_and_what_the_registry_has_does() -> None:
    full = replace(docker(free_bytes=0), containerd_root="/c")
    there = tarball("old", size_bytes=10**9)
    assert planned(facts(there, docker=full, machine=machine(VM, free_bytes=777))).steps
    large = ((f"{REPOSITORY}:0a1b2c3d", replace(SERVED, size_bytes=777 * 10**6)),)
    known = facts(there, machine=machine(VM, free_bytes=776 * 10**6), published=large)
    with pytest.raises(Refused, match="no room") as caught:
        planned(known)
    assert caught.value.message == (
        "no room in /shelf on registry-vm: 776 MB free, the image has 777 MB"
    )
    assert VM.by_hand("df", "-h", "/shelf") in str(caught.value.next_step)


def test_a_tarball_that_docker_saved_of_the_same_image_is_not_saved_again() -> None:
    known = facts(tarball("0a1b2c3d"))
    made = planned(known)
    assert made.steps == ()
    assert result(known, made, before=known).via is None
    assert result(known, planned(facts()), before=facts()).via == REGISTRY


def test_what_docker_pulled_for_a_tag_goes_where_docker_is_there() -> None:
    old = [tarball(f"t{number}", number) for number in range(6, 0, -1)]
    known = facts(*old, local=LocalImages(("t1",), frozenset()))
    assert f"registry-vm$ docker image rm {REPOSITORY}:t1" in lines(planned(known))


def test_a_companion_that_only_an_older_tarball_has_needs_docker_and_else_is_left_out() -> None:
    lacks = ImageId(State.LACKS)
    assert any("docker load" in line for line in lines(planned(with_companion(lacks, HELD))))
    for known in (
        with_companion(lacks, HELD, docker=None, machine=PYTHON_ONLY),
        with_companion(lacks, HELD, via=REGISTRY),
        with_companion(lacks),
    ):
        made = planned(known)
        assert PLUGIN not in str(reading(known))
        assert made.warnings == (
            f"{PLUGIN} cannot be had now (the registry does not have it): left out",
        )


def test_after_a_failure_that_names_a_companion_the_run_goes_on_without_it() -> None:
    known = with_companion(ImageId(State.UNREACHABLE))
    sentence = f"{PLUGIN}: connection refused"
    lost = missing_after(known, reading(known), failed(5, sentence))
    assert lost == Missing(PLUGIN, sentence)
    again = replace(known, missing=(lost,))
    assert PLUGIN not in str(reading(again))
    # The image itself is not done without: docker may get it, and with a login so may the VM.
    main = f"{REPOSITORY}:0a1b2c3d: connection refused"
    assert missing_after(known, reading(known), failed(5, main)) == Missing(REGISTRY, main)
    assert missing_after(known, reading(known), failed(5, f"@no-login {main}")) is None
    alone = replace(known, docker=None)
    assert missing_after(alone, reading(alone), failed(5, main)) is None
    held = with_companion(ImageId(State.UNREACHABLE), HELD, missing=(lost,))
    assert any("docker load" in line for line in lines(planned(held)))


@pytest.mark.parametrize("sentence", [f"{REPOSITORY}:0a1b2c3d: a helper", f"{PLUGIN}: a helper"])
def test_where_the_vm_cannot_read_the_registry_docker_is_next_if_it_is_there(sentence: str) -> None:
    known, ended = with_companion(ImageId(State.UNREACHABLE)), failed(3, sentence)
    assert missing_after(known, reading(known), ended) == Missing(REGISTRY, sentence)
    for other in (replace(known, docker=None), replace(known, via=REGISTRY)):
        lost = missing_after(other, reading(other), ended)
        assert lost == (Missing(PLUGIN, sentence) if sentence.startswith(PLUGIN) else None)
    # docker then fails as docker does.
    again = replace(known, missing=(Missing(REGISTRY, sentence),))
    pulling = next(step for step in planned(again).steps if "docker pull" in str(step))
    assert missing_after(again, pulling, failed(1, "denied")) is None


LOGIN = "ssh -t root@10.0.20.10 docker login registry.example:5050"
CHECK = "breakglass check --tag 0a1b2c3d"
BY_DOCKER = "breakglass snapshot --tag 0a1b2c3d --via docker"


@pytest.mark.parametrize(
    ("status", "mark", "kind", "command"),
    [
        (5, "", Unreachable, CHECK),
        (3, "", Refused, BY_DOCKER),
        (5, "@no-login ", Unreachable, LOGIN),
        (3, "@no-login ", Refused, BY_DOCKER),
    ],
)
def test_a_registry_that_was_not_read_is_an_error_of_its_class_with_the_next_commands(
    status: int, mark: str, kind: type[BreakglassError], command: str
) -> None:
    sentence = f"{REPOSITORY}:0a1b2c3d: it says no"
    known, ended = facts(via=REGISTRY), failed(status, mark + sentence)
    error = explain(known, reading(known), ended)
    assert type(error) is kind
    assert error.message == f"registry-vm: {sentence}"
    advice = "log in" if command is LOGIN else ""
    again = () if command is BY_DOCKER else (AGAIN,)
    assert error.next_step == then(command, *again, advice=advice)
    # The rest is what the script's exit status says.
    assert explain(known, reading(known), failed(6, "broken")) is None


def test_a_vm_without_docker_gets_a_login_by_its_file() -> None:
    known = facts(docker=None, machine=PYTHON_ONLY)
    error = explain(known, reading(known), failed(5, "@no-login no"))
    assert error is not None
    assert error.next_step.commands[0] == "ssh root@10.0.20.10 ls -l .docker/config.json"
    assert "docker" not in error.message + error.next_step.advice
