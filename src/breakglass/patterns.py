"""Patterns as OpenSSH has them in its configuration and in known_hosts: ssh_config(5), PATTERNS."""

import re


def match_pattern(text: str, pattern: str) -> bool:
    """Whether the whole text fits the pattern: `*` is any text, `?` one character, nothing else is
    special.
    """
    expression = ""
    # Several stars in a row become one: several `.*` could take very long to fail.
    for part in re.findall(r"\*+|\?|[^*?]+", pattern):
        if part.startswith("*"):
            expression += ".*"
        elif part == "?":
            expression += "."
        else:
            expression += re.escape(part)
    return re.fullmatch(expression, text, re.DOTALL) is not None


def match_patterns(text: str, patterns: list[str]) -> bool:
    """Whether any pattern fits. A pattern after `!` that fits outweighs every other."""
    matched = False
    for pattern in patterns:
        if not match_pattern(text, pattern.removeprefix("!")):
            continue
        if pattern.startswith("!"):
            return False
        matched = True
    return matched
