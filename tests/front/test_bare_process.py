"""Started with less than a process usually has: no standard input, a working directory that is
gone, a locale of ASCII, a user without a name and a home. It works, or it says in one sentence why
not.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.sandbox.environment import TAG, VM
from breakglass.ssh import SECRETS
from tests.front.world import World

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


def _type(
    world: World, line: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `breakglass` is the program."""
    return subprocess.run(
        ["sh", "-c", f'breakglass() {{ "$PYTHON" -m breakglass "$@"; }}; {line}'],
        env={
            **world.environment.variables(),
            "HOME": str(world.directory),
            "PYTHON": sys.executable,
            **(environ or {}),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_without_standard_input_a_question_is_answered_by_naming_the_flag(world: World) -> None:
    world.bring_in("k8s-node1")
    ended = _type(world, "breakglass pin k8s-node1 <&-")
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert "there is no terminal to ask on" in ended.stderr
    assert world.cordoned() == []


@pytest.mark.parametrize("closed", [pytest.param("<&-", marks=pytest.mark.slow), "<&- >&- 2>&-"])
def test_without_standard_streams_a_snapshot_is_taken_all_the_same(
    world: World, closed: str
) -> None:
    ended = _type(world, f"breakglass snapshot --tag {TAG} {closed}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert world.done("snapshot", "--tag", TAG)["changed"] is False


GONE = 'mkdir "$HOME/gone" && cd "$HOME/gone" && rmdir "$HOME/gone"'


def test_in_a_deleted_directory_it_works_with_a_configuration_that_is_elsewhere(
    world: World,
) -> None:
    ended = _type(world, f"{GONE}; breakglass check")
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr


def test_in_a_deleted_directory_it_says_that_no_configuration_is_there(world: World) -> None:
    ended = _type(world, f"{GONE}; breakglass --config mine.yaml check")
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(
        "breakglass: usage: --config names '(the deleted working directory)/mine.yaml'"
    )


def test_in_a_locale_of_ascii_a_reason_with_an_umlaut_arrives_whole(world: World) -> None:
    world.bring_in("k8s-node1")
    ended = _type(world, "breakglass pin k8s-node1 --yes --reason 'Störung'", ASCII)
    assert (ended.returncode, ended.stdout.isascii()) == (0, True), ended.stderr
    status = _type(world, "breakglass status", ASCII)
    assert (status.returncode, r"St\xf6rung" in status.stdout) == (0, True), status.stderr
    (pin,) = {
        node["metadata"]["annotations"]["breakglass/pinned"]
        for name, node in world.nodes().items()
        if name in world.cordoned()
    }
    assert json.loads(pin)["reason"] == "Störung"


def test_in_a_locale_of_ascii_a_name_with_an_umlaut_is_refused_in_a_sentence(world: World) -> None:
    ended = _type(world, "breakglass pin nöde; breakglass --config /nö.yaml check", ASCII)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert r"'n\xf6de' is not a node's name" in ended.stderr
    assert r"--config names '/n\xf6.yaml'" in ended.stderr


NOT_TERMINALS = ("0", "-5", "99999999999999999999", "wide", "\u0663", " 80", "")


@pytest.mark.parametrize(
    "columns",
    [NOT_TERMINALS[2], *(pytest.param(each, marks=pytest.mark.slow) for each in NOT_TERMINALS)],
)
def test_a_terminal_of_an_impossible_size_is_one_of_the_usual_size(
    world: World, columns: str
) -> None:
    size = {"COLUMNS": columns, "LINES": columns}
    ended = _type(world, "breakglass --help && breakglass check", size)
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr
    assert max(map(len, ended.stdout.partition("forgejo: serves")[0].splitlines())) <= 80


def test_a_low_limit_of_open_files_is_raised_and_where_it_cannot_be_that_is_said(
    world: World,
) -> None:
    raised = _type(world, "ulimit -Sn 10; breakglass check")
    assert (raised.returncode, "Traceback" in raised.stderr) == (10, False), raised.stderr
    refused = _type(world, "ulimit -n 100; breakglass check")
    assert (refused.returncode, refused.stdout) == (3, ""), refused.stderr
    assert "this process may open only 100 files, and breakglass needs 256" in refused.stderr
    assert "LimitNOFILE=256" in refused.stderr


ODD = {
    "no TERM": "unset TERM; breakglass check",
    "NO_COLOR": "NO_COLOR=1 FORCE_COLOR=1 breakglass check",
    "a time zone that is none": "TZ=Nonsense/City breakglass check",
    "a locale that is none": "LC_ALL=xx_YY.nonsense breakglass check",
    "no HOME": "unset HOME; breakglass check",
    "an empty HOME": "HOME= breakglass check",
    "no PATH": "PATH= breakglass check",
    "no directory for temporary files": "TMPDIR=/nonexistent breakglass check",
    "signals that are ignored": "trap '' HUP INT QUIT TERM PIPE CHLD; breakglass check",
    "nohup": 'nohup "$PYTHON" -m breakglass check',
    "a umask of 777": "umask 777; breakglass check",
    "python -P": '"$PYTHON" -P -m breakglass check',
    "python -X dev": '"$PYTHON" -X dev -m breakglass check',
    "warnings that are errors": "PYTHONWARNINGS=error breakglass check",
    "a small stack": "ulimit -s 256; breakglass check",
    "files of no size": "ulimit -f 0; breakglass check",
    "a closed stderr": "breakglass check 2>&-",
}
FAST = ("warnings that are errors", "signals that are ignored")


@pytest.mark.parametrize(
    "oddity", [pytest.param(each, marks=() if each in FAST else pytest.mark.slow) for each in ODD]
)
def test_whatever_is_odd_in_the_environment_the_answer_is_the_same(
    world: World, oddity: str
) -> None:
    ended = _type(world, ODD[oddity])
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr
    assert "Exit code 10: not needed: served by forgejo and registry-private" in ended.stdout


def test_under_python_oo_there_is_still_help(world: World) -> None:
    ended = _type(
        world, '"$PYTHON" -OO -m breakglass --help; "$PYTHON" -OO -m breakglass pin --help'
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert "--reason" in ended.stdout


@pytest.mark.slow
def test_a_home_that_cannot_be_written_costs_the_journal_and_nothing_else(world: World) -> None:
    ended = _type(world, f"unset XDG_STATE_HOME; HOME=/proc; breakglass snapshot --tag {TAG}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert ended.stderr.count("cannot be written") == 1


AT_ANOTHER_TIME = """
import sys, time
true, shift = time.time, float(sys.argv[1]) * 365 * 86400
time.time = lambda: true() + shift
from breakglass.cli.main import run
raise SystemExit(run(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("years", [-50, 100])
def test_with_a_clock_that_is_years_off_the_image_is_saved_and_brought_to_a_node(
    world: World, years: int
) -> None:
    for command in (f"snapshot --tag {TAG}", "fetch k8s-node1", "import k8s-node1", "status"):
        line = f'"$PYTHON" -c "$SCRIPT" {years} {command}'
        ended = _type(world, line, {"SCRIPT": AT_ANOTHER_TIME})
        assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


# The first run imports all that the second needs: a user whom the system does not know may not be
# able to read the directory that it lies in.
AS_NOBODY = """
import os, sys
from breakglass.cli.main import run
run(sys.argv[1:])
os.chdir(os.environ.pop("DIRECTORY"))
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
print("-- as nobody", flush=True)
print("-- as nobody", file=sys.stderr, flush=True)
raise SystemExit(run(sys.argv[1:]))
"""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that everybody can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _as_nobody(
    world: World, directory: Path, *, user: str, working_directory: Path = Path("/")
) -> subprocess.CompletedProcess[str]:
    """`check` by a user without a name and without HOME, who can ask the registries and the VM."""
    config = directory / "breakglass.yaml"
    reported = json.loads(world.environment.config.read_bytes())
    vm = reported["registry_vm"] | {"ssh": user + reported["registry_vm"]["ssh"].rpartition("@")[2]}
    kept = {key: reported[key] for key in ("image", "registries")}
    config.write_text(json.dumps(kept | {"registry_vm": vm}), encoding="utf-8")
    config.chmod(0o644)
    key, known_hosts = SECRETS
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "--config", str(config), "check"],
        env={
            "PATH": os.environ["PATH"],
            "DIRECTORY": str(working_directory),
            key: (world.environment.root / "id_ecdsa").read_text(),
            known_hosts: (world.environment.root / "known_hosts").read_text(),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


only_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become a user whom the system does not know"
)


@only_root
def test_a_user_without_a_name_logs_in_under_the_one_in_the_configuration(
    world: World, readable: Path
) -> None:
    ended = _as_nobody(world, readable, user="root@")
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr
    assert f"{VM}: no verified tarballs" in ended.stdout.partition("-- as nobody")[2]


@only_root
def test_in_a_directory_that_the_user_may_not_even_read_it_works(
    world: World, readable: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    ended = _as_nobody(world, readable, user="root@", working_directory=tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (10, False), ended.stderr
    assert "registry-vm: no verified tarballs" in ended.stdout.partition("-- as nobody")[2]


@only_root
def test_a_user_without_a_name_is_asked_for_the_one_to_log_in_as(
    world: World, readable: Path
) -> None:
    ended = _as_nobody(world, readable, user="")
    said = ended.stderr.partition("-- as nobody\n")[2]
    assert (ended.returncode, "Traceback" in said) == (2, False), ended.stderr
    assert "nobody is named to log in as on 127.0.0.1" in said
    assert "  Next:  name one in the configuration: user@host" in said
