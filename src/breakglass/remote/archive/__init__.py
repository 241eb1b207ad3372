"""Write, receive, verify and publish image tarballs: `archive
write|receive|verify|canonical|sign|publish|discard ...`; each has `--help`.

A tarball is what `docker save REFERENCE... | gzip` makes. `write` and `receive` leave a hidden
partial with its record beside it, `publish` gives both their names. The record goes to stdout as
one line of JSON, progress to stderr as `@progress COMPRESSED_BYTES`.
"""
