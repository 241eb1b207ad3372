"""What `check` finds at registries that answer, but not with the whole image."""

import json
import socket
from pathlib import Path
from typing import Any

from breakglass.sandbox.environment import REPOSITORIES
from breakglass.sandbox.image import ARCHITECTURE, OTHER_ARCHITECTURE
from tests.front.world import World
from tests.registry_server import RegistryServer, make_authority

NAME = "registry-private"


def state_of(world: World) -> dict[str, Any]:
    """What `check` says of the one registry that is up."""
    world.environment.stop("forgejo")
    reported = world.run("check", "--json").reported
    (found,) = [each for each in reported["result"]["registries"] if each["name"] == NAME]
    return dict(found)


def test_a_layer_without_its_bytes_is_broken_and_named(world: World) -> None:
    registry = world.environment.registries[NAME]
    tag = registry.root / "repositories" / REPOSITORIES[NAME] / "latest"
    index = json.loads(registry.blob(tag.read_text()).read_bytes())
    manifest = json.loads(registry.blob(index["manifests"][0]["digest"]).read_bytes())
    layer = manifest["layers"][0]
    registry.blob(layer["digest"]).write_bytes(b"")
    found = state_of(world)
    assert (found["state"], found["missing"]) == ("broken", [layer["digest"]])
    assert found["detail"] == f"{layer['digest']} has 0 bytes instead of {layer['size']}"


def test_an_image_lost_for_a_platform_that_no_node_has_is_a_remark(world: World) -> None:
    (lost,) = world.environment.break_image(NAME, "latest", OTHER_ARCHITECTURE)
    found = state_of(world)
    assert (found["state"], found["missing"]) == ("serves", [lost])
    assert f"lost, but not needed for linux/{ARCHITECTURE}: HTTP 404 for {lost}" in found["detail"]


def test_a_certificate_that_is_not_trusted_is_reported_with_its_owner(
    world: World, tmp_path: Path
) -> None:
    _, context = make_authority(tmp_path)
    with RegistryServer(tls=context) as portal:
        config = world.environment.config
        here = world.environment.registries[NAME].url
        config.write_text(config.read_text().replace(here, portal.url))
        found = state_of(world)
    assert found["state"] == "not trusted"
    assert "it is for 127.0.0.1, issued by the CA of the test" in found["detail"]


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    ended = world.run("check", "--json", environ={**proxies, "NO_PROXY": None, "no_proxy": None})
    assert {each["state"] for each in ended.reported["result"]["registries"]} == {"serves"}
    assert ended.reported["result"]["unreached"] == []
