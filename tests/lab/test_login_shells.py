"""Login shells as people have them: fish on a node, and shells that print on every command."""

from collections.abc import Iterator
from contextlib import contextmanager

from .answering import NAMES, TAG
from .environment import Environment
from .host import Host
from .runs import image_ids, run, stop_registries

NODE = "k8s-node1"
FISH = "/usr/bin/fish"


@contextmanager
def with_file(host: Host, path: str, content: str) -> Iterator[None]:
    """Other content of a file for a while."""
    there = host.path(path)
    before = there.read_bytes() if there.exists() else None
    mode = there.stat().st_mode & 0o777 if there.exists() else 0o644
    host.write(path, content, mode=mode)
    try:
        yield
    finally:
        if before is None:
            host.path(path).unlink()
        else:
            host.write(path, before, mode=mode)


def test_the_whole_recovery_works_with_fish_on_the_node_and_shells_that_print(
    fresh: Environment,
) -> None:
    node, vm = fresh.nodes[NODE], fresh.vm
    image = fresh.small(TAG)
    users = node.read("/etc/passwd")
    wizard = next(line for line in users.splitlines() if line.startswith("wizard:"))
    fish = wizard.rpartition(":")[0] + f":{FISH}"
    assert node.path(FISH).exists()
    with (
        with_file(node, "/etc/passwd", users.replace(wizard, fish)),
        with_file(node, "/home/wizard/.config/fish/config.fish", "echo Welcome to fish\n"),
        with_file(node, "/root/.bashrc", "echo root of the node\n"),
        with_file(vm, "/root/.bashrc", "echo Welcome to the VM; trap 'echo goodbye' EXIT\n"),
    ):
        run(fresh, "snapshot", "--tag", TAG)
        stop_registries(fresh)
        fetched = run(fresh, "fetch", NODE)
        # What the VM prints would be part of what the node pulls.
        assert (fetched.result["source"], fetched.result["via"]) == ("registry-vm", "operator")
        run(fresh, "import", NODE)
        found = image_ids(fresh, NODE)
        assert {name: found.get(name) for name in NAMES} == dict.fromkeys(NAMES, image.image_id)
        run(fresh, "pin", NODE, "--yes")
        run(fresh, "restore", "--yes")
        assert not any(item["spec"].get("unschedulable") for item in fresh.cluster.nodes().values())
        assert run(fresh, "restore", "--yes").reported["steps"] == []
