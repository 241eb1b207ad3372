"""The steps that write a node's record (`.breakglass.json`), and the files that it names."""

from dataclasses import replace

from breakglass.observe.answering import Taken, TakenFile
from breakglass.observe.containerd import Ctr
from breakglass.plan import Host, Run, Trace, script, title


def begin(node: Host, directory: str, ctr: Ctr) -> Run:
    """Afterwards there is a record of what import changes on the node."""
    options = ("--namespace", ctr.namespace)
    name = title("begin the record in", directory)
    return replace(_run(node, "begin", directory, *options, name=name), trace=Trace.BEGINS)


def end(node: Host, directory: str) -> Run:
    """Removes the record: everything that it named is undone."""
    name = title("remove the record in", directory)
    return replace(_run(node, "end", directory, name=name), trace=Trace.ENDS)


def insert(node: Host, directory: str, file: str, *options: str) -> Run:
    """Adds lines to a file, after its text without them was recorded."""
    return _run(node, "insert", directory, file, *options, name=title("edit", _short(file)))


def restore_file(node: Host, directory: str, file: TakenFile, *options: str) -> Run:
    """Afterwards the file is as the record has it."""
    name = title("restore", _short(file.path))
    return _run(node, "put_back", directory, file.path, *options, name=name)


def edited(node: Host, taken: Taken) -> list[str]:
    """A sentence for each file that somebody edited after us."""
    sentences = []
    for file in taken.files:
        if file.is_edited:
            verb = "deleted" if file.now is None else "edited"
            sentences.append(
                f"{node}:{file.path} was {verb} after breakglass wrote it, so it is left as it is"
            )
    return sentences


def _run(node: Host, verb: str, *arguments: str, name: str) -> Run:
    return Run(node, (script("taken", verb, *arguments),), title=name)


def _short(path: str) -> str:
    """The file and its directory, which has the registry's name."""
    return "/".join(path.split("/")[-2:])
