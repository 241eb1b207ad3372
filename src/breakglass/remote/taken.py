"""What an import takes from a node besides the image: recorded before it is taken, and given back:
`taken.py read|begin|insert|put_back|end DIRECTORY ...`.

The record is DIRECTORY/.breakglass.json: `{"schema": 1, "namespace": ..., "files": {PATH:
{"original": {...} or null, "made": [directories], "written": text}}}`. Results go to stdout as one
line of JSON, a failure to stderr as one sentence, with the exit codes of breakglass. Python 3.8 or
newer, standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

USAGE, FAILED = 2, 4
RECORD = ".breakglass.json"
RESPONDER = ".breakglass-responder.py"
MARK = "# added by breakglass"
"""What the first line that we put into a file begins with."""
MOST_BYTES = 1 << 20


class Fault(Exception):
    """An expected failure: its exit code, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def main(argv: list[str]) -> int:
    try:
        arguments = parse(argv)
        print(json.dumps(arguments.run(arguments), separators=(",", ":")), flush=True)
        return 0
    except Fault as fault:
        status, sentence = fault.status, fault.sentence
    except OSError as error:
        status, sentence = FAILED, f"{error.filename or 'reading or writing'}: {error.strerror}"
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return status


def parse(argv: list[str]) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise Fault(USAGE, f"taken.py: {message}")

    parser = Parser(
        prog="taken.py",
        allow_abbrev=False,
        description="Record what is taken from a node, and give it back.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run: Any, what: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            run.__name__, help=what, description=what, allow_abbrev=False
        )
        added.set_defaults(run=run)
        added.add_argument("directory", type=absolute, metavar="DIRECTORY")
        return added

    added = command(
        read,
        (
            "the record, the files that it names and, with --registry, how containerd finds its "
            "registries; changes nothing"
        ),
    )
    added.add_argument(
        "--certs",
        required=True,
        type=absolute,
        metavar="DIRECTORY",
        help="containerd's config_path",
    )
    added.add_argument(
        "--registry", action="append", default=[], metavar="HOST[:PORT]", type=registry
    )
    added.epilog = "after --: how containerd's client is called"
    added = command(begin, "a record, where there is none")
    added.add_argument(
        "--namespace",
        required=True,
        type=matching(r"[A-Za-z0-9._-]{1,76}", "a namespace"),
        help="of containerd, where names of ours are",
    )
    added = command(
        insert, "lines into a file, or into a new one; what was there is recorded first"
    )
    added.add_argument("file", type=absolute, metavar="FILE")
    added.add_argument(
        "--onto",
        required=True,
        type=matching("absent|[0-9a-f]{64}", "a sha256, or absent"),
        metavar="SHA256",
        help="of the file as it has to be now, or `absent`",
    )
    added.add_argument(
        "--copy",
        type=absolute,
        metavar="FILE",
        help="the file is new, and a copy of this one, of which --onto then tells the sha256",
    )
    added.add_argument(
        "--before",
        required=True,
        type=matching("[1-9][0-9]{0,5}|end", "the number of a line, or end"),
        metavar="LINE",
        help="the first line has number 1",
    )
    added.epilog = "after --: the lines"
    added = command(
        put_back,
        "a file as it was before insert; one that was edited, replaced or deleted since is left",
    )
    added.add_argument("file", type=absolute, metavar="FILE")
    added.add_argument(
        "--although-gone", action="store_true", help="one that was deleted comes back"
    )
    command(end, "the record goes, once all is given back")
    at = argv.index("--") if "--" in argv else len(argv)
    arguments = parser.parse_args(argv[:at])
    arguments.rest = argv[at + 1 :]
    return arguments


# The commands


