"""What helps where the image is not served: the advice of the verdict, and the commands to type."""

from collections.abc import Sequence
from dataclasses import dataclass

from breakglass.commands.check_asked import Asked, any_of
from breakglass.errors import then
from breakglass.registry import State

CHECK, RECOVER, STATUS = "breakglass check", "breakglass recover", "breakglass status"
SAVE_A_BUILD = then(
    "breakglass snapshot --help", advice="save the image of a build with snapshot and its tag"
)


@dataclass(frozen=True)
class Elsewhere:
    """What else was asked beside the registries."""

    answers: bool = True
    """A source, the API server or a node answered this machine."""
    has_api: bool = True
    has_tarball: bool = True
    """On a source that was read."""
    lost: tuple[str, ...] = ()
    """Sources that could not be read."""
    nodes: tuple[str, ...] = ()
    """Nodes that are known without the API server."""
    whole: tuple[str, ...] = ()
    """Nodes whose containerd has the image whole; asked only where no source has a tarball."""
    tag: str = "latest"


ALL_UP = Elsewhere()
"""Everything else answered."""


def what_helps(deciding: Sequence[Asked], elsewhere: Elsewhere) -> tuple[str, tuple[str, ...]]:
    """Advice and commands where the image is not served: the runbook only where it can help, and a
    push where that is shorter.
    """
    advice, commands = _runbook(elsewhere)
    failing = [each for each in deciding if not each.serves]
    lacking = [each for each in failing if each.found.state is State.LACKS]
    if not lacking or {each.found.state for each in failing} - {State.LACKS, State.UNREACHABLE}:
        return advice, commands
    push = (
        f"push the image to {any_of(lacking)}, or check the tag: that is shorter than the runbook"
    )
    return f"{push}; else {advice}" if advice else f"{push}, which is:", commands


def without_api(nodes: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """What helps with the API server down: a node that is named."""
    if not nodes:
        return (
            "the API server knows the nodes, and it is down; nodes.hosts names none. fetch and "
            "import work with a node's address in place of its name",
            ("breakglass fetch --help", "breakglass import --help"),
        )
    first, *others = nodes
    more = f" (or another of nodes.hosts: {', '.join(others)})" if others else ""
    return (
        f"the API server is down, so name a node: {first}{more}",
        (f"breakglass fetch {first}", f"breakglass import {first}"),
    )


def for_the_others(advice: str) -> str:
    first = "pods that start need nothing; for the others"
    return f"{first}: {advice}" if advice else f"{first}:"


def how_to_find_out(not_known: Sequence[Asked], again: str) -> tuple[str, ...]:
    """Advice and commands where a registry did not say what it has."""
    refusing = [each for each in not_known if each.found.state is State.REFUSES]
    untrusted = [each for each in not_known if each.found.state is State.UNTRUSTED]
    logins = tuple(f"docker login {each.host}" for each in refusing)
    certificates = tuple(f"curl -vI https://{each.host}/v2/" for each in untrusted)
    advice = []
    if refusing:
        advice.append("log in")
    if untrusted:
        advice.append(
            "see whose certificate that is: a portal or VPN in between shows another one, and a "
            "private CA belongs into registries[].ca"
        )
    return ("; ".join(advice), *logins, *certificates, again)


def _runbook(elsewhere: Elsewhere) -> tuple[str, tuple[str, ...]]:
    if not elsewhere.has_tarball and elsewhere.whole:
        option = "" if elsewhere.tag == "latest" else f" --tag {elsewhere.tag}"
        names = ", ".join(elsewhere.whole)
        advice = f"no tarball was found, but containerd on {names} has the image:"
        return advice, (f"{RECOVER}{option}",)
    if not elsewhere.has_tarball:
        if elsewhere.lost:
            lost = " or ".join(elsewhere.lost)
            advice = f"no tarball was found, but {lost} may have one: bring it back"
        else:
            advice = (
                "no source has a tarball: repair a registry, or push the image again (runbook.md, "
                "7)"
            )
        return f"{advice}. Whether a node still has the image:", (STATUS,)
    if not elsewhere.has_api:
        return without_api(elsewhere.nodes)
    return "", (RECOVER,)
