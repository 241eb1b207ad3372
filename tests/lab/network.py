"""The lab's wires: a switch in a network namespace of its own and one cable to each host.
Nothing of it is in the machine's own namespace.
"""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from .which import NAME

PREFIX = f"bglab{NAME}-"
SWITCH = f"{PREFIX}switch"
NETWORKS = ("10.0.20.0/24", "192.168.1.0/24")
NOWHERE = "02:00:00:00:00:99"


def namespace(name: str) -> str:
    """The network namespace of a host."""
    return PREFIX + name


def ip(where: str, commands: Iterable[str], *, check: bool = True) -> None:
    """Run ip commands inside one network namespace."""
    argv = ["ip", "-n", where] + ([] if check else ["-force"]) + ["-batch", "-"]
    done = subprocess.run(argv, input="\n".join(commands) + "\n", text=True, capture_output=True)
    if check and done.returncode:
        raise RuntimeError(f"ip in {where}: {done.stderr.strip()}")


def lay(addresses: Mapping[str, str]) -> None:
    """Make the switch and a cable to every host; addresses maps host name to address."""
    for name in [SWITCH, *(namespace(host) for host in addresses)]:
        subprocess.run(["ip", "netns", "add", name], check=True)
    switch = ["link set lo up", "link add br0 type bridge", "link set br0 up"]
    for number, host in enumerate(addresses):
        switch += [
            f"link add port{number} type veth peer name eth0 netns {namespace(host)}",
            f"link set port{number} alias {host} master br0 up",
        ]
    ip(SWITCH, switch)
    for host, address in addresses.items():
        own = address.rpartition(".")[0] + ".0/24"
        ip(
            namespace(host),
            ["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"]
            + [f"route add {net} dev eth0" for net in NETWORKS if net != own],
        )


def pull_up() -> None:
    """Remove every namespace of the lab, and so every cable; whatever still runs in one is the
    caller's to end first.
    """
    for name in present():
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def present() -> list[str]:
    """The lab's network namespaces that exist now."""
    directory = Path("/run/netns")
    return sorted(path.name for path in directory.glob(f"{PREFIX}*"))


def occupants() -> list[int]:
    """PIDs of all processes that live in one of the lab's network namespaces."""
    found: list[int] = []
    for name in present():
        done = subprocess.run(["ip", "netns", "pids", name], text=True, capture_output=True)
        found += [int(word) for word in done.stdout.split()]
    return found


def port(host: str) -> str:
    """The switch's port that a host's cable is in."""
    done = subprocess.run(
        ["ip", "-n", SWITCH, "-json", "link", "show"], text=True, capture_output=True, check=True
    )
    for link in json.loads(done.stdout):
        if link.get("ifalias") == host:
            return str(link["ifname"])
    raise KeyError(host)


def set_cable(host: str, *, up: bool) -> None:
    """Plug a host's cable in or pull it, at the switch: the host keeps its addresses and routes and
    loses its carrier.
    """
    ip(SWITCH, [f"link set {port(host)} {'up' if up else 'down'}"])


def set_black_hole(host: str, addresses: Mapping[str, str], *, on: bool) -> None:
    """Let all that is sent to or from a host vanish without a word (cables stay in); or end
    that.
    """
    peers = {name: address for name, address in addresses.items() if name != host}

    def line(address: str) -> str:
        return (
            f"neigh replace {address} lladdr {NOWHERE} dev eth0 nud permanent"
            if on
            else f"neigh del {address} dev eth0"
        )

    ip(namespace(host), [line(address) for address in peers.values()], check=on)
    for peer in peers:
        ip(namespace(peer), [line(addresses[host])], check=on)


def mend(addresses: Mapping[str, str]) -> None:
    """All cables in, no black hole left."""
    ports = [f"link set port{number} up" for number in range(len(addresses))]
    ip(SWITCH, ports)
    for host in addresses:
        ip(namespace(host), ["neigh flush dev eth0 nud permanent"])
