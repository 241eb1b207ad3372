"""The command line as it was typed."""

from collections.abc import Sequence

from breakglass.quoting import join


def before_dashes(words: Sequence[str]) -> list[str]:
    """The words before `--`: what follows it is the command line of another program."""
    return list(words[: words.index("--")] if "--" in words else words)


def command_of(words: Sequence[str]) -> str:
    """The command's name; empty where there is none."""
    rest = iter(words)
    for word in rest:
        if word in ("-c", "--config"):
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def typed_with(words: Sequence[str], option: str) -> str:
    """The same line with one more option. Of the COMMAND of recover only the first word is shown:
    it may hold secrets.
    """
    ours = before_dashes(words)
    at = len(ours)
    shown = at + 2 if command_of(ours) == "recover" else len(words)
    line = join(["breakglass", *ours, option, *words[at:shown]])
    return f"{line} ..." if len(words) > shown else line
