"""The measurements; each makes rows of the table. Goals are those of the mission, and of nothing
that was measured here.
"""

import resource
import subprocess
from pathlib import Path

from tests.lab import images
from tests.lab.environment import Environment
from tests.lab.operator_host import program
from tests.lab.roles import VM_DIRECTORY
from tests.lab.runs import judge, stop_registries

from benchmarks.lab_runs import (
    NODE_DIRECTORY,
    Timed,
    breakglass,
    extra_nodes,
    forget,
    interpreter,
    rounds_of,
    shell,
)
from benchmarks.table import Row, ratio, seconds

TAG = images.BIG_TAG
REFERENCE = f"registry.viktorbarzin.me:5050/infra-ci:{TAG}"
TARBALL = f"{VM_DIRECTORY}/infra-ci-{TAG}.tar.gz"
NODE = "k8s-node3"


def start_up(rounds: int) -> list[Row]:
    """`breakglass --help` beside the import of the library that every command line of this kind
    starts with, in seconds of CPU: others may be busy.
    """

    def timed(*argv: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    timed(program(), "--help")  # compiled files and the page cache
    ours, theirs = rounds_of(
        rounds,
        ("breakglass --help", lambda: timed(program(), "--help")),
        ("import typer", lambda: timed(interpreter(), "-c", "import typer")),
    )
    return [
        Row(
            "`breakglass --help`, `python -c 'import typer'`",
            seconds(ours),
            seconds(theirs),
            ratio(ours, theirs),
            3.0,
        )
    ]


def saving(environment: Environment, rounds: int) -> list[Row]:
    """`snapshot` beside the runbook's own lines, which verify nothing: the whole command, the image
    not yet in docker; and with docker after the pull.
    """
    environment.big()
    vm, peaks = environment.vm, []

    def by_registry() -> float:
        forget(vm, VM_DIRECTORY)
        timed = breakglass(environment, "snapshot", "--tag", TAG, "--via", "registry")
        peaks.append(timed.peak_bytes)
        return timed.seconds

    def by_docker() -> float:
        forget(vm, VM_DIRECTORY)
        timed = breakglass(environment, "snapshot", "--tag", TAG, "--via", "docker")
        return timed.after("docker pull")

    def runbook() -> float:
        return shell(vm, f"docker pull --quiet {REFERENCE}") + saved()

    def saved() -> float:
        forget(vm, VM_DIRECTORY)
        return shell(vm, f"docker save {REFERENCE} | gzip > {TARBALL}")

    def pull_anew() -> float:
        vm.run("docker", "rmi", "--force", REFERENCE, timeout=300, check=False)
        return runbook()

    whole, line, registry, docker = rounds_of(
        rounds,
        ("docker pull, docker save | gzip", pull_anew),
        ("docker save | gzip", saved),
        ("snapshot --via registry", by_registry),
        ("snapshot --via docker", by_docker),
    )
    size = vm.path(TARBALL).stat().st_size
    return [
        Row(
            "`snapshot`, the whole command; `docker pull`, `docker save | gzip`",
            seconds(registry, size),
            seconds(whole, size),
            ratio(registry, whole),
            0.12,
        ),
        Row(
            "`snapshot --via docker` after the pull, with pigz; `docker save | gzip`",
            seconds(docker, size),
            seconds(line, size),
            ratio(docker, line),
            0.7,
        ),
        memory("snapshot", peaks, size),
    ]


def importing(environment: Environment, rounds: int) -> list[Row]:
    """`import`, the whole command, beside the repaired line of the runbook with what docker saves;
    then the same with the blobs of the registry.
    """
    environment.big()
    vm, node = environment.vm, environment.nodes[NODE]
    forget(vm, VM_DIRECTORY)
    breakglass(environment, "snapshot", "--tag", TAG, "--via", "registry")
    forget(node, NODE_DIRECTORY)
    breakglass(environment, "fetch", NODE)
    vm.run("docker", "pull", "--quiet", REFERENCE, timeout=300)
    shell(vm, f"docker save {REFERENCE} | gzip -1 > /root/docker.tar.gz")
    node.path("/root/docker.tar.gz").write_bytes(vm.path("/root/docker.tar.gz").read_bytes())
    stop_registries(environment)

    def without_image() -> None:
        names = node.run("ctr", "-n", "k8s.io", "images", "ls", "-q").stdout.split()
        ours = [name for name in names if "infra-ci" in name or "breakglass" in name]
        if ours:
            node.run("ctr", "-n", "k8s.io", "images", "rm", "--sync", *ours)

    def ours() -> float:
        breakglass(environment, "restore", NODE, "--yes")
        without_image()
        return breakglass(environment, "import", NODE).seconds

    def theirs() -> float:
        without_image()
        return shell(node, "gzip -dc /root/docker.tar.gz | ctr -n k8s.io images import -")

    line, whole = rounds_of(rounds, ("gzip -dc | ctr import", theirs), ("import", ours))
    return [
        Row(
            "`import`, the whole command; `gzip -dc | ctr images import -` of what docker saves",
            seconds(whole),
            seconds(line),
            ratio(whole, line),
            0.6,
        )
    ]


def fetching(environment: Environment, rounds: int) -> list[Row]:
    """`fetch` both ways, from the first byte to the published tarball, beside what would be typed.
    Takes what `saving` left, or saves it.
    """
    ensure_tarball(environment)
    node, operator, peaks = environment.nodes[NODE], environment.operator, []
    size = environment.vm.path(TARBALL).stat().st_size
    copy = f"{NODE_DIRECTORY}/{Path(TARBALL).name}"
    vm_login, node_login = f"root@{environment.vm.address}", f"wizard@{node.address}"

    def fetch(via: str) -> Timed:
        forget(node, NODE_DIRECTORY)
        timed = breakglass(environment, "fetch", NODE, "--via", via)
        assert timed.ran.result["via"] == via
        return timed

    def via_operator() -> float:
        timed = fetch("operator")
        peaks.append(timed.peak_bytes)
        return timed.since("archive receive")

    def scp() -> float:
        forget(node, NODE_DIRECTORY)
        return shell(node, f"scp -q -o BatchMode=yes {vm_login}:{TARBALL} {copy}")

    def ssh_pipe() -> float:
        # breakglass is connected when its copy begins, so the time that two logins take is not
        # counted here either.
        forget(node, NODE_DIRECTORY)
        logins = shell(
            operator,
            (
                f"ssh -o BatchMode=yes {vm_login} cat /dev/null | ssh -o BatchMode=yes "
                f"{node_login} 'cat > /dev/null'"
            ),
        )
        return (
            shell(
                operator,
                (
                    f"ssh -o BatchMode=yes {vm_login} cat {TARBALL} | ssh -o BatchMode=yes "
                    f"{node_login} \"sudo sh -c 'cat > {copy}'\""
                ),
            )
            - logins
        )

    ways = (
        ("scp on the node", scp),
        ("fetch --via node", lambda: fetch("node").since("archive receive")),
        ("ssh cat | ssh cat", ssh_pipe),
        ("fetch --via operator", via_operator),
    )
    scps, nodes, pipes, operators = rounds_of(rounds, *ways)
    forget(node, NODE_DIRECTORY)
    return [
        Row(
            "`fetch --via node`, verified; `scp` on the node",
            seconds(nodes, size),
            seconds(scps, size),
            ratio(nodes, scps),
            1.1,
        ),
        Row(
            "`fetch --via operator`, verified; `ssh cat | ssh cat` without the logins",
            seconds(operators, size),
            seconds(pipes, size),
            ratio(operators, pipes),
            2.0,
        ),
        memory("fetch --via operator", peaks, size),
    ]


def ensure_tarball(environment: Environment) -> None:
    if not environment.vm.path(TARBALL.replace(".tar.gz", ".json")).exists():
        environment.big()
        breakglass(environment, "snapshot", "--tag", TAG)


def memory(command: str, peaks: list[int], size_bytes: int) -> Row:
    peak = max(peaks) / 1e6
    return Row(
        f"peak memory of `{command}`; size of the tarball",
        f"{peak:.0f} MB",
        f"{size_bytes / 1e6:.0f} MB",
        peak,
        150,
        unit="MB",
    )


def pinning(environment: Environment, rounds: int, *, nodes: int, looped: int) -> list[Row]:
    """`pin` beside a loop of `kubectl cordon`, measured on some of the nodes and scaled to all."""
    commands: list[float] = []
    patches: list[float] = []
    with extra_nodes(environment, nodes) as names:
        environment.small(TAG)
        for argv in (("snapshot", "--tag", TAG), ("fetch", NODE), ("import", NODE)):
            breakglass(environment, *argv)
        some = names[:: max(1, nodes // looped)][:looped]

        def loop() -> float:
            took = shell(
                environment.operator,
                f"set -e; for node in {' '.join(some)}; do kubectl cordon $node; done",
            )
            environment.cluster.kubectl("uncordon", *some, timeout=300)
            return took

        def pin() -> float:
            if commands:
                # It cannot look for a record where there is no machine, and says so with 4.
                judge(
                    environment.operator.breakglass("--json", "restore", "--yes", timeout=900),
                    expect=4,
                )
            timed = breakglass(environment, "pin", NODE, "--yes")
            assert set(names) < set(timed.ran.result["cordoned"])
            # All go out together, and each step counts from there.
            patches.append(max(took for _, took in timed.steps))
            commands.append(timed.seconds)
            return timed.seconds

        loops, _ = rounds_of(
            rounds,
            (f"kubectl cordon, {len(some)} nodes", loop),
            (f"pin, {nodes} nodes and the lab's own", pin),
        )
    breakglass(environment, "restore", "--yes")
    scaled = [took / len(some) * nodes for took in loops]
    what = f"`pin` of {nodes} nodes{{}}; `kubectl cordon` of {len(some)} in a loop, scaled"
    return [
        Row(
            what.format(part),
            seconds(ours),
            seconds(scaled),
            ratio(scaled, ours),
            20,
            unit="times as fast",
            at_least=True,
        )
        for part, ours in ((", the whole command", commands), (", the patches alone", patches))
    ]
