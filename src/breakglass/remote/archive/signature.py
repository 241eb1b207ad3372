"""The signature of a record, and the command `archive sign`. It is made and checked on the
operator's machine: the standard library of Python has no such signatures.
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from breakglass.remote import lifeline
from breakglass.remote.archive.names import Names, put
from breakglass.remote.archive.records import records_of
from breakglass.remote.archive.stream import chunks_of
from breakglass.remote.faults import INTEGRITY, USAGE, Fault

LARGEST_BYTES = 32 * 1024
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def sign(arguments: argparse.Namespace) -> dict[str, Any]:
    """Standard input, a signature as ssh-keygen prints it, beside the record of the partial."""
    names = Names(arguments.directory, arguments.file)
    quiet_seconds = lifeline.SILENCE_SECONDS if arguments.stdin_is_lifeline else None
    data = b""
    for chunk in chunks_of(0, quiet_seconds):
        data += chunk
        if len(data) > LARGEST_BYTES:
            break
    text = data.decode("ascii", "replace").strip()
    is_whole = text.startswith(BEGIN) and text.endswith(END)
    armored = armor("".join(text[len(BEGIN) : -len(END)].split())) if is_whole else None
    if armored is None:
        raise Fault(USAGE, "standard input is no SSH signature")
    if not records_of(names.partial_record):
        raise Fault(INTEGRITY, f"{names.partial_record} is no complete record to sign")
    put(names.partial_signature, armored)
    return {"signed": names.file.name}


def armor(base64_text: str) -> str | None:
    """A signature as a file has it; None for what is none."""
    if len(base64_text) > LARGEST_BYTES or not re.fullmatch("[A-Za-z0-9+/=]+", base64_text):
        return None
    lines = [base64_text[start : start + 70] for start in range(0, len(base64_text), 70)]
    return "\n".join((BEGIN, *lines, END)) + "\n"