def read(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    files = sorted(record["files"]) if record else []
    found: dict[str, Any] = {
        "record": record,
        "responder": any(
            os.path.lexists(arguments.directory / name) for name in (RESPONDER, f"{RESPONDER}.new")
        ),
        "now": {path: now_of(Path(path)) for path in files},
    }
    found["strays"] = [
        str(file)
        for file in sorted(arguments.certs.glob("*/hosts.toml"))
        if os.path.realpath(file) not in files and is_marked(file)
    ]
    if not arguments.registry:
        return found
    sites = {
        name: site(arguments.certs, name, record["files"] if record else {})
        for name in arguments.registry
    }
    return {
        **found,
        "sites": sites,
        "containerd": containerd(arguments.certs),
        "content": content(arguments.rest),
    }


def is_marked(path: Path) -> bool:
    try:
        return MARK in (text_of(path) or "")
    except (OSError, Fault):
        return False


def now_of(path: Path) -> str | None:
    """A file that cannot be read is not as we wrote it: it counts as edited."""
    try:
        return text_of(path)
    except (OSError, Fault):
        return MARK


def begin(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    if record is None or record["namespace"] is None:
        record = {"schema": 1, "namespace": arguments.namespace, "files": {}}
        save(arguments.directory, record)
    return {"files": sorted(record["files"])}


def insert(arguments: argparse.Namespace) -> dict[str, Any]:
    record, path = require(arguments.directory), arguments.file
    if path.is_symlink():
        raise Fault(FAILED, f"{path} is a symbolic link now; it was not touched")
    now = text_of(path)
    source = arguments.copy or path
    base = text_of(source)
    if ("absent" if base is None else sha256(base)) != arguments.onto or (
        arguments.copy and now is not None
    ):
        raise Fault(FAILED, f"{source} has changed since it was read; nothing was touched")
    if base is not None and MARK in base:
        raise Fault(FAILED, f"{source} holds lines of breakglass already; nothing was touched")
    lines = [f"{line}\n" for line in (base or "").split("\n")]
    if lines[-1] == "\n":
        lines.pop()
    at = len(lines) if arguments.before == "end" else min(int(arguments.before) - 1, len(lines))
    written = "".join([*lines[:at], *(f"{line}\n" for line in arguments.rest), *lines[at:]])
    entry: dict[str, Any] = {
        "original": None,
        "made": [str(directory) for directory in missing(path.parent)],
        "written": written,
    }
    mode, owner, group = 0o644, os.geteuid(), os.getegid()
    if base is not None:
        status = source.stat()
        mode, owner, group = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
    if now is not None:
        entry["original"] = {
            "text": now,
            "mode": mode,
            "uid": owner,
            "gid": group,
            "mtime_ns": status.st_mtime_ns,
        }
    else:
        # A run that was cut short has made them, and they are still to go.
        entry["made"] = [*record["files"].get(str(path), {}).get("made", []), *entry["made"]]
    record["files"][str(path)] = entry
    save(arguments.directory, record)
    make(path.parent)
    replace(path, written, mode=mode, owner=owner, group=group)
    return {"file": str(path)}


def put_back(arguments: argparse.Namespace) -> dict[str, Any]:
    record, path = require(arguments.directory), arguments.file
    entry = record["files"].get(str(path))
    if entry is None:
        return {"file": str(path), "put_back": False}
    original, now = entry["original"], text_of(path)
    was = original["text"] if original else None
    ours = now == entry["written"] or (now is None and arguments.although_gone)
    if not ours and now != was:
        raise Fault(
            FAILED,
            (
                f"{path} was {'deleted' if now is None else 'edited'} after breakglass wrote it; "
                f"it was left as it is"
            ),
        )
    hidden = partial(path)
    if ours and original is None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    elif ours:
        make(path.parent)
        replace(
            path,
            original["text"],
            mode=original["mode"],
            owner=original["uid"],
            group=original["gid"],
            mtime_ns=original["mtime_ns"],
        )
    with contextlib.suppress(FileNotFoundError):
        hidden.unlink()
    for directory in reversed(entry["made"]):
        # Somebody else may have put something there.
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
    if path.parent.is_dir():
        sync(path.parent)
    del record["files"][str(path)]
    # A directory that another file of ours is still in goes with that one.
    left = [directory for directory in entry["made"] if Path(directory).is_dir()]
    for other, its in record["files"].items():
        its["made"] = [
            *(
                directory
                for directory in left
                if other.startswith(f"{directory}/") and directory not in its["made"]
            ),
            *its["made"],
        ]
    save(arguments.directory, record)
    return {"file": str(path), "put_back": ours}


def end(arguments: argparse.Namespace) -> dict[str, Any]:
    record = load(arguments.directory)
    if record and record["files"]:
        raise Fault(FAILED, f"not given back yet: {', '.join(sorted(record['files']))}")
    for name in (RECORD, f"{RECORD}.partial"):
        with contextlib.suppress(FileNotFoundError):
            (arguments.directory / name).unlink()
    sync(arguments.directory)
    return {}


# What is there


def site(certs: Path, name: str, files: dict[str, Any]) -> dict[str, Any]:
    """Where containerd looks for a registry's hosts: the first of these directories that exists
    (containerd, remotes/docker/config/hosts.go).

    `default`, `ca` and `client` are what counts there without us.
    """
    made = {directory for entry in files.values() for directory in entry["made"]}
    host, colon, port = name.rpartition(":")
    own = [f"{host}_{port}_"] if colon and port.isdigit() else []
    used = next(
        (
            certs / each
            for each in (*own, name, "_default")
            if (certs / each).exists() and os.path.realpath(certs / each) not in made
        ),
        None,
    )
    directory = used if used is not None and used.name != "_default" else certs / name
    listed = Path(os.path.realpath(directory / "hosts.toml"))
    linked = listed != Path(os.path.realpath(certs)) / directory.name / "hosts.toml"
    found: dict[str, Any] = {
        "file": str(listed),
        "linked": linked,
        "text": None,
        "default": None,
        "default_file": "",
        "ca": [],
        "client": [],
        "fault": "",
    }
    try:
        found["text"] = without_us = text_of(listed)
        entry = files.get(str(listed))
        if entry is not None and without_us == entry["written"]:
            without_us = entry["original"]["text"] if entry["original"] else None
        if used is not None and used.name == "_default" and without_us is None:
            found["default_file"] = os.path.realpath(used / "hosts.toml")
            found["default"] = text_of(Path(found["default_file"]))
        if used is not None and not used.is_dir():
            found["fault"] = f"{used} is no directory"
        elif (
            used is not None
            and "[" not in re.sub("#.*", "", without_us or "")
            and not found["default"]
        ):
            found["ca"] = sorted(str(file) for file in used.glob("*.crt"))
            found["client"] = [
                [str(file), str(file.with_suffix(".key"))]
                for file in sorted(used.glob("*.cert"))
                if file.with_suffix(".key").exists()
            ]
    except (OSError, Fault) as error:
        found["fault"] = (
            error.sentence if isinstance(error, Fault) else f"{error.filename}: {error.strerror}"
        )
    return found


def containerd(certs: Path) -> dict[str, Any]:
    """Its configuration: what it makes of the file beside its config_path, else of its default one;
    and whether that file is newer than the process.
    """
    file = certs.parent / "config.toml"
    options = ["--config", str(file)] if file.is_file() else []
    try:
        ended = subprocess.run(
            ["containerd", *options, "config", "dump"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
        text, fault = (
            ended.stdout.decode("utf-8", "replace"),
            ended.stderr.decode("utf-8", "replace").strip()[-300:] if ended.returncode else "",
        )
    except (OSError, subprocess.SubprocessError) as error:
        text, fault = "", str(error)
    if not text and file.is_file():
        text, fault = file.read_text("utf-8", "replace"), ""
    return {
        "configuration": text,
        "fault": fault,
        "file": str(file),
        "newer": bool(options) and newer_than_containerd(file),
    }


def newer_than_containerd(file: Path) -> bool:
    """Whether a file was changed after the last containerd of this mount namespace has started."""
    started = []
    boot = int(
        next(
            (
                line.split()[1]
                for line in Path("/proc/stat").read_text().splitlines()
                if line.startswith("btime")
            ),
            "0",
        )
    )
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            is_containerd = (process / "comm").read_text().strip() == "containerd"
            # These links lead nowhere: their texts name the mount namespace.
            theirs = os.readlink(process / "ns/mnt")  # noqa: PTH115
            if is_containerd and theirs == os.readlink("/proc/self/ns/mnt"):  # noqa: PTH115
                ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
                started.append(boot + ticks / os.sysconf("SC_CLK_TCK"))
    # The clock of processes and that of files differ by up to a second.
    return bool(started) and file.stat().st_mtime > max(started) + 2


def content(ctr: list[str]) -> str | None:
    """Where the content store is, as the running containerd tells."""
    if not ctr:
        return None
    try:
        ended = subprocess.run(
            [*ctr, "plugins", "ls", "-d", "id==content"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(
        r"^\s+root\s+(/.*\S)\s*$", ended.stdout.decode("utf-8", "replace"), re.MULTILINE
    )
    return found[1] if found else None


# Arguments


def matching(pattern: str, what: str) -> Any:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return text

    return check


registry = matching(
    r"[A-Za-z0-9_][A-Za-z0-9._-]*(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?",
    "a registry's host, with its port",
)


def absolute(text: str) -> Path:
    if not text.startswith("/") or os.path.normpath(text) != text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path")
    return Path(text)


# Files and the record


def load(directory: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((directory / RECORD).read_bytes())
        if (
            record["schema"] != 1
            or not isinstance(record["namespace"], str)
            or not all(
                path.startswith("/") and is_entry(entry) for path, entry in record["files"].items()
            )
        ):
            raise ValueError("unknown")
    except (FileNotFoundError, NotADirectoryError):
        # One that was cut short in its very first writing: nothing had been taken yet.
        return (
            {"schema": 1, "namespace": None, "files": {}}
            if os.path.lexists(directory / f"{RECORD}.partial")
            else None
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Fault(
            FAILED,
            (
                f"{directory / RECORD} cannot be read: it is damaged, or of another version of "
                f"breakglass"
            ),
        ) from None
    found: dict[str, Any] = record
    return found


def is_entry(entry: dict[str, Any]) -> bool:
    original = entry["original"]
    kinds = {"text": str, "mode": int, "uid": int, "gid": int, "mtime_ns": int}
    is_original = original is None or (
        original.keys() == kinds.keys()
        and all(type(original[key]) is kind for key, kind in kinds.items())
    )
    return (
        is_original
        and isinstance(entry["written"], str)
        and isinstance(entry["made"], list)
        and all(isinstance(each, str) and each.startswith("/") for each in entry["made"])
    )


def require(directory: Path) -> dict[str, Any]:
    record = load(directory)
    if record is None:
        raise Fault(FAILED, f"{directory / RECORD} is gone: nothing was changed")
    return record


def save(directory: Path, record: dict[str, Any]) -> None:
    """On the disk before whatever it speaks of."""
    hidden = directory / f"{RECORD}.partial"
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(descriptor)
    hidden.replace(directory / RECORD)
    sync(directory)


def text_of(path: Path) -> str | None:
    """None: there is no such file."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > MOST_BYTES:
        raise Fault(FAILED, f"{path} is larger than a file of that kind is")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(FAILED, f"{path} is not UTF-8") from None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def missing(directory: Path) -> list[Path]:
    """The directories that have to be made, the outermost first."""
    return [*missing(directory.parent), directory] if not directory.exists() else []


def make(directory: Path) -> None:
    for each in missing(directory):
        each.mkdir()
        each.chmod(0o755)


def partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.breakglass")


def replace(
    path: Path, text: str, *, mode: int, owner: int, group: int, mtime_ns: int | None = None
) -> None:
    """In one rename: containerd reads the file at every pull."""
    hidden = partial(path)
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        if (os.fstat(descriptor).st_uid, os.fstat(descriptor).st_gid) != (owner, group):
            os.fchown(descriptor, owner, group)
        os.fchmod(descriptor, mode)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(time.time_ns(), mtime_ns))
        os.fsync(descriptor)
    hidden.replace(path)
    sync(path.parent)


def sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
