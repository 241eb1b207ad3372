"""Kubernetes. Only this package imports the `kubernetes` client, and only for the first request."""

from breakglass.kube.cluster import Cluster

__all__ = ["Cluster"]
