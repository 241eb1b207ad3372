import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakglass import config, grammar
from breakglass.errors import Usage

EXAMPLE = Path(__file__).parents[2] / "breakglass.example.yaml"
SMALLEST = """
image: {repository: "registry.example:5050/team/infra-ci"}
registry_vm: {ssh: root@10.0.20.10, directory: /opt/tarballs}
"""


def load(directory: Path, text: str | bytes) -> config.Config:
    path = directory / "breakglass.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path)


def faults(directory: Path, text: str | bytes) -> list[str]:
    """The lines of the one error."""
    with pytest.raises(Usage) as caught:
        load(directory, text)
    assert caught.value.exit_code == 2
    assert str(caught.value.next_step)
    return [line.strip() for line in caught.value.message.replace(str(directory), "").splitlines()]


def test_the_example_is_the_environment() -> None:
    environment = config.load(EXAMPLE)
    assert environment.image == config.Image(
        "registry.viktorbarzin.me:5050/infra-ci",
        "infra-ci",
        (
            "registry.viktorbarzin.me:5050/infra-ci:latest",
            "forgejo.viktorbarzin.me/viktor/infra-ci:{tag}",
            "forgejo.viktorbarzin.me/viktor/infra-ci:latest",
        ),
    )
    assert environment.registry_vm == config.RegistryVm(
        "root@10.0.20.10", "/opt/registry/data/private/_breakglass"
    )
    assert environment.fallbacks == (
        config.Fallback(
            "synology", "192.168.1.13", "/volume1/Backup/Viki/pve-backup/_forgejo-breakglass"
        ),
    )
    assert environment.nodes == config.Nodes(ssh_user="wizard")
    assert environment.registries == (
        config.Registry(
            "forgejo",
            "https://forgejo.viktorbarzin.me",
            "viktor/infra-ci",
            names=("forgejo.viktorbarzin.me/viktor/infra-ci",),
        ),
        config.Registry(
            "registry-private",
            "https://registry.viktorbarzin.me:5050",
            "infra-ci",
            names=("registry.viktorbarzin.me:5050/infra-ci",),
        ),
    )
    assert environment.ssh == config.Ssh(
        Path.home() / ".ssh" / "config", Path.home() / ".ssh" / "known_hosts"
    )
    assert (environment.kubernetes, environment.status, environment.source) == (
        config.Kubernetes(),
        config.Status(),
        EXAMPLE,
    )


def test_the_example_leaves_out_no_key_and_its_defaults_are_the_loaders(tmp_path: Path) -> None:
    import yaml

    given_keys = {
        section: set(values)
        for section, values in yaml.safe_load(EXAMPLE.read_text()).items()
        if isinstance(values, dict)
    }
    for section in ("image", "registry_vm", "nodes", "ssh", "kubernetes", "status"):
        assert given_keys[section] == {
            each.name for each in fields(getattr(config.load(EXAMPLE), section))
        }
    example, smallest = config.load(EXAMPLE), load(tmp_path, SMALLEST)
    assert (example.ssh, example.kubernetes, example.status) == (
        smallest.ssh,
        smallest.kubernetes,
        smallest.status,
    )


def test_three_keys_are_enough(tmp_path: Path) -> None:
    smallest = load(tmp_path, SMALLEST)
    assert smallest.image == config.Image("registry.example:5050/team/infra-ci", "infra-ci")
    assert smallest.nodes == config.Nodes()
    assert smallest.fallbacks == ()
    assert smallest.registries == (
        config.Registry(
            "registry.example:5050",
            "https://registry.example:5050",
            "team/infra-ci",
            names=("registry.example:5050/team/infra-ci",),
        ),
    )
    assert faults(tmp_path, "image: {}")[1:] == [
        "image.repository: is missing",
        "registry_vm.ssh: is missing",
        "registry_vm.directory: is missing",
    ]


def test_sections_and_lists_may_be_left_empty(tmp_path: Path) -> None:
    emptied = load(
        tmp_path, SMALLEST + "nodes:\nfallbacks:\nregistries:\nssh:\nstatus:\nkubernetes:\n"
    )
    assert emptied == load(tmp_path, SMALLEST)
    assert (
        load(tmp_path, SMALLEST.replace("}", ", name: null, also_known_as: null}", 1)).image.name
        == "infra-ci"
    )


