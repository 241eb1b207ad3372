"""HTTP requests to the responder: what they ask for, and the head of the response."""

from __future__ import annotations

import re

from breakglass.remote.responder.arguments import DIGEST, PART, TAG
from breakglass.remote.responder.loopback import HEAD_BYTES
from breakglass.remote.responder.shelf import Response, Shelf, failure

REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")
HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
}


class Bad(Exception):
    """A request that is no request."""


def understand(head: bytes, shelf: Shelf) -> tuple[str, Response]:
    head, end_of_head, _ = head.partition(b"\r\n\r\n")
    if not end_of_head:
        return "GET", failure(431 if len(head) > HEAD_BYTES else 400, "UNSUPPORTED")
    line, *headers = head.split(b"\r\n")
    request = REQUEST.fullmatch(line)
    if request is None or not all(HEADER.fullmatch(each) for each in headers):
        return "GET", failure(400, "UNSUPPORTED")
    method = request[1].decode()
    if method not in ("GET", "HEAD"):
        return method, failure(405, "UNSUPPORTED")
    try:
        return method, respond(request[2], shelf)
    except Bad:
        return method, failure(400, "UNSUPPORTED")


def respond(target: bytes, shelf: Shelf) -> Response:
    raw, _, query = target.partition(b"?")
    path = unquoted(raw)
    namespaces = [unquoted(each[3:]) for each in query.split(b"&") if each.startswith(b"ns=")]
    if len(namespaces) > 1:
        raise Bad
    if path == "/v2/":
        return Response(200, "application/json", 2, b"{}")
    asked = (
        re.fullmatch(
            rf"/v2/({PART}(?:/{PART})*)/(?:(manifests)/({TAG}|{DIGEST})|(blobs)/({DIGEST}))", path
        )
        if len(path) < 512
        else None
    )
    if asked is None:
        return failure(404, "NAME_UNKNOWN")
    return shelf.find(
        namespaces[0] if namespaces else None, asked[1], asked[2] or asked[4], asked[3] or asked[5]
    )


def unquoted(text: bytes) -> str:
    if re.search(rb"%(?![0-9A-Fa-f]{2})|#", text):
        raise Bad
    return re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), text).decode("latin-1")


def head_of(response: Response) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {REASONS[response.status]}",
        f"Content-Type: {response.media_type}",
        f"Content-Length: {response.size}",
    ]
    lines += [f"Docker-Content-Digest: {response.digest}"] if response.digest else []
    lines += ["Allow: GET, HEAD"] if response.status == 405 else []
    lines += ["Docker-Distribution-Api-Version: registry/2.0", "Connection: close", "", ""]
    return "\r\n".join(lines).encode()
