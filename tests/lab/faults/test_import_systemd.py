"""The responder as a unit of a real systemd: it starts, comes back after a kill, is ended by
somebody, is refused, and is there again after a reboot, until restore.
"""

import signal

from .. import process
from ..answering import differences, is_taken_back, outage, pulls_all, responder, traces
from ..environment import Environment
from ..host import Host
from ..runs import run
from .arrangements import fetched
from .injections import until
from .rows import row
from .trial import Trial

NODE, UNIT = "k8s-node3", "breakglass-responder.service"


def is_active(node: Host) -> bool:
    return node.run("systemctl", "is-active", UNIT, check=False).stdout.strip() == "active"


def answers_anew(node: Host, first: tuple[int, int]) -> bool:
    now = responder(node)
    return now is not None and now != first and now[1] in node.listening()


def test_under_systemd_the_responder_is_a_unit_that_comes_back_and_restore_takes_it_away(
    fresh: Environment,
) -> None:
    node = fresh.nodes[NODE]
    image = outage(fresh, NODE)
    before = traces(node)
    run(fresh, "import", NODE)
    assert is_active(node)
    assert node.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    pulls_all(fresh, NODE, image)
    first = responder(node)
    assert first
    process.send(first[0], signal.SIGKILL)
    until(lambda: answers_anew(node, first), timeout=20, what="systemd starts it again")
    pulls_all(fresh, NODE, image)
    run(fresh, "restore", NODE, "--yes")
    is_taken_back(node, before)
    assert not is_active(node)
    assert (
        "breakglass"
        not in node.run("systemctl", "list-units", "--all", "--plain", "--no-legend").stdout
    )
    assert (
        "breakglass"
        not in node.run("find", "/etc/systemd", "/run/systemd/system", "-name", "*glass*").stdout
    )


@row(
    "import",
    "somebody ends the responder's unit",
    "`status` says that the node should answer and does not; `import` starts it again",
    exit_code=0,
)
def test_a_unit_that_somebody_stopped_is_reported_and_started_by_the_next_import(
    trial: Trial,
) -> None:
    environment, node = trial.environment, trial.environment.nodes[NODE]
    fetched(environment, NODE)
    trial.arranged()
    trial.run("import", NODE)
    node.run("systemctl", "stop", UNIT)
    assert responder(node) is None
    (seen,) = [each for each in run(environment, "status").result["nodes"] if each["name"] == NODE]
    assert (seen["should_answer"], seen["answers_pulls"]) == (True, False)
    trial.recovers(NODE, argv=("import", NODE), goal=lambda: is_active(node))


@row(
    "import",
    "a unit of the responder's name is masked on the node",
    "names the file; nothing is changed; once it is unmasked the same line works",
    exit_code=3,
)
def test_a_unit_that_somebody_masked_is_refused_and_the_next_run_starts_it(trial: Trial) -> None:
    environment, node = trial.environment, trial.environment.nodes[NODE]
    fetched(environment, NODE)
    trial.arranged()
    node.run("systemctl", "mask", UNIT)
    try:
        error = trial.run("import", NODE).error
    finally:
        node.run("systemctl", "unmask", UNIT)
    assert f"/etc/systemd/system/{UNIT}" in error["message"]
    trial.recovers(NODE, goal=lambda: is_active(node))


@row(
    "import",
    "systemd refuses to start the responder's unit",
    "systemd's own words; the names resolve; the next run starts it",
    exit_code=4,
)
def test_a_unit_that_systemd_refuses_is_named_and_the_next_run_starts_it(trial: Trial) -> None:
    environment, node = trial.environment, trial.environment.nodes[NODE]
    fetched(environment, NODE)
    trial.arranged()
    dropin = f"/etc/systemd/system/{UNIT}.d"
    node.run("mkdir", "-p", dropin)
    node.write(f"{dropin}/refuse.conf", "[Unit]\nRefuseManualStart=yes\n")
    try:
        error = trial.run("import", NODE).error
    finally:
        node.run("rm", "-r", dropin)
        node.run("systemctl", "daemon-reload")
    assert f"{UNIT} failed" in error["message"]
    assert "refused" in error["message"].lower(), error["message"]
    trial.recovers(NODE, goal=lambda: is_active(node))


@row(
    "import",
    "the node is rebooted after the import (systemd)",
    "systemd starts the responder; pods with `Always` start without another import",
    exit_code=0,
)
def test_after_a_reboot_of_the_node_pods_with_always_start_without_another_import(
    fresh: Environment,
) -> None:
    node = fresh.nodes[NODE]
    image = outage(fresh, NODE)
    before = traces(node)
    run(fresh, "import", NODE)
    first = responder(node)
    assert first
    node.reboot()
    fresh.cluster.await_boot(NODE, node.read("/proc/sys/kernel/random/boot_id").strip())
    fresh.cluster.await_ready()
    until(lambda: answers_anew(node, first), timeout=60, what="systemd starts it at boot")
    pulls_all(fresh, NODE, image)
    (seen,) = [each for each in run(fresh, "status").result["nodes"] if each["name"] == NODE]
    assert (seen["should_answer"], seen["answers_pulls"]) == (True, True)
    run(fresh, "restore", NODE, "--yes")
    after = traces(node)
    for each in (before, after):
        # kubelet and containerd take other ports at each boot; systemd makes directories in
        # /tmp.
        each["port"] = {port for port in each["port"] if int(port) < 32768}
        each["file"] = {file for file in each["file"] if not file.startswith("tmp/.")}
    assert differences(before, after) == []
    assert not is_active(node)
