"""The part of the verdict that says for each name which pods start."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from breakglass.commands.pull_again import Again, PullAgain
from breakglass.observe.pull_records import PullRecords

GATE = "KubeletEnsureSecretPulledImages"


@dataclass(frozen=True)
class NameVerdict:
    """Which pods start under one name on the node while no registry answers."""

    name: str
    if_not_present: bool | None
    """Pods with IfNotPresent; None: it is not known."""
    always: bool
    """Pods with Always."""
    only_with: tuple[str, ...] = ()
    """The secrets and service accounts of which a pod with IfNotPresent must have one; empty:
    none is needed.
    """


def judge(name: str, pull: PullAgain, *, answers: bool) -> NameVerdict:
    """`answers`: the node serves this name locally."""
    if answers:
        return NameVerdict(name, if_not_present=True, always=True)
    starts = {Again.NO: True, Again.SOME: True, Again.YES: False, Again.UNKNOWN: None}
    return NameVerdict(name, starts[pull.again], always=False, only_with=pull.credentials)


def starting(names: Iterable[NameVerdict]) -> tuple[str, ...]:
    """A line for each name under which pods start, or may start."""
    return tuple(
        f"  {each.name}: IfNotPresent, Always"
        if each.always
        else f"  {each.name}: IfNotPresent{_if_credentials(each)}"
        for each in names
        if each.if_not_present is not False
    )


def pulled_again(
    node: str, names: Mapping[str, PullAgain], records: PullRecords, *, kubelet: str, answers: bool
) -> tuple[str, ...]:
    """The names for which kubelet pulls the image again, and what becomes of their pods."""
    again = {name: pull for name, pull in names.items() if pull.again in (Again.YES, Again.SOME)}
    doubts = tuple(f"On {node} {fault}" for fault in records.faults)
    if not again:
        return (*doubts, *_unknown(names, records, kubelet))
    which = f"kubelet {kubelet}" if kubelet else f"The kubelet on {node}"
    why = f"{which} has pulled this image itself, and pulls it again for these names ({GATE})"
    if records.policy not in ("", "NeverVerifyPreloadedImages"):
        why = f"{which} pulls an image again for these names ({records.policy})"
    lines = tuple(f"  {name}{_but_credentials(pull)}" for name, pull in again.items())
    if answers:
        return (f"{why}. Their pods start only because {node} serves it locally:", *lines, *doubts)
    return (
        f"{why}. Their pods do NOT start while the registries are gone:",
        *lines,
        f"They start with: breakglass import {node} --answer-pulls",
        *doubts,
    )


def _if_credentials(each: NameVerdict) -> str:
    return f", only pods with {' or '.join(each.only_with)}" if each.only_with else ""


def _but_credentials(pull: PullAgain) -> str:
    return f" (not for pods with {' or '.join(pull.credentials)})" if pull.credentials else ""


def _unknown(names: Mapping[str, PullAgain], records: PullRecords, kubelet: str) -> tuple[str, ...]:
    if all(pull.again is not Again.UNKNOWN for pull in names.values()):
        return ()
    which = f"kubelet {kubelet}" if kubelet else "A kubelet from 1.35 on"
    why = f"; its records could not be read: {records.unread}" if records.unread else ""
    return (
        (
            f"{which} may ask a pod for the credentials of an image that it has once pulled with "
            f"a secret ({GATE}): such pods need that imagePullSecret still{why}."
        ),
    )
