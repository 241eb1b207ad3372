"""argv -> facts -> plan -> show -> confirm -> apply -> result. The only package with typer, rich,
--dry-run and exit codes.
"""
