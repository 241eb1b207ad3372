"""What the shell offers behind TAB: through the protocol that its completion script speaks."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from breakglass.sandbox import image
from breakglass.sandbox.environment import NODES, TAG
from breakglass.sandbox.ports import ADDRESS
from tests.front.rows import configure
from tests.front.world import World

COMPLETE = "_BREAKGLASS_COMPLETE"
BREAKGLASS = Path(sys.executable).with_name("breakglass")


def offers(world: World, *words: str) -> list[str]:
    """What is offered for the last of the words, asked as bash asks; nothing else is printed."""
    ended = world.run(
        environ={
            COMPLETE: "complete_bash",
            "COMP_WORDS": "\n".join(("breakglass", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert (ended.status, ended.stderr) == (0, "")
    return ended.stdout.split()


def test_commands_and_options_are_offered(world: World) -> None:
    assert offers(world, "re") == ["restore", "recover"]
    assert {"--tag", "--from", "--via", "--dry-run", "--json"} <= set(offers(world, "fetch", "--"))
    assert offers(world, "fetch", "--via", "o") == ["operator"]
    assert offers(world, "snapshot", "--via", "") == ["auto", "registry", "docker"]


def test_sources_tags_and_nodes_are_offered_from_the_configuration_the_sources_and_the_cluster(
    world: World,
) -> None:
    world.publish()
    world.environment.api.add_node(
        "k8s-node7", internal_ip=ADDRESS, architecture=image.ARCHITECTURE
    )  # nodes.hosts has the others
    before = world.nodes()
    world.journal.unlink(missing_ok=True)
    assert offers(world, "fetch", "--from", "") == ["registry-vm", "synology"]
    assert offers(world, "import", "--tag", TAG[:2]) == [TAG]
    assert offers(world, "import", "--tag", "no-such") == []
    assert offers(world, "pin", "k8s-node1") == ["k8s-node1", "k8s-node10"]
    assert offers(world, "restore", "k8s-node1", "") == sorted(
        {*NODES, "k8s-node7"} - {"k8s-node1"}
    )
    assert offers(world, "--config", str(world.directory / "none.yaml"), "pin", "") == []
    assert world.nodes() == before
    assert not world.journal.exists()


def test_behind_the_dashes_nothing_of_ours_is_offered(world: World) -> None:
    assert offers(world, "recover", "--", "") == []
    assert offers(world, "recover", "--", "kubectl", "k8s") == []


def test_a_finished_option_of_the_program_does_nothing_but_be_gone_past(world: World) -> None:
    assert offers(world, "--version", "che") == ["check"]


def test_what_is_down_is_not_offered_but_the_rest_is(world: World) -> None:
    world.publish()
    world.environment.stop("registry-vm")
    assert offers(world, "fetch", "--tag", "") == [TAG]
    world.environment.stop("synology")
    world.environment.stop("api")
    assert offers(world, "fetch", "--tag", "") == []
    assert offers(world, "fetch", "") == sorted(NODES), "those of nodes.hosts"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "known"),
    [pytest.param("fetch --tag ", False, id="tags"), pytest.param("fetch ", True, id="nodes")],
)
def test_what_hangs_is_not_waited_for(
    world: World, tmp_path: Path, words: str, known: bool
) -> None:
    """Hosts and an API server that take connections and never say a word; the installed program, as
    the shell starts it.
    """
    with socket.create_server(("127.0.0.1", 0)) as mute:
        files = {
            "BREAKGLASS_CONFIG": world.environment.config,
            "KUBECONFIG": world.environment.kubeconfig,
        }
        for name, path in files.items():
            text = re.sub(
                r"(127\.0\.0\.1):\d+", rf"\1:{mute.getsockname()[1]}", path.read_text("utf-8")
            )
            (tmp_path / name).write_text(
                text.replace(str(world.environment.kubeconfig), str(tmp_path / "KUBECONFIG")),
                encoding="utf-8",
            )
        environ = {
            **world.environment.variables(),
            "HOME": str(tmp_path),
            **{name: str(tmp_path / name) for name in files},
        }
        began = time.monotonic()
        asked = {COMPLETE: "complete_zsh", "_TYPER_COMPLETE_ARGS": f"breakglass {words}"}
        ended = subprocess.run(
            [BREAKGLASS],
            env=environ | asked,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.findall('"([^"]+)"', ended.stdout) == (sorted(NODES) if known else [])
    assert time.monotonic() - began > 1, "it asked, and waited for a moment"


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["the configuration", "the kubeconfig"])
def test_a_file_that_nobody_writes_into_is_not_waited_for(
    world: World, tmp_path: Path, blocks: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    environ = {**world.environment.variables(), "HOME": str(tmp_path), COMPLETE: "complete_zsh"}
    if blocks == "the configuration":
        environ["_TYPER_COMPLETE_ARGS"] = f"breakglass --config {tmp_path}/fifo fetch "
    else:
        (tmp_path / "config.yaml").write_text(
            world.environment.config.read_text("utf-8").replace(
                str(world.environment.kubeconfig), str(tmp_path / "fifo")
            ),
            encoding="utf-8",
        )
        environ["_TYPER_COMPLETE_ARGS"] = f"breakglass --config {tmp_path}/config.yaml fetch "
    ended = subprocess.run(
        [BREAKGLASS],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=5,
    )
    # A configuration whose kubeconfig is no regular file is not whole, so nothing is offered.
    assert (ended.returncode, ended.stderr, re.findall('"([^"]+)"', ended.stdout)) == (0, "", [])


def test_a_credential_plugin_is_never_run_for_it(world: World, tmp_path: Path) -> None:
    was_run = tmp_path / "was-run"
    known = json.loads(world.environment.kubeconfig.read_text("utf-8"))
    known["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "touch",
            "args": [str(was_run)],
        }
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(known), encoding="utf-8")
    configure(world, "kubernetes", kubeconfig=str(tmp_path / "kubeconfig"))
    world.environment.api.add_node(
        "k8s-node7", internal_ip=ADDRESS, architecture=image.ARCHITECTURE
    )
    assert offers(world, "fetch", "") == sorted(NODES)
    assert not was_run.exists()
    world.run("check")
    assert was_run.exists(), "a command does run it"


@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [
        ("dr", 1, "drill"),
        (f"fetch --tag = {TAG[:2]}", 4, TAG),
        ("fetch --from =", 3, "registry-vm synology"),
        (f"fetch --from = synology --tag = {TAG[:2]}", 7, TAG),
        ("fetch --from = synology k8s-node10", 5, "k8s-node10"),
    ],
    ids=["a command", "--tag=0a", "--from=", "--from=synology --tag=0a", "--from=synology NODE"],
)
def test_the_script_for_the_shell_is_shown_and_bash_completes_with_it(
    world: World, words: str, at: int, offered: str
) -> None:
    """bash splits at `=`."""
    world.publish()
    environ = {
        **world.environment.variables(),
        "HOME": str(world.directory),
        "PATH": f"{BREAKGLASS.parent}:{os.environ['PATH']}",
    }
    script = f"""eval "$(breakglass --show-completion)"; COMP_WORDS=(breakglass {words}); COMP_CWORD={at}; _breakglass_completion breakglass; echo "${{COMPREPLY[@]}}" """  # noqa: E501
    ended = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (ended.stdout, ended.stderr) == (f"{offered}\n", "")


@pytest.mark.skipif(shutil.which("dash") is None, reason="there is no dash")
@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
def test_in_a_shell_in_which_nothing_can_complete_that_is_said(tmp_path: Path, option: str) -> None:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    ended = subprocess.run(
        ["dash", "-c", f"{BREAKGLASS} {option}; exit $?"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        "breakglass: usage: dash is no shell in which TAB can complete: bash, zsh and fish are\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        ("", {"kubernetes", "paramiko", "yaml", "breakglass.config"}),
        ("fetch --from ", {"kubernetes", "paramiko"}),
        ("fetch --tag ", {"kubernetes"}),
    ],
    ids=["commands", "sources", "tags"],
)
def test_completion_imports_what_it_needs_only(world: World, words: str, spared: set[str]) -> None:
    program = "import sys; from breakglass.cli.main import run; run([]); print('@', *sys.modules)"
    environ = {
        **world.environment.variables(),
        "HOME": str(world.directory),
        COMPLETE: "complete_zsh",
        "_TYPER_COMPLETE_ARGS": f"breakglass {words}",
    }
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert "typer" in (imported := set(ended.stdout.rpartition("@ ")[2].split()))
    assert imported & spared == set()
