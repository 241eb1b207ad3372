"""Who may sign: a file of allowed signers, ssh-keygen(1), ALLOWED SIGNERS."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from breakglass.patterns import match_patterns
from breakglass.signatures.keys import parse_public_key

_LINE = re.compile(r'(?:"([^"]+)"|([^\s"]+))\s+(.+)')
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_OPTIONS = re.compile(rf"((?:[^\s\"]|{_QUOTED})+)\s+(.+)")
_OPTION = re.compile(rf"([A-Za-z-]+)(?:=({_QUOTED}))?(?:,|$)")
_KEY = re.compile(r"(ssh|ecdsa|sk)-\S+\s")
_MOMENT = re.compile(r"[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z?")


@dataclass(frozen=True)
class Signer:
    """One line of the file."""

    principals: str
    """Names, divided by commas, as they are written."""
    key: bytes
    namespaces: str = "*"
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    def may_sign(self, namespace: str, at: datetime | None) -> bool:
        """`at`: when; None: not known."""
        if not match_patterns(namespace, self.namespaces.split(",")):
            return False
        if self.valid_after is None and self.valid_before is None:
            return True
        return (
            at is not None
            and (self.valid_after is None or at >= self.valid_after)
            and (self.valid_before is None or at < self.valid_before)
        )


Signers = Sequence[Signer]


def parse_allowed_signers(text: str) -> tuple[Signer, ...]:
    """Raises ValueError with the line and the reason; also for a file that allows nobody."""
    signers = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                signers.append(_signer(line.strip()))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    if not signers:
        raise ValueError("it lists no signer")
    return tuple(signers)


def _signer(line: str) -> Signer:
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ValueError("it is not PRINCIPALS [OPTIONS] KEY")
    quoted, plain, rest = parts.groups()
    principals, options = quoted or plain, {}
    if not principals.isprintable():
        raise ValueError("a principal is not printable")
    if not _KEY.match(rest):
        with_options = _OPTIONS.fullmatch(rest)
        if with_options is None:
            raise ValueError("it has no public key")
        options, rest = _options(with_options[1]), with_options[2]
    return Signer(
        principals,
        parse_public_key(rest),
        options.get("namespaces", "*"),
        _moment(options, "valid-after"),
        _moment(options, "valid-before"),
    )


def _options(text: str) -> dict[str, str]:
    """Option -> value. Raises ValueError for one that is not known: what it would forbid is not
    known either.
    """
    options: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _OPTION.match(text, at)
        name = found[1].lower() if found else text[at:]
        if name == "cert-authority":
            raise ValueError("cert-authority is not supported: list the keys themselves")
        if found is None or name not in ("namespaces", "valid-after", "valid-before"):
            raise ValueError(f"the option {name!r} is not known")
        if found[2] is None or found[2] == '""':
            raise ValueError(f'the option {name} has no value in quotes: {name}="..."')
        if name in options:
            raise ValueError(f"the option {name} is given twice")
        options[name] = found[2][1:-1].replace('\\"', '"')
        at = found.end()
    return options


def _moment(options: dict[str, str], name: str) -> datetime | None:
    """YYYYMMDD[HHMM[SS]][Z]; without Z it is in the time zone of this machine."""
    text = options.get(name)
    if text is None:
        return None
    digits = text.removesuffix("Z")
    layout = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits), "")
    try:
        if not _MOMENT.fullmatch(text):
            raise ValueError
        moment = datetime.strptime(digits, layout)
        local = moment.replace(tzinfo=UTC) if text.endswith("Z") else moment.astimezone()
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} is no time of the form YYYYMMDD[HHMM[SS]][Z]") from error
