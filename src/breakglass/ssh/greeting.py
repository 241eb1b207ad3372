"""What a server sends in place of its version: sshd says there why it lets nobody in."""

from collections.abc import Sequence
from enum import Enum

from breakglass.errors import AGAIN, Next, Unreachable, then
from breakglass.ssh.settings import Target, ask_openssh
from breakglass.text import inert


class Greeting(Enum):
    """The reasons why no version came."""

    PENALTY = "refuses this address for a while (PerSourcePenalties of sshd)"
    FULL = "has too many logins under way (MaxStartups of sshd)"
    CLOSED = "ended the connection before it said that it is an SSH server"
    OTHER = "answers, but not as an SSH server"


SENT_BY_SSHD = {
    "Not allowed at this time": Greeting.PENALTY,
    "Exceeded MaxStartups": Greeting.FULL,
}
"""What sshd writes before it closes such a connection."""
ADVICE = {
    Greeting.PENALTY: (
        "wait, and do not try again meanwhile: by default the penalty ends after 15 s to 10 min, "
        "and each failed login adds to it. Other addresses and open connections are not affected. "
        "On the console of {host}: journalctl -u ssh -u sshd -g penalty"
    ),
    Greeting.FULL: (
        "wait half a minute. To see on the console of {host} who logs in: "
        "journalctl -u ssh -u sshd -g MaxStartups"
    ),
    Greeting.CLOSED: (
        "wait a few minutes: sshd ends connections so while it has too many logins, and so do "
        "hosts.deny and fail2ban. On the console of {host}: journalctl -u ssh -u sshd -n 50"
    ),
}


def read_greeting(lines: Sequence[str], *, is_closed: bool) -> Greeting:
    """Which reason the lines give. `is_closed`: the server has ended the connection."""
    for line in lines:
        if line.strip() in SENT_BY_SSHD:
            return SENT_BY_SSHD[line.strip()]
    return Greeting.CLOSED if is_closed and not lines else Greeting.OTHER


def no_version(
    lines: Sequence[str], target: Target, host: str, *, is_closed: bool, seconds: float
) -> Unreachable:
    """The error where no version came."""
    greeting = read_greeting(lines, is_closed=is_closed)
    words = greeting.value
    if greeting is Greeting.OTHER:
        said = inert(" ".join(lines), limit=200)
        words += f" within {seconds:g} s{f': it says {said!r}' if said else ''}"
    return Unreachable(
        f"{host} ({target.hostname} port {target.port}) {words}",
        next_step=_advice(greeting, target, host),
        where=host,
    )


def _advice(greeting: Greeting, target: Target, host: str) -> Next:
    advice = ADVICE.get(greeting)
    return ask_openssh(target) if advice is None else then(AGAIN, advice=advice.format(host=host))
