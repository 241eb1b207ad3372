"""How containerd's client is called on the nodes: `nodes.ctr`.

It runs as root, so only the forms in which distributions ship it are accepted.
"""

import re
from pathlib import PurePosixPath

from breakglass.errors import Usage
from breakglass.grammar import show

CLIENTS = ("ctr", "microk8s.ctr")
WITH_CTR = ("k3s", "k0s", "microk8s")
"""Programs whose first argument is `ctr`."""
ADDRESS = ("-a", "--address")
KNOWN = (
    "[ctr], [k3s, ctr], [k0s, ctr], [microk8s, ctr], each program perhaps by its absolute path; "
    "then perhaps --address and the absolute path of containerd's socket"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+")


def ctr_command(value: object) -> tuple[str, ...]:
    """A converter for `Section.take`. Raises Usage."""
    if not isinstance(value, list):
        raise Usage(f"{show(value)} is not a list; the known forms: {KNOWN}")
    words = [word for word in value if isinstance(word, str)]
    if len(words) < len(value) or not _is_known(words):
        shown = " ".join(show(word) for word in value[:4])
        raise Usage(f"{shown or 'nothing'} is no known form of ctr; the known forms: {KNOWN}")
    return tuple(words)


def _is_known(words: list[str]) -> bool:
    for length in (1, 2):
        if _is_client(words[:length]) and len(words) >= length:
            return _is_address(words[length:])
    return False


def _is_client(words: list[str]) -> bool:
    program, *arguments = words or [""]
    name = PurePosixPath(program).name
    if program != name and not _PATH.fullmatch(program):
        return False
    return (name in CLIENTS and not arguments) or (name in WITH_CTR and arguments == ["ctr"])


def _is_address(words: list[str]) -> bool:
    """Nothing, or the option for containerd's socket with its value."""
    if not words:
        return True
    option, equals, path = words[0].partition("=")
    rest = [path, *words[1:]] if equals else words[1:]
    if option not in ADDRESS or (equals and option == "-a"):
        return False
    return len(rest) == 1 and _PATH.fullmatch(rest[0]) is not None
