"""NODE and TAG: what was named, else what fits."""

from breakglass.cli.session import Session
from breakglass.commands.choose import Chosen, choose_for, named
from breakglass.config import check_node_name, check_tag


def checked_tag(tag: str | None) -> str | None:
    """None for `latest`: then it is what the link means."""
    if tag is not None:
        check_tag(tag)
    return None if tag == "latest" else tag


def chosen(session: Session, node: str | None, *, command: str) -> Chosen:
    """The node that was named, else the one that fits best, with the reason on the screen."""
    estate = session.estate
    if node is not None:
        check_node_name(node)
        # pin needs the cluster in any case, and says so at once where it is not reached.
        return named(estate, node, nodes=estate.nodes() if command == "pin" else None)
    choice = choose_for(estate, command=command)
    session.screen.tell(choice.why)
    return choice
