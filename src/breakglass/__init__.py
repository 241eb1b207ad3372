"""breakglass: keep a verified tarball of the CI image outside the cluster, and bring it back onto a
node.
"""

__version__ = "0.1.0"
