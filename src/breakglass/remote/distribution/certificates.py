"""Whose certificate it is, read without a library: DER (X.690) of a certificate (RFC 5280, 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

COMMON_NAME, ORGANIZATION = bytes((0x55, 4, 3)), bytes((0x55, 4, 10))
VERSION = 0xA0
"""The tag of a field that old certificates lack."""


def whose(certificate: bytes) -> str:
    """`for SUBJECT, issued by ISSUER`; empty for what cannot be read."""
    try:
        ((_, outer),) = _parts(certificate)
        _, signed = next(_parts(outer))
        fields = [(tag, content) for tag, content in _parts(signed) if tag != VERSION]
        # The serial number, the algorithm, the issuer, the validity, the subject.
        issuer, subject = _name(fields[2][1]), _name(fields[4][1])
    except (ValueError, IndexError, StopIteration):
        return ""
    return f"for {subject}, issued by {issuer}" if subject and issuer else ""


def _name(content: bytes) -> str:
    """The common name of a distinguished name, else its organization."""
    values = {}
    for _, attributes in _parts(content):
        for _, attribute in _parts(attributes):
            (_, kind), (_, value) = _parts(attribute)
            values[kind] = value.decode("utf-8", "replace")
    return values.get(COMMON_NAME) or values.get(ORGANIZATION) or ""


def _parts(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of each element. Raises ValueError, IndexError."""
    position = 0
    while position < len(content):
        tag, length, position = content[position], content[position + 1], position + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(content[position : position + count], "big")
            position += count
        if position + length > len(content):
            raise ValueError("it ends too early")
        yield tag, content[position : position + length]
        position += length
