"""Answer pulls of a few images on the node's loopback, out of containerd's own content store:
`responder start|serve|stop|status ...`; each has `--help`.

The pull part of the OCI distribution specification, read-only: what the given names lead to, and
nothing else of the store. `start` puts the zipapp beside the tarballs and lets it serve, under
systemd where that runs the node; when its file is removed it ends.
"""

RESPONDER = ".breakglass-responder.pyz"
"""The zipapp's name in the directory of the tarballs."""
