"""A validating admission webhook of the lab's API server, run beside it: lets so many patches of
Node objects by breakglass through and holds the others.

Arguments: directory, certificate, key, port. `DIRECTORY/let` says how many may pass (a number), or
`all`, or `none` (those that are held are denied, and those to come), or `outrun` (before each of
them somebody else changes the node, so that it meets a newer version); who passed and who is held
stands as an empty file `DIRECTORY/passed.NODE` and `DIRECTORY/held.NODE`.
"""

import json
import ssl
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DIRECTORY = Path(sys.argv[1])
lock = threading.Lock()


def decide(node: str) -> bool:
    """Whether this patch may pass; waits while it is held."""
    while True:
        with lock:
            let = (DIRECTORY / "let").read_text()
            passed = len(list(DIRECTORY.glob("passed.*")))
            if let == "none":
                return False
            if let == "outrun":
                change(node)
                return True
            # A patch that has passed may meet a newer version behind the gate, and come again.
            if let == "all" or passed < int(let) or (DIRECTORY / f"passed.{node}").exists():
                (DIRECTORY / f"passed.{node}").touch()
                (DIRECTORY / f"held.{node}").unlink(missing_ok=True)
                return True
            (DIRECTORY / f"held.{node}").touch()
        time.sleep(0.01)


def change(node: str) -> None:
    """As the administrator."""
    context = ssl.create_default_context(cafile="/etc/lab/pki/ca.crt")
    context.load_cert_chain("/etc/lab/pki/admin.crt", "/etc/lab/pki/admin.key")
    body = json.dumps(
        {"metadata": {"labels": {"breakglass-lab/writer": str(time.monotonic_ns())}}}
    ).encode()
    request = urllib.request.Request(
        f"https://127.0.0.1:6443/api/v1/nodes/{node}",
        body,
        {"Content-Type": "application/merge-patch+json"},
        method="PATCH",
    )
    urllib.request.urlopen(request, context=context, timeout=10).close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        allowed = request["userInfo"]["username"] != "breakglass" or decide(request["name"])
        answer = {
            "uid": request["uid"],
            "allowed": allowed,
            "status": {"code": 500, "message": "the lab's gate is shut"},
        }
        body = json.dumps(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main(certificate: str, key: str, port: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


main(*sys.argv[2:])