def test_a_name_for_files_that_follows_from_the_repository_is_checked_like_a_given_one(
    tmp_path: Path,
) -> None:
    repository = f"registry.example/ci/{'a' * 101}"
    (derived,) = faults(
        tmp_path, SMALLEST.replace("registry.example:5050/team/infra-ci", repository)
    )[1:]
    assert derived.startswith("image.name (not given, so taken from image.repository): 'aaa")
    assert (
        load(
            tmp_path,
            SMALLEST.replace('registry.example:5050/team/infra-ci"', f'{repository}", name: ci'),
        ).image.name
        == "ci"
    )
    assert (
        load(
            tmp_path, SMALLEST.replace("registry.example:5050/team/infra-ci", repository[:-1])
        ).image.name
        == "a" * 100
    )


def test_the_names_of_an_image_begin_with_the_one_it_is_pulled_by() -> None:
    image = config.Image(
        "r.example/ci",
        "ci",
        (
            "r.example/ci:latest",
            "f.example/v/ci:{tag}",
            "r.example/ci:{tag}",
            "f.example/v/ci:{tag}-slim",
        ),
    )
    assert image.names("abc") == (
        "r.example/ci:abc",
        "r.example/ci:latest",
        "f.example/v/ci:abc",
        "f.example/v/ci:abc-slim",
    )
    assert image.names("latest") == (
        "r.example/ci:latest",
        "f.example/v/ci:latest",
        "f.example/v/ci:latest-slim",
    )
    assert image.tarball("abc") == "ci-abc.tar.gz"


