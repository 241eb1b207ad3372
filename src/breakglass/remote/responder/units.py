"""The responder as an enabled unit of systemd, so that it is there again after a reboot.

Where /etc is read-only (NixOS), the unit file lies in /run and lasts until the next reboot.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from breakglass.remote.faults import FAILED, REFUSED, Fault
from breakglass.remote.files import sync_directory
from breakglass.remote.responder.programs import last_line, run
from breakglass.remote.responder.waiting import START_SECONDS, STOP_SECONDS, ticks

SYSTEMD = "/run/systemd/system"
LASTING, PASSING = "/etc/systemd/system", SYSTEMD
"""Where unit files of the administrator lie: for good, and until the next reboot."""
UNIT = "breakglass-responder.service"
MARK = "# Written by breakglass. `breakglass restore` removes this file."


def start_unit(script: str, line: Sequence[str], is_up: Callable[[], bool]) -> None:
    """The unit is written, enabled and started. The caller has ended what ran before."""
    text = unit_text(script, line)
    try:
        _write(LASTING, text)
        is_lasting = True
    except OSError:
        # What is read-only here may be writable in /run; else that is the fault to report.
        _write(PASSING, text)
        is_lasting = False
    _systemctl("daemon-reload")
    _systemctl(*(("enable", "--quiet", "--now") if is_lasting else ("start",)), UNIT)
    if not any(is_up() for _ in ticks(START_SECONDS)):
        raise Fault(
            FAILED,
            (
                f"{UNIT} does not answer after {START_SECONDS:.0f} seconds, so it was "
                f"ended; journalctl -u {UNIT} says why"
            ),
        )


def end_unit(script: str, processes: list[int]) -> None:
    """The unit of this script is stopped, disabled and removed; another's is left alone."""
    files = unit_files(script)
    if not files and not is_unit_of(script, processes):
        return
    if _is_known(shown()):
        _systemctl("stop", UNIT)
    if posixpath.join(LASTING, UNIT) in files:
        _systemctl("disable", "--quiet", UNIT)
    for file in files:
        os.unlink(file)  # noqa: PTH108 (paths are text here)
        sync_directory(posixpath.dirname(file))
    if files:
        _systemctl("daemon-reload")
    # It fails where there is nothing left to reset.
    run("systemctl", "reset-failed", UNIT)
    # Else the name may still be taken for the next unit.
    any(shown()["LoadState"] != "loaded" for _ in ticks(STOP_SECONDS))


def refuse_foreign_unit(script: str, processes: list[int]) -> None:
    """Raises Fault where systemd knows a unit of this name that does not serve from this script."""
    found = foreign_unit(script, processes)
    if found:
        raise Fault(
            REFUSED,
            f"systemd has a unit {UNIT} that breakglass did not write for {script}: {found}",
        )


def foreign_unit(script: str, processes: list[int]) -> str:
    """The file of such a unit; empty: the name is free, or the unit is this script's."""
    for directory in (LASTING, PASSING):
        file = posixpath.join(directory, UNIT)
        if os.path.lexists(file) and file not in unit_files(script):
            return file
    unit = shown()
    if unit_files(script) or not _is_known(unit) or is_unit_of(script, processes):
        return ""
    return unit["FragmentPath"] or UNIT


def survives_reboot(script: str) -> bool:
    """Whether systemd starts this script's responder when the host boots."""
    return (
        posixpath.join(LASTING, UNIT) in unit_files(script)
        and run("systemctl", "is-enabled", "--quiet", UNIT).returncode == 0
    )


def unit_files(script: str) -> list[str]:
    """The unit files that breakglass wrote for this script."""
    files = (posixpath.join(directory, UNIT) for directory in (LASTING, PASSING))
    return [file for file in files if _is_for(file, script)]


def unit_text(script: str, line: Sequence[str]) -> str:
    """As systemd.unit(5) and systemd.service(5) have it."""
    # Without a limit of starts: at boot the content store may be mounted late.
    # The condition: when the script was removed by hand, nothing is started any more.
    return f"""{MARK}
[Unit]
Description=breakglass serves the image on loopback
ConditionPathExists={script.replace("%", "%%")}
StartLimitIntervalSec=0

[Service]
ExecStart={" ".join(map(quoted, line))}
Restart=always
RestartSec=1
MemoryMax=64M

[Install]
WantedBy=multi-user.target
"""


def quoted(argument: str) -> str:
    """An argument as ExecStart has it: no variable, no specifier, no escape."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    escaped = escaped.replace("%", "%%")
    return escaped if re.fullmatch(r"[A-Za-z0-9/._+:=@%$-]+", escaped) else f'"{escaped}"'


def is_unit_of(script: str, processes: list[int]) -> bool:
    unit = shown()
    if unit["LoadState"] != "loaded":
        return False
    process = int(unit["MainPID"] or 0)
    return (
        process in processes
        or f" {script} responder serve " in unit["ExecStart"]
        or not (process or processes or unit["ExecStart"])
    )


def shown() -> dict[str, str]:
    properties = run(
        "systemctl", "show", "--property=LoadState,MainPID,ExecStart,FragmentPath", UNIT
    ).stdout.decode("utf-8", "replace")
    return {
        "LoadState": "",
        "MainPID": "",
        "ExecStart": "",
        "FragmentPath": "",
        **dict(line.partition("=")[::2] for line in properties.splitlines()),
    }


def has_systemd() -> bool:
    """Whether systemd runs this host, as sd_booted(3) finds out, and can be asked for a unit."""
    return Path(SYSTEMD).is_dir() and any(
        os.access(posixpath.join(each, "systemctl"), os.X_OK) for each in os.get_exec_path()
    )


def _is_known(unit: dict[str, str]) -> bool:
    return unit["LoadState"] not in ("", "not-found")


def _is_for(file: str, script: str) -> bool:
    try:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return False
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return text.startswith(MARK) and f" {quoted(script)} responder serve " in text


def _write(directory: str, text: str) -> None:
    """The unit file, in one rename."""
    file = posixpath.join(directory, UNIT)
    hidden = posixpath.join(directory, f".{UNIT}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(hidden)  # noqa: PTH108
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(hidden, flags, 0o600), "w", encoding="utf-8") as written:
        written.write(text)
        os.fchmod(written.fileno(), 0o644)
        written.flush()
        os.fsync(written.fileno())
    os.rename(hidden, file)  # noqa: PTH104
    sync_directory(directory)


def _systemctl(*arguments: str) -> None:
    ended = run("systemctl", *arguments)
    if ended.returncode:
        raise Fault(
            FAILED,
            (
                f"systemctl {' '.join(arguments)} failed: "
                f"{_reason(ended.stderr) or f'exit code {ended.returncode}'}"
            ),
        )


def _reason(stderr: bytes) -> str:
    """The last line that does not only say where the log is."""
    lines = stderr.strip().split(b"\n")
    reasons = [line for line in lines if not line.startswith(b"See system logs")]
    return last_line(b"\n".join(reasons))
