"""The sandbox: SSH hosts, registries and an API server on loopback, in one process, with temporary
data.
"""