def test_every_fault_is_reported_at_once_with_its_path(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
image: {repository: infra-ci, name: a/b, also_known_as: ["a.b/c:{tog}", "a.b/c:{tag}", 3, "{tag}.b/c:1", "a.b/c"], companions: foo}
registry_vm: {ssh: "-oProxyCommand=x", directory: /a/../b, keep: 0, sudo: 1}
fallbacks: [{name: registry-vm, ssh: "a b", directory: x}, 5, {name: x, ssh: x, directory: /x}, {name: x, ssh: x, directory: /x}]
nodes: {hosts: {A_b: node, n1: "x;y", 3: node}, ctr: [], ssh_user: no, answer_pulls: "yes", namespace: "k8s io", tolerates: ["a b", x/y/z], selector: {ci: true, "-x": y, role: ci}}
registries: [{name: a, url: "https://u:s3cret@h", repository: q}, {name: a, url: "https://h:99999", repository: q/Q, ca: $HOME/x}]
ssh: [1]
status: {max_age_hours: .nan}
kubernetes: {context: "`id`"}
""",  # noqa: E501
    )
    expected = [
        "image.repository: 'infra-ci' does not name its registry",
        "image.name: 'a/b' is not",
        "image.also_known_as[0]: 'a.b/c:{tog}' has a placeholder",
        "image.also_known_as[2]: 3 is not text",
        "image.also_known_as[3]: '{tag}.b/c:1' has a placeholder",
        "image.also_known_as[4]: 'a.b/c' is not a full reference",
        "image.companions: 'foo' is not a list",
        "registry_vm.ssh: '-oProxyCommand=x' names no host",
        "registry_vm.directory: '/a/../b' is not an absolute path",
        "registry_vm.keep: 0 is not a positive whole number",
        "registry_vm.sudo: 1 is neither true nor false",
        "fallbacks[0].name: registry-vm is the name of another",
        "fallbacks[0].ssh: 'a b' names no host",
        "fallbacks[0].directory: 'x' is not an absolute path",
        "fallbacks[1]: 5 is not a mapping",
        "fallbacks[3].name: x is the name of another",
        "nodes.hosts: 'A_b' is not a node's name",
        "nodes.hosts.n1: 'x;y' names no host",
        "nodes.hosts: 3 is not text",
        "nodes.ctr: is empty",
        "nodes.ssh_user: false is not text; put it in quotes",
        "nodes.answer_pulls: 'yes' is neither true nor false",
        "nodes.namespace: 'k8s io' is not a containerd namespace",
        "nodes.tolerates[0]: 'a b' is not a key of a label or taint",
        "nodes.tolerates[1]: 'x/y/z' is not a key of a label or taint",
        "nodes.selector.ci: true is not text; put it in quotes",
        "nodes.selector: '-x' is not a key of a label or taint",
        "registries[0].url: it holds a login",
        "registries[1].name: a is the name of another",
        "registries[1].url: 'https://h:99999' names no port",
        "registries[1].repository: 'q/Q' is not a repository",
        "registries[1].ca: '$HOME/x' is not a path",
        "ssh: a list is not a mapping",
        "status.max_age_hours: nan is not a positive number",
        "kubernetes.context: '`id`' is not a context",
    ]
    for begin in expected:
        assert sum(line.startswith(begin) for line in found) == 1, begin
    assert found[0] == f"/breakglass.yaml has {len(expected)} faults:"
    assert len(found) == len(expected) + 1
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    "value", ["true", "1.0", "-1", "0", "null", "'5'", "[5]", "{a: 5}", "2026-04-19", "5_0x"]
)
def test_what_is_not_a_positive_whole_number_is_reported_so(tmp_path: Path, value: str) -> None:
    (found,) = faults(tmp_path, SMALLEST.replace("directory:", f"keep: {value}, directory:"))[1:]
    assert re.fullmatch(r"registry_vm\.keep: .+ is not a positive whole number", found)


@pytest.mark.parametrize(
    "value", ["true", "0", "-3", ".inf", ".nan", "null", "'5'", "1" + "0" * 5000]
)
def test_what_is_not_a_positive_number_is_reported_so(tmp_path: Path, value: str) -> None:
    found = faults(tmp_path, f"{SMALLEST}ssh: {{connect_timeout_seconds: {value}}}")
    assert "ssh.connect_timeout_seconds" in found[-1] or "digits" in found[-1]


def test_an_unknown_key_comes_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    found = faults(
        tmp_path, SMALLEST + 'sttaus: {}\nnodes: {ssh_usr: a, zzz: 1, 5: 1, "a\\e[2J": 1}\n'
    )
    assert all(line.isprintable() for line in found)
    assert "sttaus: unknown key; did you mean status?" in found
    assert "nodes.ssh_usr: unknown key; did you mean ssh_user?" in found
    assert any(
        line.startswith("nodes.zzz: unknown key; known here: ssh_user, hosts,") for line in found
    )
    assert any(line.startswith("nodes.5: unknown key") for line in found)


def test_a_key_given_twice_is_a_fault_and_its_lines_are_named(tmp_path: Path) -> None:
    text = (
        "image:\n  repository: r.example/ci\n  repository: r.example/other\nregistry_vm: {ssh: "
        "a, directory: /a}\nfallbacks:\n- {name: a, name: b, ssh: a, directory: /a}\n"
    )
    assert faults(tmp_path, text)[1:] == [
        "image.repository: given twice, in line 2 and in line 3",
        "fallbacks[0].name: given twice, in line 6 and in line 6",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image:\n\trepository: a\n", r"line 2, column 1: .*never with tabs"),
        ("image: [a\nregistry_vm: b", r"line 2, column \d+: "),
        ("a: 1\n---\nb: 2\n", r"line 2, column 1: .*another document"),
        (
            "a: !!python/object/apply:os.system [id]\n",
            r"line 1, column 4: could not determine a constructor",
        ),
        ("a: *nobody\n", "undefined alias"),
        ("? [a]\n: b\n", "unhashable"),
        ("a: 2026-13-45\n", "month"),
        ("a: !!bool perhaps\n", "perhaps"),
        ("[" * 5000, "nested too deep"),
        ("a: \x07\n", "special characters are not allowed"),
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "holds a list"),
        ("just text", "holds 'just text'"),
        (b"image: \xff\xfe\n", r"not UTF-8 text \(line 1\)"),
        (b"# " + b"x" * (2 << 20), "larger than"),
    ],
)
def test_what_is_not_yaml_is_reported_where(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert re.search(words, " ".join(faults(tmp_path, text)))


def test_aliases_of_aliases_do_not_make_the_error_endless(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n"
        for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    assert len(" ".join(faults(tmp_path, bomb + "image: *k\n"))) < 4000


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    assert (
        load(tmp_path, b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode()).image.name
        == "infra-ci"
    )


def test_a_directory_or_a_missing_file_is_reported_in_words(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="cannot be read: Is a directory"):
        config.load(tmp_path)
    with pytest.raises(Usage, match="cannot be read: No such file"):
        config.load(tmp_path / "missing.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_reported_in_words(tmp_path: Path) -> None:
    path = tmp_path / "breakglass.yaml"
    path.touch(mode=0)
    with pytest.raises(Usage, match="cannot be read: Permission denied"):
        config.load(path)


def test_paths_on_this_machine_may_begin_at_home_or_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/viktor")
    read = load(
        tmp_path,
        SMALLEST
        + (
            "ssh: {config: ~/my config, known_hosts: keys/known_hosts}\nkubernetes: {kubeconfig: "
            "/etc/kube.yaml}\n"
        ),
    )
    assert read.ssh == config.Ssh(Path("/home/viktor/my config"), tmp_path / "keys" / "known_hosts")
    assert read.kubernetes.kubeconfig == Path("/etc/kube.yaml")
    assert (
        "no such home" in faults(tmp_path, SMALLEST + "ssh: {config: ~nobody-of-this-name/x}\n")[1]
    )


def test_the_first_configuration_in_order_is_found(tmp_path: Path) -> None:
    home, cwd, system = tmp_path / "home", tmp_path / "cwd", tmp_path / "etc" / "config.yaml"
    in_home, in_xdg, in_cwd = (
        home / ".config" / "breakglass" / "config.yaml",
        tmp_path / "xdg" / "breakglass" / "config.yaml",
        cwd / "breakglass.yaml",
    )
    named, other = tmp_path / "named.yaml", home / "other.yaml"
    for path in (in_home, in_xdg, in_cwd, system, named, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def find(option: str | None = None, **environ: str) -> Path:
        return config.find(option, environ=environ, cwd=cwd, home=home, system=system)

    everything = {"BREAKGLASS_CONFIG": str(named), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find("~/other.yaml", **everything) == other
    assert find("../named.yaml") == cwd / "../named.yaml"
    assert find(**everything) == named
    assert find(BREAKGLASS_CONFIG="", XDG_CONFIG_HOME=str(tmp_path / "xdg")) == in_cwd
    in_cwd.unlink()
    assert find(XDG_CONFIG_HOME=str(tmp_path / "xdg")) == in_xdg
    assert find(XDG_CONFIG_HOME="relative") == in_home
    in_home.unlink()
    assert find() == system
    system.unlink()
    with pytest.raises(Usage) as nothing:
        find()
    for place in ("--config", "$BREAKGLASS_CONFIG", in_cwd, in_home, system):
        assert str(place) in nothing.value.message
    assert "breakglass.example.yaml" in str(nothing.value.next_step)


@pytest.mark.parametrize(
    ("option", "environ", "origin"),
    [
        ("gone.yaml", {}, "--config"),
        (None, {"BREAKGLASS_CONFIG": "gone.yaml"}, "BREAKGLASS_CONFIG"),
    ],
)
def test_a_configuration_that_is_named_is_never_passed_over_for_another(
    tmp_path: Path, option: str | None, environ: dict[str, str], origin: str
) -> None:
    (tmp_path / "breakglass.yaml").write_text(SMALLEST)
    with pytest.raises(Usage, match=f"{origin} names .*gone.yaml.*no such file"):
        config.find(option, environ=environ, cwd=tmp_path, home=tmp_path)


def test_yaml_is_imported_only_when_a_configuration_is_read() -> None:
    script = "import sys, breakglass.config; print(sorted({'yaml', 'difflib'} & set(sys.modules)))"
    source = str(Path(config.__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": source},
    )
    assert ended.stdout.strip() == "[]"


ACCEPTED: list[tuple[Callable[[str], str], list[str]]] = [
    (grammar.check_tag, ["0a1b2c3d", "latest", "v1.2.3-rc_4", "_x", "A" * 128]),
    (grammar.check_snapshot_tag, ["0a1b2c3d", "latest-1"]),
    (
        grammar.check_reference,
        [
            "registry.viktorbarzin.me:5050/infra-ci:0a1b2c3d",
            "docker.io/woodpeckerci/plugin-git:2.6",
            "localhost/a:1",
            "[fd00::5]:5000/a__b/c-d.e:x",
        ],
    ),
    (grammar.check_repository, ["forgejo.viktorbarzin.me/viktor/infra-ci", "registry:5000/x"]),
    (grammar.check_node_name, ["k8s-node1", "node.example.com", "10.0.20.103", "fd00::5", "1"]),
    (
        grammar.check_destination,
        [
            "root@10.0.20.10",
            "nas",
            "My_Alias",
            "wizard@10.0.20.103:2222",
            "[fd00::5]:22",
            "root@[fd00::5]",
            "fd00::5",
            "root@fd00::5",
        ],
    ),
    (
        grammar.check_path,
        ["/var/breakglass", "/volume1/Backup/Viki/pve-backup/_forgejo-breakglass", "/a b/ü@c"],
    ),
    (grammar.check_user, ["root", "ci.user_1"]),
    (grammar.check_file_name, ["infra-ci", "0.a_b"]),
    (grammar.check_source, ["synology", "registry-private"]),
]
HOSTILE = [
    *(
        "",
        " ",
        "-rf",
        "--",
        ";touch x",
        "a;b",
        "$(id)",
        "`id`",
        "a\nb",
        "a\n",
        "\na",
        "a\0",
        "a\x1b[2J",
        "a b;c",
        "a|b",
        "a&b",
        "a>b",
        "a'b",
        'a"b',
        "a\\b",
        "a*",
        "a?",
        "%h",
        "a%b",
    ),
    *(
        "..",
        "/..",
        "/a/..",
        "/a/../b",
        "//a",
        "/a/",
        "/",
        "a//b",
        "\u202ea",
        "a\u2028b",
        "\ud800",
        "٣",
        "é;",
        "x" * 5000,
        "~/x",
        "#a",
        "a{b}",
        "{tag}",
        "!a",
        "(a)",
        "a^b",
        "a=$b",
    ),
]


@pytest.mark.parametrize(("check", "good"), ACCEPTED)
def test_a_grammar_accepts_what_is_in_use(check: Callable[[str], str], good: list[str]) -> None:
    assert [check(text) for text in good] == good


@pytest.mark.parametrize("check", [check for check, _ in ACCEPTED])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_grammar_refuses_what_is_hostile_and_prints_it_inert(
    check: Callable[[str], str], text: str
) -> None:
    with pytest.raises(Usage) as refused:
        check(text)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 600
    suggested = re.search("such as ([^ ,]+)", str(refused.value.next_step))
    assert suggested
    assert check(suggested[1]) == suggested[1]


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (grammar.check_tag, ".a"),
        (grammar.check_tag, "-a"),
        (grammar.check_tag, "a" * 129),
        (grammar.check_tag, "a/b"),
        (grammar.check_snapshot_tag, "latest"),
        (grammar.check_reference, "infra-ci:abc"),
        (grammar.check_reference, "woodpeckerci/plugin-git:2"),
        (grammar.check_reference, "r.example/a"),
        (grammar.check_reference, "r.example:5000/a"),
        (grammar.check_reference, "r.example/A:1"),
        (grammar.check_reference, "r.example/a@sha256:" + "0" * 64),
        (grammar.check_reference, "r.example:0/a:1"),
        (grammar.check_repository, "r.example/a:1"),
        (grammar.check_repository, "https://r.example/a"),
        (grammar.check_node_name, "Node1"),
        (grammar.check_node_name, "node_1"),
        (grammar.check_node_name, "node-"),
        (grammar.check_node_name, "a..b"),
        (grammar.check_node_name, "a" * 254),
        (grammar.check_node_name, "fe80::1%eth0;id"),
        (grammar.check_destination, "host:0"),
        (grammar.check_destination, "host:65536"),
        (grammar.check_destination, "host:"),
        (grammar.check_destination, "@host"),
        (grammar.check_destination, "-l@host"),
        (grammar.check_destination, "root@-oProxyCommand=x"),
        (grammar.check_destination, "a@b@c"),
        (grammar.check_destination, "[host]:22"),
        (grammar.check_destination, "[fd00::5]x"),
        (grammar.check_destination, "fd00::5%eth0"),
        (grammar.check_destination, "ssh://host"),
        (grammar.check_destination, "host/path"),
        (grammar.check_path, "relative"),
        (grammar.check_path, "/a/./b"),
        (grammar.check_file_name, "Infra"),
        (grammar.check_file_name, ".hidden"),
        (grammar.check_source, "a:b"),
    ],
)
def test_a_grammar_refuses_what_is_only_nearly_right(
    check: Callable[[str], str], text: str
) -> None:
    with pytest.raises(Usage):
        check(text)


KEYS = st.text(max_size=8) | st.sampled_from(
    ["image", "nodes", "hosts", "fallbacks", "registries", "ssh", "name"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=12,
    )
)
def test_no_document_is_a_bug(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    import yaml

    with pytest.raises(Usage):
        load(tmp_path_factory.getbasetemp(), yaml.safe_dump(document))
