"""What a look at a registry means for the platforms of the nodes."""

from collections.abc import Iterator

import pytest

from breakglass.commands.platforms import for_nodes, judged_for
from breakglass.errors import Unreachable
from breakglass.observe.cluster import Node, parse_node
from breakglass.registry import Found, Lost, State, judged
from breakglass.remote.distribution.platforms import best_for
from tests.registry_server import RegistryServer
from tests.unit.registry_example import Example, fill

AMD64, ARM64, ARM, NOTE = "linux/amd64", "linux/arm64", "linux/arm/v7", "unknown/unknown"
ATTESTATION = {"platform": {"os": "unknown", "architecture": "unknown"}}


def gone(platform: str | None) -> Lost:
    return Lost(platform, State.BROKEN, f"HTTP 404 for {platform}", (f"sha256:{platform}",))


def unreached(platform: str | None) -> Lost:
    return Lost(platform, State.UNREACHABLE, f"HTTP 503 for {platform}")


def looked(*images: str, lost: tuple[Lost, ...] = ()) -> Found:
    return Found(
        "forgejo", State.SERVES, "sha256:1", image_ids=dict.fromkeys(images, "id"), lost=lost
    )


@pytest.mark.parametrize(
    ("found", "platforms", "state"),
    [
        (looked(AMD64), [AMD64], "serves"),
        (looked(AMD64), [], "serves"),
        # The nodes' own image decides.
        (looked(AMD64, lost=(gone(ARM64),)), [AMD64], "serves"),
        (looked(AMD64, lost=(gone(ARM64),)), [ARM64], "broken"),
        (looked(AMD64, lost=(gone(ARM64),)), [AMD64, ARM64], "broken"),
        (looked(AMD64, ARM64, lost=(gone(AMD64),)), [AMD64], "broken"),
        # Where no platform is known, each image of the index does.
        (looked(AMD64, lost=(gone(ARM64),)), [], "broken"),
        # Nobody pulls an attestation.
        (looked(AMD64, lost=(gone(NOTE),)), [], "serves"),
        (looked(AMD64, lost=(gone(NOTE),)), [AMD64], "serves"),
        # A part of unknown platform may be for any node.
        (looked(AMD64, lost=(gone(None),)), [AMD64], "broken"),
        # What was not reached is not known to be gone.
        (looked(AMD64, lost=(unreached(AMD64),)), [AMD64], "unreachable"),
        (looked(AMD64, lost=(unreached(ARM64),)), [AMD64], "serves"),
        (looked(AMD64, lost=(unreached(AMD64), gone(AMD64))), [AMD64], "broken"),
        # An image that was never built for one of the nodes' platforms serves the others.
        (looked(AMD64), [AMD64, ARM64], "serves"),
        (looked(AMD64), [ARM64], "broken"),
        # containerd's rules for variants.
        (looked(ARM), ["linux/arm"], "serves"),
        (looked(ARM64), ["linux/arm64/v8"], "serves"),
        (looked(AMD64), ["linux/x86_64"], "serves"),
        (looked(AMD64, lost=(gone("linux/arm/v5"),)), ["linux/arm"], "broken"),
        (looked(ARM, lost=(gone("linux/arm/v5"),)), ["linux/arm"], "serves"),
        # A look that did not come to its end stays what it was.
        (Found("forgejo", State.UNREACHABLE, detail="refused"), [AMD64], "unreachable"),
        (Found("forgejo", State.BROKEN, "sha256:1", ("sha256:1",)), [AMD64], "broken"),
    ],
)
def test_the_images_of_the_nodes_platforms_decide(
    found: Found, platforms: list[str], state: str
) -> None:
    assert judged(found, platforms).state == state
    assert judged(judged(found, []), platforms) == judged(found, platforms)


def test_where_all_platforms_are_needed_a_missing_image_is_a_fault() -> None:
    found = judged(looked(AMD64), [AMD64, ARM64], all_needed=True)
    assert found.state == "broken"
    assert found.detail == "there is no image for linux/arm64, only for linux/amd64"


