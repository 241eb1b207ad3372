"""One run: the configuration, the connections, and the way from facts over a plan to what was
confirmed.
"""

import getpass
import os
import secrets
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from breakglass import __version__
from breakglass.apply import Explain, apply
from breakglass.cli import journal
from breakglass.cli.journaled import JournaledCluster, JournaledHosts
from breakglass.cli.main import typed_with
from breakglass.cli.outcome import Outcome, StepTold, progress_of
from breakglass.cli.screen import Screen
from breakglass.commands import Estate, Identity
from breakglass.config import Config
from breakglass.errors import BreakglassError, Busy, Failed, Refused, Unreachable, Usage
from breakglass.kube import Cluster
from breakglass.plan import Argv, Host, Plan, Step, command_line
from breakglass.ports import Result
from breakglass.registry import image_id, look_all, read_credentials
from breakglass.ssh import Connections

FactsType = TypeVar("FactsType")


class Session:
    """Holds what has to be closed, and what `--json` tells in the end."""

    def __init__(self, *, config: Config, screen: Screen, outcome: Outcome) -> None:
        self.config, self.screen, self.outcome = config, screen, outcome
        self.announced: tuple[Plan, ...] = ()
        """Parts of a larger plan that has been shown and agreed to: they are not shown again."""
        self.hosts = Connections(config.ssh, environ=os.environ)
        self.cluster = Cluster(config.kubernetes)
        credentials = read_credentials(os.environ, Path.home())
        at = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        identity = Identity(
            run=secrets.token_hex(4),
            by=f"{_user()}@{socket.gethostname()}",
            at=at,
            version=__version__,
        )
        self.journal = journal.Journal(
            journal.place(os.environ, Path.home()),
            run=identity.run,
            by=identity.by,
            command=outcome.command,
            warn=screen.warn,
        )
        self.estate = Estate(
            config=config,
            hosts=_Told(self.hosts, screen),
            cluster=self.cluster,
            identity=identity,
            look=lambda tag: look_all(config.registries, tag, credentials=credentials),
            image_id=lambda reference, platform: image_id(
                reference, config.registries, platform=platform, credentials=credentials
            ),
            may_patch=self.cluster.can_patch_nodes,
            note=screen.aside,
        )

    def close(self) -> None:
        self.hosts.close()

    def carry_out(
        self,
        facts: FactsType,
        *,
        decide: Callable[[FactsType], Plan],
        again: Callable[[], FactsType],
        state: Callable[[FactsType], str],
        explain: Explain = lambda *_: None,
        after: Callable[[], FactsType] | None = None,
        left: Callable[[FactsType], Plan] | None = None,
        question: str = "",
        yes: bool = True,
    ) -> tuple[FactsType, Plan]:
        """Plan, show; then, unless it is a dry run, do that very plan and read back that nothing of
        it is left to do.

        `again` reads the facts anew before anything is changed, `after` (where it differs) when all
        is done; `left` (where it differs from `decide`) plans from these what is left to do.
        """
        plan = decide(facts)
        first = len(self.outcome.steps)
        self.outcome.steps += [StepTold(step) for step in plan.steps]
        is_announced = any(_told(plan) == _told(announced) for announced in self.announced)
        if not is_announced:
            self.screen.plan(plan, dry_run=self.outcome.dry_run)
        if self.outcome.dry_run or not plan.steps:
            return facts, plan
        self.agree(question, yes=yes)
        read_back = after or again
        reports = _Reports(
            self,
            first,
            shown_first=first if is_announced else 0,
            count=sum(len(announced.steps) for announced in self.announced)
            if is_announced
            else len(plan.steps),
        )
        try:
            apply(
                plan,
                hosts=JournaledHosts(self.hosts, self.journal),
                cluster=JournaledCluster(self.cluster, self.journal),
                reports=reports,
                plan_again=lambda: decide(again()),
                explain=explain,
            )
            reached = self._read_back(read_back, left or decide)
        except BreakglassError as error:
            reports.give_up()
            raise self._with_state(error, read_back, state) from error.__cause__
        except KeyboardInterrupt:
            reports.give_up(signalled=True)
            raise
        self.screen.tell(f"Done, and read back: {plan.goal}.")
        return reached, plan

    def _read_back(
        self, read: Callable[[], FactsType], decide: Callable[[FactsType], Plan]
    ) -> FactsType:
        try:
            facts = read()
            left = decide(facts).steps
        except BreakglassError as error:
            raise Failed(
                f"all steps ended well, but that could not be read back: {error.message}",
                next_step="run the same command again: it does only what is missing",
            ) from error
        if left:
            raise Failed(
                f"all steps ended well, but read back there is still something to do: {left[0]}",
                next_step="run the same command again: it does only what is missing",
            )
        return facts

    def agree(self, question: str, *, yes: bool) -> None:
        """Ask, unless the answer was given already. No prompt without a terminal."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Usage(
                f"this is asked first, and there is no terminal to ask on: {question}",
                state="Nothing was changed.",
                next_step=typed_with("--yes"),
            )
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("not confirmed", next_step="the same command again, when it is time")

    def _with_state(
        self,
        error: BreakglassError,
        observe: Callable[[], FactsType],
        state: Callable[[FactsType], str],
    ) -> BreakglassError:
        """The error with the state as it is read now. What promises that nothing was changed
        becomes `failed` where something was.
        """
        if self.outcome.changed and isinstance(error, Unreachable | Refused | Busy):
            error = Failed(error.message, next_step=error.next_step, where=error.where)
        if isinstance(error, Unreachable | Refused) and error.state != type(error).state_by_default:
            return error
        try:
            now = state(observe())
        except BreakglassError as unread:
            now = f"{progress_of(self.outcome)} The state could not be read: {unread.message}"
        if now in error.state:
            return error
        return error.replaced(state=f"{error.state} {now}".strip())


class _Reports:
    def __init__(self, session: Session, first: int, *, shown_first: int, count: int) -> None:
        self._session, self._first, self._shown_first, self._count = (
            session,
            first,
            shown_first,
            count,
        )

    def started(self, index: int, step: Step) -> None:
        self._session.outcome.steps[self._first + index].begun = True
        self._session.screen.step_started(self._shown_first + index + 1, self._count, step)

    def progress(self, done_bytes: int) -> None:
        self._session.screen.step_progress(done_bytes)

    def ended(self, index: int, step: Step, *, ok: bool, seconds: float) -> None:
        told = self._session.outcome.steps[self._first + index]
        told.status, told.seconds = "done" if ok else "failed", seconds
        if ok and step.is_change:
            self._session.outcome.changed = True
        self._session.screen.step_ended(
            self._shown_first + index + 1, self._count, step, ok=ok, seconds=seconds
        )

    def undoing(self, step: Step) -> None:
        self._session.screen.say(f"putting back: {step}")

    def give_up(self, *, signalled: bool = False) -> None:
        """What had begun when it ended may have been done."""
        self._session.screen.close()
        for told in self._session.outcome.steps[self._first :]:
            if told.status == "planned":
                told.status = "failed" if told.begun else "not run"
                self._session.outcome.changed |= told.begun and told.step.is_change
            elif told.status == "failed" and signalled:
                self._session.outcome.changed |= told.step.is_change


class _Told:
    """Reading, with each question told under --verbose. Has nothing to write with."""

    def __init__(self, hosts: Connections, screen: Screen) -> None:
        self._hosts, self._screen = hosts, screen

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        shown = tuple(
            ("sh", "-c", "...", *argv[3:]) if argv[:2] == ("sh", "-c") else argv
            for argv in pipeline
        )
        self._screen.detail(f"{host}$ {command_line(shown, sudo=host.sudo)}")
        return self._hosts.ask(host, *pipeline, quiet_seconds=quiet_seconds)


def _told(plan: Plan) -> tuple[str, ...]:
    return (plan.goal, *map(str, plan.steps))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
