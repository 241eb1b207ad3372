"""The lab: a real estate (registry VM, NAS, registries, cluster, nodes) in namespaces of one Debian
machine; see README.md.
"""
