"""Run beside the API server: patches a label of these Node objects a hundred times a second
each, as a controller gone wild would. Arguments: the file that ends it by going away, and the
nodes.
"""

import http.client
import json
import ssl
import sys
import threading
import time
from pathlib import Path


def write(name: str, running: Path, counts: dict[str, int]) -> None:
    context = ssl.create_default_context(cafile="/etc/lab/pki/ca.crt")
    context.load_cert_chain("/etc/lab/pki/admin.crt", "/etc/lab/pki/admin.key")
    connection = http.client.HTTPSConnection("127.0.0.1", 6443, context=context, timeout=10)
    due = time.monotonic()
    while running.exists():
        body = json.dumps({"metadata": {"labels": {"breakglass-lab/writer": str(counts[name])}}})
        connection.request(
            "PATCH", f"/api/v1/nodes/{name}", body, {"Content-Type": "application/merge-patch+json"}
        )
        connection.getresponse().read()
        counts[name] += 1
        due = max(due + 0.01, time.monotonic() - 0.05)
        time.sleep(max(0.0, due - time.monotonic()))


def main(path: str, *names: str) -> None:
    counts = dict.fromkeys(names, 0)
    began = time.monotonic()
    threads = [threading.Thread(target=write, args=(name, Path(path), counts)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {name: round(count / (time.monotonic() - began), 1) for name, count in counts.items()}
        )
    )


main(*sys.argv[1:])
