"""Merges kubeconfig files by kubectl's rules: for each name the first file that has it counts."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from breakglass.errors import AGAIN, Next, Unreachable, look_first, then
from breakglass.grammar import show
from breakglass.local_files import read_text

SEE_THE_KUBECONFIG = look_first("kubectl config view")
Entry = dict[str, Any]
"""A cluster, a context or a user of a kubeconfig."""


@dataclass
class Merged:
    """The entries of all files by kind and name, each with its file: paths in an entry are relative
    to that file.
    """

    entries: dict[str, dict[str, tuple[Entry, Path]]] = field(
        default_factory=lambda: {"cluster": {}, "context": {}, "user": {}}, repr=False
    )
    current_context: str = ""

    def add(self, path: Path) -> None:
        """Merge one more file. Raises Unreachable."""
        document = _document(path)
        current = document.get("current-context") or ""
        if not isinstance(current, str):
            malformed(f"`current-context` is not a text in the kubeconfig {path}")
        self.current_context = self.current_context or current
        for kind, entries in self.entries.items():
            items = document.get(f"{kind}s") or []
            if not isinstance(items, list):
                malformed(f"`{kind}s` is not a list in the kubeconfig {path}")
            for number, item in enumerate(items, start=1):
                if not _is_entry(item, kind):
                    malformed(
                        f"entry {number} of `{kind}s` in the kubeconfig {path} is not a name and "
                        f"a {kind}"
                    )
                entries.setdefault(item["name"], (item.get(kind) or {}, path))

    def entry(self, kind: str, name: object, files: str) -> tuple[Entry, Path]:
        """An entry and its file. Raises Unreachable, naming `files`, if there is none."""
        if not isinstance(name, str) or name not in self.entries[kind]:
            next_step = SEE_THE_KUBECONFIG
            if kind == "context":
                contexts = self.names("context")
                next_step = then(AGAIN, advice=f"set kubernetes.context to one of {contexts}")
            shown = name if isinstance(name, str) else show(name)
            malformed(f"the kubeconfig {files} has no {kind} named {shown}", next_step)
        return self.entries[kind][name]

    def names(self, kind: str) -> str:
        """The names of all entries of a kind."""
        return ", ".join(sorted(self.entries[kind])) or "none"


def malformed(what: str, next_step: Next = SEE_THE_KUBECONFIG) -> NoReturn:
    """Raise Unreachable for a kubeconfig that cannot be used."""
    # Not chained: the library's error quotes the line at fault, which may be a token.
    raise Unreachable(what, next_step=next_step) from None


def _document(path: Path) -> Entry:
    try:
        document = yaml.safe_load(read_text(path))
    except OSError as error:
        raise Unreachable(
            f"cannot read the kubeconfig {path}: {error.strerror}",
            next_step=look_first(shlex.join(("ls", "-l", str(path)))),
        ) from error
    except UnicodeDecodeError:
        malformed(f"the kubeconfig {path} is not text")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", see line {mark.line + 1}" if mark else ""
        malformed(f"the kubeconfig {path} is not YAML{line}")
    except (ValueError, KeyError, TypeError, RecursionError):
        # A date in month 13, `!!bool perhaps`, ten thousand brackets: the library does not
        # translate such errors.
        malformed(f"the kubeconfig {path} is not YAML of use here")
    if document is None:
        return {}
    if not isinstance(document, dict):
        malformed(f"the kubeconfig {path} is not a mapping of clusters, contexts and users")
    return document


def _is_entry(item: object, kind: str) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return False
    return isinstance(item.get(kind), dict | None)
