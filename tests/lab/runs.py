"""breakglass, run on the operator's machine with --json, as scripts run it."""

import difflib
import json
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .environment import Environment
from .roles import VM_DIRECTORY

STEP_DONE = re.compile(r"\s*\d+/\d+ done ")
MOVING = re.compile(r"""("(?:run|at)[\\']*":[\\']*")[^"\\']*""")


@dataclass(frozen=True)
class Ran:
    exit_code: int
    reported: dict[str, Any]
    stderr: str

    @property
    def lines(self) -> list[str]:
        """The steps' lines; `run` and `at` of the annotation, which differ from run to run, are
        blanked.
        """
        return [MOVING.sub(r"\1", step["line"]) for step in self.reported["steps"]]

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.reported["result"]
        return found

    @property
    def error(self) -> dict[str, str]:
        assert self.reported["error"], f"no error: {self.reported}"
        found: dict[str, str] = self.reported["error"]
        return found


def run(
    environment: Environment,
    *argv: str,
    expect: int | None = 0,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> Ran:
    """Run one command; exactly one object on stdout, and no traceback anywhere."""
    ended = environment.operator.breakglass("--json", *argv, env=env, timeout=timeout)
    return judge(ended, expect=expect)


def judge(ended: subprocess.CompletedProcess[str], *, expect: int | None) -> Ran:
    lines = ended.stdout.splitlines()
    assert len(lines) == 1, f"not one object on stdout: {ended.stdout!r}\n{ended.stderr}"
    reported = json.loads(lines[0])
    assert "Traceback" not in ended.stderr, ended.stderr
    assert expect is None or ended.returncode == expect, (
        f"exit {ended.returncode}, expected {expect}: {reported['error']}\n{ended.stderr}"
    )
    assert reported["exit_code"] == ended.returncode
    return Ran(ended.returncode, reported, ended.stderr)


def twice(environment: Environment, *argv: str, yes: bool = False) -> Ran:
    """The laws of one command: the dry run changes nothing and shows what is then done; a second
    run has nothing to do.
    """
    before = environment.listing()
    shown = run(environment, *argv, "--dry-run")
    assert environment.listing() == before, "the dry run changed something"
    assert shown.reported["dry_run"] is True
    assert shown.reported["changed"] is False
    assert {step["status"] for step in shown.reported["steps"]} <= {"planned"}
    sure = ("--yes",) if yes else ()
    done = run(environment, *argv, *sure)
    assert done.lines == shown.lines, "\n".join(difflib.ndiff(shown.lines, done.lines))
    assert {step["status"] for step in done.reported["steps"]} <= {"done"}
    again = run(environment, *argv, *sure)
    assert again.lines == [], again.lines
    assert again.reported["changed"] is False
    return done


def cut_short(environment: Environment, *argv: str, after: int) -> None:
    """Kill a run when it has reported so many steps as done."""
    with environment.operator.start_breakglass("--json", *argv) as child:
        assert child.stderr
        done = 0
        for line in child.stderr:
            done += bool(STEP_DONE.match(line))
            if done == after:
                child.kill()
                break
    assert child.returncode == -signal.SIGKILL, (
        f"it had ended before it was killed: {child.returncode}"
    )


def shelf(environment: Environment) -> dict[str, str]:
    """What lies in the VM's directory: name -> sha256 of the content, or -> target of the link."""
    found = {}
    for path in sorted(environment.vm.path(VM_DIRECTORY).iterdir()):
        found[path.name] = (
            f"-> {path.readlink()}"
            if path.is_symlink()
            else environment.vm.run("sha256sum", f"{VM_DIRECTORY}/{path.name}").stdout.split()[0]
        )
    return found


def verified(environment: Environment) -> list[str]:
    """Tags whose tarball is what its sidecars say, asked of sha256sum itself."""
    sums = [name for name in shelf(environment) if name.endswith(".tar.gz.sha256")]
    good = [
        name
        for name in sums
        if environment.vm.run(
            "sha256sum", "--check", "--strict", "--status", name, cwd=VM_DIRECTORY, check=False
        ).returncode
        == 0
    ]
    return sorted(name.removeprefix("infra-ci-").removesuffix(".tar.gz.sha256") for name in good)


def stop_registries(environment: Environment) -> None:
    for registry in environment.registries:
        registry.host.stop("registry")


def image_ids(environment: Environment, node: str) -> dict[str, str]:
    """Name -> image ID of all that the node's containerd has, asked of ctr itself."""
    found = {}
    for line in (
        environment.nodes[node].run("ctr", "-n", "k8s.io", "images", "ls").stdout.splitlines()[1:]
    ):
        name, _, target = line.split()[:3]
        document = json.loads(
            environment.nodes[node].run("ctr", "-n", "k8s.io", "content", "get", target).stdout
        )
        if "manifests" in document:
            document = json.loads(
                environment.nodes[node]
                .run("ctr", "-n", "k8s.io", "content", "get", document["manifests"][0]["digest"])
                .stdout
            )
        found[name] = document["config"]["digest"]
    return found
