"""A stand-in for `containerd`: its version and its configuration."""

import sys

from breakglass.sandbox.standins.ctr import VERSION
from breakglass.sandbox.standins.ctr_store import ROOT, snapshotter
from breakglass.sandbox.standins.state import HOST, unknown

CONFIGURATION = f"""version = 4
root = "{ROOT}"
state = "{HOST}/run/containerd"

[grpc]
  address = "{HOST}/run/containerd/containerd.sock"

[plugins]

  [plugins."io.containerd.cri.v1.images"]
    snapshotter = "{snapshotter()}"

    [plugins."io.containerd.cri.v1.images".registry]
      config_path = "{HOST}/etc/containerd/certs.d"
"""


def main(argv: list[str]) -> int:
    if argv in (["--version"], ["-v"]):
        sys.stdout.write(f"containerd github.com/containerd/containerd {VERSION} simulated\n")
    elif argv == ["config", "dump"]:
        sys.stdout.write(CONFIGURATION)
    else:
        return unknown("containerd", " ".join(argv) or "(nothing)")
    return 0
