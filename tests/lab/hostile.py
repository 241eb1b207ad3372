"""Runs on a node against the responder's port: a thousand connections at once, each with something
that no client sends. Prints one JSON list of [request, answer].
"""

import asyncio
import json
import resource
import sys

AT_ONCE = 1000
PORT, FOREIGN = int(sys.argv[1]), sys.argv[2]
"""FOREIGN: the digest of content that the node has and that was not imported."""

REQUESTS = {
    "up": b"GET /v2/../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "up behind a manifest": b"GET /v2/infra-ci/manifests/../../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",  # noqa: E501
    "up, encoded": (
        b"GET /v2/infra-ci/blobs/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: "
        b"x\r\n\r\n"
    ),
    "up as a digest": (
        b"GET /v2/infra-ci/blobs/sha256:../../../../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"
    ),
    "an absolute URL": b"GET http://127.0.0.1/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "another repository": b"GET /v2/pause/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n",
    "another tag": b"GET /v2/infra-ci/manifests/nosuchtag HTTP/1.1\r\nHost: x\r\n\r\n",
    "content of another image": f"GET /v2/infra-ci/blobs/{FOREIGN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),  # noqa: E501
    "another image's manifest": f"GET /v2/infra-ci/manifests/{FOREIGN} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),  # noqa: E501
    "the catalog": b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /v2/" + b"a/" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET /v2/other/manifests/x HTTP/1.1\r\nHost: x\r\nX: "
    + b"a" * 300_000
    + b"\r\n\r\n",
    "many headers": b"GET /v2/other/manifests/x HTTP/1.1\r\nHost: x\r\n"
    + b"X: a\r\n" * 5000
    + b"\r\n",
    "POST": (
        b"POST /v2/infra-ci/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: "
        b"99999999999\r\n\r\nxxxx"
    ),
    "PUT": b"PUT /v2/infra-ci/manifests/latest HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "DELETE": b"DELETE /v2/infra-ci/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n",
    "a made-up method": b"FROB /v2/infra-ci/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL": b"GET /v2/infra-ci/manifests/la\0test HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes": bytes(range(128, 256)) * 8 + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "lines for ever": b"\r\n" * 20_000,
    "half a line": b"GET /v2/infra-ci/manif",
    "half a header": b"GET /v2/infra-ci/manifests/latest HTTP/1.1\r\nHos",
    "not a word": b"",
}


async def ask(name: str, request: bytes) -> tuple[str, str]:
    """The first line of the answer; `closed` where there was none, `open` where the connection was
    still held after half a minute.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    except OSError:
        return name, "closed"
    try:
        writer.write(request)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(65536), 30)
        return name, answer.split(b"\r\n")[0].decode(errors="replace") if answer else "closed"
    except TimeoutError:
        return name, "open"
    except OSError:
        return name, "closed"
    finally:
        writer.close()


async def main() -> None:
    names = [list(REQUESTS)[number % len(REQUESTS)] for number in range(AT_ONCE)]
    print(
        json.dumps(
            sorted(set(await asyncio.gather(*(ask(name, REQUESTS[name]) for name in names))))
        )
    )


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
asyncio.run(main())
