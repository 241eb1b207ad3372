"""Answer pulls of a few images on the node's loopback, out of containerd's own content store:
`responder.py start|serve|stop|status ...`; each has `--help`.

The pull part of the OCI distribution specification, read-only: what the names that it was told lead
to, and nothing else of the store. `start` puts this very file beside the tarballs and lets it
serve, under systemd where that runs the node; when its file is removed it ends. Results go to
stdout as one line of JSON, a failure to stderr as one sentence, with the exit codes of breakglass.
Python 3.8 or newer, standard library only; it travels as text.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import posixpath
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

if sys.argv[1:2] != [
    "status"
]:  # which is asked of a node again and again; this is most of what there is to load
    import asyncio

USAGE, REFUSED, FAILED, INTEGRITY = 2, 3, 4, 6
SYSTEMD = globals().get("__systemd__", "/run/systemd/system")
UNIT = "breakglass-responder"
SCRIPT = ".breakglass-responder.py"
START_SECONDS, STOP_SECONDS = 10.0, 3.0
HEAD_BYTES, HEAD_SECONDS = 8192, 5.0
STALL_SECONDS = 30.0
LINGER_SECONDS, LINGER_BYTES = 1.0, 256 << 10
CONNECTIONS, BACKLOG = 128, 512
PIECE_BYTES = 32 << 10
DOCUMENT_BYTES, DOCUMENTS = 2 << 20, 1000
"""The most that a manifest or an index may have, and how many of them one name may lead to. Real
ones have some kilobytes, and ten or so.
"""
NOBODY = 65534

TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
HOST = (
    r"(?=[^/]*[.:\]]|localhost)"
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
PART = r"[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
NAME = rf"(?P<registry>{HOST})/(?P<repository>(?=[^:]{{1,255}}:){PART}(?:/{PART})*):(?P<tag>{TAG})"
DIGEST = r"sha256:[0-9a-f]{64}"
MEDIA_TYPE = r"application/[A-Za-z0-9][A-Za-z0-9.+-]{0,126}"
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
BYTES = "application/octet-stream"
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


class Fault(Exception):
    """An expected failure: its exit code, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Answer(NamedTuple):
    """What one name is answered with."""

    registry: str
    repository: str
    tag: str
    media_type: str
    digest: str

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


class Blob(NamedTuple):
    """A file of the content store that may be served."""

    digest: str
    size: int
    media_type: str
    is_manifest: bool


class Response(NamedTuple):
    status: int
    media_type: str
    size: int
    body: bytes = b""
    descriptor: int | None = None
    digest: str = ""


class Bad(Exception):
    """A request that is no request."""


def main(argv: list[str]) -> int:
    try:
        arguments = parse(argv)
        told = arguments.run(arguments)
        with contextlib.suppress(OSError):  # whoever started us may be gone
            print(json.dumps(told, separators=(",", ":")), flush=True)
        return 0
    except Fault as fault:
        status, sentence = fault.status, fault.sentence
    except OSError as error:
        status, sentence = FAILED, f"{error.filename or 'reading or writing'}: {error.strerror}"
    with contextlib.suppress(OSError):
        print(inert(sentence), file=sys.stderr, flush=True)
    return status


