"""Stand-ins for docker and containerd's tools. They work on real archives and real registries, and
run nothing.

Each is a program of its own (`main`, which programs.py writes a script for), needs the standard
library only, and refuses what it does not know with exit 2.
"""