def test_what_is_lost_for_others_is_a_remark_that_names_it() -> None:
    found = judged(looked(AMD64, lost=(gone(ARM64), gone(NOTE))), [AMD64])
    assert found.missing == ("sha256:linux/arm64", "sha256:unknown/unknown")
    assert found.detail == (
        "lost, but not needed for linux/amd64: HTTP 404 for linux/arm64; "
        "HTTP 404 for unknown/unknown"
    )


def test_the_decisive_parts_are_named_first() -> None:
    lost = (gone(ARM64), *(gone(NOTE),) * 3, gone(AMD64))
    found = judged(looked(AMD64, lost=lost), [AMD64])
    assert found.missing[0] == "sha256:linux/amd64"
    assert found.detail.startswith("HTTP 404 for linux/amd64; ")


@pytest.mark.parametrize(
    ("platform", "offered", "best"),
    [
        ("linux/arm", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], "linux/arm/v7"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/amd64", ["windows/amd64", "linux/arm64"], None),
        ("linux/amd64", [], None),
        ("linux/amd64", ["linux", ""], None),
    ],
)
def test_the_platform_is_chosen_as_containerd_does(
    platform: str, offered: list[str], best: str | None
) -> None:
    assert best_for(platform, offered) == best


# The platforms of the nodes


def node(architecture: str) -> Node:
    return parse_node(
        {"metadata": {"name": "n"}, "status": {"nodeInfo": {"architecture": architecture}}}
    )


@pytest.mark.parametrize(
    ("found", "architectures", "configured", "state"),
    [
        (looked(AMD64, lost=(gone(ARM64),)), ["amd64", "amd64"], (), "serves"),
        (looked(AMD64, lost=(gone(ARM64),)), ["amd64", "arm64"], (), "broken"),
        (looked(AMD64), ["amd64", "arm64"], (), "serves"),
        # The configuration comes before the nodes, and each of its platforms is needed.
        (looked(AMD64, lost=(gone(ARM64),)), ["amd64", "arm64"], (AMD64,), "serves"),
        (looked(AMD64), ["amd64"], (AMD64, ARM64), "broken"),
        # No node is known.
        (looked(AMD64, lost=(gone(ARM64),)), [], (), "serves"),
        (looked(AMD64, lost=(gone(ARM64),)), [""], (), "serves"),
        (looked(ARM64, lost=(gone(AMD64),)), [], (), "broken"),
        (looked(ARM64), [], (), "serves"),
        (looked(ARM64, lost=(gone(ARM64),)), [], (), "broken"),
    ],
)
def test_a_registry_is_judged_for_the_nodes(
    found: Found, architectures: list[str], configured: tuple[str, ...], state: str
) -> None:
    nodes = [node(architecture) for architecture in architectures]
    (judgement,) = judged_for([found], nodes, configured=configured)
    assert judgement.state == state
    (judgement,) = for_nodes(lambda: (found,), lambda: nodes, configured=configured)
    assert judgement.state == state


def test_an_api_server_that_does_not_answer_leaves_the_usual_platform() -> None:
    def unreachable() -> list[Node]:
        raise Unreachable("the API server is down")

    (found,) = for_nodes(lambda: (looked(AMD64, lost=(gone(ARM64),)),), unreachable, configured=())
    assert found.state == "serves"


# With a registry


@pytest.fixture
def example() -> Iterator[Example]:
    with RegistryServer() as server:
        yield fill(server)


def test_an_index_that_lost_its_attestation_is_served(example: Example) -> None:
    store = example.server.store
    image, note = store.add_image("amd64"), {**store.add_image("unknown"), **ATTESTATION}
    store.tags["abc"] = store.add_index(image, note)["digest"]
    del store.manifests[note["digest"]]
    found = example.look()
    assert (found.state, found.missing) == ("serves", (note["digest"],))


def test_a_blob_of_two_platforms_is_lost_for_both(example: Example) -> None:
    store = example.server.store
    store.tags["abc"] = store.add_index(
        store.add_image("amd64", layers=1),
        {
            **store.add_image("amd64", layers=1),
            **{"platform": {"os": "linux", "architecture": "arm64"}},
        },
    )["digest"]
    (layer,) = store.layers_of(store.add_image("amd64", layers=1)["digest"])
    del store.blobs[layer]
    found = example.look()
    assert [judged(found, [each]).state for each in (AMD64, ARM64)] == ["broken"] * 2
