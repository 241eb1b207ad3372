"""NODE and TAG, from the command line: checked, resolved, or chosen if NODE is missing."""

from breakglass.cli.session import Session
from breakglass.commands.choose import Chosen, choose_for, named
from breakglass.config import check_node_name, check_tarball_tag


def checked_tag(tag: str | None) -> str | None:
    """The tag, checked; None for `latest`, which means the tarball that the link names."""
    if tag is not None:
        check_tarball_tag(tag)
    return None if tag == "latest" else tag


def chosen(session: Session, node: str | None, *, command: str, tag: str | None = None) -> Chosen:
    """The node that was named, if it fits. If none was: the node that fits best, with the reason
    printed.
    """
    environment = session.environment
    if node is None:
        choice = choose_for(environment, command=command, tag=tag)
        session.screen.show(choice.why)
        return choice
    check_node_name(node)
    return named(environment, node, command=command)
