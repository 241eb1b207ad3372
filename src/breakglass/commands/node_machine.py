"""A node's machine: read once for all that a command wants to know of it."""

from breakglass.commands.environment import Environment
from breakglass.observe.machine import Machine, read_machine
from breakglass.plan import Host

PROGRAMS = ("python3", "ssh", "bash", "sha256sum")
"""What fetch and import run on a node, beside ctr."""


def read_node(environment: Environment, host: Host) -> Machine:
    nodes = environment.config.nodes
    return read_machine(environment.hosts, host, nodes.directory, (*PROGRAMS, nodes.ctr[0]))
