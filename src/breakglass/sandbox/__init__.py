"""The estate in a box: SSH hosts, registries and an API server on loopback, in one process, on
throw-away data.
"""
