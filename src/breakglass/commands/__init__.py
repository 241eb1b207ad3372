"""Deciding: for each command a file of its name, and others beside it that begin with that name.

`observe` reads the facts, `plan` is a pure function of them, `result` is what was reached.
"""
