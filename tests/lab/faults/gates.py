"""A gate in front of the API's Node objects: exactly so many of breakglass's patches get through,
the others are held until the test says what becomes of them.
"""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from .. import pki
from ..environment import Environment
from ..process import HostProcess
from .injections import until

SCRIPT = Path(__file__).with_name("gate.py")
PORT = 9443
NAME = "breakglass-lab-gate"


class Gate:
    """What the test has in its hands: `gate.py` beside the API server, and the files through which
    it is reported.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.before: set[str] = set()

    @property
    def directory(self) -> Path:
        return self.environment.api.path("/run/lab/gate")

    def let(self, number: int) -> None:
        """From now on so many patches pass, and all others are held; whoever passed or was held
        before is forgotten.
        """
        self.say("none")
        for path in self.directory.glob("*.*"):
            path.unlink()
        self.before = self.marked()
        self.say(str(number))

    def say(self, word: str) -> None:
        """A number, `all`, `none` (all that are held are denied), `outrun` (each meets a newer
        version of its node).
        """
        new = self.directory / "new"
        new.write_text(word)
        new.rename(self.directory / "let")

    def names(self, which: str) -> set[str]:
        """Nodes that `passed`, or are `held`."""
        return {path.name.removeprefix(f"{which}.") for path in self.directory.glob(f"{which}.*")}

    def await_standstill(self, child: HostProcess, *, passed: int, held: int) -> None:
        """Until exactly so many patches have passed and landed, and so many are held."""
        until(
            lambda: (len(self.names("passed")), len(self.names("held"))) == (passed, held),
            child=child,
            what=f"{passed} patches through the gate, {held} before it",
        )
        # Behind the gate is etcd: a patch has landed when a read sees it. Of a restore nothing can
        # be marked any more, of a pin everything is.
        if passed:
            until(lambda: self.have_landed(passed), child=child, what="the patches have landed")

    def have_landed(self, passed: int) -> bool:
        now = self.marked()
        return now != self.before and len(now & self.names("passed")) in (0, passed)

    def marked(self) -> set[str]:
        return {
            name
            for name, node in self.environment.cluster.nodes().items()
            if {"breakglass/pinned", "breakglass/holds"}
            & node["metadata"].get("annotations", {}).keys()
        }

    def kill(self, child: HostProcess) -> None:
        """breakglass is killed; what is before the gate is denied, and the gate opens."""
        child.kill()
        child.communicate(timeout=60)
        self.say("none")
        time.sleep(0.1)
        self.say("all")


@contextlib.contextmanager
def gate(environment: Environment) -> Iterator[Gate]:
    """Open, until `let` is called."""
    api, found = environment.api, Gate(environment)
    api.write("/etc/lab/gate.py", SCRIPT.read_bytes())
    found.directory.mkdir(exist_ok=True)
    found.let(0)
    found.say("none")
    server = api.popen(
        "python3",
        "/etc/lab/gate.py",
        "/run/lab/gate",
        "/etc/lab/pki/api.crt",
        "/etc/lab/pki/api.key",
        str(PORT),
        stdout=None,
        stderr=None,
    )
    until(lambda: PORT in api.listening(), child=server, what="the gate listens")
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["nodes"],
    }
    authority = pki.text("ca.crt").encode()
    webhook = {
        "name": "gate.breakglass.lab",
        "clientConfig": {
            "url": f"https://127.0.0.1:{PORT}/",
            "caBundle": base64.b64encode(authority).decode(),
        },
        "rules": [rule],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 30,
    }
    try:
        environment.cluster.apply(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": NAME},
                "webhooks": [webhook],
            }
        )
        probe = (
            "--as=breakglass",
            "patch",
            "node",
            "k8s-node1",
            "--dry-run=server",
            "--type=merge",
            "-p",
            json.dumps({"metadata": {"labels": {"x": "y"}}}),
        )
        until(
            lambda: "gate is shut" in environment.cluster.kubectl(*probe, check=False).stderr,
            what="the API server asks the gate",
        )
        found.say("all")
        yield found
    finally:
        with contextlib.suppress(Exception):
            found.say("all")
        server.kill()
        server.communicate()
        if not api.pid("kube-apiserver"):
            api.start("kube-apiserver")
        environment.cluster.kubectl("delete", "validatingwebhookconfiguration", NAME)
