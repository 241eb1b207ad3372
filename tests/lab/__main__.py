"""python3 -m tests.lab up | down | status | shell HOST | run HOST -- COMMAND ..."""

import argparse
import contextlib
import os
import sys
import time

from .environment import Environment, InUse, in_use, provision
from .host import ENVIRONMENT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab", description="A real environment in namespaces of this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "up": "raise it (one that stands is removed first)",
        "down": "remove every trace of it",
        "status": "what of it runs",
    }.items():
        command = commands.add_parser(name, help=text)
        if name != "status":
            command.add_argument(
                "--force", action="store_true", help="even while a test session is using it"
            )
    commands.add_parser("shell", help="a root shell on a host").add_argument("host")
    run = commands.add_parser("run", help="run a command on a host, as root")
    run.add_argument("host")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the lab needs root", file=sys.stderr)
        return 2
    environment = Environment()
    if arguments.command in ("up", "down"):
        try:
            with contextlib.nullcontext() if arguments.force else in_use(wait=False):
                raise_or_remove(environment, arguments.command)
        except InUse as error:
            print(f"{error}; wait for it, or add --force", file=sys.stderr)
            return 7
    elif arguments.command == "status":
        return status(environment)
    else:
        if arguments.host not in environment.hosts:
            print(
                f"no such host: {arguments.host}; there are: {', '.join(environment.hosts)}",
                file=sys.stderr,
            )
            return 2
        host = environment.host(arguments.host)
        argv = (
            ["/bin/sh" if host.kind == "bare" else "/bin/bash"]
            if arguments.command == "shell"
            else [word for number, word in enumerate(arguments.argv) if number or word != "--"]
        )
        os.execve(
            "/usr/bin/nsenter",
            host.entry("/root") + argv,
            ENVIRONMENT
            | {
                "TERM": os.environ.get("TERM", "dumb"),
                "BREAKGLASS_CONFIG": "/root/breakglass.yaml",
            },
        )
    return 0


def raise_or_remove(environment: Environment, command: str) -> None:
    if command == "down":
        environment.down()
        return
    began = time.monotonic()
    provision()
    environment.up()
    print(
        f"the lab is up in {time.monotonic() - began:.0f} s; try: python3 -m tests.lab shell "
        f"operator"
    )


def status(environment: Environment) -> int:
    """One line per host; 1 when the lab is not up."""
    if not environment.standing:
        print("the lab is down")
        return 1
    for host in environment.hosts.values():
        running = (
            [
                f"{daemon.name}{'' if host.pid(daemon.name) else ' (stopped)'}"
                for daemon in host.daemons
            ]
            if host.running
            else ["unplugged"]
        )
        print(f"{host.name:<12} {host.address:<13} {', '.join(running)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
