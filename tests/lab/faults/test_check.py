"""What `check` finds, done for real to the registries and to everything else that it asks: what it
says, and that it says it within ten seconds.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterator

import yaml

from .. import pki
from ..environment import Environment
from ..host import Host
from ..images import small_bundle
from ..operator_host import CONFIGURATION
from ..registry import PASSWORD, USER, Registry
from .injections import black_hole, paused, stopped
from .rows import row
from .trial import Trial

SERVED = ("check", "--expect-served")
"""Exit 0 when all is well again."""
WITHIN = 10.0
NAMES = ("registry.viktorbarzin.me:5050", "forgejo.viktorbarzin.me")


def pushed(registry: Registry, tag: str = "latest", content: str = "one") -> dict[str, list[str]]:
    """An index of two platforms as buildx pushes it. Digest of the index and of each child -> what
    it names; of a child its configuration comes first.
    """
    children, blobs = {}, {}
    for architecture in ("amd64", "arm64"):
        bundle = small_bundle(content, architecture=architecture)
        named = [registry.put_blob(blob) for blob in bundle.blobs]
        children[architecture] = registry.put_manifest(bundle.manifest)
        blobs[children[architecture]] = named
    return {registry.put_index(tag, children=children): list(children.values())} | blobs


def reported(
    trial: Trial, *argv: str, env: dict[str, str] | None = None
) -> dict[str, dict[str, object]]:
    """What `check` says of each registry."""
    ran = trial.run("check", *argv, env=env)
    assert PASSWORD not in ran.stderr + json.dumps(ran.reported)
    return {registry["name"]: registry for registry in ran.result["registries"]}


@row(
    "check",
    (
        "a child of the index deleted through the registry's API (2026-04-13, 2026-04-19); "
        "elsewhere a layer cut short on the registry's disk"
    ),
    "`broken`, the digest named",
    exit_code=0,
)
def test_an_index_whose_child_was_deleted_and_a_layer_cut_short_are_broken_and_named(
    trial: Trial,
) -> None:
    environment = trial.environment
    (index, (child, _)), *_ = pushed(environment.private).items()
    *_, (_, (_, layer, *_)) = pushed(environment.forgejo).items()
    trial.arranged()
    url = f"https://{NAMES[0]}/v2/infra-ci/manifests"
    environment.operator.run("curl", "-fsS", "-X", "DELETE", f"{url}/{child}")
    assert environment.operator.run(
        "curl", "-fsS", "-o", "/dev/null", "-I", "-w", "%{http_code}", f"{url}/{index}"
    ).stdout.endswith("200"), "the index is served as before"
    whole = environment.forgejo.blob(layer)
    size = whole.stat().st_size
    os.truncate(whole, 1000)
    found = reported(trial)
    assert (
        found["registry-private"]["state"],
        found["registry-private"]["digest"],
        found["registry-private"]["missing"],
    ) == ("broken", index, [child])
    assert "HTTP 404" in str(found["registry-private"]["detail"])
    assert (found["forgejo"]["state"], found["forgejo"]["missing"]) == ("broken", [layer])
    assert f"has 1000 bytes instead of {size}" in str(found["forgejo"]["detail"])
    whole.unlink()
    for registry in environment.registries:
        pushed(registry)
    trial.recovers(argv=SERVED)


@row(
    "check",
    "a layer's file gone from the registry's disk; elsewhere the tag gone",
    "`broken`, the digest named; `lacks the tag`",
    exit_code=0,
)
def test_a_layer_that_is_gone_is_named_and_a_tag_that_is_gone_is_reported_apart(
    trial: Trial,
) -> None:
    environment = trial.environment
    *_, (_, (_, layer, *_)) = pushed(environment.private).items()
    pushed(environment.forgejo)
    trial.arranged()
    environment.private.blob(layer).unlink()
    environment.forgejo.untag("latest")
    found = reported(trial)
    assert (found["registry-private"]["state"], found["registry-private"]["missing"]) == (
        "broken",
        [layer],
    )
    assert (found["forgejo"]["state"], found["forgejo"]["missing"]) == ("lacks the tag", [])
    for registry in environment.registries:
        pushed(registry)
    trial.recovers(argv=SERVED)


@row(
    "check",
    "a layer's file gone from the disk of a registry that remembers it: HEAD answers 200",
    "`broken`, the digest named",
    exit_code=0,
)
def test_a_layer_that_a_registry_only_remembers_is_broken(trial: Trial) -> None:
    environment = trial.environment
    *_, (_, (_, layer, *_)) = pushed(environment.private).items()
    url = f"https://{NAMES[0]}/v2/infra-ci/blobs/{layer}"
    head = ("curl", "-fsS", "-o", "/dev/null", "-I", "-w", "%{http_code}", url)
    with environment.private.remembering():
        assert environment.operator.run(*head).stdout.endswith("200")
        trial.arranged()
        environment.private.blob(layer).unlink()
        assert environment.operator.run(*head).stdout.endswith("200"), "it remembers the layer"
        found = reported(trial)["registry-private"]
        assert (found["state"], found["missing"]) == ("broken", [layer])
    for registry in environment.registries:
        pushed(registry)
    trial.recovers(argv=SERVED)


@row(
    "check",
    "the registries hold different images under the tag",
    "both digests are reported",
    exit_code=10,
)
def test_registries_that_hold_different_images_are_said_to_differ(trial: Trial) -> None:
    environment = trial.environment
    digests = [
        next(iter(pushed(registry, content=registry.host.name)))
        for registry in environment.registries
    ]
    trial.arranged()
    (line,) = [line for line in trial.run("check").stderr.splitlines() if "differ" in line]
    assert all(digest in line for digest in digests)
    pushed(environment.private, content=environment.forgejo.host.name)
    assert "differ" not in trial.recovers(argv=SERVED).stderr


@row(
    "check",
    "one registry stopped, the other black-holed, the NAS accepts and never answers",
    "each is reported as unreachable; the whole command answers within 10 s",
    exit_code=0,
    within_seconds=WITHIN,
)
def test_registries_stopped_and_black_holed_are_unreachable_and_a_hanging_nas_holds_nobody_up(
    trial: Trial,
) -> None:
    environment = trial.environment
    for registry in environment.registries:
        pushed(registry)
    trial.arranged()
    with (
        stopped((environment.vm, "registry")),
        black_hole(environment.host("forgejo")),
        paused(environment.nas, "sshd"),
    ):
        ran = trial.run("check")
    found = {registry["name"]: registry for registry in ran.result["registries"]}
    assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(
        ("forgejo", "registry-private"), "unreachable"
    )
    assert "refused" in found["registry-private"]["detail"]
    assert ran.result["unreached"] == ["synology"]
    assert [source["name"] for source in ran.result["sources"]] == ["registry-vm"]
    assert "API server: answers" in ran.stderr
    trial.recovers(argv=SERVED)


@row(
    "check",
    "everything is black-holed at once: registries, VM, NAS, API",
    "each is reported as unreachable; `unknown` within 10 s: look at this machine's network first",
    exit_code=5,
    within_seconds=WITHIN,
)
def test_with_everything_down_at_once_the_answer_comes_within_ten_seconds(trial: Trial) -> None:
    environment = trial.environment
    for registry in environment.registries:
        pushed(registry)
    trial.arranged()
    with contextlib.ExitStack() as holes:
        for host in (environment.host("forgejo"), environment.vm, environment.nas, environment.api):
            holes.enter_context(black_hole(host))
        ran = trial.run("check")
    assert ran.result["verdict"] == "unknown"
    assert [registry["state"] for registry in ran.result["registries"]] == [
        "unreachable",
        "unreachable",
    ]
    assert sorted(ran.result["unreached"]) == ["API server", "registry-vm", "synology"]
    trial.recovers(argv=SERVED)


def logins(password: str) -> str:
    return json.dumps(
        {
            "auths": {
                name: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}
                for name in NAMES
            }
        }
    )


@row(
    "check",
    (
        "the registries want a login (basic): none there, a wrong one, the right one in "
        "~/.docker/config.json or $REGISTRY_AUTH_FILE"
    ),
    "`refuses`, exit 5; with the right one: served",
    exit_code=(5, 10),
)
def test_a_registry_that_wants_a_login_refuses_us_without_it_and_serves_us_with_it(
    trial: Trial,
) -> None:
    environment, operator = trial.environment, trial.environment.operator
    for registry in environment.registries:
        pushed(registry)
        registry.refuse(on=True)
    trial.arranged()
    elsewhere = {"REGISTRY_AUTH_FILE": "/root/logins.json"}
    refused = reported(trial)
    assert {str(one["state"]) for one in refused.values()} == {"refuses"}
    assert "there is no login for forgejo.viktorbarzin.me in /root/.docker/config.json" in str(
        refused["forgejo"]["detail"]
    )
    operator.write("/root/logins.json", logins("a wrong one"), mode=0o600)
    wrong = reported(trial, env=elsewhere)
    assert [
        "the login in /root/logins.json was not enough" in str(one["detail"])
        for one in wrong.values()
    ] == [True, True]
    operator.write("/root/logins.json", logins(PASSWORD), mode=0o600)
    assert {str(one["state"]) for one in reported(trial, env=elsewhere).values()} == {"serves"}
    operator.write("/root/.docker/config.json", logins(PASSWORD), mode=0o600)
    assert {str(one["state"]) for one in reported(trial).values()} == {"serves"}
    operator.path("/root/logins.json").unlink()
    trial.recovers(argv=SERVED)


@row(
    "check",
    (
        "the registry wants a token (Bearer challenge) of a service that wants a login: without "
        "it, and with it"
    ),
    "`refuses`, and `partly`, for the other one serves; with the login: not needed",
    exit_code=(10, 11),
)
def test_a_registry_that_wants_a_token_serves_us_with_the_login_for_its_token_service(
    trial: Trial,
) -> None:
    environment, operator = trial.environment, trial.environment.operator
    for registry in environment.registries:
        pushed(registry)
    trial.arranged()
    with environment.forgejo.token_service():
        refused = reported(trial)["forgejo"]
        assert (
            refused["state"],
            "its token service https://forgejo.viktorbarzin.me:5001/token: HTTP 401"
            in str(refused["detail"]),
        ) == ("refuses", True), refused
        operator.write("/root/.docker/config.json", logins(PASSWORD), mode=0o600)
        assert reported(trial)["forgejo"]["state"] == "serves"
    trial.recovers(argv=SERVED)


@contextlib.contextmanager
def another_certificate(environment: Environment, host: Host) -> Iterator[str]:
    """The registry's certificate is of a CA that nobody knows; the file with that CA, on the
    operator's machine.
    """
    pki.make_authority("strange")
    pki.make_certificate("strange-registry", "/CN=registry", f"DNS:{NAMES[1]}", authority="strange")
    environment.operator.write("/root/strange.crt", pki.text("strange.crt"))
    lay_certificate(host, "strange-registry")
    try:
        yield "/root/strange.crt"
    finally:
        lay_certificate(host, host.name)


def lay_certificate(host: Host, name: str) -> None:
    for kind in ("crt", "key"):
        host.write(f"/etc/lab/registry.{kind}", pki.text(f"{name}.{kind}"), mode=0o600)
    host.stop("registry")
    host.start("registry")


@row(
    "check",
    "the registry's TLS certificate is of an unknown CA",
    "`not trusted`, with its owner and issuer; served where the configuration names that CA",
    exit_code=(10, 11),
)
def test_a_certificate_of_an_unknown_ca_is_said_so_and_trusted_only_where_it_is_named(
    trial: Trial,
) -> None:
    environment, operator = trial.environment, trial.environment.operator
    for registry in environment.registries:
        pushed(registry)
    trial.arranged()
    with another_certificate(environment, environment.host("forgejo")) as authority:
        unknown = reported(trial)["forgejo"]
        assert unknown["state"] == "not trusted"
        assert "its certificate is not trusted: " in str(unknown["detail"])
        assert "it is for registry, issued by " in str(unknown["detail"])
        document = yaml.safe_load(operator.read(CONFIGURATION))
        document["registries"][0]["ca"] = authority
        operator.write("/root/named.yaml", json.dumps(document))
        assert (
            reported(trial, env={"BREAKGLASS_CONFIG": "/root/named.yaml"})["forgejo"]["state"]
            == "serves"
        )
    trial.recovers(argv=SERVED)
