"""Speed and size of breakglass beside what it replaces, measured in one run on the lab: `python -m
benchmarks`.
"""
