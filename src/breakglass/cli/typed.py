"""What all commands have in common as they are typed: two options, tidy help with the exit codes at its end, and what follows `--`."""

import shlex
import shutil
from typing import Any

from typer.core import TyperCommand, TyperGroup

from breakglass.cli.exit_codes import explain
from breakglass.errors import Usage


class _Tidy:
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


class Command(_Tidy, TyperCommand):
    def __init__(self, name: str, **given: Any) -> None:
        super().__init__(name, **given | {"epilog": explain(name)})

    def invoke(self, ctx: Any) -> Any:
        ctx.obj = ctx.obj.with_these(json=ctx.params.pop("json"), verbose=ctx.params.pop("verbose"))
        return super().invoke(ctx)


class WithCommand(Command):
    """What follows `--` is a command line of its own, and no argument of ours. None where there is no `--`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta["command"] = tuple(args[at + 1 :]) if at < len(args) else None
        if at == len(args) - 1 and not ctx.resilient_parsing:
            raise Usage("there is no command behind --", next_step="breakglass recover [NODE] -- COMMAND ...")
        typed, ctx.allow_extra_args = args[:at], True
        extra: list[str] = super().parse_args(ctx, list(typed))
        if extra and not ctx.resilient_parsing:
            raise _extra(ctx, typed, extra, has_command=at < len(args))
        return extra

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


def _extra(ctx: Any, typed: list[str], extra: list[str], *, has_command: bool) -> Usage:
    """More than one NODE: most likely a command whose `--` was forgotten."""
    told = f"recover takes one NODE, and got besides: {shlex.join(extra)}"
    if has_command:
        return Usage(told, next_step="breakglass recover --help")
    node = ctx.params.get("node")
    at = typed.index(node) if shutil.which(node) else len(typed) - len(extra) if typed[-len(extra) :] == extra else typed.index(extra[0])
    return Usage(f"{told}; a command goes behind --", next_step=shlex.join(["breakglass", "recover", *typed[:at], "--", *typed[at:]]))
