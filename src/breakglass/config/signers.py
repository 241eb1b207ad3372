"""Reads the file of allowed signers that the configuration names."""

from collections.abc import Callable
from pathlib import Path

from breakglass.config.trust import check_file
from breakglass.errors import Usage
from breakglass.local_files import read_regular
from breakglass.signatures.allowed_signers import Signer, parse_allowed_signers


def signers(local: Callable[[object], Path]) -> Callable[[object], tuple[Signer, ...]]:
    """A converter: it accepts the path of a file of allowed signers."""

    def convert(value: object) -> tuple[Signer, ...]:
        path = local(value)
        try:
            return parse_allowed_signers(_read(path))
        except ValueError as error:
            raise Usage(f"{path} is no file of allowed signers: {error}") from error

    return convert


def _read(path: Path) -> str:
    try:
        read = read_regular(path)
    except OSError as error:
        raise Usage(f"{path} cannot be read: {error.strerror}") from error
    check_file(path, read.status, what="file of signers")
    return read.content.decode("utf-8", "replace")
