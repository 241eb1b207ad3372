"""A host of the lab: boots, runs commands, keeps daemons, loses its plug or its cable."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import network, process, systemd
from .daemon import Daemon
from .disk import Disk
from .which import own

STATE = Path(f"/run/{own('breakglass-lab')}")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIMIT_SECONDS = 180.0
"""For what takes a second or two: on a busy machine it may take much longer, and only a hang is a
fault.
"""
ENVIRONMENT = {
    "PATH": PATH,
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/sh",
}
BOOT = Path(__file__).with_name("boot.sh")


@dataclass(frozen=True)
class Host:
    """One host; every process that knows its name can handle it, for its state is in STATE and in
    the kernel.
    """

    name: str
    address: str
    addresses: Mapping[str, str] = field(repr=False)
    kind: str = "overlay"
    init: str = "/bin/bash"
    binds: tuple[str, ...] = ()
    daemons: tuple[Daemon, ...] = ()

    @property
    def disk(self) -> Disk:
        return Disk(self.name)

    @property
    def systemd(self) -> bool:
        """Whether systemd is its PID 1."""
        return self.init == systemd.INIT

    @property
    def cgroup(self) -> str:
        return f"{own('breakglass-lab')}-{self.name}"

    @property
    def state(self) -> Path:
        return STATE / "hosts" / self.name

    @property
    def init_pid(self) -> int:
        """PID 1 of the host, as the machine sees it; 0 while it is unplugged."""
        try:
            keeper, when = (self.state / "pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return 0
        if process.started(int(keeper)) != when:
            return 0
        below = process.children(int(keeper))
        return below[0] if below else 0

    @property
    def running(self) -> bool:
        return self.init_pid != 0

    def path(self, path: str) -> Path:
        """A path on the running host, for reading and writing it from outside."""
        pid = self.init_pid
        if not pid:
            raise RuntimeError(f"{self.name} is unplugged")
        return Path(f"/proc/{pid}/root") / path.lstrip("/")

    # commands

    def popen(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> process.HostProcess:
        """Start a command on the host as root; signals sent to the result reach the command
        itself.
        """
        return process.HostProcess(
            [*self.entry(cwd), *argv],
            env=ENVIRONMENT | dict(env or {}),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
        )

    def run(
        self,
        *argv: str,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        timeout: float = 120,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host as root, without a shell; killed after timeout seconds."""
        child = self.popen(
            *argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE
        )
        with child:
            try:
                out, err = child.communicate(input, timeout=timeout)
            except BaseException:
                child.kill()
                raise
        done = subprocess.CompletedProcess([self.name, *argv], child.returncode, out, err)
        if check and done.returncode:
            raise RuntimeError(
                f"{self.name}$ {' '.join(argv)}: exit "
                f"{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )
        return done

    def entry(self, cwd: str = "/") -> list[str]:
        """The argument list in front of a command that enters the host."""
        pid = self.init_pid
        if not pid:
            raise RuntimeError(f"{self.name} is unplugged")
        return [
            "/usr/bin/nsenter",
            "--target",
            str(pid),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--root",
            f"--wdns={cwd}",
            "--",
        ]

    # files

    def write(self, path: str, content: str | bytes, *, mode: int = 0o644) -> None:
        """Write a file on the running host, its directories too."""
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)

    def read(self, path: str) -> str:
        return self.path(path).read_text(errors="replace")

    @contextlib.contextmanager
    def hidden(self, path: str) -> Iterator[None]:
        """Take a program away for a while, /usr/bin/pigz say."""
        away = f"{path}.taken-away"
        self.path(path).rename(self.path(away))
        try:
            yield
        finally:
            self.path(away).rename(self.path(path))

    @contextlib.contextmanager
    def room(self, which: str, *, free_megabytes: int) -> Iterator[None]:
        """Leave only so much room on `system` (the root) or `data` (docker's, containerd's, the
        registry's and kubelet's directories).
        """
        self.disk.resize(which, free_megabytes=free_megabytes)
        try:
            yield
        finally:
            self.disk.resize(which, free_megabytes=None)

    # plug and cable

    def plug(self, *, start: bool = True) -> None:
        """Boot the host, disks as they were, and start its daemons."""
        if self.running:
            return
        self.state.mkdir(parents=True, exist_ok=True)
        network_namespace = f"--net=/run/netns/{network.namespace(self.name)}"
        namespaces = ["--mount", "--uts", "--pid", "--ipc", *(["--cgroup"] if self.systemd else [])]
        unshare = ["unshare", *namespaces, "--fork", "--kill-child", "--propagation", "private"]
        boot = [
            "bash",
            str(BOOT),
            str(self.disk.system),
            self.name,
            self.kind,
            self.init,
            *self.binds,
        ]
        enter = ["nsenter", network_namespace, *unshare, *boot]
        # The keeper writes down its own PID and start time before there is anything to be found:
        # down finds it whenever up dies. What it runs before that, it runs as children, and its
        # only child is to be the host.
        keep = systemd.OWN_CGROUPS.replace("GROUP", self.cgroup) if self.systemd else ""
        keep += (
            's=$(cat /proc/$$/stat); s=${s##*) }; echo "$$ $(echo "$s" | cut -d" " -f20)" >"$0"; '
            'exec "$@"'
        )
        with (self.state / "boot.log").open("ab") as log:
            keeper = subprocess.Popen(
                ["sh", "-c", keep, str(self.state / "pid"), *enter],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + LIMIT_SECONDS
        while not (self.running and self.path("/run/lab/booted").exists()):
            if keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self.name} does not boot: {(self.state / 'boot.log').read_text()[-2000:]}"
                )
            time.sleep(0.01)
        keeper.returncode = 0  # nobody waits for it here: it outlives this process
        network.set_cable(self.name, up=True)
        if self.systemd:
            systemd.await_booted(self.run)
        if start:
            for daemon in self.daemons:
                self.start(daemon.name)

    def reboot(self) -> None:
        """Shut down as `systemctl reboot` does, and boot again; what is enabled starts by
        itself.
        """
        pid = self.init_pid
        self.run("systemctl", "reboot", check=False)
        deadline = time.monotonic() + 60
        while process.alive(pid):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not shut down")
            time.sleep(0.05)
        self.unplug()
        self.plug()

    def unplug(self) -> None:
        """Pull the plug: nothing is written or said by the host any more."""
        pid = self.init_pid
        network.set_cable(self.name, up=False)
        if pid:
            process.end(pid, sig=signal.SIGKILL)
            deadline = time.monotonic() + 10
            while any(process.within(pid)) and time.monotonic() < deadline:
                time.sleep(0.01)
        keeper = (self.state / "pid").read_text().split()[0]
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(keeper), 0)
        (self.state / "pid").unlink(missing_ok=True)

    def cable(self, *, up: bool) -> None:
        """Pull the network cable, or plug it in."""
        network.set_cable(self.name, up=up)

    def black_hole(self, *, on: bool) -> None:
        """Let packets to and from the host vanish silently, or end that."""
        network.set_black_hole(self.name, self.addresses, on=on)

    # daemons

    def daemon(self, name: str) -> Daemon:
        return next(daemon for daemon in self.daemons if daemon.name == name)

    def pid(self, daemon: str) -> int:
        """PID of a daemon, as the machine sees it; 0 when it does not run."""
        if not self.running:
            return 0
        try:
            wanted = int(self.path(f"/run/lab/{daemon}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return next(
            (
                outer
                for outer, inner in process.within(self.init_pid)
                if inner == wanted and process.alive(outer)
            ),
            0,
        )

    def launch(self, daemon: str) -> None:
        """Start a daemon without waiting for it to answer."""
        if self.pid(daemon):
            return
        what = self.daemon(daemon)
        if what.leftover:
            self.path(what.leftover).unlink(missing_ok=True)
        if self.systemd:
            self.run("systemctl", "enable", "--quiet", "--now", what.unit_name)
            deadline = time.monotonic() + 5
            while not self.pid(daemon) and time.monotonic() < deadline:
                time.sleep(0.01)
            return
        start = (
            "n=$1; shift; exec >>/var/log/lab/$n.log 2>&1 </dev/null; (trap - INT QUIT; exec "
            '"$@") & echo $! >/run/lab/$n.pid'
        )
        subprocess.run(
            [*self.entry(), self.init, "-c", start, "lab", daemon, *what.argv],
            env=ENVIRONMENT | dict(what.env),
            check=True,
            start_new_session=True,
        )

    def start(self, daemon: str, *, timeout: float = LIMIT_SECONDS) -> None:
        """Start a daemon and wait until it answers; once more where it ends at once, for what it
        needs may be held for a moment by the one before it.
        """
        self.launch(daemon)
        try:
            self.await_daemon(daemon, timeout=timeout)
        except RuntimeError:
            if self.pid(daemon):
                raise
            time.sleep(1)
            self.launch(daemon)
            self.await_daemon(daemon, timeout=timeout)

    def await_daemon(self, daemon: str, *, timeout: float = LIMIT_SECONDS) -> None:
        """Wait until a launched daemon answers; say why when it does not."""
        what = self.daemon(daemon)
        deadline = time.monotonic() + timeout
        while not what.ready(self.path("/"), self.listening()) or (
            what.probe and self.run(*what.probe, check=False, timeout=timeout).returncode
        ):
            if not self.pid(daemon) or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self.name}: {daemon} does not start\n{self.log(daemon)[-3000:]}"
                )
            time.sleep(0.05)

    def stop(self, daemon: str) -> None:
        """End a daemon with SIGTERM, after ten seconds with SIGKILL."""
        self.signal(daemon, signal.SIGTERM)

    def kill(self, daemon: str) -> None:
        """End a daemon with SIGKILL."""
        self.signal(daemon, signal.SIGKILL)

    def signal(self, daemon: str, sig: int) -> None:
        """Send an ending signal to a daemon and wait until it is gone."""
        pid = self.pid(daemon)
        if pid:
            process.send(pid, signal.SIGCONT)
            process.end(pid, sig=sig)

    def pause(self, daemon: str) -> None:
        """Freeze a daemon: it accepts connections and never answers."""
        process.send(self.pid(daemon), signal.SIGSTOP)

    def resume(self, daemon: str) -> None:
        """Let a frozen daemon go on."""
        process.send(self.pid(daemon), signal.SIGCONT)

    def log(self, daemon: str) -> str:
        """What a daemon has written."""
        log = self.path(f"/var/log/lab/{daemon}.log")
        return log.read_text(errors="replace") if log.exists() else ""

    def listening(self) -> frozenset[int]:
        """TCP ports on which somebody listens on the host."""
        ports = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.init_pid}/net/{table}").read_text().splitlines()[1:]:
                words: Sequence[str] = line.split()
                if words[3] == "0A":
                    ports.add(int(words[1].rpartition(":")[2], 16))
        return frozenset(ports)
