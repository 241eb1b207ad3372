"""What the exit codes mean, and which of them each command can end with: one table, which
every --help prints.
"""

MEANING = {
    0: "done, or nothing to do",
    2: "usage or configuration",
    3: "refused, nothing was changed",
    4: "failed part-way",
    5: "not reached, or not let in",
    6: "not what was recorded",
    7: "another run holds the lock",
    10: "check: not needed",
    11: "check: partly",
}
BY_SIGNAL = "128+n ended by signal n"

_CHANGING = (0, 2, 3, 4, 5, 6, 7)
BY_COMMAND = {
    "check": (0, 2, 5, 10, 11),
    "status": (0, 2),
    "snapshot": _CHANGING,
    "fetch": _CHANGING,
    "import": _CHANGING,
    "pin": (0, 2, 3, 4, 5, 7),
    "restore": _CHANGING,
    "recover": _CHANGING,
    "drill": _CHANGING,
    "sandbox": (2, 3),
}
_PRECISELY = {
    ("check", 0): "no registry serves the image, start the runbook",
    ("check", 5): "not known",
    ("check", 10): "not needed, every registry serves the image",
    ("check", 11): "partly, some do",
    ("status", 0): "printed, whatever the state is",
    ("drill", 0): "recovery works today",
}
_BESIDES = {
    "check": "; with --expect-served 0 means that every registry serves the same image, 10 not",
    "recover": "; with COMMAND: its own, if the rest went well",
    "sandbox": "; else COMMAND's own",
}


def explain(command: str | None = None) -> str:
    """The line at the end of the help of a command; None: of the program."""
    codes = BY_COMMAND[command] if command else tuple(MEANING)
    meanings = (f"{code} {_PRECISELY.get((command or '', code), MEANING[code])}" for code in codes)
    return f"Exit codes: {'; '.join(meanings)}; {BY_SIGNAL}{_BESIDES.get(command or '', '')}."
