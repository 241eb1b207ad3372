"""Stand-ins for docker and containerd's tools. They work on real archives and real registries, and
run no container.

Each is a program with a `main`, for which programs.py writes a script. It needs the standard
library only, knows the arguments that breakglass uses, and refuses any other with exit 2.
"""