def parse(argv: list[str]) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise Fault(USAGE, f"responder.py: {message}")

    parser = Parser(
        prog="responder.py",
        allow_abbrev=False,
        description=(
            "Answer pulls of a few images on the node's loopback, out of containerd's content "
            "store."
        ),
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        run: Any, what: str, *, in_directory: bool = True, epilog: str | None = None
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            run.__name__, help=what, description=what, epilog=epilog, allow_abbrev=False
        )
        added.set_defaults(run=run)
        if in_directory:
            added.add_argument("directory", type=path, metavar="DIRECTORY")
        return added

    def serves(added: argparse.ArgumentParser, kind: Any, metavar: str) -> None:
        added.add_argument("--port", required=True, type=port, help="on 127.0.0.1")
        added.add_argument(
            "--content",
            required=True,
            type=path,
            help="containerd's content store, the directory that holds `blobs`",
        )
        added.add_argument("--answer", required=True, action="append", type=kind, metavar=metavar)

    serves(
        command(
            start,
            (
                "serve these names from now on, instead of what this DIRECTORY's responder "
                "served before"
            ),
            epilog="After `--`: how ctr is called.",
        ),
        kept,
        "NAME=KEPT",
    )
    serves(
        command(serve, "answer until SIGTERM comes, or this file is removed", in_directory=False),
        answer,
        "NAME=MEDIATYPE@DIGEST",
    )
    command(stop, "end this DIRECTORY's responder, and remove its file")
    command(status, "what runs and answers; changes nothing")
    divider = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:divider])
    arguments.ctr = argv[divider + 1 :]
    if bool(arguments.ctr) != (arguments.run is start):
        parser.error("start, and only start, needs `-- CTR...`")
    names = [
        each[0] if arguments.run is start else each.name
        for each in getattr(arguments, "answer", [])
    ]
    if len(set(names)) < len(names):
        parser.error("a name is given twice")
    return arguments


def path(text: str) -> str:
    if (
        not text.startswith("/")
        or text.startswith("//")
        or text == "/"
        or posixpath.normpath(text) != text
        or not all(each.isalnum() or each in "/._-+,:=@ " for each in text)
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an absolute path without '.', '..', doubled or trailing slashes"
        )
    return text


def port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text, re.ASCII) or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)


def kept(text: str) -> tuple[str, str]:
    found = re.fullmatch(rf"(?P<name>{NAME})=(?P<kept>{NAME.replace('?P<', '?P<kept_')})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=KEPT, both REGISTRY/REPOSITORY:TAG")
    return found["name"], found["kept"]


def answer(text: str) -> Answer:
    found = re.fullmatch(f"{NAME}=(?P<media_type>{MEDIA_TYPE})@(?P<digest>{DIGEST})", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not REGISTRY/REPOSITORY:TAG=MEDIATYPE@DIGEST"
        )
    return Answer(**found.groupdict())


# The commands


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    source = globals().get("__source__") or own_file().read_bytes()
    if not os.path.isdir(arguments.directory):  # noqa: PTH112 (directories are text here: they are compared with command lines)
        raise Fault(REFUSED, f"{arguments.directory} is not a directory")
    if not sys.executable:
        raise Fault(
            REFUSED, "this Python does not know its own path, so nothing could be started with it"
        )
    images = images_of(arguments.ctr)
    missing = [name for _, name in arguments.answer if name not in images]
    if missing:
        raise Fault(
            FAILED,
            (
                f"containerd has no image called {', '.join(missing)}, so there is nothing to "
                f"answer with"
            ),
        )
    answers = [
        answer(f"{name}={'@'.join(images[kept_name])}") for name, kept_name in arguments.answer
    ]
    store = open_store(arguments.content)
    for each in answers:
        closure(
            store, each.media_type, each.digest
        )  # a fault is told here and now, not by a process that nobody listens to
    script = script_of(arguments.directory)
    told = [
        word
        for each in answers
        for word in ("--answer", f"{each.name}={each.media_type}@{each.digest}")
    ]
    # Isolated: a file called json.py beside the script is not to be run by root.
    line = [
        sys.executable,
        "-IS",
        script,
        "serve",
        "--port",
        str(arguments.port),
        "--content",
        arguments.content,
        *told,
    ]
    stage(source, script)
    try:
        ended = end(script)
        wait_for_port(arguments.port, seconds=STOP_SECONDS if ended else 0)
        os.rename(f"{script}.new", script)  # noqa: PTH104
        sync(arguments.directory)
        (start_unit if has_systemd() else start_process)(
            line, lambda: answers_all(script, arguments.port, answers)
        )
    except BaseException:
        with contextlib.suppress(Fault):
            end(script)
        remove(f"{script}.new")
        raise
    return status(arguments)


