"""Whether containerd on a node reads the hosts.toml that breakglass would edit."""

from breakglass.errors import Refused, then
from breakglass.observe.answering import Answering
from breakglass.plan import Host


def check_config_path(node: Host, certs: str, answering: Answering) -> list[str]:
    """Warnings. Raises Refused where containerd does not look for hosts.toml in the directory that
    the configuration names.
    """
    why = _why_not_read(node, certs, answering)
    if why:
        raise Refused(
            f"pods with Always would not start: {why}",
            state=(
                "Nothing was changed. With --no-answer-pulls the image comes in, and pods with "
                "IfNotPresent start; pods with Always (the default of :latest) do not."
            ),
            next_step=then(f"breakglass import {node} --no-answer-pulls"),
        )
    if not answering.config_is_newer:
        return []
    return [
        f"{answering.config_file} on {node} was changed after containerd started: where "
        f"config_path was what changed, pods with Always start only after a restart of containerd"
    ]


def _why_not_read(node: Host, certs: str, answering: Answering) -> str:
    """Why the responder would not be asked; empty: containerd asks it."""
    path = answering.config_path
    if path is None:
        fault = answering.config_fault or f"no containerd command, and no {answering.config_file}"
        return (
            f"containerd's configuration cannot be read ({fault}), "
            f"so it is not known whether it reads hosts.toml"
        )
    if not path:
        return (
            f"containerd on {node} does not read hosts.toml: config_path is not set in "
            f"{answering.config_file}, and to set it containerd has to be restarted, which "
            f"breakglass never does"
        )
    first = path.split(":")[0] if answering.reads_lists else path
    if ":" in path and not answering.reads_lists and path != certs:
        return (
            f"config_path of containerd on {node} is a list, {path}, and this containerd takes it "
            f"for the name of one directory (containerd issue 12636), so it reads neither; one "
            f"directory alone works, after a restart"
        )
    if first.rstrip("/") != certs.rstrip("/"):
        return (
            f"containerd on {node} reads hosts.toml below {first}, nodes.registry_config says "
            f"{certs}"
        )
    if answering.responder.foreign_unit:
        return (
            f"the responder cannot be set up on {node}: {answering.responder.foreign_unit} is a "
            f"unit of that name which breakglass did not write"
        )
    if answering.content is None:
        return f"containerd on {node} does not report where its content store is (ctr plugins ls)"
    return ""
