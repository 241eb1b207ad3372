"""The parts of the sandbox by name: starts, stops, fills and damages them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from breakglass.sandbox import image
from breakglass.sandbox.api import Api
from breakglass.sandbox.hosts import Host
from breakglass.sandbox.ports import ADDRESS, Reservation
from breakglass.sandbox.registries import Registry
from breakglass.sandbox.settings import (
    HOST_SETTINGS,
    NODE_SETTINGS,
    set_on_host,
    set_on_node,
)

OWN_CLUSTER, OTHER_CLUSTER = "sandbox", "another"


class Parts:
    """Hosts, registries and the API server, which is called `api`."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        registries: Mapping[str, Registry],
        *,
        repositories: Mapping[str, str],
        kubeconfig: Path,
    ) -> None:
        """`repositories`: the repository of the image in each registry. `kubeconfig`: the file to
        write when the API server starts.
        """
        self.hosts, self.registries = hosts, registries
        self._repositories = repositories
        self.kubeconfig = kubeconfig
        self._reservation = Reservation()
        self.api = Api(port=self._reservation.port)
        self._other_api: Api | None = None
        self._api_up = False

    def status(self) -> dict[str, str]:
        """Every part by name: up or down."""
        ups = {name: host.up for name, host in self.hosts.items()}
        ups |= {name: registry.up for name, registry in self.registries.items()}
        ups["api"] = self._api_up
        return {name: "up" if up else "down" for name, up in ups.items()}

    def stop(self, name: str) -> None:
        """Stop a part as if its power failed. Raises LookupError."""
        if name != "api":
            self._part(name).stop()
        elif self._api_up:
            self._api_up = False
            self.api.stop()

    def start(self, name: str) -> None:
        """Start a part, on the same port as before. Raises LookupError."""
        if name != "api":
            self._part(name).start()
        elif not self._api_up:
            if self.kubeconfig.exists():
                # It ran before.
                self.api = _successor(self.api)
            self.api.kubeconfig(self.kubeconfig)
            self.api.start()
            self._api_up = True

    def use_cluster(self, name: str) -> None:
        """Let the kubeconfig mean this cluster: `sandbox`, or `another`, whose nodes have the same
        names and are other machines. Raises LookupError.
        """
        if name not in (OWN_CLUSTER, OTHER_CLUSTER):
            raise LookupError(f"no cluster {name!r}; there are {OWN_CLUSTER}, {OTHER_CLUSTER}")
        if name == OWN_CLUSTER:
            self.api.kubeconfig(self.kubeconfig)
            return
        if self._other_api is None:
            self._other_api = Api().start()
            for _, node in self.api.select("nodes", None, "")[1]:
                own = node["metadata"]["name"]
                self._other_api.add_node(own, internal_ip=ADDRESS, machine=f"{own} of {name}")
        self._other_api.kubeconfig(self.kubeconfig, name)

    def release_ports(self) -> None:
        """Let go of the ports, which are kept while a part is off."""
        if self._other_api is not None:
            self._other_api.stop()
        parts: list[Host | Registry] = [*self.hosts.values(), *self.registries.values()]
        for part in parts:
            part.reservation.end()
        self._reservation.end()

    def cut(self, name: str) -> None:
        """Break the connections of a host. Raises LookupError."""
        self._host(name).cut()

    def pull(self, node: str, tag: str, registry: str = "registry-private") -> str:
        """The node's containerd gets the image, as kubelet pulls it. Returns its name. Raises
        LookupError.
        """
        authority = self._registry(registry).authority
        name = f"{authority}/{self._repositories[registry]}:{tag}"
        line = ("ctr", "-n", "k8s.io", "images", "pull", "--plain-http", name)
        status, _, stderr = self.run(node, line)
        if status:
            why = stderr.decode(errors="replace").strip() or f"exit code {status}"
            raise LookupError(f"{node} cannot pull {name}: {why}")
        return name

    def push(self, tag: str, *, content: str | None = None) -> str:
        """Push an image to both registries, as `tag` and as `latest`. Returns its image ID. Raises
        LookupError.
        """
        down = [name for name, registry in self.registries.items() if not registry.up]
        if down:
            verb = "is" if len(down) == 1 else "are"
            raise LookupError(
                f"nothing pushed: {' and '.join(down)} {verb} down; "
                f"first: sandbox start {' '.join(down)}"
            )
        if tag.startswith((".", "-")) or "/" in tag or not tag:
            raise LookupError(f"{tag!r} is not a tag")
        pushed = image.build(f"infra-ci {tag}\n" if content is None else content)
        for name, repository in self._repositories.items():
            for each in (tag, "latest"):
                self.registries[name].push(repository, each, pushed)
        return pushed.image_id

    def break_image(self, registry: str, tag: str, architecture: str | None = None) -> list[str]:
        """Delete the manifests that the tag's index lists, in one registry: all of them, or those
        for one architecture. Returns their digests. Raises LookupError.
        """
        which = self._registry(registry)
        try:
            deleted = which.delete_children(self._repositories[registry], tag, architecture)
        except OSError:
            raise LookupError(f"{registry} has no tag {tag}") from None
        if not deleted:
            raise LookupError(f"{tag} of {registry} lists no image for {architecture}")
        return deleted

    def set(self, name: str, setting: str, value: str) -> None:
        """Change what a node reports, or how a host answers logins. Raises LookupError."""
        if setting in HOST_SETTINGS:
            set_on_host(self._host(name), setting, value)
        elif setting in NODE_SETTINGS:
            set_on_node(self.api, name, setting, value)
        else:
            known = ", ".join((*NODE_SETTINGS, *HOST_SETTINGS))
            raise LookupError(f"nothing is called {setting!r}; there are {known}")

    def refuse(self, registry: str, code: int | None) -> None:
        """Answer every request to a registry with this status; None: serve again. Raises
        LookupError.
        """
        self._registry(registry).refuses_with = code

    def run(self, host: str, argv: Sequence[str]) -> tuple[int, bytes, bytes]:
        """Run a command on a host, without SSH. Returns exit status, stdout, stderr. Raises
        LookupError.
        """
        result = self._host(host).run(argv)
        return result.returncode, result.stdout, result.stderr

    def _part(self, name: str) -> Host | Registry:
        return self.hosts[name] if name in self.hosts else self._registry(name)

    def _host(self, name: str) -> Host:
        if name not in self.hosts:
            raise LookupError(f"no host {name!r}; there are {', '.join(self.hosts)}")
        return self.hosts[name]

    def _registry(self, name: str) -> Registry:
        if name not in self.registries:
            raise LookupError(f"no {name!r}; there are {', '.join(self.status())}")
        return self.registries[name]


def _successor(stopped: Api) -> Api:
    """A server that has stopped cannot listen again. This one has its port and its objects."""
    api = Api(port=stopped.port)
    api.take_over(stopped)
    return api
