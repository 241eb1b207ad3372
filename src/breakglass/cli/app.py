"""The commands as they are typed. Nothing heavy is imported before a command runs."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from breakglass import __version__
from breakglass.cli.main import Global, carry
from breakglass.errors import Usage

LOOK, RUNBOOK, ALL_AT_ONCE, PRACTICE = "Look", "Runbook", "All at once", "Practice"

EXIT_CODES = (
    "Exit codes: 0 done, or nothing to do; 2 usage or configuration; 3 refused, nothing was changed; 4 failed part-way; "
    "5 not reached, or not let in; 6 not what was recorded; 7 another run holds the lock; 10 check: not needed; 128+n ended by signal n."
)

app = typer.Typer(
    name="breakglass",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps a verified tarball of the CI image outside the cluster, and on the day when every registry is gone brings it back onto a node.",
    epilog=EXIT_CODES,
)


Node = Annotated[str | None, typer.Argument(metavar="NODE", help="A node's name, or its address. Without it one is chosen, and why is printed.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, line by line; change nothing, ask nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell each question that is asked.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"breakglass {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="PATH", help="The configuration; default: $BREAKGLASS_CONFIG, ./breakglass.yaml, the user's, /etc/breakglass.")] = None,
    json: Json = False,
    verbose: Verbose = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    del version
    context.obj = Global(config, json, verbose)


@app.command(rich_help_panel=LOOK)
def check(
    context: typer.Context,
    tag: Annotated[str | None, typer.Option("--tag", help="Default: the registries' own latest.", show_default=False)] = None,
    expect_served: Annotated[bool, typer.Option("--expect-served", help="Swap 0 and 10, for CI after a push.")] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Is this the right runbook? Exit 0: no registry serves the image, start it. 10: not needed. 5: nobody knows.

    Example: breakglass check
    """
    from breakglass.cli import verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    return carry("check", lambda session: verbs.run_check(session, tag=tag, expect_served=expect_served), given=given)


@app.command(rich_help_panel=RUNBOOK)
def snapshot(
    context: typer.Context,
    tag: Annotated[str | None, typer.Option("--tag", help="Default: the first 8 characters of $CI_COMMIT_SHA.", show_default=False)] = None,
    tolerate_failure: Annotated[bool, typer.Option("--tolerate-failure", help="Exit 0 for codes 3 to 7; the error is printed, the true code stands in the JSON.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """On the registry VM: pull, save, compress, verify, publish, re-point latest, rotate.

    Example: breakglass snapshot --tag 0a1b2c3d
    """
    from breakglass.cli import verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    return carry(
        "snapshot",
        lambda session: verbs.run_snapshot(session, tag=tag, environ=os.environ),
        given=given,
        dry_run=dry_run,
        tolerate_failure=tolerate_failure,
    )


@app.command(rich_help_panel=RUNBOOK)
def fetch(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[str, typer.Option("--tag", help="latest: what the link means.")] = "latest",
    source: Annotated[str | None, typer.Option("--from", metavar="SOURCE", help="registry-vm or a fallback's name; then there is no falling back.", show_default=False)] = None,
    via: Annotated[str, typer.Option("--via", metavar="auto|node|operator", help="Who pulls: the node itself, or this machine streams it.")] = "auto",
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """The tarball from the VM, else from each fallback in order, to the node; verified there.

    Example: breakglass fetch k8s-node1
    """
    from breakglass.cli import verbs

    if via not in ("auto", "node", "operator"):
        raise Usage("--via is auto, node or operator", next_step="breakglass fetch --help")
    given = context.obj.with_these(json=json, verbose=verbose)
    return carry(
        "fetch",
        lambda session: verbs.run_fetch(session, node=node, tag=tag, source=source, via=via),
        given=given,
        dry_run=dry_run,
    )


@app.command("import", rich_help_panel=RUNBOOK)
def import_(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[str, typer.Option("--tag", help="latest: what the link on the node means.")] = "latest",
    answer_pulls: Annotated[
        bool | None,
        typer.Option("--answer-pulls/--no-answer-pulls", help="The node answers pulls itself while a registry does not, so that Always starts. Default: nodes.answer_pulls.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Into the node's containerd; every name the pods use resolves; confirmed by image ID.

    The node then answers pulls of these names itself while a registry does not (a process on its loopback, hosts.toml), and keeps the image from image collection. restore takes that back.

    Example: breakglass import k8s-node1
    """
    from breakglass.cli import verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    return carry(
        "import",
        lambda session: verbs.run_import(session, node=node, tag=tag, answer_pulls=answer_pulls),
        given=given,
        dry_run=dry_run,
    )


@app.command(rich_help_panel=RUNBOOK)
def pin(
    context: typer.Context,
    node: Node = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; stands in the annotation.")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Cordons every other schedulable node, and remembers in the cluster that it did.

    Example: breakglass pin k8s-node1 --reason 'Forgejo is down'
    """
    from breakglass.cli import verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    return carry("pin", lambda session: verbs.run_pin(session, node=node, reason=reason, yes=yes), given=given, dry_run=dry_run)


@app.command(rich_help_panel=RUNBOOK)
def restore(
    context: typer.Context,
    nodes: Annotated[list[str] | None, typer.Argument(metavar="NODE", help="Only these.", show_default=False)] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Gives back what pin and import took: uncordons what we cordoned, removes pull answering and the keep tag. Nothing else.

    Example: breakglass restore
    """
    from breakglass.cli import verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    return carry(
        "restore",
        lambda session: verbs.run_restore(session, nodes=tuple(nodes or ()), yes=yes),
        given=given,
        dry_run=dry_run,
    )


class _WithCommand(TyperCommand):
    """What follows `--` is a command line of its own, and no argument of ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = tuple(args[at + 1 :])
        if at == len(args) - 1:
            raise Usage("there is no command behind --", next_step="breakglass recover [NODE] -- COMMAND ...")
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


@app.command(cls=_WithCommand, rich_help_panel=ALL_AT_ONCE)
def recover(
    context: typer.Context,
    node: Node = None,
    tag: Annotated[str, typer.Option("--tag", help="latest: what the link of the source means.")] = "latest",
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """The whole runbook: check, choose a node, fetch, import, pin. Refused (3) while a registry serves the image.

    With COMMAND: runs it while pinned, then gives everything back, whatever happened, and exits with COMMAND's status if the rest went well. Without: stays pinned; breakglass restore gives back.

    Example: breakglass recover -- kubectl wait --for=condition=complete job/repair --timeout=30m
    """
    from breakglass.cli import recovering, verbs

    given = context.obj.with_these(json=json, verbose=verbose)
    command = context.meta["command"]
    return carry("recover", lambda session: recovering.run_recover(session, node=node, tag=verbs.checked_tag(tag), command=command, yes=yes), given=given, dry_run=dry_run)


@app.command(rich_help_panel=PRACTICE)
def sandbox(
    context: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="[-- COMMAND ...]", help="Run in the sandbox; default: a shell.", show_default=False)] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> int:
    """An estate in a box on loopback, on throw-away data; docker and containerd are simulated there.

    Example: breakglass sandbox -- breakglass snapshot --tag 0a1b2c3d --dry-run
    """
    from breakglass.cli.practice import run_sandbox

    given = context.obj.with_these(json=json, verbose=verbose)
    return run_sandbox(tuple(command or ()), json=given.json, verbose=given.verbose)
