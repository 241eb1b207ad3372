"""NODE and TAG, from the command line: checked, resolved, or chosen if NODE is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from breakglass.cli.session import Session
from breakglass.commands.choose import Chosen, choose_for, named
from breakglass.config import check_node_name, check_tarball_tag
from breakglass.errors import BreakglassError, Command, with_tag

TAKE_A_TAG = tuple(f"breakglass {command}" for command in ("fetch", "import", "recover"))


def checked_tag(tag: str | None) -> str | None:
    """The tag, checked; None for `latest`, which means the tarball that the link names."""
    if tag is not None:
        check_tarball_tag(tag)
    return None if tag == "latest" else tag


@contextmanager
def keeping(tag: str | None, *, behind: str = "") -> Iterator[None]:
    """What an error names as next has the tag that was asked for; and recover has what stands
    `behind` it: without its COMMAND the cluster would stay pinned.
    """

    def typed(command: Command) -> Command:
        is_ours = isinstance(command, str) and command.startswith(TAKE_A_TAG)
        if not isinstance(command, str) or not is_ours or command.endswith(" --help"):
            return command
        if " -- " in command:  # it was made of the line that was typed, COMMAND and tag included
            return command
        tagged = command if " --tag " in command else with_tag(command, tag)
        return tagged + behind if command.startswith(TAKE_A_TAG[-1]) else tagged

    try:
        yield
    except BreakglassError as error:
        raise error.replaced(next_step=error.next_step.replaced(typed)) from error.__cause__


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
