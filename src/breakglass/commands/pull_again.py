"""Whether a kubelet pulls an image again that the node has already. Pure.

As kubelet decides it: images/pullmanager, MustAttemptImagePull.
"""

from dataclasses import dataclass
from enum import Enum, auto

from breakglass.commands.image_names import repository_of
from breakglass.observe.pull_records import PullRecords
from breakglass.text import version_numbers

FIRST, DEFAULT = (1, 33), (1, 35)
"""The kubelet that first knows KubeletEnsureSecretPulledImages, and the first with it on."""
_HUB = ("docker.io/library/", "docker.io/")


class Again(Enum):
    NO = auto()
    SOME = auto()
    """Not for the pods that show the credentials of the record."""
    YES = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class PullAgain:
    again: Again
    credentials: tuple[str, ...] = ()
    """Of the record: whose pods start without a pull."""


def pulls_again(name: str, image_id: str, records: PullRecords, *, kubelet: str) -> PullAgain:
    """What a kubelet does when a pod with IfNotPresent names this image. `kubelet`: its version;
    empty: not known.
    """
    is_on = _is_on(records, kubelet)
    if is_on is False or records.policy == "NeverVerify":
        return PullAgain(Again.NO)
    if is_on is None or records.unread:
        return PullAgain(Again.UNKNOWN)
    spellings = _spellings(name)
    if image_id in records.doubtful:
        return PullAgain(Again.YES)
    names = records.pulled.get(image_id)
    if names is None:
        is_pulled = any(each in records.pulling | records.doubtful for each in spellings)
        trusts_what_is_there = records.policy in ("", "NeverVerifyPreloadedImages")
        return PullAgain(Again.NO if trusts_what_is_there and not is_pulled else Again.YES)
    found = [names[key] for each in spellings if (key := repository_of(each)) in names]
    if any(each.every_pod for each in found):
        return PullAgain(Again.NO)
    sources = tuple(dict.fromkeys(source for each in found for source in each.sources))
    return PullAgain(Again.SOME if sources else Again.YES, sources)


def spellings_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """All that a pod may write for these names: kubelet's records have the pod's own spelling."""
    return tuple(dict.fromkeys(each for name in names for each in _spellings(name)))


def _spellings(name: str) -> tuple[str, ...]:
    return (name, *(name[len(hub) :] for hub in _HUB if name.startswith(hub)))


def _is_on(records: PullRecords, kubelet: str) -> bool | None:
    """Whether the kubelet asks its records; None: that is not known."""
    version = version_numbers(kubelet)
    if version is not None and version[:2] < FIRST:
        return False
    if records.gate is not None:
        return records.gate
    if records.is_kept:
        return True
    return False if version is not None and version[:2] < DEFAULT else None
