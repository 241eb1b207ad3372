"""Deciding: for each command a file of its name, and others beside it that begin with that name.
What several commands share is in files that are named after their subject.

`observe` reads the facts, `plan` is a pure function of them, `result` is what was reached.
"""
