"""Reads the file of allowed signers that the configuration names."""

from collections.abc import Callable
from pathlib import Path

from breakglass.errors import Usage
from breakglass.signatures.allowed_signers import Signer, parse_allowed_signers

LARGEST_BYTES = 1 << 20


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
        if not path.is_file():
            raise Usage(f"{path} is not there, or no regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise Usage(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_BYTES:
        raise Usage(f"{path} is larger than {LARGEST_BYTES} bytes; it is something else")
    return content.decode("utf-8", "replace")
