"""The faults of docs/faults.md, each injected for real: arrange, inject, run breakglass, heal, look
at everything, run the same command again.
"""
