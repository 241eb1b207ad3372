"""The examples for a timer, for CI and for the NAS are as systemd, Woodpecker and breakglass want
them.
"""

import base64
import json
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from breakglass import config
from breakglass.observe.listing import SCRIPT as LISTING_SCRIPT
from breakglass.sandbox.environment import TAG
from tests.front.blocks import is_inert
from tests.front.documents import ROOT, check_command_line
from tests.front.world import World

SYSTEMD, WOODPECKER = ROOT / "examples/systemd", ROOT / "examples/woodpecker"
PIPELINES = sorted(WOODPECKER.glob("*.yml"))
SHORT = "${CI_COMMIT_SHA:0:8}"


def unit(name: str) -> ConfigParser:
    """A unit file; in these no key stands twice in a section, which the parser insists on."""
    parser = ConfigParser(interpolation=None, comment_prefixes=("#", ";"))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read_string((SYSTEMD / name).read_text("utf-8"))
    return parser


def test_every_timer_starts_a_service_that_is_there_and_makes_up_for_a_missed_day() -> None:
    timers = sorted(SYSTEMD.glob("*.timer"))
    assert timers
    for path in timers:
        timer = unit(path.name)
        assert (SYSTEMD / f"{path.stem}.service").exists()
        assert timer["Timer"]["Persistent"] == "true"
        assert timer["Timer"]["OnCalendar"]
        assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("path", sorted(SYSTEMD.glob("*.service")), ids=lambda path: path.name)
def test_the_command_line_of_every_service_is_one_that_the_cli_understands(path: Path) -> None:
    service = unit(path.name)["Service"]
    assert service["Type"] == "oneshot"
    program = shlex.split(service["ExecStart"])[0]
    assert Path(program).is_absolute()
    assert Path(program).name == "breakglass"
    check_command_line(service["ExecStart"])


def pipeline(path: Path, commit: str) -> dict[str, Any]:
    """As Woodpecker reads it: the commit is put into the text, then the text is read."""
    text = (
        path.read_text("utf-8")
        .replace(SHORT, commit[:8])
        .replace("${CI_REPO_DEFAULT_BRANCH}", "main")
    )
    assert "${" not in text, "Woodpecker would put something, or nothing, in its place"
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_the_cli_understands_the_lines_of_the_pipelines_and_secrets_come_from_secrets(
    path: Path,
) -> None:
    for step in pipeline(path, TAG)["steps"]:
        assert all(set(value) == {"from_secret"} for value in step.get("environment", {}).values())
        assert all(
            set(value) == {"from_secret"}
            for login in step.get("settings", {}).get("logins", [])
            for key, value in login.items()
            if key != "registry"
        )
        assert ("commands" in step) != ("settings" in step)
        for line in step.get("commands", []):
            assert line.startswith("breakglass ")
            check_command_line(line)


@pytest.mark.parametrize("commit", ["1234e567", "01234567", "12345678"])
def test_the_build_pushes_to_every_configured_registry_under_a_tag_of_its_own_whatever_the_commit(
    commit: str,
) -> None:
    push, *others = pipeline(WOODPECKER / "build-ci-image.yml", commit)["steps"]
    configured = config.load(ROOT / "breakglass.example.yaml")
    hosts = {
        registry.name: registry.url.removeprefix("https://") for registry in configured.registries
    }
    assert push["settings"]["repo"] == [
        f"{hosts[registry.name]}/{registry.repository}" for registry in configured.registries
    ]
    assert [login["registry"] for login in push["settings"]["logins"]] == [
        registry.url for registry in configured.registries
    ]
    assert push["settings"]["tags"] == ["latest", commit]
    # By digest, which the user fills in: no image starts by this name as it stands.
    assert re.fullmatch(r"docker\.io/\S+:[0-9.]+@sha256:REPLACE_WITH_DIGEST", push["image"])
    assert {step["image"] for step in others} == {f"{configured.image.repository}:{commit}"}


def test_the_script_for_the_nas_lists_with_the_text_that_the_tool_sends() -> None:
    text = (ROOT / "examples/nas-read-only.sh").read_text("utf-8")
    listed = text.partition("# --- listing\n")[2].partition("# --- end of the listing")[0]
    assert listed.strip() == LISTING_SCRIPT.strip()


@pytest.mark.slow
def test_the_steps_of_the_build_do_what_they_are_for_where_woodpecker_runs_them(
    world: World, tmp_path: Path
) -> None:
    """No terminal, no home, the key in the environment only, and the script itself on standard
    input.
    """
    loaded = json.loads(world.environment.config.read_text("utf-8"))
    secrets = {
        "breakglass_ssh_key": world.environment.key.read_text(),
        "breakglass_known_hosts": world.environment.known_hosts.read_text(),
    }
    (tmp_path / "breakglass.yaml").write_text(
        json.dumps({**loaded, "ssh": {}, "kubernetes": {}}), encoding="utf-8"
    )
    commit = TAG.ljust(40, "0")

    def run(step: dict[str, Any]) -> tuple[int, str]:
        lines = "".join(
            f"echo + {shlex.quote(line)}\n{line}\n" for line in [*step["commands"], "echo next"]
        )
        given = {
            "CI": "woodpecker",
            "CI_COMMIT_SHA": commit,
            "CI_SCRIPT": base64.b64encode(lines.encode()).decode(),
            "HOME": "/dev/null",
            "SHELL": "/bin/sh",
        }
        given |= {
            name: secrets[value["from_secret"]]
            for name, value in step.get("environment", {}).items()
        }
        entry = ["/bin/sh", "-c", "echo $CI_SCRIPT | base64 -d | /bin/sh -e"]
        ended = subprocess.run(
            entry,
            env={**given, "PATH": world.environment.environ["PATH"]},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        is_inert(ended.stdout)
        return ended.returncode, ended.stdout

    _, verify, snapshot = pipeline(WOODPECKER / "build-ci-image.yml", commit)["steps"]
    status, reported = run(verify)
    assert (
        status,
        "forgejo: serves\nregistry-private: serves\n" in reported,
        reported.endswith("\nnext\n"),
    ) == (0, True, True), reported
    status, reported = run(snapshot)
    assert (status, "  6/6 done " in reported, reported.endswith("\nnext\n")) == (0, True, True), (
        reported
    )
    world.environment.stop("registry-vm")
    status, reported = run(snapshot)
    assert (status, reported.endswith("exit code 5; ending with 0\n+ echo next\nnext\n")) == (
        0,
        True,
    ), reported
    assert "breakglass: unreachable: " in reported
    world.environment.stop("forgejo")
    world.environment.stop("registry-private")
    status, reported = run(verify)
    assert (status, "no registry serves the image" in reported, "\nnext" in reported) == (
        10,
        True,
        False,
    ), reported