def serve(arguments: argparse.Namespace) -> NoReturn:
    script = os.open(own_file(), os.O_RDONLY | os.O_CLOEXEC)
    store = open_store(arguments.content)
    shelf = Shelf(
        store, {each: closure(store, each.media_type, each.digest) for each in arguments.answer}
    )
    listening = listen(arguments.port, backlog=BACKLOG)
    become_nobody(shelf)
    asyncio.run(serve_until_the_end(listening, shelf, script))
    sys.exit(0)


def stop(arguments: argparse.Namespace) -> dict[str, Any]:
    script = script_of(arguments.directory)
    ended = end(script)
    remove(f"{script}.new")
    return {"ended": ended}


def status(arguments: argparse.Namespace) -> dict[str, Any]:
    found = running(script_of(arguments.directory))
    served = next(filter(None, found.values()), None)
    answers = (
        {each.name: each.digest for each in served.answer if ask(served.port, each) == each.digest}
        if served
        else {}
    )
    return {
        "pids": sorted(found),
        "port": served.port if served else None,
        "answers": answers,
        "free_port": served.port if served else free_port(arguments.directory),
    }


# Starting and ending


def script_of(directory: str) -> str:
    return posixpath.join(directory, SCRIPT)


def own_file() -> Path:
    if "__file__" not in globals():
        raise Fault(USAGE, "responder.py: it was not told its own text, and has no file of its own")
    return Path(__file__)


