"""A command that does not exist: which one was meant."""

from collections.abc import Iterable
from difflib import get_close_matches

_OTHER_WORDS = {
    "restore": (
        "unpin depin undo uncordon rollback revert reset clean cleanup unimport unfetch unserve "
        "release cancel abort stop end finish untaint resume"
    ),
    "snapshot": "save backup dump export archive create store",
    "fetch": "pull push copy download transfer get cp scp send",
    "import": "load unpack install",
    "pin": "cordon drain taint lock hold schedule",
    "recover": "run start fix repair rescue go now",
    "check": "ping verify registry registries health",
    "status": "show list ls ps info state get-nodes nodes pods images tarballs",
    "drill": "test exercise rehearse",
    "sandbox": "demo play shell practice practise",
}
_MEANT = {word: command for command, words in _OTHER_WORDS.items() for word in words.split()}


def meant_by(word: str, commands: Iterable[str]) -> str | None:
    """The command that was meant; None where that cannot be known. What takes back is `restore`,
    however close its letters are to those of another command.
    """
    known = set(commands)
    meant = {name: name for name in known} | {
        other: command for other, command in _MEANT.items() if command in known
    }
    typed = word.lower()
    if typed not in meant and typed.startswith("un") and "restore" in known:
        return "restore"
    close = get_close_matches(typed, meant, 1, cutoff=0.7)
    return meant[close[0]] if close else None
