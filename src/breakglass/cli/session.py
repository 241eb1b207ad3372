"""One run: its connections, and how it executes a Job: read, decide, show, change, read back."""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from breakglass import __version__
from breakglass.apply import apply
from breakglass.cli.arguments import as_typed, typed_with
from breakglass.cli.journal import Journal
from breakglass.cli.journal_file import place
from breakglass.cli.journaled import JournaledCluster, JournaledHosts
from breakglass.cli.memory import remembered
from breakglass.cli.on_cluster import job_on, question_on
from breakglass.cli.outcome import Outcome, StepOutcome, progress_of
from breakglass.cli.reports import ScreenReports
from breakglass.cli.screen import Screen
from breakglass.commands.environment import Environment, Identity
from breakglass.commands.job import Done, FactsType, Job
from breakglass.commands.platforms import for_nodes
from breakglass.config import Config
from breakglass.errors import BreakglassError, Busy, Failed, Next, Refused, Unreachable, Usage, then
from breakglass.known_hosts import Refusal
from breakglass.kube import Cluster
from breakglass.observe.cluster import read_nodes
from breakglass.plan import Argv, Host, Plan, Step, command_line
from breakglass.ports import Result
from breakglass.registry import image_id, look_all, look_at, read_credentials
from breakglass.ssh import Connections
from breakglass.ssh.settings import local_user


