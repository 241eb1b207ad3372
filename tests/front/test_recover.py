"""`recover`: one command from the outage to the pipeline's end, and back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from breakglass.sandbox.environment import VM
from tests.front.blocks import is_reported
from tests.front.commands import without_moment
from tests.front.listing import differences, listing
from tests.front.rows import REGISTRIES
from tests.front.world import World

SECRETS = {"BREAKGLASS_SSH_KEY", "BREAKGLASS_SSH_KNOWN_HOSTS"}


@pytest.fixture
def outage(world: World) -> World:
    """The tarball is on the VM and the NAS; the registries and the VM are gone; k8s-node3 is
    cordoned by somebody else.
    """
    world.publish()
    world.environment.api.patch_node("k8s-node3", {"spec": {"unschedulable": True}})
    for name in (*REGISTRIES, VM):
        world.environment.stop(name)
    return world


@pytest.fixture
def ready(world: World) -> World:
    """The same, with the image on k8s-node1 from before: only the pin is left to do."""
    world.bring_in("k8s-node1")
    for name in (*REGISTRIES, VM):
        world.environment.stop(name)
    return world


def left_behind(world: World, before: dict[str, str]) -> list[str]:
    """What differs from before on the nodes, but for the tarball and the image, which stay."""
    now = listing(world.environment.root)
    kept = ("var/breakglass", "var/lib", "state")
    return [line for line in differences(now, before) if not any(place in line for place in kept)]


def test_a_command_runs_while_pinned_and_everything_is_restored_as_the_dry_run_said(
    outage: World,
) -> None:
    before, nodes = listing(outage.environment.root), outage.nodes()
    witness = outage.directory / "witness"
    script = (
        f"cordoned() {{ python3 - <<'E'\n{PROBE}\nE\n}}\ncordoned >{witness}; echo words; env "
        f">>{witness}; exit 7"
    )
    arguments = ("recover", "--yes", "--json")
    shown = outage.run(*arguments, "--dry-run", "--", "sh", "-c", script)
    assert (shown.status, shown.reported["changed"], witness.exists()) == (0, False, False)
    assert differences(listing(outage.environment.root), before) == []
    ended = outage.run(
        *arguments, "--", "sh", "-c", script, environ={"BREAKGLASS_SSH_KNOWN_HOSTS": "# nobody"}
    )
    assert (
        ended.status,
        ended.reported["exit_code"],
        ended.reported["error"],
        ended.reported["result"]["status"],
    ) == (7, 7, None, 7), ended.stderr
    assert without_moment(shown.lines) == without_moment(ended.lines)
    assert {step["status"] for step in ended.reported["steps"]} == {"done"}
    pinned, *environ = witness.read_text("utf-8").splitlines()
    assert pinned == "k8s-node10 k8s-node2 k8s-node3"
    assert not SECRETS & {line.partition("=")[0] for line in environ}
    assert "words" in ended.stderr
    assert outage.nodes() == nodes
    assert left_behind(outage, before) == []
    assert not outage.responders()
    assert outage.names("k8s-node1")


PROBE = """
import json, os, urllib.request
server = json.load(open(os.environ["KUBECONFIG"]))["clusters"][0]["cluster"]["server"]
nodes = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server + "/api/v1/nodes"))["items"]
print(*sorted(node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")))
"""  # noqa: E501


@pytest.mark.slow
def test_without_a_command_it_stays_pinned_says_how_to_restore_and_goes_on_with_its_own_pin(
    ready: World,
) -> None:
    ready.environment.api.patch_node("k8s-node3", {"spec": {"unschedulable": True}})
    ended = ready.run("recover", "--yes")
    assert ended.status == 0
    assert (
        "chose k8s-node1: it has the tarball and the image already; k8s-node3: cordoned"
        in ended.stdout
    )
    assert [line.partition(":")[0] for line in ended.stdout.splitlines() if line.startswith("[")][
        -5:
    ] == ["[x] check", "[x] node", "[x] fetch", "[x] import", "[x] pin"]
    assert ended.stdout.splitlines()[-1].endswith("breakglass restore")
    assert ready.cordoned() == ["k8s-node10", "k8s-node2", "k8s-node3"]
    again = ready.run("recover")
    assert (again.status, "[y/N]" in again.stderr) == (0, False)
    assert "chose k8s-node1: it is the target of the pin in force" in again.stdout


@pytest.mark.slow
def test_it_is_refused_only_while_every_registry_serves_the_image(outage: World) -> None:
    for registry in REGISTRIES:
        outage.environment.start(registry)
    is_reported(
        outage.run("recover", "--yes"),
        3,
        "served by forgejo and registry-private",
        "Nothing was changed.",
        "breakglass recover --anyway",
    )
    is_reported(
        outage.run("recover", "k8s-node2", "--yes"), 3, "breakglass recover k8s-node2 --anyway"
    )
    # The plan is shown on a good day too, and says that the run itself would be refused.
    shown = outage.run("recover", "--dry-run")
    assert (shown.status, "the run itself needs --anyway" in shown.stderr) == (0, True)
    assert "--- import" in shown.stdout
    assert outage.cordoned() == ["k8s-node3"]


@pytest.mark.slow
def test_where_it_is_not_known_whether_the_image_is_served_it_ends_with_what_finds_out(
    outage: World,
) -> None:
    outage.environment.start("forgejo")
    outage.environment.refuse("forgejo", 401)
    is_reported(
        outage.run("recover", "--yes"),
        5,
        "not known",
        "docker login",
        "breakglass recover",
        "breakglass recover --anyway",
    )
    assert outage.run("recover", "--dry-run").status == 0


@pytest.mark.slow
def test_it_goes_on_where_only_some_of_the_registries_serve_the_image(outage: World) -> None:
    outage.environment.start("forgejo")
    ended = outage.run("recover", "--yes", "--", "true")
    assert (ended.status, "partly: pods that name " in ended.stdout) == (0, True), ended.stderr


@pytest.mark.slow
def test_with_anyway_it_goes_on_where_every_registry_serves_the_image(outage: World) -> None:
    for registry in REGISTRIES:
        outage.environment.start(registry)
    ended = outage.run("recover", "--anyway", "--yes", "--", "true")
    assert (ended.status, "going on because of --anyway" in ended.stderr) == (0, True), ended.stderr
    assert outage.names("k8s-node1")


@pytest.mark.slow
def test_a_refusal_of_any_part_comes_before_anything_is_done(outage: World) -> None:
    before = listing(outage.environment.root)
    is_reported(outage.run("recover", "k8s-node3", "--yes"), 3, "k8s-node3 does not fit: cordoned")
    outage.environment.stop("api")
    is_reported(outage.run("recover", "k8s-node1", "--yes"), 5, "API", "Nothing was changed.")
    assert differences(listing(outage.environment.root), before) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("recover", "--yes", "--", "no-such-program-here"), "no command 'no-such-program-here'"),
        (("recover", "--"), "no command behind --"),
    ],
)
def test_a_command_that_is_none_is_a_usage_error(
    outage: World, arguments: tuple[str, ...], words: str
) -> None:
    is_reported(outage.run(*arguments), 2, words, "breakglass recover --help")


def test_without_a_terminal_and_without_yes_it_shows_the_plan_and_ends(outage: World) -> None:
    ended = outage.run("recover", "--", "sh", "-c", "echo secret")
    assert "secret" not in is_reported(
        ended, 2, "no terminal", "Next:  breakglass recover --yes -- sh ...\n"
    )
    assert "--- restore, whatever happens" in ended.stdout


@pytest.mark.slow
def test_what_fails_in_mid_import_is_restored_and_reported(outage: World) -> None:
    before, nodes = listing(outage.environment.root), outage.nodes()
    with outage.program(
        "k8s-node1",
        "ctr",
        'case "$*" in *"images label"*) echo "ctr: no" >&2; exit 1;; esac; exec $REAL "$@"',
    ):
        ended = outage.run("recover", "--yes", "--json", "--", "true")
    assert (ended.status, ended.reported["error"]["kind"]) == (4, "failed")
    assert "Everything was restored" in ended.reported["error"]["state"]
    assert [stage["status"] for stage in ended.reported["result"]["stages"]] == [
        "done",
        "done",
        "done",
        "failed",
        "not done",
        "not done",
        "done",
    ]
    assert "not run" in {step["status"] for step in ended.reported["steps"]}
    assert outage.nodes() == nodes
    assert left_behind(outage, before) == []


@pytest.mark.slow
def test_without_a_command_a_failure_stops_it_with_the_checklist_and_the_next_run_finishes(
    outage: World,
) -> None:
    with outage.program(
        "k8s-node1",
        "ctr",
        'case "$*" in *"images import"*) echo "ctr: no" >&2; exit 1;; esac; exec $REAL "$@"',
    ):
        ended = outage.run("recover", "--yes")
    is_reported(ended, 4, "ctr: no")
    assert [line.partition(":")[0] for line in ended.stdout.splitlines() if line.startswith("[")][
        -5:
    ] == ["[x] check", "[x] node", "[x] fetch", "[!] import", "[ ] pin"]
    assert outage.run("recover", "--yes").status == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGHUP, signal.SIGINT],
    ids=lambda number: signal.Signals(number).name,
)
def test_a_signal_while_the_command_runs_ends_it_and_everything_is_restored(
    ready: World, number: int, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    started = ready.start("recover", "--yes", "--", sys.executable, "-c", WAITING, str(note))
    ready.wait_until(note.exists, timeout_seconds=120)
    assert ready.cordoned() == ["k8s-node10", "k8s-node2", "k8s-node3"]
    started.send(number)
    ended = started.end()
    is_reported(ended, 128 + number, f"ended by signal {number}", "Everything was restored")
    assert note.read_text() == f"got {int(number)}"
    assert (ready.cordoned(), ready.responders()) == ([], {})


WAITING = """
import pathlib, signal, sys, time
note = pathlib.Path(sys.argv[1])
def on(number, frame):
    note.write_text(f"got {number}")
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, on)
note.write_text("waits")
time.sleep(60)
"""


A_BUG = """
import subprocess, sys
def broken(*_, **__):
    raise RuntimeError("nobody foresaw this")
subprocess.Popen = broken
from breakglass.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_bug_while_the_command_is_run_is_reported_with_what_was_restored(ready: World) -> None:
    environ = {
        **os.environ,
        **ready.environment.variables(),
        "HOME": str(ready.directory),
        "NO_COLOR": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", A_BUG, "recover", "--yes", "--", "true"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "RuntimeError: nobody foresaw this" in ended.stderr
    state, following = ended.stderr.splitlines()[-2:]
    assert "Everything was restored. No node carries the annotation of this run." in state
    assert following == "  Next:  breakglass status"
    assert (ready.cordoned(), ready.responders()) == ([], {})


BUG_WHILE_RESTORING = A_BUG.replace(
    "import subprocess, sys", "import sys; import breakglass.cli.recover_command as recovering"
).replace("subprocess.Popen", "recovering.restore_nodes")


@pytest.mark.slow
def test_a_bug_while_it_restores_says_that_something_is_still_taken(ready: World) -> None:
    environ = {
        **os.environ,
        **ready.environment.variables(),
        "HOME": str(ready.directory),
        "NO_COLOR": "1",
    }
    argv = [
        sys.executable,
        "-c",
        BUG_WHILE_RESTORING,
        "recover",
        "k8s-node1",
        "--yes",
        "--",
        "false",
    ]
    ended = subprocess.run(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 4
    assert "RuntimeError: nobody foresaw this" in ended.stderr
    assert (
        "not everything was restored: a bug in breakglass (RuntimeError) while restoring"
        in ended.stderr
    )
    assert ended.stderr.splitlines()[-1] == "  Next:  breakglass restore"
    assert ready.run("restore", "--yes").status == 0
    assert (ready.cordoned(), ready.responders()) == ([], {})


@pytest.mark.slow
def test_a_signal_while_it_restores_does_not_stop_that(ready: World) -> None:
    with ready.held("k8s-node1", "ctr", '*"images rm breakglass.local/keep"*') as gate:
        started = ready.start("recover", "--yes", "--", "true")
        gate.reached(timeout_seconds=120)
        started.send(signal.SIGTERM)
        started.until("being restored")
        gate.open()
        ended = started.end()
    is_reported(ended, 143, "ended by signal 15", "Everything was restored")
    assert "being restored" in ended.stderr
    assert (ready.cordoned(), ready.responders()) == ([], {})


@pytest.mark.slow
def test_what_cannot_be_restored_is_reported_over_the_commands_status(ready: World) -> None:
    """The command edits what breakglass has written."""
    (path, *_) = ready.root("k8s-node1").glob("etc/containerd/certs.d/*/hosts.toml")
    ended = ready.run(
        "recover", "--yes", "--json", "--", "sh", "-c", f"echo '# mine' >>{path}; exit 3"
    )
    assert (ended.status, ended.reported["result"]["status"]) == (4, 3)
    assert "not everything was restored" in ended.reported["error"]["message"]
    *look, last = ended.reported["error"]["next_commands"]
    assert (len(look), last) == (1, "breakglass restore")
    assert look[0].endswith("/.breakglass.json")
    assert ready.cordoned() == []


@pytest.mark.slow
def test_a_lock_that_is_held_while_it_restores_is_waited_for(ready: World) -> None:
    lock = ready.shelf("k8s-node1") / ".breakglass.lock"
    ended = ready.run(
        "recover",
        "--yes",
        "--",
        "sh",
        "-c",
        f"setsid -f flock {lock} sleep 4 >/dev/null 2>&1; sleep 1; exit 3",
    )
    assert ended.status == 3, ended.stderr
    assert "trying again" in ended.stderr
    assert (ready.cordoned(), ready.responders()) == ([], {})


def pin_of(world: World) -> dict[str, str | None]:
    return {
        name: item["metadata"].get("annotations", {}).get("breakglass/pinned")
        for name, item in world.nodes().items()
    }


@pytest.mark.slow
def test_a_pin_of_somebody_else_is_joined_without_a_command_and_never_restored_with_one(
    ready: World,
) -> None:
    ready.done("pin", "k8s-node1", "--yes", "--reason", "until noon")
    pinned = pin_of(ready)
    is_reported(
        ready.run("recover", "--yes", "--", "true"),
        3,
        "reason: until noon",
        "would remove somebody else's pin when it ends",
        "Nothing was changed.",
    )
    joined = ready.run("recover", "--yes")
    assert (
        joined.status,
        "reason: until noon: this run goes on with that pin" in joined.stdout,
    ) == (0, True)
    assert pin_of(ready) == pinned
    assert ready.responders()
    for registry in REGISTRIES:
        ready.environment.start(registry)
    is_reported(
        ready.run("recover", "--yes"),
        3,
        "served by forgejo and registry-private",
        "a pin is in force, on k8s-node10, k8s-node2, k8s-node3",
        "restore undoes that pin",
        "         breakglass restore\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("k8s-node2", "another pin is in force: target k8s-node2"),
        ("k8s-node1", "k8s-node1 is pinned already"),
    ],
)
def test_a_pin_that_somebody_sets_meanwhile_stands_and_the_command_is_not_run(
    ready: World, target: str, said: str
) -> None:
    ready.end_responders()
    ready.done("restore", "--yes")
    annotation = f'{{"run":"aaaa0000","target":"{target}","by":"other@box","at":"2026-04-19T00:00:00Z","reason":"mine"}}'  # noqa: E501
    foreign = {
        "metadata": {"annotations": {"breakglass/pinned": annotation}},
        "spec": {"unschedulable": True},
    }
    with ready.held("k8s-node1", "ctr", '*"images label"*') as gate:
        started = ready.start(
            "recover", "k8s-node1", "--yes", "--", "touch", f"{ready.directory}/was-run"
        )
        gate.reached(timeout_seconds=120)
        ready.environment.api.patch_node("k8s-node3", foreign)
        gate.open()
        ended = started.end()
    is_reported(ended, 4, said, "Everything was restored")
    assert not (ready.directory / "was-run").exists()
    assert ready.cordoned() == ["k8s-node3"]
    assert pin_of(ready)["k8s-node3"] == annotation
    assert not ready.responders()


@pytest.mark.slow
def test_a_pin_that_is_restored_while_the_command_runs_is_no_success(ready: World) -> None:
    ended = ready.run("recover", "--yes", "--", "breakglass", "restore", "--yes")
    is_reported(
        ended, 4, "somebody removed the pin while the command ran", "Everything was restored"
    )
    assert ready.cordoned() == []


@pytest.mark.slow
def test_a_pin_whose_target_is_gone_leads_to_restore(ready: World) -> None:
    annotation = '{"run":"aaaa0000","target":"k8s-node77","by":"other@box","at":"2026-04-19T00:00:00Z","reason":"mine"}'  # noqa: E501
    ready.environment.api.patch_node(
        "k8s-node3",
        {
            "metadata": {"annotations": {"breakglass/pinned": annotation}},
            "spec": {"unschedulable": True},
        },
    )
    is_reported(
        ready.run("recover", "--yes"), 3, "k8s-node77, which is no node", "breakglass restore"
    )
    is_reported(
        ready.run("recover", "k8s-node1", "--yes"), 3, "that node is gone", "breakglass restore"
    )
    assert (
        "the pin is for k8s-node77, which is no node of the cluster:\n       breakglass restore\n"
    ) in ready.run("status").stdout
