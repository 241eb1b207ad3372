"""The lab: a real environment (registry VM, NAS, registries, cluster, nodes) in namespaces of one
Debian machine; see README.md.
"""
