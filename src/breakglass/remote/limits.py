"""How much is believed: the most that we take in of what others wrote. More is a fault, before it
is read.

A program on a host stays below 64 MB of memory, whatever it is sent. JSON takes up to 35 times its
size in memory (a list of small objects).
"""

DOCUMENT_BYTES = 1 << 20
"""One JSON document: a manifest, an index, a configuration. Real ones have some kilobytes."""
DOCUMENTS_BYTES = 4 << 20
"""All JSON documents that are kept of one archive."""
RECORD_BYTES = 64 << 10
"""The record beside a tarball, and any other small file of ours."""
STATE_BYTES = 8 << 20
"""The record of what was changed on a node: it has the text of each hosts.toml."""
HEADERS = 10_000
"""Headers in one archive: of files, links and directories, and of their long names. docker writes
some hundreds.
"""
NAME_BYTES = 1024
"""One name in an archive, or one extended header."""
EXTRA_BYTES = 8 * NAME_BYTES
"""All extended headers of one file in an archive."""
PADDING_BYTES = 1 << 20
"""Zeros behind the end of an archive. tar fills up to 10 KiB."""
INFLATED_RATIO, INFLATED_BYTES = 50, 2 << 30
"""What an archive may inflate to, its compressed layers included: so many times what was read of
it, and so many bytes besides. Images have 3 to 10 times their compressed size; zeros in gzip have
1000 times.
"""
TOKEN_BYTES = 64 << 10
"""A token of a registry. Longer ones fit into no header."""
