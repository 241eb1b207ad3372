"""The right to patch nodes, where the API does not grant it."""

from breakglass.errors import Unreachable

BIND_ROLE = "bind the ClusterRole in docs/security.md to this identity"


def may_not_patch() -> Unreachable:
    return Unreachable(
        "the API lets us list nodes but not patch them: the right patch on nodes is missing",
        next_step=BIND_ROLE,
    )
