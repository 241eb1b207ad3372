"""The `sandbox` command inside the sandbox: sends its arguments to the sandbox's process, and
prints the answer.
"""

import json
import os
import socket
import sys


def main(argv: list[str]) -> int:
    path = os.environ.get("BREAKGLASS_SANDBOX_CONTROL", "")
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        sys.stderr.write(
            "sandbox: there is no sandbox around this shell; run: breakglass sandbox\n"
        )
        return 2
    with connection, connection.makefile("rwb") as stream:
        stream.write(json.dumps(argv).encode() + b"\n")
        stream.flush()
        answer = json.loads(
            stream.readline()
            or b'{"exit_status": 1, "stdout": "", "stderr": "sandbox: no answer\\n"}'
        )
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    return int(answer["exit_status"])
