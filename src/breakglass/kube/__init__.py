"""The only package that knows the `kubernetes` client, which is loaded with the first question that
is asked.
"""

from breakglass.kube.cluster import Cluster

__all__ = ["Cluster"]
