"""A registry as a client that pulls speaks with it; used on other hosts and by breakglass itself.

The protocol: OCI distribution specification 1.1; the token service: distribution's "Token
Authentication Specification".
"""
