"""taken: what it reports of a node, without a change."""

from pathlib import Path
from typing import Any

import pytest

from breakglass.commands.hosts_toml import compose
from breakglass.observe.answering import MARK
from breakglass.remote import taken
from tests.unit.taken_node import NAMESPACE, OURS, REGISTRY, SERVED, Node, fill, site_of

pytestmark = pytest.mark.usefixtures("host_python")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "node")
    made.directory.mkdir(parents=True)
    return made


# What is there


def test_reading_changes_nothing_and_tells_of_a_node_on_which_we_never_were(node: Node) -> None:
    node.directory.rmdir()
    before = node.listing()
    assert node.read() == {"record": None, "responder": False, "now": {}, "strays": []}
    assert node.listing() == before


def test_reading_tells_what_the_files_of_the_record_are_now_and_whether_the_responder_lies_there(
    node: Node,
) -> None:
    node.begin()
    node.insert()
    (node.directory / ".breakglass-responder.pyz").symlink_to("/nowhere")
    reported = node.read()
    assert reported["now"] == {str(node.file): OURS}
    assert reported["responder"] is True
    assert reported["record"]["namespace"] == NAMESPACE
    node.file.unlink()
    assert node.read()["now"] == {str(node.file): None}


def test_reading_tells_of_lines_of_ours_that_the_record_does_not_know(node: Node) -> None:
    node.begin()
    node.insert()
    stray = node.write(SERVED + OURS.encode(), node.certs / "forgejo.example/hosts.toml")
    node.write(SERVED, node.certs / "_default/hosts.toml")
    node.write(OURS.encode(), node.certs / "forgejo.example/hosts.toml.bak")
    assert node.read()["strays"] == [str(stray)]
    node.record.unlink()
    moved = node.write(OURS.encode(), node.certs / "_backup/forgejo.example/hosts.toml")
    assert node.read()["strays"] == [str(stray), str(node.file), str(moved)]
    moved.unlink()
    assert node.read("--registry", REGISTRY)["strays"] == [str(stray), str(node.file)]


@pytest.mark.parametrize("linked", [False, True], ids=["", "config_path is a link"])
def test_a_file_of_the_record_is_no_stray_whatever_was_made_of_it_and_over_whatever_link(
    node: Node, linked: bool
) -> None:
    fill(node, SERVED)
    if linked:
        link_certs(node)
    file = Path(node.site()["file"])
    node.begin()
    node.insert(file)
    node.write(file.read_bytes() + b"# by hand\n", file)
    (node.certs / "forgejo.example").symlink_to(file.parent)
    assert node.read()["strays"] == []


def test_what_cannot_be_read_is_no_stray(node: Node) -> None:
    node.write(OURS.encode() + b"\xff")
    (node.certs / "directory/hosts.toml").mkdir(parents=True)
    (node.certs / "dangling").mkdir()
    (node.certs / "dangling/hosts.toml").symlink_to("/nowhere")
    node.write(OURS.encode() + b"#" * (1 << 20), node.certs / "large/hosts.toml")
    assert node.read()["strays"] == []


def test_a_registry_without_anything_gets_a_file_of_its_own(node: Node) -> None:
    assert node.site() == {
        "file": str(node.file),
        "linked": False,
        "text": None,
        "default": None,
        "default_file": "",
        "ca": [],
        "client": [],
        "fault": "",
    }


def test_a_registry_that_has_only_default_gets_a_file_of_its_own_and_the_text_of_that(
    node: Node,
) -> None:
    default = node.write(SERVED, node.certs / "_default/hosts.toml")
    found = node.site()
    assert (found["file"], found["text"], found["default"], found["default_file"]) == (
        str(node.file),
        None,
        SERVED.decode(),
        str(default),
    )


def test_a_link_in_default_is_followed(node: Node) -> None:
    real = node.write(SERVED, node.root / "elsewhere/hosts.toml")
    node.certs.mkdir(parents=True)
    (node.certs / "_default").symlink_to(real.parent)
    assert (node.site()["default"], node.site()["default_file"]) == (SERVED.decode(), str(real))


def test_an_empty_directory_of_its_own_hides_default_as_it_does_for_containerd(node: Node) -> None:
    node.write(SERVED, node.certs / "_default/hosts.toml")
    node.file.parent.mkdir()
    assert node.site()["default"] is None


def test_the_directory_name_with_underscores_comes_before_the_one_with_a_colon(node: Node) -> None:
    node.write(b"# the other\n")
    underscored = node.write(SERVED, node.certs / "registry.example_5050_/hosts.toml")
    found = node.site()
    assert (found["file"], found["text"], found["linked"]) == (
        str(underscored),
        SERVED.decode(),
        False,
    )


def test_certificates_in_the_layout_of_docker_are_found_where_there_is_no_hosts_toml(
    node: Node,
) -> None:
    for name in ("ca.crt", "b.crt", "client.cert", "client.key", "lonely.cert"):
        node.write(b"x", node.file.parent / name)
    at = node.file.parent
    found = node.site()
    assert found["ca"] == [f"{at}/b.crt", f"{at}/ca.crt"]
    assert found["client"] == [[f"{at}/client.cert", f"{at}/client.key"]]
    node.write(b"")
    assert node.site()["ca"] == found["ca"], "an empty hosts.toml counts as none"
    node.write(b'server = "https://a" # [host] in a comment\n')
    assert node.site()["ca"] == found["ca"], "containerd 1 passes over one that lists no hosts"
    node.write(b'[host."https://a"]\n')
    assert node.site()["ca"] == []


