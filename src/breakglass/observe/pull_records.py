"""What a node's kubelet remembers of images that it has pulled itself
(KubeletEnsureSecretPulledImages, on by default from kubelet 1.35 on).
"""

from dataclasses import dataclass, field
from typing import Any

from breakglass.errors import BreakglassError
from breakglass.observe.program import ask_program
from breakglass.plan import Host
from breakglass.ports import Reads
from breakglass.shape import fits, parse_json
from breakglass.text import inert

_FILE = {"text": (str, None), "fault": (str, None)}
_ANSWER = {
    "directory": str,
    "is_kept": bool,
    "policy": str,
    "gate": str,
    "pulled": {str: _FILE},
    "pulling": {str: _FILE},
}
# kubelet.config.k8s.io, v1alpha1 and v1beta1.
_SOURCE = {"namespace": (str, None), "name": (str, None)}
_CREDENTIALS = {
    "kubernetesSecrets": ([_SOURCE], None),
    "kubernetesServiceAccounts": ([_SOURCE], None),
    "nodePodsAccessible": (bool, None),
}
_PULLED = {"imageRef": str, "credentialMapping": ({str: _CREDENTIALS}, None)}
_INTENT = {"image": str}


@dataclass(frozen=True)
class Credentials:
    """Who has shown that he may use an image under a name."""

    every_pod: bool = False
    sources: tuple[str, ...] = ()
    """The secrets and service accounts, for a sentence."""


@dataclass(frozen=True)
class PullRecords:
    is_kept: bool = False
    """Whether kubelet keeps such records."""
    policy: str = ""
    """imagePullCredentialsVerificationPolicy of kubelet; empty: its default."""
    gate: bool | None = None
    """What kubelet's feature gates say; None: its default."""
    pulled: dict[str, dict[str, Credentials]] = field(default_factory=dict)
    """Image ID -> name without a tag -> credentials, of each image that kubelet has pulled."""
    pulling: frozenset[str] = frozenset()
    """Names whose pull was under way when kubelet last wrote; it may have been killed."""
    faults: tuple[str, ...] = ()
    """Files that cannot be read or understood: kubelet then pulls again."""
    doubtful: frozenset[str] = frozenset()
    """The image IDs and names that these files are about."""
    unread: str = ""
    """Why nothing at all is known."""


def read_pull_records(
    reads: Reads,
    host: Host,
    directory: str | None,
    *,
    image_ids: tuple[str, ...],
    names: tuple[str, ...],
) -> PullRecords:
    """Never raises: the verdict is given without these records as well."""
    options = ("--directory", directory) if directory else ()
    words = [word for each in image_ids for word in ("--image-id", each)]
    words += [word for each in names for word in ("--name", each)]
    try:
        answer = ask_program(reads, host, ("pulled", *options, *words), _ANSWER)
    except BreakglassError as error:
        return PullRecords(unread=error.message)
    return parse_pull_records(answer)


def parse_pull_records(answer: dict[str, Any]) -> PullRecords:
    where = inert(answer["directory"])
    pulled: dict[str, dict[str, Credentials]] = {}
    pulling, faults, doubtful = set(), [], set()
    for kind, shape in (("pulled", _PULLED), ("pulling", _INTENT)):
        for key, file in sorted(answer[kind].items()):
            document, fault = _document(file, shape)
            if fault:
                faults.append(
                    f"the record of {inert(key)} in {where}/{kind} cannot be read: {fault}"
                )
                doubtful.add(key)
            # kubelet takes no notice of a record that is about something else.
            elif document and kind == "pulled" and document["imageRef"] == key:
                mapping = document.get("credentialMapping") or {}
                pulled[key] = {name: _credentials(each) for name, each in mapping.items()}
            elif document and kind == "pulling" and document["image"] == key:
                pulling.add(key)
    return PullRecords(
        answer["is_kept"],
        inert(answer["policy"]),
        {"true": True, "false": False}.get(answer["gate"].lower()),
        pulled,
        frozenset(pulling),
        tuple(faults),
        frozenset(doubtful),
    )


def _document(file: dict[str, Any], shape: Any) -> tuple[dict[str, Any] | None, str]:
    """(what the file says, fault); neither where there is no file."""
    if file.get("fault") or file.get("text") is None:
        return None, inert(file.get("fault") or "")
    try:
        document = parse_json(file["text"])
    except ValueError as error:
        return None, inert(str(error))
    return (document, "") if fits(document, shape) else (None, "it is no such record")


def _credentials(document: dict[str, Any]) -> Credentials:
    kinds = (("kubernetesSecrets", "secret"), ("kubernetesServiceAccounts", "service account"))
    sources = (
        f"{word} {inert(each.get('namespace') or '')}/{inert(each.get('name') or '')}"
        for key, word in kinds
        for each in document.get(key) or ()
    )
    return Credentials(bool(document.get("nodePodsAccessible")), tuple(dict.fromkeys(sources)))
