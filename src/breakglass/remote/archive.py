"""Write, receive, verify and publish image tarballs: `archive.py
write|receive|verify|publish|discard ...`; each has `--help`.

A tarball is what `docker save REFERENCE... | gzip` makes. `write` and `receive` leave a hidden
partial with its record beside it, `publish` gives both their names. The record goes to stdout as
one line of JSON, progress to stderr as `@progress COMPRESSED_BYTES`, a failure to stderr as one
sentence, with the exit codes of breakglass. Python 3.8 or newer, standard library only; it travels
as text.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import posixpath
import queue
import re
import select
import signal
import stat
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

USAGE, REFUSED, FAILED, INTEGRITY = 2, 3, 4, 6
LIFELINE: int | None = globals().get("__lifeline__")
SILENCE_SECONDS = 60.0
CHUNK_BYTES = 1 << 20
"""Also the most that a pipe may hold for a user other than root."""
SET_PIPE_SIZE = 1031
"""Linux's F_SETPIPE_SZ, which Python has a name for from 3.10 on."""
DOCUMENT_BYTES, DOCUMENTS_BYTES, MEMBERS, NAME_BYTES = 2 << 20, 8 << 20, 5000, 4096
"""The most that is kept of an archive: one JSON document, all of them; files, and the length of a
name. docker's are far smaller.
"""

WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
FILE = rf"(?!.*-latest\.tar\.gz$)(?!.{{220}}){WORD}-{WORD}\.tar\.gz"
REFERENCE = r"[A-Za-z0-9\[][A-Za-z0-9._:/\[\]-]*"
IMAGE_ID = r"sha256:[0-9a-f]{64}"
KEYS = (
    "schema",
    "tag",
    "references",
    "image_id",
    "companions",
    "platform",
    "size_bytes",
    "sha256",
    "sequence",
    "created_at",
    "version",
)
SHAPES = {
    "tag": r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
    "created_at": r"\d{4}-\d\d-\d\d[Tt ][0-9:.]+([Zz]|[+-]\d\d:\d\d)",
    "version": r".{1,100}",
}
PROOF_SHAPES = {
    "image_id": IMAGE_ID,
    "platform": r"[a-z0-9]+/[a-z0-9_]+",
    "sha256": r"[0-9a-f]{64}",
}


