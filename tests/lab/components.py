"""Where provision.sh puts what it builds: a directory of the cache for each module of go/, its
version in the name.
"""

import os
from pathlib import Path

CACHE = Path(os.environ.get("BREAKGLASS_LAB_CACHE") or Path.home() / ".cache/breakglass-lab")
MODULES = Path(__file__).with_name("go")


def module_version(name: str, module: str) -> str:
    """The version of `module` that go/NAME/go.mod requires, without its v."""
    for line in (MODULES / name / "go.mod").read_text().splitlines():
        words = line.removeprefix("require ").split()
        if words[:1] == [module]:
            return words[1].removeprefix("v")
    raise LookupError(f"go/{name}/go.mod does not require {module}")


def built(name: str, module: str) -> str:
    """The directory of the cache that has the programs of go/NAME below usr/bin."""
    return f"{name}-{module_version(name, module)}"


CONTAINERD_VERSION = module_version("containerd", "github.com/containerd/containerd/v2")
CONTAINERD = built("containerd", "github.com/containerd/containerd/v2")
KUBERNETES_VERSION = module_version("kubernetes", "k8s.io/kubernetes")
KUBERNETES = built("kubernetes", "k8s.io/kubernetes")
KUBELET_OLD = built("kubelet-1.34", "k8s.io/kubernetes")
CRANE = built("crane", "github.com/google/go-containerregistry")
CRICTL = built("crictl", "sigs.k8s.io/cri-tools")
CONFORMANCE = built("conformance", "github.com/opencontainers/distribution-spec/conformance")
