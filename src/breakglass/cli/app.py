"""The commands as they are typed. Nothing heavy is imported before a command runs.

All commands are in this file, so that their help texts can be read and compared in a single place.
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from breakglass import __version__
from breakglass.cli import completion
from breakglass.cli.exit_codes import explain
from breakglass.cli.run import Options
from breakglass.cli.typed import Command, Group, WithCommand
from breakglass.errors import Usage, then

app = typer.Typer(
    name="breakglass",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Brings the CI image back onto a node when every registry is down. In an outage: "
        "breakglass check, then breakglass recover."
    ),
    epilog=explain(),
)
look, runbook, all_at_once, practice = (
    partial(app.command, cls=Command, rich_help_panel=panel)
    for panel in ("Look", "Runbook", "All at once", "Practice")
)

Node = Annotated[
    str | None,
    typer.Argument(
        metavar="NODE",
        help="Name or address. Default: breakglass chooses one and prints why.",
        show_default=False,
        autocompletion=completion.nodes,
    ),
]
Tag = partial(typer.Option, "--tag", metavar="TAG", autocompletion=completion.tags)
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be done, line by line; change nothing, ask nothing."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Anyway = Annotated[
    bool, typer.Option("--anyway", help="Go on with a node that does not fit, or is another one.")
]


def _version(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        typer.echo(f"breakglass {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="PATH",
            help=(
                "The configuration; default: $BREAKGLASS_CONFIG, ./breakglass.yaml, the user's, "
                "/etc/breakglass."
            ),
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print each question to a host.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
    context.obj = Options(config, json, verbose, typed=context.obj or ())


@look()
def check(
    context: typer.Context,
    tag: Annotated[
        str | None,
        Tag(help="Of the image. Default: the registries' own latest.", show_default=False),
    ] = None,
    expect_served: Annotated[
        bool,
        typer.Option(
            "--expect-served",
            help="For CI after a push: 0 only when every registry serves the same image, else 10.",
        ),
    ] = False,
) -> int:
    """Do the registries still serve the image? Exit 0: none does, start the runbook. 10: all do.
    11: some do. 5: unknown.

    Example: breakglass check
    """
    from breakglass.cli.check import run_check

    return run_check(context.obj, tag=tag, expect_served=expect_served)


@look()
def status(context: typer.Context) -> int:
    """Shows registries, tarballs, nodes and the pin, and what to type next. Works with any host
    down. Alert on `stale` of --json.

    Example: breakglass status
    """
    from breakglass.cli.status import run_status

    return run_status(context.obj)


@runbook()
def snapshot(
    context: typer.Context,
    tag: Annotated[
        str | None,
        Tag(
            help=(
                "Of the image, and of the tarball. Default: the first 8 characters of "
                "$CI_COMMIT_SHA."
            ),
            show_default=False,
        ),
    ] = None,
    via: Annotated[
        str,
        typer.Option(
            "--via",
            metavar="|".join(completion.SNAPSHOT_WAYS),
            autocompletion=completion.snapshot_ways,
            help=(
                "Who gets the image: the VM reads it from the registry, or docker pulls and saves "
                "it. auto: the registry, and docker where that does not work."
            ),
        ),
    ] = "auto",
    tolerate_failure: Annotated[
        bool,
        typer.Option(
            "--tolerate-failure",
            help="Exit 0 for codes 3 to 7; the error is printed, the true code stands in the JSON.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """On the registry VM: copy the image into a verified tarball, re-point latest, rotate.

    Example: breakglass snapshot --tag 0a1b2c3d
    """
    from breakglass.cli.snapshot import run_snapshot

    if via not in completion.SNAPSHOT_WAYS:
        raise Usage(
            "--via is auto, registry or docker", next_step=then("breakglass snapshot --help")
        )
    return run_snapshot(
        context.obj, tag=tag, via=via, tolerate_failure=tolerate_failure, dry_run=dry_run
    )


@runbook()
def fetch(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[
        str, Tag(help="Of the tarball; latest: what the link of the source means.")
    ] = "latest",
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            autocompletion=completion.sources,
            help="Use only this source, or the tarball of this node.",
            show_default=False,
        ),
    ] = None,
    via: Annotated[
        str,
        typer.Option(
            "--via",
            metavar="|".join(completion.WAYS),
            autocompletion=completion.ways,
            help="Who copies: the node itself, or this machine.",
        ),
    ] = "auto",
    dry_run: DryRun = False,
) -> int:
    """Copy the tarball to a node, from the VM or else a fallback; verify it there.

    Example: breakglass fetch k8s-node1
    """
    from breakglass.cli.fetch import run_fetch

    if via not in completion.WAYS:
        raise Usage("--via is auto, node or operator", next_step=then("breakglass fetch --help"))
    return run_fetch(context.obj, node=node, tag=tag, source=source, via=via, dry_run=dry_run)


@runbook("import")
def import_(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[
        str, Tag(help="Of the tarball; latest: what the link on the node means.")
    ] = "latest",
    answer_pulls: Annotated[
        bool | None,
        typer.Option(
            "--answer-pulls/--no-answer-pulls",
            help="Serve the image locally while a registry is down.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Also where another host has a tarball, or the node does not fit, or is another.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """Load the tarball into the node's containerd under every name that pods use.

    Example: breakglass import k8s-node1
    """
    from breakglass.cli.import_image import run_import

    return run_import(
        context.obj,
        node=node,
        tag=tag,
        answer_pulls=answer_pulls,
        anyway=anyway,
        dry_run=dry_run,
    )


@runbook()
def pin(
    context: typer.Context,
    node: Node = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; stored in the annotation.")
    ] = "",
    yes: Yes = False,
    anyway: Anyway = False,
    dry_run: DryRun = False,
) -> int:
    """Cordons every other schedulable node, and remembers in the cluster that it did.

    Example: breakglass pin k8s-node1 --reason 'Forgejo is down'
    """
    from breakglass.cli.pin import run_pin

    return run_pin(context.obj, node=node, reason=reason, yes=yes, anyway=anyway, dry_run=dry_run)


@runbook()
def restore(
    context: typer.Context,
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NODE",
            help="Only these nodes.",
            show_default=False,
            autocompletion=completion.nodes,
        ),
    ] = None,
    yes: Yes = False,
    anyway: Anyway = False,
    dry_run: DryRun = False,
) -> int:
    """Undo pin and import: uncordon what we cordoned, remove what import set up.

    Example: breakglass restore
    """
    from breakglass.cli.restore import run_restore

    return run_restore(
        context.obj, nodes=tuple(nodes or ()), yes=yes, anyway=anyway, dry_run=dry_run
    )


@all_at_once(cls=WithCommand)
def recover(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[
        str, Tag(help="Of the tarball; latest: what the link of the source means.")
    ] = "latest",
    yes: Yes = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Also where every registry serves the image, or the node does not fit.",
        ),
    ] = False,
    dry_run: DryRun = False,
) -> int:
    """The whole runbook: check, choose a node, fetch, import, pin. Refused (3) while every registry
    serves the image.

    With COMMAND: run it while pinned, then undo everything and exit with its status.

    Example: breakglass recover -- ./repair.sh
    """
    from breakglass.cli.recover import run_recover

    command = context.meta["command"] or ()
    return run_recover(
        context.obj,
        node=node,
        tag=tag,
        command=command,
        yes=yes,
        anyway=anyway,
        dry_run=dry_run,
    )


@practice()
def drill(
    context: typer.Context,
    node: Node = None,
    dry_run: DryRun = False,
) -> int:
    """Test recovery on the real hosts without disturbing anything.

    Example: breakglass drill k8s-node1
    """
    from breakglass.cli.drill import run_drill

    return run_drill(context.obj, node=node, dry_run=dry_run)


@practice()
def sandbox(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND", help="Run in the sandbox; default: a shell.", show_default=False
        ),
    ] = None,
) -> int:
    """Practice environment on this machine; docker and containerd are simulated.

    Example: breakglass sandbox -- breakglass snapshot --tag 0a1b2c3d --dry-run
    """
    from breakglass.cli.sandbox import run_sandbox

    return run_sandbox(context.obj, command=tuple(command or ()))
