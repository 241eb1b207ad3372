"""The right to patch nodes, where the API does not grant it."""

from breakglass.cluster_name import BIND_THE_ROLE
from breakglass.errors import Unreachable


def may_not_patch() -> Unreachable:
    return Unreachable(
        "the API lets us list nodes but not patch them: the right patch on nodes is missing",
        next_step=BIND_THE_ROLE,
    )
