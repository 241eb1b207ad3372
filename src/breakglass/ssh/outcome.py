"""Tells a command that failed from a host that could not run it."""

from dataclasses import replace

from breakglass.errors import Refused, Unreachable, look_first
from breakglass.plan import OLDEST_PYTHON, Host, Run
from breakglass.ports import Result
from breakglass.ssh.frame import Frame
from breakglass.ssh.settings import Target
from breakglass.ssh.wire import python_too_old, sudo_refusal
from breakglass.text import inert


def check_begun(host: Host, result: Result, frame: Frame, target: Target) -> None:
    """Raises Unreachable if the login shell ended without running the command."""
    if frame.has_begun or result.exit_status is None:
        return
    words = inert(frame.noise + b"\n" + result.stderr) or "nothing"
    raise Unreachable(
        f"{host} logs {target.login} in but does not run commands: it ended with "
        f"{result.exit_status} and printed: {words}",
        next_step=look_first(
            replace(host, sudo=False).by_hand("echo", "works"),
            advice=(
                "look at the account there: its shell, an expired password, /etc/nologin, a forced "
                "command (command= in authorized_keys, ForceCommand in sshd_config). "
                "The first line must print `works`"
            ),
        ),
        where=host.name,
    )


def check_result(run: Run, result: Result, target: Target) -> Result:
    """The result. Raises Refused if python3 there is too old for our scripts, Unreachable if sudo
    was refused.
    """
    host = run.host
    version = python_too_old(result.exit_status, result.stderr)
    if version is not None:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise Refused(
            f"{host}: python3 is {version} there, and breakglass needs {oldest} or newer",
            next_step=look_first(
                host.by_hand("python3", "--version"), advice="install a newer python3 there"
            ),
            where=host.name,
        )
    if not host.sudo:
        return result
    line = sudo_refusal(run.pipeline, result.exit_status, result.stdout, result.stderr)
    if line is None:
        return result
    user = target.login
    raise Unreachable(
        f"sudo -n was refused for {user} on {host}: {line}",
        next_step=look_first(
            replace(host, sudo=False).by_hand("sudo", "-n", "-l"),
            advice=(
                f"give {user} NOPASSWD rights in the sudoers file of {host}; to see them there, "
                f"and then try again"
            ),
        ),
    )
