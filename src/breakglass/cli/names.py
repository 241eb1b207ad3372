"""NODE and TAG: what was named, else what fits."""

from breakglass.cli.session import Session
from breakglass.commands import choose
from breakglass.config import check_node_name, check_tag


def checked_tag(tag: str | None) -> str | None:
    """None for `latest`: then it is what the link means."""
    if tag is not None:
        check_tag(tag)
    return None if tag == "latest" else tag


def chosen(session: Session, node: str | None, *, command: str) -> choose.Choice:
    """The node that was named, else the one that fits best, with the reason on the screen."""
    if node is not None:
        check_node_name(node)
        return choose.Choice(node, f"{node} was named")
    choice = choose.choose_for(session.estate, command=command)
    session.screen.tell(choice.why)
    return choice
