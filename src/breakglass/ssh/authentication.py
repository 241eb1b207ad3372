"""Logs in over a connection whose server is known: offers one key after the other."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from breakglass import known_hosts
from breakglass.errors import AGAIN, RUN_AGAIN, Next, Unreachable, then
from breakglass.ssh.identities import Identity, collect
from breakglass.ssh.settings import Target, ask_openssh
from breakglass.text import inert, printable

if TYPE_CHECKING:
    import paramiko


class LoginLost(Unreachable):
    """The connection was lost during the login: nobody was refused."""


@dataclass(frozen=True)
class Login:
    """The parameters of a login besides the target."""

    host: str
    """The host's name for messages."""
    entries: Sequence[known_hosts.Entry]
    key_text: str | None
    """A private key from the environment, offered first."""
    seconds: float
    """What all of it may take."""
    deadline: float
    """When it has to be over, by time.monotonic()."""

    def __repr__(self) -> str:
        return f"Login({self.host!r})"

    def left_seconds(self) -> float:
        return max(0.1, self.deadline - time.monotonic())


def authenticate(transport: "paramiko.Transport", login: Login, target: Target) -> None:
    """Raises Unreachable where the server does not let us in."""
    with collect(target, key_text=login.key_text) as identities:
        where = f"{login.host} as {target.login}"
        if not identities.usable:
            raise Unreachable(
                f"there is no key to log in to {where} with: {identities.explain()}",
                next_step=identities.next_step(),
            )
        accepts = _accepted_methods(transport, target.login, login, where)
        if accepts is None:
            return
        announced = _announced(transport)
        if "publickey" not in accepts:
            raise Unreachable(
                f"the login to {where} is not possible with a key: the server accepts "
                f"{_listed(accepts)} only{announced}",
                next_step=_methods(target, login),
            )
        offered: list[Identity] = []
        for identity in identities.usable:
            offered.append(identity)
            if _offer(transport, target, login, where, offered):
                return
    raise Unreachable(
        f"the login to {where} was refused: offered {_listed(offered)}; the server accepts "
        f"{_listed(accepts)}{identities.unusable_words()}"
        f"{_announced(transport) or announced}",
        next_step=ask_openssh(
            target,
            f"put one of these keys into authorized_keys of {target.login} on {login.host}, or "
            f"name the right key or user in the SSH configuration. If the key is there already, "
            f"others may write to the home directory (a Synology makes it 0777), and then sshd "
            f"refuses every key in it. Look on {login.host}: "
            f"ls -ld ~ ~/.ssh ~/.ssh/authorized_keys; "
            f"mend it: chmod go-w ~ ~/.ssh ~/.ssh/authorized_keys",
        ),
    )


def _accepted_methods(
    transport: "paramiko.Transport", user: str, login: Login, where: str
) -> list[str] | None:
    """The login methods that the server accepts; None if it let us in without a key."""
    import paramiko

    transport.auth_timeout = login.left_seconds()
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if transport.is_active():
            raise _no_answer(where, login, "") from error
        raise LoginLost(
            f"the login to {where} failed before any key was offered{because(error)}",
            next_step=RUN_AGAIN,
        ) from error
    return None


def _offer(
    transport: "paramiko.Transport",
    target: Target,
    login: Login,
    where: str,
    offered: list[Identity],
) -> bool:
    """Whether the server accepts the last of the offered keys. Raises Unreachable if no further key
    can be offered.
    """
    import paramiko

    identity = offered[-1]
    transport.auth_timeout = login.left_seconds()
    try:
        further_methods = transport.auth_publickey(target.login, identity.key)
    except paramiko.BadAuthenticationType as error:
        raise Unreachable(
            f"the login to {where} was refused: the server no longer accepts a key, it "
            f"accepts {_listed(error.allowed_types)}",
            next_step=_methods(target, login),
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if isinstance(error, paramiko.AuthenticationException) and transport.is_active():
            if time.monotonic() < login.deadline:
                return False
            raise _no_answer(where, login, f" after {identity}") from error
        raise _ended(target, login, where, offered, error) from error
    if further_methods:
        raise Unreachable(
            f"the login to {where} needs more than a key: the server took {identity} and "
            f"asks for {_listed(further_methods)} besides",
            next_step=_methods(target, login),
        )
    return True


def _ended(
    target: Target, login: Login, where: str, offered: list[Identity], error: Exception
) -> Unreachable:
    """Why the connection ended while the last of the offered keys was offered."""
    from breakglass.ssh.agent import NotSigned

    if isinstance(error, NotSigned):
        return Unreachable(
            f"the agent did not sign with {offered[-1]}, so the login to {where} "
            f"ended{because(error)}",
            where=login.host,
            next_step=then(
                "ssh-add -l",
                AGAIN,
                advice="the agent may be locked, or wait for a confirmation, a PIN or a touch. To "
                "offer another key only, name it with IdentityFile and IdentitiesOnly in the SSH "
                "configuration",
            ),
        )
    kind = LoginLost if len(offered) == 1 else Unreachable
    few = "see what the server says, then try again"
    many = (
        "the server may allow fewer attempts: offer one key only, with IdentityFile and "
        "IdentitiesOnly in the SSH configuration"
    )
    return kind(
        f"{login.host} ended the connection during the login to {where}, after "
        f"{_listed(offered)}{because(error)}",
        where=login.host,
        next_step=ask_openssh(target, many if len(offered) > 1 else few),
    )


def _methods(target: Target, login: Login) -> Next:
    """What helps where the server does not let anybody in by a key alone."""
    return ask_openssh(
        target,
        f"breakglass logs in by a key alone: on {login.host}, allow that to {target.login} in "
        f"sshd_config (PubkeyAuthentication, AuthenticationMethods), or name another user",
    )


def _no_answer(where: str, login: Login, after: str) -> Unreachable:
    return Unreachable(
        f"the login to {where} got no answer within {login.seconds:g} s{after}",
        next_step=(
            f"on the console of {login.host}, find out what sshd waits for: a directory service, "
            f"or the disk of the home directory. journalctl -u ssh -u sshd -n 50"
        ),
    )


def _announced(transport: "paramiko.Transport") -> str:
    """What the server shows to everybody who logs in: /etc/nologin may be the reason."""
    words = inert(transport.get_banner() or "", limit=200)
    return f"; it says: {words}" if words else ""


def because(error: BaseException | None) -> str:
    """The library's words for a cause, to follow a sentence."""
    words = printable(str(error)).strip() if error else ""
    return f": {words[:300]}" if words else ""


def _listed(items: Sequence[object]) -> str:
    return ", ".join(printable(str(item)) for item in items) or "nothing"
