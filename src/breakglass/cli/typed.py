"""What all commands have in common as they are typed: two options, tidy help with the exit codes at
its end, and what follows `--`.
"""

import inspect
import sys
from typing import Any

from typer.core import TyperCommand, TyperGroup

from breakglass.cli.exit_codes import explain
from breakglass.cli.suggestions import meant_by
from breakglass.errors import Usage, then
from breakglass.grammar import show
from breakglass.quoting import join

BEHIND_DASHES = then(
    "breakglass recover --help", advice="a COMMAND stands behind --, with its options"
)


class _Tidy:
    def format_help(self, ctx: Any, formatter: Any) -> None:
        """typer's colours are for a dark terminal, and some variables would put them into a
        file.
        """
        from typer import rich_utils

        for name, style in vars(rich_utils).items():
            if name.startswith("STYLE_") and isinstance(style, str):
                setattr(rich_utils, name, "bold" if "bold" in style else "")
        rich_utils.FORCE_TERMINAL = sys.stdout.isatty()
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def get_params(self, ctx: Any) -> list[Any]:
        """typer would write <bool> behind every flag, and <str> behind NODE."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in found:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
            elif parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None  # noqa: ARG005 (typer's signature)
        return found


class Group(_Tidy, TyperGroup):
    """The program. `--json` and `--verbose` are understood before the command and after it."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        common = [parameter for parameter in self.params if parameter.name in ("json", "verbose")]
        for command in self.commands.values():
            command.params += common

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """typer would suggest `pin` for `unpin`."""
        name = args[0] if args else ""
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and name[:1] != "-":
            meant = meant_by(name, self.commands)
            suggestion = f" Did you mean {meant!r}?" if meant else ""
            raise Usage(
                f"No such command {show(name)}.{suggestion}",
                next_step=then(f"breakglass {meant}" if meant else "breakglass --help"),
            )
        return super().resolve_command(ctx, args)


class Command(_Tidy, TyperCommand):
    def __init__(self, name: str, **given: Any) -> None:
        # typer keeps the line ends of a docstring; only an empty line ends a paragraph.
        # With `python -OO` there are no docstrings.
        paragraphs = inspect.cleandoc(given["help"] or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        super().__init__(name, **given | {"help": text, "epilog": explain(name)})

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = ctx.obj.with_these(json=ctx.params.pop("json"), verbose=ctx.params.pop("verbose"))
        return super().invoke(ctx)


class WithCommand(Command):
    """What follows `--` is another command line, and no argument of ours. None where there is
    no `--`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = tuple(args[at + 1 :]) if at < len(args) else None
        if at == len(args) - 1 and not ctx.resilient_parsing:
            raise Usage(
                "there is no command behind --",
                next_step=BEHIND_DASHES,
            )
        ctx.allow_extra_args = True
        extra: list[str] = super().parse_args(ctx, args[:at])
        if extra and not ctx.resilient_parsing:
            # Of what may be a COMMAND only its first word is shown: it may hold secrets.
            besides = join(extra[:1]) + (" ..." if extra[1:] else "")
            raise Usage(
                f"recover takes one NODE, and got besides: {besides}; a command goes behind --",
                next_step=BEHIND_DASHES,
            )
        return extra

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]
