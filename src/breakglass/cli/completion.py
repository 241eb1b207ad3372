"""What the shell offers behind TAB. Where something does not answer in time, or at all, it is not
offered: nothing is printed, asked or written.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from breakglass.cli.directories import home, working_directory

if TYPE_CHECKING:
    from breakglass.config import Config
    from breakglass.plan import Host

VARIABLE = "_BREAKGLASS_COMPLETE"
"""Set by the shell for a run that is to answer what could be typed next; typer's protocol."""
SECONDS = 1.7
"""For everything that is asked over the network, at the same time."""
WAYS = ("auto", "node", "operator")
SNAPSHOT_WAYS = ("auto", "registry", "docker")
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def answer(complete: Callable[[], object]) -> int:
    """The exit status for the shell. Whatever happens, the only thing that is said are the offers,
    on stdout.
    """
    _join_to_options()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 2)
    try:
        complete()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # a Ctrl-C as well: the shell has no use for a report
        return 0
    return 0


def check_shell() -> None:
    """Raises Usage where there is no script for the shell that this was typed in."""
    import shellingham

    from breakglass.errors import AGAIN, Usage, then

    try:
        shell = shellingham.detect_shell()[0]
    except shellingham.ShellDetectionFailure:
        shell = ""
    if shell not in SHELLS:
        raise Usage(
            (
                f"{shell or 'what this was typed in'} is no shell in which TAB can complete: "
                f"bash, zsh and fish are"
            ),
            next_step=then(AGAIN, advice="start the shell that you will use, and type it there"),
        )


def sources(ctx: Any) -> list[str]:
    """For --from: what the configuration calls them."""
    config = _config(ctx)
    return [host.name for host, _ in _sources(config)] if config else []


def tags(ctx: Any) -> list[str]:
    """For --tag: what is verified on any source, the newest of each first."""
    config = _config(ctx)
    if config is None:
        return []
    from breakglass.observe.shelf import read_shelf
    from breakglass.ssh import Connections

    hosts = Connections(
        replace(
            config.ssh, connect_timeout_seconds=min(SECONDS, config.ssh.connect_timeout_seconds)
        ),
        environ=os.environ,
        login_seconds=SECONDS,
    )

    def ask(host: "Host", directory: str) -> list[str]:
        return [
            tarball.tag
            for tarball in read_shelf(
                hosts,
                host,
                directory,
                config.image.name,
                signers=config.image.signers,
                quiet_seconds=SECONDS,
            ).verified
        ]

    questions = [partial(ask, host, directory) for host, directory in _sources(config)]
    return _all_of(questions)


def nodes(ctx: Any) -> list[str]:
    """For NODE: those of nodes.hosts and those of the cluster, without those that stand there
    already. Behind `--` there is none.
    """
    config = _config(ctx)
    if config is None or ctx.meta.get("command") is not None:
        return []
    from breakglass.kube import Cluster
    from breakglass.observe.cluster import read_nodes

    # A plugin may open a browser, or ask for a touch on a key: none is run for a TAB.
    cluster = Cluster(
        config.kubernetes,
        request_timeout_seconds=SECONDS,
        operation_timeout_seconds=SECONDS,
        plugin_timeout_seconds=None,
    )
    known = [*config.nodes.hosts, *_all_of([lambda: [node.name for node in read_nodes(cluster)]])]
    return [name for name in dict.fromkeys(known) if name not in (ctx.params.get("nodes") or ())]


def ways() -> list[str]:
    """For --via of fetch."""
    return list(WAYS)


def snapshot_ways() -> list[str]:
    """For --via of snapshot."""
    return list(SNAPSHOT_WAYS)


def _join_to_options() -> None:
    """bash takes `--tag=0a` for three words. `=` by itself is none: without it the value stands
    behind its option.
    """
    words, at = os.environ.get("COMP_WORDS", "").split("\n"), os.environ.get("COMP_CWORD", "")
    if "=" in words and at.isdecimal():
        before = [word for word in words[: int(at)] if word != "="]
        os.environ |= {
            "COMP_WORDS": "\n".join([*before, *words[int(at) :]]),
            "COMP_CWORD": str(len(before)),
        }


def _config(ctx: Any) -> "Config | None":
    """The one that the command would take, if it is whole, and there in time: a FIFO may never
    be.
    """
    from breakglass.config import find, load
    from breakglass.deadline import together
    from breakglass.errors import BreakglassError

    given = ctx.find_root().params.get("config")

    def read() -> "Config | None":
        try:
            return load(
                find(
                    None if given is None else str(given),
                    environ=os.environ,
                    cwd=working_directory(),
                    home=home(),
                    # A TAB in a stranger's directory must not run what lies there.
                    searches_cwd=False,
                )
            )
        except (BreakglassError, OSError):
            return None

    return together([read], seconds=SECONDS)[0]


def _sources(config: "Config") -> "tuple[tuple[Host, str], ...]":
    from breakglass.commands.sources import sources

    return sources(config)


def _all_of(questions: Sequence[Callable[[], list[str]]]) -> list[str]:
    """What was answered in time, each once."""
    from breakglass.deadline import together

    def quietly(question: Callable[[], list[str]]) -> list[str]:
        try:
            return question()
        except Exception:
            return []

    answers = together([partial(quietly, question) for question in questions], seconds=SECONDS)
    return list(dict.fromkeys(offer for answer in answers for offer in answer or ()))
