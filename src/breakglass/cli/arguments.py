"""The command line as it was typed."""

import re
import shlex
import sys
from collections.abc import Sequence

from breakglass.cluster_name import ClusterName
from breakglass.errors import AGAIN, BreakglassError, Command, Next, Usage, then
from breakglass.quoting import join


def before_dashes(words: Sequence[str]) -> list[str]:
    """The words before `--`: what follows it is the command line of another program."""
    return list(words[: words.index("--")] if "--" in words else words)


def command_of(words: Sequence[str]) -> str:
    """The command's name; empty where there is none."""
    rest = iter(words)
    for word in rest:
        if _names_config(word) == "":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def typed_next(
    error: BreakglassError, words: Sequence[str], cluster: ClusterName | None = None
) -> Next:
    """What to do next, as it can be typed. There is always a command: else the help for what was
    typed wrong, and the same command again for all else.
    """
    step = error.next_step
    if not step.commands and isinstance(error, Usage):
        step = then(
            f"breakglass {command_of(before_dashes(words))}".strip() + " --help", advice=step.advice
        )
    elif not step.commands:
        step = then(AGAIN, advice=step.advice)
    return as_typed(step, words, cluster)


def as_typed(step: Next, words: Sequence[str], cluster: ClusterName | None = None) -> Next:
    """The commands with the configuration that was named, and for the cluster in force."""
    config = _config_of(words)

    def typed(command: Command) -> Command:
        if command is AGAIN:
            return typed_again(words)
        is_ours = command.startswith("breakglass ") and not command.endswith(" --help")
        if config and is_ours and _config_of(shlex.split(command)[1:]) is None:
            return (
                f"{join(('breakglass', '--config', config))} {command.removeprefix('breakglass ')}"
            )
        if cluster and command.startswith("kubectl ") and " --context " not in command:
            # `kubectl config` is about all contexts of the kubeconfig.
            of_all = command.startswith("kubectl config ")
            named = (cluster.without_context if of_all else cluster).kubectl
            return f"{join(named)} {command.removeprefix('kubectl ')}"
        return command

    return step.replaced(typed)


def _config_of(words: Sequence[str]) -> str | None:
    """The file that --config names. It stands before the command; the last one counts."""
    config, rest = None, iter(before_dashes(words))
    for word in rest:
        file = _names_config(word)
        if file is not None:
            config = file or next(rest, None)
        elif not word.startswith("-"):
            break
    return config


def _names_config(word: str) -> str | None:
    """The file of `--config=FILE`, `-cFILE` or `-vcFILE`; empty where the next word is the file;
    None for a word that does not name a configuration.
    """
    matched = re.fullmatch(r"--config(?:=(.+))?|-[^-c]*c(.*)", word, re.DOTALL)
    return None if matched is None else matched[1] or matched[2] or ""


def typed_again(words: Sequence[str]) -> str:
    """The same line."""
    return _line(before_dashes(words), words)


def typed_with(words: Sequence[str], option: str) -> str:
    """The same line with one more option."""
    return _line([*before_dashes(words), option], words)


def _line(ours: Sequence[str], words: Sequence[str]) -> str:
    """The COMMAND of recover may hold secrets. It is shown whole on a terminal only, where it was
    typed; in a log and in JSON only its first word is shown.
    """
    behind = words[len(before_dashes(words)) :]
    whole = join(["breakglass", *ours, *behind])
    is_typed_there = sys.stderr.isatty() and "--json" not in ours and whole.isprintable()
    if is_typed_there or command_of(ours) != "recover" or len(behind) <= 2:
        return whole
    return f"{join(['breakglass', *ours, *behind[:2]])} ..."
