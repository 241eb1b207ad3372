"""What may be wrong when things are restored: no host waits for another, and nothing that
somebody has touched is lost or passed over in silence.
"""

import json
from pathlib import Path

import pytest

from breakglass.sandbox.ports import ADDRESS
from tests.front.blocks import is_reported
from tests.front.rows import configure
from tests.front.world import World

NODE, OTHER = "k8s-node1", "k8s-node2"


def sites(world: World, node: str = NODE) -> list[Path]:
    return sorted((world.root(node) / "etc/containerd/certs.d").glob("*/hosts.toml"))


def with_a_file_of_somebodys(world: World) -> Path:
    """Imported over a hosts.toml that was there; it comes back."""
    world.fetch(NODE)
    registry = json.loads(world.environment.config.read_text("utf-8"))["image"][
        "repository"
    ].partition("/")[0]
    site = world.root(NODE) / f"etc/containerd/certs.d/{registry}/hosts.toml"
    site.parent.mkdir()
    site.write_text(f'# somebody\nserver = "http://{registry}"\n')
    world.done("import", NODE)
    return site


@pytest.mark.slow
def test_a_node_whose_lock_cannot_be_made_keeps_nobody_else_cordoned_or_answering(
    world: World,
) -> None:
    world.bring_in(NODE)
    world.done("fetch", OTHER)
    world.done("import", OTHER)
    world.done("pin", NODE, "--yes")
    lock = world.shelf(NODE) / ".breakglass.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to("/nonexistent/lock")
    ended = world.run("restore", "--yes", "--json")
    is_reported(
        ended, 4, "lock", f"Still serving the image locally or keeping an image for us: {NODE}."
    )
    assert world.cordoned() == []
    assert (sites(world, OTHER), len(sites(world))) == ([], 2)
    lock.unlink()
    assert world.done("restore", "--yes")["result"]["cleaned"] == [NODE]
    assert sites(world) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["edited", "replaced", "deleted"])
def test_a_hosts_toml_that_somebody_touched_after_us_is_left_and_reported_and_its_original_kept(
    world: World, how: str
) -> None:
    site = with_a_file_of_somebodys(world)
    if how == "deleted":
        site.unlink()
    else:
        site.write_text(site.read_text() + "# a word\n" if how == "edited" else "# all new\n")
    touched = site.read_text() if site.exists() else None
    is_reported(
        world.run("restore", "--yes"),
        4,
        "hosts.toml was",
        "after breakglass wrote it, so it is left as it is",
        ".breakglass.json",
    )
    assert (site.read_text() if site.exists() else None) == touched
    record = world.shelf(NODE) / ".breakglass.json"
    assert "# somebody\n" in json.loads(record.read_text())["files"][str(site)]["original"]["text"]
    assert (world.responders(), len(sites(world))) == ({}, 0 if how == "deleted" else 1)
    is_reported(world.run("restore", "--yes"), 4, "hosts.toml was")
    record.unlink()
    if how == "edited":
        is_reported(world.run("restore", "--yes"), 4, "holds lines of breakglass that no record")
        site.write_text("# put right\n")
    lines = [step["line"] for step in world.done("restore", "--yes")["steps"]]
    assert all("breakglass/holds" in line for line in lines), lines
    assert world.done("restore", "--yes")["steps"] == []


@pytest.mark.slow
def test_a_hosts_toml_that_was_deleted_after_us_is_there_again_after_the_next_import_and_restore(
    world: World,
) -> None:
    site = with_a_file_of_somebodys(world)
    ours = site.read_text()
    site.unlink()
    assert "was deleted after breakglass wrote it" in world.run("import", NODE).stderr
    assert site.read_text() == ours
    world.done("restore", "--yes")
    assert site.read_text().startswith("# somebody\n")
    assert "breakglass" not in site.read_text()


def test_what_is_left_of_us_without_a_record_is_reported_with_the_lines_to_type(
    world: World,
) -> None:
    world.bring_in(NODE)
    for name in (".breakglass.json", ".breakglass-responder.pyz"):
        (world.shelf(NODE) / name).unlink()
    reported = is_reported(
        world.run("restore", "--yes"), 4, "no record", "breakglass.local/keep/", "images rm"
    )
    assert reported.count("hosts.toml holds lines of breakglass") == 2


@pytest.mark.slow
def test_one_machine_under_two_names_is_restored_once(world: World) -> None:
    world.bring_in(NODE)
    hosts = json.loads(world.environment.config.read_text("utf-8"))["nodes"]["hosts"]
    configure(world, "nodes", hosts=hosts | {"node1": f"{ADDRESS}:{world.host(NODE).port}"})
    assert len(world.done("restore", "--yes")["result"]["cleaned"]) == 1


@pytest.mark.slow
def test_a_registry_that_wants_a_login_comes_after_the_node_and_is_reported(world: World) -> None:
    world.fetch(NODE)
    world.environment.refuse("forgejo", 401)
    forgejo = world.environment.registries["forgejo"].authority
    ended = world.run("import", NODE)
    assert ended.status == 0, ended.stderr
    assert f"{forgejo} does not serve the image to {NODE} (refuses" in ended.stdout
    assert f"A tag of {forgejo} means this image on {NODE} until" in ended.stdout
    hosts = {site.parent.name: site.read_text() for site in sites(world)}
    assert f'[host."http://{forgejo}"]' not in hosts.pop(forgejo)
    ((private, text),) = hosts.items()
    assert text.index(f'[host."http://{private}"]') < text.index('[host."http://127.0.0.1:2')


@pytest.mark.slow
def test_where_an_image_is_broken_the_node_comes_first_and_behind_again_once_it_is_mended(
    world: World,
) -> None:
    world.bring_in(NODE)
    world.environment.break_image("forgejo", "latest")
    assert f"{NODE} asks itself first" in world.run("import", NODE).stdout
    first = [site.read_text().index('[host."http://127.0.0.1:2') for site in sites(world)]
    forgejo = world.environment.registries["forgejo"].authority
    (broken,) = (site for site in sites(world) if site.parent.name == forgejo)
    assert f'[host."http://{forgejo}"]' not in broken.read_text()
    broken.write_text(broken.read_text().replace("[host", f'[host."http://{forgejo}"]\n[host', 1))
    is_reported(
        world.run("import", NODE),
        3,
        "does not list",
        "first, though the registry does not serve the image",
    )
    assert len(first) == 2