class Fault(Exception):
    """An expected failure: its exit code, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class CutShort(Fault):
    """What arrived is kept: it can be resumed."""


class Ended(BaseException):
    """A signal came."""


def main(argv: list[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        arguments = parse(argv)
        if LIFELINE is not None and not (LIFELINE == 0 and arguments.reads_stdin):
            threading.Thread(target=die_with_the_caller, args=(LIFELINE,), daemon=True).start()
        print(json.dumps(arguments.run(arguments), separators=(",", ":")), flush=True)
        return 0
    except Fault as fault:
        status, sentence = fault.status, fault.sentence
    except OSError as error:
        status, sentence = FAILED, f"{error.filename or 'reading or writing'}: {error.strerror}"
    except Ended as ended:
        status, sentence = 128 + ended.args[0], f"ended by signal {ended.args[0]}"
    with contextlib.suppress(OSError):
        print(inert(sentence), file=sys.stderr, flush=True)
    return status


def parse(argv: list[str]) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise Fault(USAGE, f"archive.py: {message}")

    parser = Parser(
        prog="archive.py",
        allow_abbrev=False,
        description="Write, receive, verify and publish image tarballs.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        run: Any, what: str, *, reads_stdin: bool = False, in_directory: bool = True
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            run.__name__, help=what, description=what, allow_abbrev=False
        )
        added.set_defaults(run=run, reads_stdin=reads_stdin)
        if in_directory:
            added.add_argument("directory", type=Path, metavar="DIRECTORY")
        added.add_argument("file", metavar="FILE", type=file_name if in_directory else file_path)
        return added

    name = matching(REFERENCE, "an image reference with a tag")

    def expects(added: argparse.ArgumentParser, *, required: bool = False) -> None:
        added.add_argument(
            "--reference",
            nargs="+",
            action="extend",
            default=[],
            type=name,
            required=required,
            help="what the image is called in the archive, all of it",
        )
        added.add_argument(
            "--companion",
            nargs="+",
            action="extend",
            default=[],
            type=name,
            help="further images in the archive",
        )

    added = command(
        write,
        (
            "standard input, a gzip stream from docker save, into a partial; verified by content "
            "meanwhile"
        ),
        reads_stdin=True,
    )
    expects(added, required=True)
    added.add_argument(
        "--image-id",
        action="append",
        default=[],
        type=matching(f"{REFERENCE}={IMAGE_ID}", "REFERENCE=ID"),
        metavar="REFERENCE=ID",
    )
    added.add_argument(
        "--docker", default="docker", help="asked for the image ID of each reference"
    )
    added.add_argument(
        "--record", required=True, type=json_object, help="JSON: tag, sequence, version"
    )
    added = command(
        receive,
        (
            "standard input, a tarball from OFFSET on, into a partial; its hash, or without one "
            "its content, is verified"
        ),
        reads_stdin=True,
    )
    expects(added)
    added.add_argument(
        "--size",
        required=True,
        type=matching("unknown|[0-9]{1,18}", "a size"),
        help="of the whole tarball in bytes, or `unknown`",
    )
    added.add_argument(
        "--offset",
        required=True,
        type=matching("[0-9]{1,18}", "a number of bytes"),
        help="where standard input starts: the size of the partial, or 0",
    )
    added.add_argument(
        "--record",
        required=True,
        type=json_object,
        help="the tarball's record; where there is none, JSON with tag, sequence, version",
    )
    added = command(
        verify,
        "an existing tarball, by content and against the record beside it",
        in_directory=False,
    )
    expects(added)
    added.add_argument("--image-id", type=matching(IMAGE_ID, "an image ID"), metavar="ID")
    command(
        publish, "a partial and its record get their names; finishes what an earlier publish began"
    )
    command(discard, "the partial and the other hidden files of one tarball are removed")
    return parser.parse_args(argv)


# The commands


def write(arguments: argparse.Namespace) -> dict[str, Any]:
    names = Names(arguments.directory, arguments.file)
    seed = seed_of(arguments.record, arguments.file)
    told = {
        canonical(name): asked_of_docker(arguments.docker, name)
        for name in arguments.reference + arguments.companion
    }
    names.remove(names.partial_record, names.note)
    sink = open_regular(names.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with removing_on_failure(names):
        checker = Checker(Fault(FAILED, "docker save wrote nothing; nothing was saved"))
        size_bytes, sha256 = pump(chunks_of(0), sink=sink, checker=checker)
        content = checker.finish()
        images = judge(content, arguments.reference + arguments.companion)
        confirm(
            content,
            images,
            told=told,
            wanted={
                canonical(name): digest
                for name, _, digest in (told.rpartition("=") for told in arguments.image_id)
            },
        )
        record = {
            "schema": 1,
            **seed,
            **describe(images, arguments.reference, arguments.companion),
            "size_bytes": size_bytes,
            "sha256": sha256,
        }
        return keep(names, sink, record)


def receive(arguments: argparse.Namespace) -> dict[str, Any]:
    names, seed = (
        Names(arguments.directory, arguments.file),
        seed_of(arguments.record, arguments.file),
    )
    proof = arguments.record if is_complete(arguments.record) else None
    offset, size_bytes = (
        int(arguments.offset),
        None if arguments.size == "unknown" else int(arguments.size),
    )
    if proof is None and (offset or not arguments.reference or "sha256" in arguments.record):
        raise Fault(
            USAGE,
            (
                "archive.py: a record without a sha256 needs --reference and --offset 0, and one "
                "with a sha256 must be complete"
            ),
        )
    if proof is not None and size_bytes not in (None, proof["size_bytes"]):
        raise Fault(
            INTEGRITY,
            (
                f"the source's {arguments.file} has {size_bytes} bytes, its record says "
                f"{proof['size_bytes']}"
            ),
        )
    size_bytes = proof["size_bytes"] if proof else size_bytes
    held = (
        names.partial.stat().st_size
        if names.partial.is_file() and not names.partial.is_symlink()
        else 0
    )
    if offset and (
        offset != held or proof is None or read_text(names.note).strip() != proof["sha256"]
    ):
        raise Fault(
            INTEGRITY,
            (
                f"{names.partial} holds {held} bytes and is not the beginning of this tarball up "
                f"to byte {offset}; receive it from the start"
            ),
        )
    free = free_bytes(arguments.directory)
    if size_bytes is not None and free + held < size_bytes:
        raise Fault(
            REFUSED,
            (
                f"no room in {arguments.directory}: {size_bytes - held} bytes are needed, {free} "
                f"are free"
            ),
        )
    names.remove(names.partial_record)
    sink = open_regular(names.partial, os.O_RDWR | os.O_CREAT | (0 if offset else os.O_TRUNC))
    with removing_on_failure(names, needed=size_bytes, resumable=proof is not None):
        if proof is not None:
            put(names.note, proof["sha256"] + "\n")
        else:
            names.remove(names.note)
        checker = None if proof else Checker(Fault(INTEGRITY, "the source's tarball is empty"))
        sha256 = hashlib.sha256()
        # Leaves the descriptor at the end, where it goes on. Silent: the first sign of life is the
        # source's first byte.
        pump(chunks_of(sink), sha256=sha256, silent=True)
        total, found = pump(
            chunks_of(0, SILENCE_SECONDS if LIFELINE == 0 else None),
            sink=sink,
            checker=checker,
            sha256=sha256,
            done=offset,
            most=size_bytes,
        )
        if size_bytes is not None and total < size_bytes:
            os.fsync(sink)
            raise CutShort(
                FAILED,
                f"only {total} of {size_bytes} bytes of {arguments.file} arrived; "
                + (
                    "they are kept, the next run goes on from there"
                    if proof
                    else "they were removed"
                ),
            )
        if proof is not None and found != proof["sha256"]:
            raise Fault(
                INTEGRITY,
                (
                    f"what arrived has sha256 {found[:12]}..., the record of {arguments.file} "
                    f"says {proof['sha256'][:12]}..."
                )
                + ("; it was removed, start again" if offset else ""),
            )
        if checker is not None:
            images = judge(checker.finish(), arguments.reference + arguments.companion)
            return keep(
                names,
                sink,
                {
                    "schema": 1,
                    **seed,
                    **describe(images, arguments.reference, arguments.companion),
                    "size_bytes": total,
                    "sha256": found,
                },
            )
        return keep(names, sink, without_previous(arguments.record))


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    path: Path = arguments.file
    names = Names(path.parent, path.name)
    source = open_regular(path, os.O_RDONLY)
    checker = Checker(Fault(INTEGRITY, f"{path} is empty: there is no archive in it"))
    size_bytes, sha256 = pump(chunks_of(source), checker=checker)
    content = checker.finish()
    records = records_of(names.record)
    if not records and os.path.lexists(names.record):
        raise Fault(INTEGRITY, f"{names.record}, the record beside the tarball, is not complete")
    record = next(
        (record for record in records if record["sha256"] == sha256), records[0] if records else {}
    )
    references = arguments.reference or record.get("references", [])
    companions = arguments.companion or sorted(record.get("companions", {}))
    images = judge(content, references + companions)
    found = {**describe(images, references, companions), "size_bytes": size_bytes, "sha256": sha256}
    expected = {"image_id": arguments.image_id} if arguments.image_id else {}
    wrong = [
        f"{key} is {found[key]}, expected {value}"
        for key, value in expected.items()
        if found[key] != value
    ]
    wrong += [
        f"{key} is {as_text(found[key])}, its record says {as_text(record[key])}"
        for key in found
        if key in record and normal(found[key]) != normal(record[key])
    ]
    if wrong:
        raise Fault(INTEGRITY, f"{path}: " + "; ".join(wrong))
    return {**found, "recorded": bool(record)}


def publish(arguments: argparse.Namespace) -> dict[str, Any]:
    names = Names(arguments.directory, arguments.file)
    for path in (names.file, names.checksum, names.record):
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise Fault(REFUSED, f"{path} is not a regular file, so it is not ours to replace")
    held = (
        pump(chunks_of(open_regular(names.file, os.O_RDONLY)))[1] if names.file.exists() else None
    )
    fresh, known = records_of(names.partial_record), records_of(names.record)
    if names.partial.exists():
        if (
            not fresh
            or fresh[0]["size_bytes"] != names.partial.lstat().st_size
            or not stat.S_ISREG(names.partial.lstat().st_mode)
        ):
            raise Fault(
                INTEGRITY,
                f"{names.partial} is not whole, or has no complete record; it was not published",
            )
        record = fresh[0]
        # A file that no record fits is somebody else's, or was never verified: there is no record
        # that could vouch for it while it is replaced, and to leave it would mean that this tag
        # never gets a verified tarball.
        replaced = next((old for old in known if old["sha256"] == held != record["sha256"]), None)
        lay(names, record, replaced)
        names.partial.replace(names.file)
        sync_directory(names.file.parent)
    elif held is None:
        raise Fault(
            REFUSED, f"there is nothing to publish: neither {names.partial} nor {names.file} exists"
        )
    else:
        fitting = [old for old in fresh + known if old["sha256"] == held]
        if not fitting:
            raise Fault(
                INTEGRITY,
                (
                    f"there is no partial of {names.file} to publish, and the file has sha256 "
                    f"{held}, which no record beside it names"
                ),
            )
        record = fitting[0]
    lay(names, record)
    names.remove(names.partial_record, names.note)
    return record


def discard(arguments: argparse.Namespace) -> dict[str, Any]:
    names = Names(arguments.directory, arguments.file)
    return {"removed": names.remove(*names.hidden())}


# Arguments


def matching(pattern: str, what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return text

    return check


file_name = matching(FILE, "the name of a tarball, NAME-TAG.tar.gz")


def file_path(text: str) -> Path:
    return Path(text).with_name(file_name(Path(text).name or "nothing"))


def json_object(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    raise argparse.ArgumentTypeError("the record is not a JSON object")


# Files and records


class Names:
    """Every name that belongs to one tarball. Nothing else in the directory is touched."""

    def __init__(self, directory: Path, file: str) -> None:
        stem = file[: -len(".tar.gz")]
        self.file, self.checksum, self.record = (
            directory / file,
            directory / f"{file}.sha256",
            directory / f"{stem}.json",
        )
        self.partial, self.note, self.partial_record = (
            directory / f".{file}.partial",
            directory / f".{file}.partial.sha256",
            directory / f".{stem}.json.partial",
        )

    def hidden(self) -> list[Path]:
        return [
            self.partial,
            self.note,
            self.partial_record,
            *map(temporary, (self.note, self.partial_record, self.checksum, self.record)),
        ]

    def remove(self, *paths: Path) -> list[str]:
        removed = []
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                removed.append(path.name)
        return removed


def temporary(path: Path) -> Path:
    return path.with_name("." + path.name.lstrip(".") + ".new")


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a regular file; a link, a pipe or a directory under that name is refused,
    never followed.
    """
    try:
        # O_NONBLOCK: to open a pipe would wait for its other end. Regular files do not know it.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise Fault(
            REFUSED,
            f"{path}: "
            + ("is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)),
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise Fault(REFUSED, f"{path} is not a regular file")
    return descriptor


def put(path: Path, text: str) -> None:
    """Replaces a small file: at every moment its old or its new content is there, after a power cut
    too.
    """
    descriptor = open_regular(temporary(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(descriptor, text.encode())
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary(path).replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lay(names: Names, record: dict[str, Any], replaced: dict[str, Any] | None = None) -> None:
    """The sidecars of a tarball. While it takes the place of another one they tell both, so that
    either file under the name has its proof.
    """
    told = [record, replaced] if replaced else [record]
    for path, text in (
        (
            names.record,
            json.dumps(
                {**record, "previous": replaced} if replaced else record, separators=(",", ":")
            )
            + "\n",
        ),
        (names.checksum, "".join(f"{each['sha256']}  {names.file.name}\n" for each in told)),
    ):
        if read_text(path) != text:
            put(path, text)


def keep(names: Names, sink: int, record: dict[str, Any]) -> dict[str, Any]:
    """A verified partial is made ready for `publish`."""
    os.fchmod(sink, 0o644)
    os.fsync(sink)
    ordered = {key: record[key] for key in KEYS}
    put(names.partial_record, json.dumps(ordered, separators=(",", ":")) + "\n")
    names.remove(names.note)
    return ordered


@contextlib.contextmanager
def removing_on_failure(
    names: Names, *, needed: int | None = None, resumable: bool = False
) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not (resumable and isinstance(error, (CutShort, Ended))):
            written = names.partial.lstat().st_size if os.path.lexists(names.partial) else 0
            names.remove(*names.hidden())
            if isinstance(error, OSError) and error.errno in (
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EFBIG,
            ):
                free = free_bytes(names.file.parent)
                want = (
                    f"{needed} bytes are needed: {max(needed - free, 1)} are missing"
                    if needed
                    else f"more than the {written} bytes written so far are needed"
                )
                raise Fault(
                    FAILED,
                    (
                        f"no room left in {names.file.parent} for {names.file.name}: {want}; the "
                        f"partial was removed, now {free} bytes are free"
                    ),
                ) from error
        raise


def free_bytes(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError as error:
        raise Fault(REFUSED, f"{directory}: {error.strerror}") from error
    return found.f_bavail * found.f_frsize


def read_text(path: Path) -> str:
    """Of a small file of ours; empty for anything else."""
    try:
        descriptor = open_regular(path, os.O_RDONLY)
    except Fault:
        return ""
    try:
        return os.read(descriptor, CHUNK_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def records_of(path: Path) -> list[dict[str, Any]]:
    """The record in a sidecar, after it the one of the tarball that it replaces; none that is not
    complete.
    """
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(read_text(path))
        told = (found, found.get("previous")) if isinstance(found, dict) else ()
        return [
            without_previous(record)
            for record in told
            if record is not None and is_complete(record)
        ]
    return []


def without_previous(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "previous"}


def is_complete(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("schema") == 1
        and all(
            re.fullmatch(shape, str(record.get(key))) and isinstance(record[key], str)
            for key, shape in {**SHAPES, **PROOF_SHAPES}.items()
        )
        and all(
            type(record.get(key)) is int and record[key] >= 0 for key in ("size_bytes", "sequence")
        )
        and is_strings(record.get("references"))
        and len(record["references"]) > 0
        and isinstance(record.get("companions"), dict)
        and all(
            isinstance(value, str) and re.fullmatch(IMAGE_ID, value)
            for value in record["companions"].values()
        )
    )


def seed_of(record: dict[str, Any], file: str) -> dict[str, Any]:
    """What the caller has to say of a tarball; the rest is found out, the time too: a plan must not
    differ from minute to minute.
    """
    record = {"created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **record}
    seed = {key: record.get(key) for key in ("tag", "sequence", "created_at", "version")}
    bad = [
        key
        for key, shape in SHAPES.items()
        if not (isinstance(record.get(key), str) and re.fullmatch(shape, record[key]))
    ]
    bad += [] if type(seed["sequence"]) is int and seed["sequence"] >= 0 else ["sequence"]
    if bad or not file.endswith(f"-{seed['tag']}.tar.gz"):
        raise Fault(
            USAGE,
            f"archive.py: the record is not usable: {', '.join(bad) or 'its tag'} does not fit",
        )
    return seed


# Bytes


def chunks_of(descriptor: int, quiet_seconds: float | None = None) -> Iterator[bytes]:
    """Until the end, or until nothing came for so long."""
    with contextlib.suppress(OSError):  # no pipe, or no room for a larger one
        # While we hash, whoever writes into a pipe of 64 KiB waits: a fetch of 195 MB took 1.4 s,
        # and takes 0.9 s like this.
        fcntl.fcntl(descriptor, SET_PIPE_SIZE, CHUNK_BYTES)
    while quiet_seconds is None or select.select([descriptor], [], [], quiet_seconds)[0]:
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


def pump(
    source: Iterable[bytes],
    *,
    sink: int | None = None,
    checker: Checker | None = None,
    sha256: Any = None,
    done: int = 0,
    most: int | None = None,
    silent: bool = False,
) -> tuple[int, str]:
    """Writes, hashes and checks in one pass; returns size and sha256. Tells the progress at most
    twice a second, unless silent.
    """
    sha256 = hashlib.sha256() if sha256 is None else sha256
    told = 0.0
    for chunk in source:
        if checker is not None:
            checker.feed(chunk)
        done += len(chunk)
        if most is not None and done > most:
            raise Fault(INTEGRITY, f"more than the expected {most} bytes arrived")
        if sink is not None:
            write_all(sink, chunk)
        sha256.update(chunk)
        if not silent and time.monotonic() - told > 0.5:
            told = time.monotonic()
            with contextlib.suppress(OSError):
                print(f"@progress {done}", file=sys.stderr, flush=True)
    return done, sha256.hexdigest()


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def inflate(chunks: Iterable[Any]) -> Iterator[bytes]:
    """Gzip of one or several members (pigz), to its very end; raises zlib.error for anything else,
    also behind it.
    """
    member = zlib.decompressobj(31)
    begun = False
    for chunk in chunks:
        begun = True
        while chunk:
            if member.eof:
                member = zlib.decompressobj(31)
            data = member.decompress(chunk, CHUNK_BYTES)
            chunk = member.unused_data if member.eof else member.unconsumed_tail
            if data:
                yield data
    if begun and not member.eof:
        raise zlib.error("it is cut short")


class Checker:
    """Reads an archive's content in a thread of its own: inflating, hashing and writing go on side
    by side.
    """

    def __init__(self, empty: Fault) -> None:
        self.error: BaseException | None = None
        self.content = Content({}, {}, {})
        self.empty = empty
        self.chunks: queue.Queue[bytes] = queue.Queue(4)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def feed(self, chunk: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.chunks.put(chunk)

    def finish(self) -> Content:
        self.chunks.put(b"")
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.content

    def read(self) -> None:
        chunks = iter(self.chunks.get, b"")
        try:
            read_archive(Tar(chunks, self.empty), self.content)
        except BaseException as error:  # told by the thread that feeds
            self.error = error
        for _ in chunks:
            pass


# The archive


class Member(NamedTuple):
    """The hashes of a file in the archive: as it is, and of what is in it if that is gzip."""

    sha256: str
    inner_sha256: str
    is_zstd: bool


class Content(NamedTuple):
    members: dict[str, Member]
    links: dict[str, str]
    documents: dict[str, bytes]


class Tar:
    """The bytes of an uncompressed archive, taken from the front."""

    def __init__(self, compressed: Iterable[bytes], empty: Fault) -> None:
        self.source = self.unpacked(compressed)
        self.buffer = memoryview(b"")
        self.tail = b""
        if not self.more():
            raise empty

    def unpacked(self, compressed: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from inflate(compressed)
        except zlib.error as error:
            raise Fault(INTEGRITY, f"the compressed data is damaged: {error}") from error

    def more(self) -> bool:
        chunk = next(self.source, None)
        if chunk is None:
            return False
        self.tail = (self.tail + chunk[-4096:])[-4096:]
        self.buffer = memoryview(b"".join((self.buffer, chunk)) if self.buffer else chunk)
        return True

    def peek(self, size: int) -> bytes:
        while len(self.buffer) < size and self.more():
            pass
        return bytes(self.buffer[:size])

    def take(self, size: int, what: str) -> bytes:
        taken = self.peek(size)
        if len(taken) < size:
            raise self.broken(f"it ends in {what}")
        self.buffer = self.buffer[size:]
        return taken

    def parts(self, size: int, sha256: Any, what: str) -> Iterator[memoryview]:
        while size:
            if not self.buffer and not self.more():
                raise self.broken(f"it ends in {what}")
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            size -= len(part)
            sha256.update(part)
            yield part

    def broken(self, why: str) -> Fault:
        """docker that fails half-way may write its reason, as JSON, where the archive should go
        on.
        """
        for _ in range(16):
            self.buffer = memoryview(b"")
            if not self.more():
                break
        said = re.search(
            rb'\{"(?:message|error|errorDetail)":.{1,2000}\}\s*\Z', self.tail, re.DOTALL
        )
        return Fault(
            INTEGRITY,
            f"the archive is not whole: {why}"
            + (f"; docker wrote into it: {said[0].decode('utf-8', 'replace')}" if said else ""),
        )


def read_archive(tar: Tar, content: Content) -> None:
    """Strictly, from the first header to the two zero blocks and the zeros behind them (POSIX ustar
    and pax, GNU long names).
    """
    extra: dict[str, str] = {}
    while True:
        block = tar.take(512, "the place of a header")
        if block.count(0) == 512:
            break
        try:
            name, kind, size, link = parse_header(block)
        except ValueError:
            raise tar.broken("there is no header where one should be") from None
        if kind in b"LKx":
            extra.update(long_names(tar, kind, size))
            continue
        name, link, size = (
            extra.get("path", name),
            extra.get("linkpath", link),
            int(extra.get("size", size)),
        )
        extra = {}
        plain = posixpath.normpath(name)
        if (
            name.startswith("/")
            or plain.startswith("..")
            or len(content.members) + len(content.links) > MEMBERS
            or kind not in b"0\x0025"
        ):
            raise tar.broken(f"{name!r} of type {kind!r} does not belong into it")
        if kind == b"2":
            content.links[plain] = posixpath.normpath(
                posixpath.join(posixpath.dirname(plain), link)
            )
        elif kind in b"0\0" and not name.endswith("/"):
            read_member(tar, content, plain, size)
    if extra or tar.take(512, "its end").count(0) != 512:
        raise tar.broken("its end is damaged")
    while tar.buffer or tar.more():
        if tar.buffer.tobytes().strip(b"\0"):
            raise tar.broken("something follows its end")
        tar.buffer = memoryview(b"")


def parse_header(block: bytes) -> tuple[str, bytes, int, str]:
    """Raises ValueError for a block that is no header."""
    if int(block[148:156].strip(b" \0"), 8) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise ValueError("checksum")
    fields = [
        block[start:end].split(b"\0", 1)[0].decode("utf-8", "replace")
        for start, end in ((0, 100), (157, 257), (345, 500))
    ]
    name = f"{fields[2]}/{fields[0]}" if block[257:263] == b"ustar\0" and fields[2] else fields[0]
    size = (
        int.from_bytes(block[125:136], "big")
        if block[124] == 0x80
        else int(block[124:136].strip(b" \0") or b"0", 8)
    )
    if size < 0:
        raise ValueError("size")
    return name, block[156:157], size, fields[1]


def long_names(tar: Tar, kind: bytes, size: int) -> dict[str, str]:
    """What the header after this one is to be read with."""
    if size > NAME_BYTES:
        raise tar.broken("a name in it is too long")
    data = tar.take(size + -size % 512, "a long name")[:size]
    if kind != b"x":
        return {
            "path" if kind == b"L" else "linkpath": data.rstrip(b"\0").decode("utf-8", "replace")
        }
    found = {}
    while data:
        length = re.match(rb"([1-9][0-9]{0,5}) ", data)
        entry = data[: int(length[1])] if length else b""
        key, equals, value = (
            entry[length.end() if length else 0 : -1].decode("utf-8", "replace").partition("=")
        )
        if (
            not entry.endswith(b"\n")
            or not equals
            or key.startswith("GNU.sparse")
            or (key == "size" and not re.fullmatch("[0-9]{1,18}", value))
        ):
            raise tar.broken("an extended header in it is damaged")
        found[key] = value
        data = data[len(entry) :]
    return found


def read_member(tar: Tar, content: Content, name: str, size: int) -> None:
    """Hashes a file as it streams by; keeps it only where it is JSON that the verdict needs."""
    whole, inner = hashlib.sha256(), hashlib.sha256()
    magic = tar.peek(4) if size >= 4 else b""
    parts = tar.parts(size, whole, name)
    is_index = name in ("manifest.json", "index.json", "oci-layout")
    if is_index and size > DOCUMENT_BYTES:
        raise tar.broken(f"{name} has {size} bytes, which is no {name}")
    if is_index or (magic[:1] == b"{" and size <= DOCUMENT_BYTES):
        data = b"".join(parts)
        if is_index or b'"diff_ids"' in data or b'"schemaVersion"' in data:
            if (
                name not in content.documents
                and sum(map(len, content.documents.values())) + size > DOCUMENTS_BYTES
            ):
                raise tar.broken("there is more JSON in it than any image has")
            content.documents[name] = data
    is_gzip = magic[:2] == b"\x1f\x8b"
    if is_gzip:
        try:
            for data in inflate(parts):
                inner.update(data)
        except zlib.error:
            is_gzip = False  # then it is judged by the bytes as they are
    for _ in parts:
        pass
    tar.take(-size % 512, name)
    member = Member(
        whole.hexdigest(), inner.hexdigest() if is_gzip else "", magic == b"\x28\xb5\x2f\xfd"
    )
    if name in content.links or content.members.setdefault(name, member) != member:
        raise tar.broken(f"{name} is in it twice, with different content")
    if re.fullmatch("blobs/sha256/[0-9a-f]{64}", name) and not name.endswith(member.sha256):
        raise Fault(INTEGRITY, f"{name} in the archive is damaged: its sha256 is {member.sha256}")


# The verdict


class Image(NamedTuple):
    image_id: str
    platform: str
    diff_ids: list[str]
    spelled: str
    """The reference, as the archive spells it."""


def judge(content: Content, expected: list[str]) -> dict[str, Image]:
    """The images of an archive by their full references; raises Fault unless they are whole, and
    the expected ones.
    """
    images: dict[str, Image] = {}
    if "manifest.json" not in content.documents:
        raise Fault(
            INTEGRITY,
            "the archive has no manifest.json: it was cut short, or is no archive of docker save",
        )
    for entry in strict(content, "manifest.json", list):
        path = posixpath.normpath(field(entry, "Config", str, "manifest.json"))
        configuration = strict(content, path, dict)
        hexadecimal = hashlib.sha256(content.documents[path]).hexdigest()
        if re.search(r"(^|/)[0-9a-f]{64}(\.json)?$", path) and hexadecimal not in path:
            raise Fault(
                INTEGRITY,
                f"the configuration {path} is not what its name says: its sha256 is {hexadecimal}",
            )
        diff_ids = strings(field(configuration, "rootfs", dict, path), "diff_ids", path)
        check_layers(
            content,
            [posixpath.normpath(layer) for layer in strings(entry, "Layers", "manifest.json")],
            diff_ids,
        )
        system, architecture = (
            field(configuration, key, str, path) for key in ("os", "architecture")
        )
        platform = f"{system}/{architecture}"
        tags = strings(entry, "RepoTags", "manifest.json")
        for tag in tags:
            image = Image(f"sha256:{hexadecimal}", platform, diff_ids, tag)
            if images.setdefault(canonical(tag), image).image_id != image.image_id:
                raise Fault(INTEGRITY, f"two images in the archive are called {tag}")
        if not tags:
            raise Fault(
                INTEGRITY,
                f"the image {path} in the archive has no RepoTags, so an import would not name it",
            )
    if not images or (expected and {canonical(name) for name in expected} != set(images)):
        raise Fault(
            INTEGRITY,
            (
                f"the archive names "
                f"{', '.join(sorted(image.spelled for image in images.values())) or 'no image'}; "
                f"expected was {', '.join(sorted(expected)) or 'one at least'}"
            ),
        )
    if "index.json" in content.documents or "oci-layout" in content.documents:
        check_index(content, images)
    return images


def check_layers(content: Content, paths: list[str], diff_ids: list[str]) -> None:
    if len(paths) != len(diff_ids):
        raise Fault(
            INTEGRITY,
            f"the archive has {len(paths)} layers, the configuration names {len(diff_ids)}",
        )
    for position, diff_id in enumerate(diff_ids):
        path = paths[position]
        member = content.members.get(
            content.links.get(path, path)
        )  # one link deep, as docker makes them and containerd follows them
        if member is None:
            raise Fault(
                INTEGRITY,
                f"layer {position + 1} of {len(diff_ids)}, {path}, is missing from the archive",
            )
        if diff_id not in (f"sha256:{member.sha256}", f"sha256:{member.inner_sha256}"):
            why = (
                "is compressed with zstd, which cannot be verified here"
                if member.is_zstd
                else f"is not what the configuration says: expected {diff_id}"
            )
            raise Fault(INTEGRITY, f"layer {position + 1} of {len(diff_ids)}, {path}, {why}")


def check_index(content: Content, images: dict[str, Image]) -> None:
    """Where there is an index.json containerd reads it in place of manifest.json: both must say the
    same.
    """
    named: dict[str, set[str]] = {}
    for entry in field(strict(content, "index.json", dict), "manifests", list, "index.json"):
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        name = (
            annotations.get("io.containerd.image.name") if isinstance(annotations, dict) else None
        )
        if isinstance(name, str):
            named.setdefault(canonical(name), set()).update(
                reached(content, field(entry, "digest", str, "index.json"), images)
            )
    wrong = sorted(set(named) ^ set(images)) or [
        name for name in images if images[name].image_id not in named[name]
    ]
    if wrong:
        raise Fault(
            INTEGRITY,
            f"index.json and manifest.json of the archive differ about {', '.join(wrong)}",
        )


def reached(content: Content, digest: str, images: dict[str, Image], depth: int = 0) -> set[str]:
    """The image IDs that a digest leads to, through an index and manifests that are in the
    archive.
    """
    path = "blobs/" + digest.replace(":", "/", 1)
    if path not in content.documents or depth > 3:
        return set()
    document, found = strict(content, path, dict), set()
    for child in document["manifests"] if isinstance(document.get("manifests"), list) else []:
        found |= reached(content, field(child, "digest", str, path), images, depth + 1)
    if isinstance(document.get("config"), dict) and "layers" in document:
        configuration = field(document["config"], "digest", str, path)
        image = next((image for image in images.values() if image.image_id == configuration), None)
        if image is not None:
            layers = field(document, "layers", list, path)
            check_layers(
                content,
                [
                    "blobs/" + field(layer, "digest", str, path).replace(":", "/", 1)
                    for layer in layers
                ],
                image.diff_ids,
            )
            found.add(configuration)
    return found


def confirm(
    content: Content, images: dict[str, Image], *, told: dict[str, str], wanted: dict[str, str]
) -> None:
    """The archive holds the images that docker and the registry tell."""
    for name, image in images.items():
        if wanted.get(name, image.image_id) != image.image_id:
            raise Fault(
                INTEGRITY,
                (
                    f"{image.spelled} in the archive is {image.image_id}, the registry's is "
                    f"{wanted[name]}"
                ),
            )
        # With containerd's store docker tells the digest of a manifest or an index. An index that
        # `--platform` left out of the archive leads nowhere: there the registry's word, the
        # configuration itself, is the proof.
        if (
            told[name] != image.image_id
            and image.image_id not in reached(content, told[name], images)
            and name not in wanted
        ):
            raise Fault(
                INTEGRITY,
                f"{image.spelled} in the archive is {image.image_id}, docker's is {told[name]}",
            )


def describe(
    images: dict[str, Image], references: list[str], companions: list[str]
) -> dict[str, Any]:
    """The part of a record that an archive itself tells."""
    spelled = {name: image.spelled for name, image in images.items()}
    spelled.update({canonical(name): name for name in references + companions})
    mains = [canonical(name) for name in references] or sorted(images)
    if len({images[name].image_id for name in mains}) > 1:
        raise Fault(
            INTEGRITY,
            (
                f"{', '.join(spelled[name] for name in mains)} are different images; one image "
                f"is expected, and the others as --companion"
            ),
        )
    image = images[mains[0]]
    others = {
        spelled[name]: other.image_id for name, other in sorted(images.items()) if name not in mains
    }
    return {
        "references": [spelled[name] for name in mains],
        "image_id": image.image_id,
        "companions": others,
        "platform": image.platform,
    }


def canonical(name: str) -> str:
    """The full form of a reference: docker writes `busybox:1` for `docker.io/library/busybox:1`,
    and containerd the other way round.
    """
    name = name if ":" in name.rpartition("/")[2] else name + ":latest"
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    if host in ("docker.io", "index.docker.io"):
        return "docker.io/" + (rest if "/" in rest else "library/" + rest)
    return f"{host}/{rest}"


def asked_of_docker(docker: str, name: str) -> str:
    try:
        ended = subprocess.run(
            [docker, "image", "inspect", "--format", "{{.Id}}", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Fault(
            REFUSED,
            (
                f"{docker} does not run here: "
                f"{getattr(error, 'strerror', None) or 'it did not answer in 60 seconds'}"
            ),
        ) from error
    told = ended.stdout.decode("utf-8", "replace").strip()
    if ended.returncode or not re.fullmatch(IMAGE_ID, told):
        raise Fault(
            REFUSED,
            (
                f"docker does not tell the image ID of {name}: "
                f"{ended.stderr.decode('utf-8', 'replace').strip() or told}"
            ),
        )
    return told


def strict(content: Content, name: str, kind: type) -> Any:
    """A JSON document of the archive."""
    if name not in content.documents:
        raise Fault(INTEGRITY, f"{name} is missing from the archive, or no JSON of a usual size")
    try:
        found = json.loads(content.documents[name])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        raise Fault(INTEGRITY, f"{name} in the archive is not the JSON that it should be")
    return found


def field(value: Any, key: str, kind: type, where: str) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return found


def strings(value: Any, key: str, where: str) -> list[str]:
    found = (
        [] if isinstance(value, dict) and value.get(key) is None else field(value, key, list, where)
    )
    if not is_strings(found):
        raise Fault(INTEGRITY, f"{where} in the archive has no usable {key}")
    return list(found)


def is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def normal(value: Any) -> Any:
    """For comparison: references in any order and either spelling."""
    if isinstance(value, list):
        return sorted(map(canonical, value))
    return (
        {canonical(name): digest for name, digest in value.items()}
        if isinstance(value, dict)
        else value
    )


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def inert(text: str) -> str:
    """Text from elsewhere is data: no control characters, no line ends, no megabytes."""
    return "".join(character if character.isprintable() else " " for character in text)[:2000]


# Life and death


def end(number: int, _frame: object) -> NoReturn:
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # cleaning up is not to be cut short
    raise Ended(number)


def die_with_the_caller(lifeline: int) -> None:
    """docker, the compressor and we end when whoever started us is gone: its end of the lifeline
    closes, or is silent for too long.
    """
    with contextlib.suppress(OSError):
        while select.select([lifeline], [], [], SILENCE_SECONDS)[0] and os.read(lifeline, 4096):
            pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(5)  # for removing the partial
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
