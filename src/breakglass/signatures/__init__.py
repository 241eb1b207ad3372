"""Signatures by SSH keys, as `ssh-keygen -Y` makes and checks them: read, verified and judged here,
without that program.
"""
