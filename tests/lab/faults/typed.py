"""Run on the operator's machine: a JSON list of (arguments, environment) on stdin, each typed into
breakglass in turn; [exit code, stdout, stderr] of each comes out as JSON.

One process, so that a long table is quick.
"""

import contextlib
import io
import json
import os
import sys

from breakglass.cli.main import run

reported = []
for argv, environment in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    before = dict(os.environ)
    os.environ.update(environment)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(argv)
    for name in environment:
        del os.environ[name]
    os.environ.update(before)
    reported.append([code, out.getvalue(), err.getvalue()])
json.dump(reported, sys.stdout)
