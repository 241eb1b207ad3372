"""TLS as the Go clients of the cluster judge it, whichever Python runs us."""

import ssl


def judge_as_go(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, neither stricter nor laxer than containerd and kubectl.

    Python 3.13 refuses private CAs that lack an extension; Go does not. Go trusts what it was
    given without looking for a root above it; Python does so from 3.13 on.
    """
    flags = context.verify_flags | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags = flags & ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context
