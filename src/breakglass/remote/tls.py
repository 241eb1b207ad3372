"""TLS towards servers as containerd and kubectl, which are Go programs, judge it: neither stricter
nor laxer, with any Python.
"""

from __future__ import annotations

import ssl

PARTIAL_CHAIN = 0x80000
"""X509_V_FLAG_PARTIAL_CHAIN. The ssl module has a name for it from Python 3.10 on."""


def judge_as_go(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, set to accept the certificates that Go accepts."""
    # Python 3.13 refuses private CAs that lack an extension; Go does not. Go trusts a CA that it
    # was given without a root above it; Python does so from 3.13 on.
    flags = context.verify_flags | ssl.VerifyFlags(PARTIAL_CHAIN)
    context.verify_flags = flags & ~ssl.VERIFY_X509_STRICT
    # Go reads the names of a certificate from its subjectAltName only.
    if ssl.HAS_NEVER_CHECK_COMMON_NAME:
        context.hostname_checks_common_name = False
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def system_context() -> ssl.SSLContext:
    """Trusts the CAs of this machine, and none else."""
    context = judge_as_go(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.load_default_certs()
    return context