def test_certificates_in_default_are_found_as_well(node: Node) -> None:
    certificate = node.write(b"x", node.certs / "_default/ca.crt")
    found = node.site()
    assert (found["file"], found["ca"]) == (str(node.file), [str(certificate)])


@pytest.mark.parametrize("kind", ["directory", "file", "dangling file", "dangling directory"])
def test_a_link_is_followed_and_reported(node: Node, kind: str) -> None:
    elsewhere = node.root / "elsewhere"
    elsewhere.mkdir()
    node.certs.mkdir(parents=True)
    real = elsewhere / "hosts.toml"
    if "dangling" not in kind:
        real.write_bytes(SERVED)
    if "directory" in kind:
        target = elsewhere / "gone" if "dangling" in kind else elsewhere
        node.file.parent.symlink_to(target)
        real = target / "hosts.toml"
    else:
        node.file.parent.mkdir()
        node.file.symlink_to(real)
    found = node.site()
    assert (found["file"], found["linked"], found["text"]) == (
        str(real),
        True,
        None if "dangling" in kind else SERVED.decode(),
    )


def test_a_config_path_that_is_itself_a_link_makes_no_file_a_shared_one(node: Node) -> None:
    fill(node, SERVED)
    real = node.root / "real"
    node.certs.rename(real)
    node.certs.symlink_to(real)
    found = node.site()
    assert (found["file"], found["linked"]) == (str(real / REGISTRY / "hosts.toml"), False)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"\xff\xfe", "is not UTF-8"), (b"#" * (1 << 20) + b"\n", "is larger than")],
)
def test_a_hosts_toml_that_cannot_be_read_is_reported_as_a_fault_of_that_registry_only(
    node: Node, content: bytes, fault: str
) -> None:
    fill(node, content)
    reported = node.read("--registry", REGISTRY, "--registry", "forgejo.example")
    assert fault in reported["sites"][REGISTRY]["fault"]
    assert reported["sites"]["forgejo.example"]["fault"] == ""


def test_a_file_where_a_directory_is_wanted_is_a_fault(node: Node) -> None:
    node.write(b"", node.certs / REGISTRY)
    assert "is no directory" in node.site()["fault"]


def test_a_directory_in_the_place_of_hosts_toml_is_a_fault(node: Node) -> None:
    node.file.mkdir(parents=True)
    assert str(node.file) in node.site()["fault"]


def make_default(node: Node) -> None:
    node.write(
        SERVED.replace(b"server", b'ca = "/etc/ca.crt"\nserver'), node.certs / "_default/hosts.toml"
    )


def make_certificates(node: Node) -> None:
    node.write(b"x", node.file.parent / "ca.crt")
    node.write(b"x", node.file.parent / "client.cert")
    node.write(b"x", node.file.parent / "client.key")


def make_certificates_of_default(node: Node) -> None:
    node.write(b"x", node.certs / "_default/ca.crt")


def make_empty_file_with_certificates(node: Node) -> None:
    make_certificates(node)
    node.write(b"")


def make_nothing(node: Node) -> None:
    assert not node.certs.exists()


def link_certs(node: Node) -> None:
    node.certs.mkdir(parents=True, exist_ok=True)
    node.certs.rename(node.root / "real")
    node.certs.symlink_to(node.root / "real")


@pytest.mark.parametrize(
    "linked", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "config_path is a link"]
)
@pytest.mark.parametrize(
    "make",
    [
        make_default,
        make_certificates,
        pytest.param(make_certificates_of_default, marks=pytest.mark.slow),
        pytest.param(make_empty_file_with_certificates, marks=pytest.mark.slow),
        pytest.param(make_nothing, marks=pytest.mark.slow),
    ],
)
def test_what_counts_without_us_is_found_again_when_our_own_file_is_there(
    node: Node, make: Any, linked: bool
) -> None:
    make(node)
    if linked:
        link_certs(node)
    node.begin()
    first = site_of(node.site())
    made = compose(first, first.text, address="http://127.0.0.1:4000", first=False)
    copy = Path(first.default_file) if first.text is None and made.base is not None else None
    node.insert(Path(first.file), before=made.before, lines=made.lines, copy=copy)
    assert Path(first.file).read_text() == made.text
    again = site_of(node.site())
    assert again.text == made.text
    assert (again.file, again.linked, again.default, again.ca, again.client) == (
        first.file,
        first.linked,
        first.default,
        first.ca,
        first.client,
    )
    assert again.default_file == first.default_file
    assert compose(again, first.text, address="http://127.0.0.1:4000", first=False) == made, (
        "a second import has nothing to do"
    )


def test_the_mark_is_the_same_on_the_node_and_here(node: Node) -> None:
    assert taken.MARK == MARK
    assert (
        compose(site_of(node.site()), None, address="http://127.0.0.1:4000", first=False)
        .lines[0]
        .startswith(MARK)
    )
