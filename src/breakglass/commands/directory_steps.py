"""The first steps of a command that writes into a directory: create it, take its lock."""

from breakglass.commands.environment import Identity
from breakglass.plan import Host, Lock, Purpose, Run, Step, title


def enter(host: Host, directory: str, identity: Identity, *, present: bool) -> tuple[Step, ...]:
    """The first steps of everything that writes into a directory: it exists, and its lock is
    ours.
    """
    lock = Lock(
        host,
        f"{directory}/.breakglass.lock",
        identity.holder,
        title=title("lock", directory),
    )
    return (lock,) if present else (create(host, directory), lock)


def create(host: Host, directory: str) -> Run:
    return Run(
        host,
        (("mkdir", "-p", directory),),
        title=title("create", directory),
        purpose=Purpose.PREPARES,
    )