class Session:
    """The connections, the journal and the outcome of one run; executes Jobs."""

    def __init__(
        self, *, config: Config, screen: Screen, outcome: Outcome, typed: Sequence[str]
    ) -> None:
        """`typed`: the arguments of this run, to show them again with one more."""
        self.config, self.screen, self.outcome, self.typed = config, screen, outcome, typed
        self.announced: tuple[Plan, ...] = ()
        """Parts of a larger plan that has been shown and agreed to: they are not shown again."""
        self.hosts = Connections(config.ssh, environ=os.environ, note=screen.aside)
        self.cluster = Cluster(config.kubernetes)
        identity = _identity()
        self.journal = Journal(
            place(os.environ, Path.home()),
            run=identity.run,
            by=identity.by,
            command=outcome.command,
            warn=screen.warn,
        )
        self._warned: set[str] = set()
        self.environment = self._environment(identity)

    def _environment(self, identity: Identity) -> Environment:
        """What commands read with."""
        config, screen = self.config, self.screen
        credentials = read_credentials(os.environ, Path.home())
        return Environment(
            config=config,
            hosts=_VerboseReads(self.hosts, screen),
            cluster=self.cluster,
            identity=identity,
            look=lambda tag: for_nodes(
                partial(look_all, config.registries, tag, credentials=credentials),
                partial(read_nodes, self.cluster),
                configured=config.image.platforms,
            ),
            image_id=lambda reference, platform: image_id(
                reference, config.registries, platform=platform, credentials=credentials
            ),
            look_at=lambda reference, platform: look_at(
                reference, config.registries, platform=platform, credentials=credentials
            ),
            may_patch=self.cluster.can_patch_nodes,
            remembered=lambda: remembered(place(os.environ, Path.home())),
            note=screen.aside,
            cluster_name=self.cluster.name,
            warn=self._warn_once,
            signing_key=partial(self._signing_key, config.image.sign_with),
        )

    def go_on_anyway(self, anyway: bool) -> None:
        """`--anyway`: a node that does not fit, or whose host is another one, is a warning."""
        self.environment = replace(self.environment, anyway=anyway)

    def _signing_key(self, file: Path | None) -> bytes | Refused | None:
        try:
            return None if file is None else self.hosts.signing_key(file)
        except Refused as error:
            return error

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            self.screen.warn(line)

    def close(self) -> None:
        self.hosts.close()

    def say_host_keys(self, errors: Iterable[BreakglassError]) -> None:
        """Of each host that was passed over because its key is unknown, how the key is added:
        nothing but a person adds one.
        """
        steps = (error.next_step for error in errors if isinstance(error, Refusal))
        for step in dict.fromkeys(steps):
            for line in step.without_again.lines:
                self.screen.say(line)

    def say_next(self, step: Next) -> Next:
        """What to type next, where all went well; as it was printed."""
        typed = as_typed(step, self.typed, self.cluster.name())
        self.screen.next_step(typed)
        return typed

    def carry_out(self, job: Job[FactsType], *, yes: bool = True) -> Done[FactsType]:
        """Read, decide and show the plan. Unless it is a dry run, execute this plan, then read
        back that nothing is left to do.
        """
        job = job_on(job, self.cluster.name)
        facts = job.observe()
        plan = job.decide(facts)
        first = len(self.outcome.steps)
        self.outcome.steps += [StepOutcome(step) for step in plan.steps]
        is_announced = any(_lines(plan) == _lines(announced) for announced in self.announced)
        if not is_announced:
            self.screen.plan(plan, dry_run=self.outcome.dry_run)
        if self.outcome.dry_run or not plan.steps:
            return Done(facts, facts, plan)
        if job.question:
            self.agree(question_on(job.question, plan.steps, self.cluster.name), yes=yes)
        whole = self.announced if is_announced else (plan,)
        reports = ScreenReports(
            self.screen,
            self.outcome,
            first=first,
            shown_first=first if is_announced else 0,
            count=sum(len(part.steps) for part in whole),
        )
        reached = self._apply(job, facts, plan, reports)
        self.screen.show(f"Done, and read back: {plan.goal}.")
        return Done(facts, reached, plan)

    def _apply(
        self, job: Job[FactsType], facts: FactsType, plan: Plan, reports: ScreenReports
    ) -> FactsType:
        """Execute the plan, and read back the facts that it led to."""
        read_back = job.observe_after or job.observe_again

        def explain(step: Step, ended: Result) -> BreakglassError | None:
            return job.explain(facts, step, ended) if job.explain else None

        try:
            apply(
                plan,
                hosts=JournaledHosts(self.hosts, self.journal),
                cluster=JournaledCluster(self.cluster, self.journal),
                reports=reports,
                plan_again=lambda: job.decide(job.observe_again(facts)),
                explain=explain,
            )
            return _read_back(lambda: read_back(facts), job.left_over or job.decide)
        except BreakglassError as error:
            reports.give_up()
            raise self._with_state(error, lambda: job.state(read_back(facts))) from error.__cause__
        except KeyboardInterrupt:
            reports.give_up(signalled=True)
            raise

    def agree(self, question: str, *, yes: bool) -> None:
        """Ask, unless the answer was given already. No prompt without a terminal."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Usage(
                f"this is asked first, and there is no terminal to ask on: {question}",
                state="Nothing was changed.",
                next_step=then(typed_with(self.typed, "--yes")),
            )
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("not confirmed", next_step="when it is time")

    def _with_state(self, error: BreakglassError, read: Callable[[], str]) -> BreakglassError:
        """The error with the state as it is read now. What promises that nothing was changed
        becomes `failed` where something was.
        """
        if self.outcome.changed and isinstance(error, Unreachable | Refused | Busy):
            error = Failed(error.message, next_step=error.next_step, where=error.where)
        if isinstance(error, Unreachable | Refused) and error.state != type(error).state_by_default:
            return error
        try:
            now = read()
        except BreakglassError as unread:
            now = f"{progress_of(self.outcome)} The state could not be read: {unread.message}"
        if now in error.state:
            return error
        return error.replaced(state=f"{error.state} {now}".strip())


def _read_back(read: Callable[[], FactsType], decide: Callable[[FactsType], Plan]) -> FactsType:
    """The facts now. Raises Failed where they are not read, or something is still to do."""
    try:
        facts = read()
        left = decide(facts).steps
    except BreakglassError as error:
        raise Failed(
            f"all steps ended well, but that could not be read back: {error.message}",
        ) from error
    if left:
        raise Failed(
            f"all steps ended well, but read back there is still something to do: {left[0]}",
        )
    return facts


def _identity() -> Identity:
    at = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return Identity(
        run=secrets.token_hex(4),
        by=f"{local_user() or os.getuid()}@{socket.gethostname()}",
        at=at,
        version=__version__,
    )


class _VerboseReads:
    """Asks hosts, and prints each question under --verbose. It cannot change anything."""

    def __init__(self, hosts: Connections, screen: Screen) -> None:
        self._hosts, self._screen = hosts, screen

    def ask(self, host: Host, *pipeline: Argv, quiet_seconds: float = 30.0) -> Result:
        shown = tuple(
            ("sh", "-c", "...", *argv[3:]) if argv[:2] == ("sh", "-c") else argv
            for argv in pipeline
        )
        self._screen.detail(f"{host}$ {command_line(shown, sudo=host.sudo)}")
        return self._hosts.ask(host, *pipeline, quiet_seconds=quiet_seconds)


def _lines(plan: Plan) -> tuple[str, ...]:
    return (plan.goal, *map(str, plan.steps))