def images_of(ctr: list[str]) -> dict[str, tuple[str, str]]:
    """Name -> media type and digest, from the table of `ctr images ls`."""
    try:
        ended = subprocess.run(
            [*ctr, "images", "ls"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError as error:
        raise Fault(REFUSED, f"{ctr[0]} is not installed here") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            FAILED,
            (
                f"{ctr[0]} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not answer in 60 seconds'}"
            ),
        ) from error
    if ended.returncode:
        raise Fault(
            FAILED,
            (
                f"{' '.join(ctr)} images ls failed: "
                f"{last_line(ended.stderr) or f'exit code {ended.returncode}'}"
            ),
        )
    rows = [line.split()[:3] for line in ended.stdout.decode("utf-8", "replace").splitlines()]
    return {
        row[0]: (row[1], row[2])
        for row in rows
        if len(row) == 3 and re.fullmatch(MEDIA_TYPE, row[1]) and re.fullmatch(DIGEST, row[2])
    }


def stage(source: bytes, script: str) -> None:
    """The file beside its place, on the disk."""
    remove(f"{script}.new")
    descriptor = os.open(
        f"{script}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    with os.fdopen(descriptor, "wb") as file:
        file.write(source)
        os.fchmod(descriptor, 0o644)
        file.flush()
        os.fsync(descriptor)


def sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_process(line: list[str], is_up: Callable[[], bool]) -> None:
    # Its standard error is ours until it listens; then it lets go of it itself. Nothing of it is
    # the SSH channel's, which would not end otherwise.
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
    )
    for _ in ticks(START_SECONDS):
        if process.poll() is not None:
            raise Fault(
                FAILED,
                (
                    f"the responder ended at once: "
                    f"{last_line(process.communicate()[1]) or f'exit code {process.returncode}'}"
                ),
            )
        if is_up():
            return
    raise Fault(
        FAILED, f"the responder does not answer after {START_SECONDS:.0f} seconds, so it was ended"
    )


def start_unit(line: list[str], is_up: Callable[[], bool]) -> None:
    properties = [
        f"--property={each}" for each in ("Restart=always", "RestartSec=1", "MemoryMax=64M")
    ]
    ended = run(
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={UNIT}",
        "--description=breakglass answers pulls on loopback",
        *properties,
        *line,
    )
    if ended.returncode:
        raise Fault(
            FAILED,
            f"systemd-run failed: {last_line(ended.stderr) or f'exit code {ended.returncode}'}",
        )
    if not any(is_up() for _ in ticks(START_SECONDS)):
        raise Fault(
            FAILED,
            (
                f"{UNIT}.service does not answer after {START_SECONDS:.0f} seconds, so it was "
                f"ended; journalctl -u {UNIT} tells why"
            ),
        )


def answers_all(script: str, number: int, answers: list[Answer]) -> bool:
    return bool(running(script)) and all(ask(number, each) == each.digest for each in answers)


def end(script: str) -> list[int]:
    """Ends the responder of this file and removes the file; returns the process IDs."""
    found = sorted(running(script))
    if has_systemd() and is_unit_of(script, found):
        ended = run("systemctl", "stop", f"{UNIT}.service")
        if ended.returncode:
            raise Fault(
                FAILED,
                (
                    f"systemctl stop {UNIT}.service failed: "
                    f"{last_line(ended.stderr) or f'exit code {ended.returncode}'}"
                ),
            )
        run(
            "systemctl", "reset-failed", f"{UNIT}.service"
        )  # it fails where there is nothing left to reset
        any(
            shown()["LoadState"] != "loaded" for _ in ticks(STOP_SECONDS)
        )  # else the name may still be taken for the next one
    for number in (signal.SIGTERM, signal.SIGKILL):
        for each in running(script):
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.kill(each, number)
                except PermissionError as error:
                    raise Fault(
                        FAILED,
                        f"the responder, process {each}, is another user's: it was not ended",
                    ) from error
        if any(not running(script) for _ in ticks(STOP_SECONDS)):
            break
    else:
        raise Fault(
            FAILED, f"the responder, process {min(running(script), default=0)}, does not end"
        )
    remove(script)  # last: where it can not be ended, its file tells that it is there
    return found


def remove(file: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(file)  # noqa: PTH108


def running(script: str) -> dict[int, argparse.Namespace | None]:
    """The processes that serve from this file, with the arguments that they were given; None where
    these are another version's.
    """
    found: dict[int, argparse.Namespace | None] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            with contextlib.suppress(OSError):
                line = os.fsdecode(Path("/proc", entry, "cmdline").read_bytes()).split("\0")[:-1]
                # All of it is compared: an editor that has the file open is none of ours.
                if (
                    line[1:4] == ["-IS", script, "serve"]
                    and posixpath.basename(line[0]).startswith("python")
                    and is_of_us(entry)
                ):
                    found[int(entry)] = None
                    with contextlib.suppress(Fault):
                        found[int(entry)] = parse(line[3:])
    return found


def is_of_us(entry: str) -> bool:
    """Anybody may write such a command line: it has to be root's or nobody's (or our own, where we
    are not root), and not in a container.
    """
    uids = re.search(
        r"^Uid:\s+(\d+)\s+(\d+)", Path("/proc", entry, "status").read_text(), re.MULTILINE
    )
    here, there = (os.stat(f"/proc/{each}/ns/mnt") for each in ("self", entry))  # noqa: PTH116
    return (
        uids is not None
        and {int(uids[1]), int(uids[2])} <= {os.geteuid(), 0, NOBODY}
        and os.path.samestat(here, there)
    )


def is_unit_of(script: str, processes: list[int]) -> bool:
    unit = shown()
    if unit["LoadState"] != "loaded":
        return False
    process = int(unit["MainPID"] or 0)
    return (
        process in processes
        or f" {script} serve " in unit["ExecStart"]
        or not (process or processes or unit["ExecStart"])
    )


def shown() -> dict[str, str]:
    told = run(
        "systemctl", "show", "--property=LoadState,MainPID,ExecStart", f"{UNIT}.service"
    ).stdout.decode("utf-8", "replace")
    return {
        "LoadState": "",
        "MainPID": "",
        "ExecStart": "",
        **dict(line.partition("=")[::2] for line in told.splitlines()),
    }


def has_systemd() -> bool:
    """Whether systemd runs this host, as sd_booted(3) finds out, and can be asked for a unit."""
    return Path(SYSTEMD).is_dir() and any(
        os.access(posixpath.join(each, "systemd-run"), os.X_OK) for each in os.get_exec_path()
    )


def run(*argv: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            FAILED,
            (
                f"{argv[0]} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not end in 60 seconds'}"
            ),
        ) from error


def ticks(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def ask(number: int, wanted: Answer) -> str | None:
    """The digest that a name is answered with on loopback, as containerd asks."""
    line = (
        f"HEAD "
        f"/v2/{wanted.repository}/manifests/{wanted.tag}?ns={wanted.registry.replace(':', '%3A')} "
        f"HTTP/1.1\r\nHost: 127.0.0.1:{number}\r\n\r\n"
    )
    head = b""
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=2) as connection:
            connection.sendall(line.encode())
            while len(head) < HEAD_BYTES:
                part = connection.recv(HEAD_BYTES)
                if not part:
                    break
                head += part
    except OSError:
        return None
    found = re.search(rf"\r\ndocker-content-digest: ({DIGEST})\r\n".encode(), head, re.IGNORECASE)
    return found[1].decode() if found and re.match(rb"HTTP/1\.[01] 200 ", head) else None


def free_port(directory: str) -> int:
    first = zlib.crc32(os.fsencode(directory)) % 10000
    for step in range(10000):
        number = 20000 + (first + step) % 10000
        with contextlib.suppress(Fault):
            listen(number, backlog=1).close()
            return number
    raise Fault(FAILED, "no port from 20000 to 29999 is free on 127.0.0.1")


def wait_for_port(number: int, *, seconds: float) -> None:
    """Raises Fault where another program keeps it: that might take our questions for itself."""
    # The kernel closes the sockets of a process a moment after its command line is gone.
    for _ in ticks(seconds):
        with contextlib.suppress(Fault):
            listen(number, backlog=1).close()
            return
    listen(number, backlog=1).close()


def listen(number: int, *, backlog: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Otherwise the connections that the one before us has closed would hold the port for a
        # minute.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit these: what a client sends at once, and what it does not read, is
        # memory.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, HEAD_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE_BYTES)
        listening.bind(("127.0.0.1", number))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        told = (
            "is taken by another program"
            if error.errno == errno.EADDRINUSE
            else f"can not be listened on: {error.strerror}"
        )
        raise Fault(FAILED, f"port {number} of 127.0.0.1 {told}") from error
    return listening


# The content store


def open_store(content: str) -> int:
    try:
        return os.open(
            posixpath.join(content, "blobs", "sha256"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
    except OSError as error:
        raise Fault(
            FAILED,
            f"{content} is not containerd's content store: {error.filename}: {error.strerror}",
        ) from error


def closure(store: int, media_type: str, digest: str) -> dict[str, Blob]:
    """All that a manifest or an index leads to. Of an index only the children that are there: an
    archive holds one platform.
    """
    found: dict[str, Blob] = {}
    waiting: list[tuple[str, str, int | None]] = [(media_type, digest, None)]
    manifests = 0
    while waiting:
        media_type, digest, size = waiting.pop()
        if digest in found:
            continue
        data = document_of(store, digest)
        if data is None and size is None:
            raise Fault(
                INTEGRITY, f"the content store lacks {digest}, which containerd lists as an image"
            )
        if data is None:
            continue
        manifests += 1
        if size not in (None, len(data)) or manifests > DOCUMENTS:
            raise Fault(
                INTEGRITY,
                f"{digest} in the content store has {len(data)} bytes, its index says {size}"
                if size != len(data)
                else f"{digest} is one of too many manifests",
            )
        found[digest] = Blob(digest, len(data), media_type, is_manifest=True)
        document = json_of(data, digest)
        if media_type in INDEXES:
            waiting += [
                child
                for child in descriptors_of(document, "manifests", digest)
                if child[1] not in found
            ]
        else:
            for _, blob, blob_size in descriptors_of(
                {"config": [document["config"]] if "config" in document else []}, "config", digest
            ) + descriptors_of(document, "layers", digest):
                found.setdefault(blob, Blob(blob, blob_size, BYTES, is_manifest=False))
    return found


def descriptors_of(document: dict[str, Any], key: str, where: str) -> list[tuple[str, str, int]]:
    told = document.get(key, [])
    found = []
    for each in told if isinstance(told, list) else [None]:
        media_type, digest, size = (
            (each.get(name) for name in ("mediaType", "digest", "size"))
            if isinstance(each, dict)
            else (None, None, None)
        )
        if type(size) is not int or not isinstance(media_type, str) or not isinstance(digest, str):
            raise Fault(INTEGRITY, f"{where} in the content store has no usable {key}")
        # Another hash or an odd media type is legal, and not to be had from us.
        if re.fullmatch(DIGEST, digest) and re.fullmatch(MEDIA_TYPE, media_type):
            found.append((media_type, digest, size))
    return found


def json_of(data: bytes, digest: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Fault(INTEGRITY, f"{digest} in the content store is no manifest")
    return document


def document_of(store: int, digest: str) -> bytes | None:
    """A manifest or an index, verified; nothing where it is not there."""
    descriptor = open_blob(store, digest)
    if descriptor is None:
        return None
    try:
        size = os.fstat(descriptor).st_size
        if size > DOCUMENT_BYTES:
            raise Fault(
                INTEGRITY,
                f"{digest} in the content store is too large for a manifest: {size} bytes",
            )
        data = b"".join(pieces(descriptor, size))
    finally:
        os.close(descriptor)
    if hashlib.sha256(data).hexdigest() != digest.rpartition(":")[2]:
        raise Fault(
            INTEGRITY, f"the content store is damaged: the file of {digest} has another sha256"
        )
    return data


def open_blob(store: int, digest: str) -> int | None:
    """A descriptor of a regular file, found through the directory's descriptor: it outlives our
    right to come there by name.
    """
    try:
        descriptor = os.open(
            digest.rpartition(":")[2],
            os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            dir_fd=store,
        )
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def pieces(descriptor: int, size: int) -> Iterator[bytes]:
    done = 0
    while done < size:
        piece = os.pread(descriptor, min(PIECE_BYTES, size - done), done)
        if not piece:
            return
        done += len(piece)
        yield piece


class Shelf:
    """What may be asked for, and what is answered. Requests are looked up in it; no path is ever
    made of one.
    """

    def __init__(self, store: int, closures: dict[Answer, dict[str, Blob]]) -> None:
        self.store = store
        self.tags = {
            (each.registry, each.repository, each.tag): blobs[each.digest]
            for each, blobs in closures.items()
        }
        self.blobs: dict[tuple[str, str], dict[str, Blob]] = {}
        for each, blobs in closures.items():
            self.blobs.setdefault((each.registry, each.repository), {}).update(blobs)

    def find(self, registry: str | None, repository: str, kind: str, reference: str) -> Response:
        places = [
            place for place in self.blobs if place[1] == repository and registry in (None, place[0])
        ]
        if not places:
            return failure(404, "NAME_UNKNOWN")
        unknown = failure(404, "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN")
        if kind == "manifests" and ":" not in reference:
            found = {
                self.tags[(*place, reference)]
                for place in places
                if (*place, reference) in self.tags
            }
        else:
            found = {
                self.blobs[place][reference] for place in places if reference in self.blobs[place]
            }
        found = {blob for blob in found if blob.is_manifest == (kind == "manifests")}
        if len({blob.digest for blob in found}) != 1:
            return unknown
        blob = min(found)
        descriptor = open_blob(self.store, blob.digest)
        if descriptor is None:
            return unknown
        if not is_whole(descriptor, blob):
            os.close(descriptor)
            return unknown
        return Response(200, blob.media_type, blob.size, descriptor=descriptor, digest=blob.digest)


def is_whole(descriptor: int, blob: Blob) -> bool:
    """By size, and a manifest by its hash: that a name leads to it is our word, and nobody else
    compares it.
    """
    if os.fstat(descriptor).st_size != blob.size:
        return False
    if not blob.is_manifest:
        return True
    sha256 = hashlib.sha256()
    for piece in pieces(descriptor, blob.size):
        sha256.update(piece)
    return f"sha256:{sha256.hexdigest()}" == blob.digest


def become_nobody(shelf: Shelf) -> None:
    """Gives up root, where all that is to be served can be read without."""
    if os.geteuid() != 0 or not os.fstat(shelf.store).st_mode & stat.S_IXOTH:
        return
    for digest in {digest for blobs in shelf.blobs.values() for digest in blobs}:
        descriptor = open_blob(shelf.store, digest)
        if descriptor is not None:
            mode = os.fstat(descriptor).st_mode
            os.close(descriptor)
            if not mode & stat.S_IROTH:
                return
    with contextlib.suppress(OSError):  # a user namespace may have no such user
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


# HTTP


async def serve_until_the_end(listening: socket.socket, shelf: Shelf, script: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    accepting = asyncio.ensure_future(accept(listening, shelf))
    let_go_of_stdio()
    while not ended.is_set() and not accepting.done() and os.fstat(script).st_nlink:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), 0.5)


def let_go_of_stdio() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


async def accept(listening: socket.socket, shelf: Shelf) -> None:
    # Sockets, not asyncio's streams: these take in 256 KiB at a time, from whomever, and a flood of
    # it made 60 MB of 24.
    listening.setblocking(False)
    talks: set[asyncio.Future[None]] = set()
    while True:
        await asyncio.sleep(0)  # while there are more to accept, nothing else would have its turn
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(listening)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        if len(talks) >= CONNECTIONS:
            connection.close()
            continue
        talk = asyncio.ensure_future(converse(connection, shelf))
        talks.add(talk)
        talk.add_done_callback(talks.discard)


async def converse(connection: socket.socket, shelf: Shelf) -> None:
    """One request, one response."""
    response = None
    with connection:
        try:
            method, response = understand(
                await asyncio.wait_for(read_head(connection), HEAD_SECONDS), shelf
            )
            await send(connection, head_of(response) + (b"" if method == "HEAD" else response.body))
            if method != "HEAD" and response.descriptor is not None:
                sent = 0
                for piece in pieces(response.descriptor, response.size):
                    await send(connection, piece)
                    sent += len(piece)
                if sent < response.size:
                    # the file was cut meanwhile: that must not look like an end
                    raise ConnectionAbortedError
            # What is still on its way to us would make the kernel take back what we said.
            connection.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(drink(connection), LINGER_SECONDS)
        except (OSError, asyncio.TimeoutError):  # noqa: UP041 (another class than TimeoutError before Python 3.11)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # forget at once what it does not take
        finally:
            if response is not None and response.descriptor is not None:
                os.close(response.descriptor)


async def read_head(connection: socket.socket) -> bytes:
    """Up to the empty line, or as much as is too long, or as it takes to see that it is something
    else, TLS say.
    """
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES and head[:1] in LETTERS:
        part = await asyncio.get_running_loop().sock_recv(connection, HEAD_BYTES + 1 - len(head))
        if not part:
            raise ConnectionAbortedError
        head += part
    return head


async def send(connection: socket.socket, data: bytes) -> None:
    await asyncio.sleep(
        0
    )  # to a fast reader all of a large blob would go before anybody else's turn
    await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(connection, data), STALL_SECONDS)


async def drink(connection: socket.socket) -> None:
    drunk = 0
    while drunk < LINGER_BYTES:
        data = await asyncio.get_running_loop().sock_recv(connection, 2 * PIECE_BYTES)
        if not data:
            return
        drunk += len(data)


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


def failure(status_code: int, code: str) -> Response:
    body = json.dumps(
        {"errors": [{"code": code, "message": "not answered here", "detail": None}]}
    ).encode()
    return Response(status_code, "application/json", len(body), body)


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


def last_line(text: bytes) -> str:
    return (
        [""]
        + [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    )[-1]


def inert(text: str) -> str:
    """Text from elsewhere is data: no control characters, no line ends, no megabytes."""
    return "".join(character if character.isprintable() else " " for character in text)[:2000]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
