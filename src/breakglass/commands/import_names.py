"""The private names that import gives to images in a node's containerd."""

import hashlib

from breakglass.observe.containerd import Ctr
from breakglass.plan import Host, Run, title

OURS = "breakglass.local/"
"""What every name in containerd that is ours begins with."""
BEFORE, KEEP = f"{OURS}before/", f"{OURS}keep/"


def keep_name(image_id: str) -> str:
    """The keep tag: the private name that keeps an image from kubelet's image garbage collection,
    and its content for the responder.
    """
    return f"{KEEP}{image_id.removeprefix('sha256:')[:16]}:kept"


def kept_name(name: str) -> str:
    """The private name under which an import keeps what `name` meant before."""
    return f"{BEFORE}{hashlib.sha256(name.encode()).hexdigest()[:16]}:kept"


def tag(node: Host, ctr: Ctr, source: str, name: str) -> Run:
    line = ctr.line("images", "tag", "--force", source, name)
    return Run(node, (line,), title=title("tag", name))


def untag(node: Host, ctr: Ctr, name: str) -> Run:
    return Run(node, (ctr.line("images", "rm", name),), title=title("untag", name))
