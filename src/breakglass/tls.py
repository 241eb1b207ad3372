"""Certificates are accepted as the Go clients of the cluster accept them, with any Python."""

import ssl


def judge_as_go(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, set to accept the certificates that containerd and kubectl accept."""
    # Python 3.13 refuses private CAs that lack an extension; Go does not. Go trusts a CA that it
    # was given without a root above it; Python does so from 3.13 on.
    flags = context.verify_flags | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags = flags & ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context
