"""One fault, from before it to the second run: what every test of this directory has in its
hands.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import CompletedProcess

from ..environment import Environment
from ..process import HostProcess
from ..runs import Ran, judge
from .invariants import Observed, observe, violations
from .rows import Row

CANARY = "canary-7d1f-never-shown"
"""Planted where secrets are: in the registry logins. Its password is never to be seen."""


@dataclass
class Trial:
    """Use: arrange; `arranged()`; inject and `run(...)`, or `start(...)`, inject, `ended(...)`;
    heal; `recovers()`.
    """

    environment: Environment
    row: Row
    before: Observed | None = None
    argv: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    """Hosts that stay without power to the end: they cannot be looked at."""
    _began: dict[int, float] = field(default_factory=dict)

    def arranged(self) -> None:
        """Things are as they are before the fault: this is what the invariants compare with."""
        self.before = observe(self.environment)

    def run(self, *argv: str, env: dict[str, str] | None = None) -> Ran:
        """Run breakglass with the fault in place; exit code and time are those of the row."""
        return self.ended(self.start(*argv, env=env))

    def start(self, *argv: str, env: dict[str, str] | None = None) -> HostProcess:
        """Start breakglass, so that something can be done to it, or beside it."""
        assert self.before is not None, "arranged() comes first"
        self.argv = argv
        child = self.environment.operator.start_breakglass("--json", *argv, env=env)
        self._began[child.pid] = time.monotonic()
        return child

    def ended(self, child: HostProcess) -> Ran:
        """How a started run ended."""
        try:
            stdout, stderr = child.communicate(timeout=self.row.within_seconds + 60)
        except BaseException:
            child.kill()
            raise
        seconds = time.monotonic() - self._began.pop(child.pid)
        is_silent(stdout + stderr)
        ran = judge(CompletedProcess(child.args, child.returncode, stdout, stderr), expect=None)
        assert ran.exit_code in self.row.exit_codes, (
            f"exit {ran.exit_code}, the row says {self.row.exit_codes}: "
            f"{ran.reported['error']}\n{stderr}"
        )
        assert seconds < self.row.within_seconds, (
            f"I6: took {seconds:.0f} s of {self.row.within_seconds:.0f}\n{stderr}"
        )
        return ran

    def killed(self, child: HostProcess) -> None:
        """A started run was killed: there is nothing that it could still say."""
        child.communicate(timeout=60)
        self._began.pop(child.pid)

    def holds(self, *next_run: str) -> None:
        """Every invariant holds; on the hosts of `next_run` nothing of ours is left over."""
        assert self.before is not None, "arranged() comes first"
        deadline = time.monotonic() + 10
        # A process that has lost whom it worked for may take a moment to end.
        unseen = {f"{host} cannot be looked at" for host in self.down}

        def found() -> list[str]:
            assert self.before is not None
            return [
                one
                for one in violations(self.before, observe(self.environment), next_run=next_run)
                if one not in unseen
            ]

        while (
            (left := found())
            and all(one.startswith("I8") for one in left)
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        assert left == [], "\n".join(left)

    def recovers(
        self, *next_run: str, argv: tuple[str, ...] = (), goal: Callable[[], bool] | None = None
    ) -> Ran:
        """With the fault healed: the invariants hold, the same command reaches the goal and leaves
        nothing behind on these hosts.
        """
        self.holds()
        argv = argv or self.argv
        ended = self.environment.operator.breakglass("--json", *argv)
        again = judge(ended, expect=0)
        is_silent(ended.stdout + ended.stderr)
        self.holds(*next_run)
        assert goal is None or goal(), "the second run ended with 0, but the goal is not reached"
        return again


def is_silent(text: str) -> None:
    """I7: no secret is in what was printed."""
    assert CANARY not in text, "I7: a registry password is printed"
    assert "PRIVATE KEY" not in text, "I7: a private key is printed"


def plant_canaries(environment: Environment) -> None:
    """A login with a password to look for, where the tool reads logins."""
    logins = {"auths": {"registry.invalid": {"username": "ci", "password": CANARY}}}
    environment.operator.write("/root/.docker/config.json", json.dumps(logins), mode=0o600)
