"""A token service as registries name one in a Bearer challenge, run on a registry's host: `python3
tokens.py PORT CERTIFICATE KEY USER PASSWORD`.

Who logs in by HTTP Basic gets a token for a pull of what is asked for, signed with the key; the
certificate travels in it. The format: distribution's "Token Authentication Specification". Standard
library and openssl only.
"""

import base64
import http.server
import json
import ssl
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

PORT, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:]
SERVICE = ISSUER = "lab"


class Tokens(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {login}":
            self.send_error(401)
            return
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        kind, name, actions = query["scope"][0].split(":")
        now = int(time.time())
        access = [
            {
                "type": kind,
                "name": name,
                "actions": [action for action in actions.split(",") if action == "pull"],
            }
        ]
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": query["service"][0],
            "exp": now + 60,
            "nbf": now - 5,
            "iat": now,
            "jti": str(time.monotonic_ns()),
            "access": access,
        }
        body = json.dumps({"token": signed(claims)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def signed(claims: dict[str, object]) -> str:
    """A JSON web token, ES256."""
    certificate = "".join(Path(CERTIFICATE).read_text().split("-----")[2].split())
    header = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
    words = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    der = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", KEY], input=words, capture_output=True, check=True
    ).stdout
    return (words + b"." + encoded(plain(der))).decode()


def plain(der: bytes) -> bytes:
    """Both numbers of an ECDSA signature, 32 bytes each, out of their DER: 30 LENGTH, twice 02
    LENGTH NUMBER.
    """
    first = der[4 : 4 + der[3]]
    second = der[6 + len(first) :]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (first, second))


def encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", int(PORT)), Tokens)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
