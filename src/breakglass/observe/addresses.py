"""What the API says of how a node is reached: its addresses, and its name.

A kubelet writes its addresses itself. A user, a port, a host of the SSH configuration or a name
there would lead SSH, and sudo, to another machine.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from breakglass.errors import Unreachable, Usage, look_first
from breakglass.grammar import check_node_name
from breakglass.text import inert


def read_addresses(reported: Iterable[object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(IP addresses in their usual form, each once; what is not one, to be shown)."""
    used: list[str] = []
    refused: list[str] = []
    for each in filter(None, reported):
        address = _address(each)
        if address:
            used.append(address)
        else:
            refused.append(inert(each)[:80] if isinstance(each, str) else "a value of another kind")
    return tuple(dict.fromkeys(used)), tuple(dict.fromkeys(refused))


def with_possible_names(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same Node objects. A name stands in command lines, and a node without an address is
    reached by it; no API server takes a Node with an impossible one. Raises Unreachable.
    """
    for item in items:
        metadata = item.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        try:
            check_node_name(name if isinstance(name, str) else "")
        except Usage as error:
            raise Unreachable(
                f"the API server lists a node with an impossible name: {error.message}",
                next_step=look_first("kubectl get nodes", advice="see which server answers"),
            ) from error
    return items


def _address(reported: object) -> str:
    """Empty for what no machine can have, and for a zone, which would name an interface here."""
    if not isinstance(reported, str) or "%" in reported:
        return ""
    try:
        address = ipaddress.ip_address(reported)
    except ValueError:
        return ""
    return "" if address.is_unspecified or address.is_multicast else str(address)
