"""Which containerd runs on a node, its configuration, and where it looks for hosts.toml."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from breakglass.observe.containerd import Ctr
from breakglass.observe.containerd_config import (
    BY_DEFAULT,
    DEFAULT_PATH,
    ConfigPath,
    Unpacking,
    choose,
    config_path,
    unpacking,
)
from breakglass.remote.running import Process, option, path_option
from breakglass.remote.taken.containerd import containerd, newer_file

OLD = '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{}"\n'
IMAGES = '[plugins."io.containerd.cri.v1.images"]\n{}\n'
NEW = IMAGES + '[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "{}"\n'
LIST = "/c:/d"


@pytest.mark.parametrize(
    ("text", "version", "found"),
    [
        # One directory
        (f"version = 2\n{OLD.format('/c')}", "1.7.24", ConfigPath("/c")),
        (f"version = 3\n{NEW.format('', '/c')}", "2.1.9", ConfigPath("/c")),
        (f"{OLD.format('')}{NEW.format('', '/c')}", "2.0.5", ConfigPath("/c")),
        # None
        ('version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n', "1.7.24", ConfigPath("")),
        ("version = 3\n", "2.1.9", ConfigPath("")),
        ("", "2.1.9", ConfigPath(None)),
        ('plugins = 5\n"x" = 1\n', "", ConfigPath("")),
        ('[plugins]\n"io.containerd.grpc.v1.cri" = 5\n', "", ConfigPath("")),
        ('[plugins."io.containerd.grpc.v1.cri"]\nregistry = 5\n', "", ConfigPath("")),
        # A list: containerd 1 and 2.0, and newer ones that pull by themselves
        (OLD.format(LIST), "1.6.20", ConfigPath(LIST)),
        (NEW.format("", LIST), "2.0.5", ConfigPath(LIST)),
        (NEW.format("use_local_image_pull = true", LIST), "2.4.2", ConfigPath(LIST)),
        # A list that the transfer service takes for one directory
        (
            NEW.format("use_local_image_pull = false", LIST),
            "2.4.2",
            ConfigPath(LIST, reads_lists=False),
        ),
        # What makes containerd pull by itself although it is not set
        *(
            (
                NEW.format(f"use_local_image_pull = false\n{key}", LIST),
                "2.4.2",
                ConfigPath(LIST),
            )
            for key in (
                "discard_unpacked_layers = true",
                "disable_snapshot_annotations = false",
                "image_pull_with_sync_fs = true",
                "max_concurrent_downloads = 10",
            )
        ),
        (
            NEW.format("use_local_image_pull = false", LIST)
            + '[plugins."io.containerd.cri.v1.images".registry.configs."r".tls]\nca_file = "/x"\n',
            "2.4.2",
            ConfigPath(LIST),
        ),
        # The default from 2.2.0 on, which the configuration does not show
        (
            IMAGES.format("use_local_image_pull = false"),
            "2.2.0",
            ConfigPath(DEFAULT_PATH, reads_lists=False),
        ),
        (IMAGES.format("use_local_image_pull = true"), "2.4.2", ConfigPath(DEFAULT_PATH)),
        (IMAGES.format("use_local_image_pull = false"), "2.1.9", ConfigPath("")),
        (
            IMAGES.format('registry.mirrors."r.example".endpoint = ["http://x"]'),
            "2.4.2",
            ConfigPath(""),
        ),
    ],
)
def test_config_path_is_what_containerd_makes_of_its_configuration(
    text: str, version: str, found: ConfigPath
) -> None:
    assert config_path(text, version) == found


def test_a_configuration_that_is_no_toml_is_not_known() -> None:
    found = config_path("nonsense")
    assert found.path is None
    assert found.fault.startswith("its configuration is no TOML: ")


def candidate(of: str = "", **more: str) -> dict[str, str]:
    text = f'root = "{of}"\n' if of else ""
    return {"configuration": text, "root": "", **more}


@pytest.mark.parametrize(
    ("candidates", "content", "chosen"),
    [
        ([candidate("/var/lib/a"), candidate("/var/lib/b")], "/var/lib/b/x.content", 1),
        ([candidate("/var/lib/a"), candidate("/var/lib/b")], "/var/lib/a/x.content", 0),
        ([candidate("/var/lib/a"), candidate("/var/lib/a2")], "/var/lib/a2/x.content", 1),
        ([candidate("/x"), candidate("/y", root="/var/lib/k0s")], "/var/lib/k0s/x.content", 1),
        ([candidate(), candidate(configuration="[")], "/var/lib/b/x.content", 0),
        ([candidate("/var/lib/a")], None, 0),
    ],
)
def test_the_containerd_that_is_meant_is_the_one_whose_content_ctr_shows(
    candidates: list[dict[str, str]], content: str | None, chosen: int
) -> None:
    assert choose(candidates, content) is candidates[chosen]


# The processes of the node


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A containerd that runs with a configuration of its own, which is given as a relative path."""
    file, program = tmp_path / "own.toml", tmp_path / "containerd"
    file.write_text('root = "/srv/containerd"\n')
    os.utime(file, (time.time() - 3600,) * 2)
    program.symlink_to(sys.executable)
    sleep = "import time; time.sleep(60)"
    line = ["containerd", "-c", sleep, "--config", "own.toml", "--root=/srv"]
    process = subprocess.Popen(line, executable=program, cwd=tmp_path)
    try:
        yield file
    finally:
        process.kill()
        process.wait()


def of(file: Path) -> dict[str, str]:
    (found,) = [each for each in containerd(file.parent / "certs.d") if each["file"] == str(file)]
    return found


def test_the_configuration_is_that_of_the_process_that_runs(running: Path) -> None:
    found = of(running)
    assert found["configuration"] == running.read_text()
    assert (found["root"], found["newer"]) == ("/srv", "")
    os.utime(running, (time.time() + 3600,) * 2)
    assert of(running)["newer"] == str(running)


def test_the_file_beside_config_path_is_one_more_that_may_be_meant(running: Path) -> None:
    candidates = containerd(running.parent / "certs.d")
    assert candidates[-1]["file"] == str(running.parent / "config.toml")
    assert candidates[-1]["newer"] == ""


def process(*arguments: str, directory: str = "/") -> Process:
    return Process(1, ["containerd", *arguments], directory, 0.0)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--config", "/a.toml"), "/a.toml"),
        (("--config=/a.toml",), "/a.toml"),
        (("-c", "/a.toml", "-a", "/run/x.sock"), "/a.toml"),
        (("-c", "/a.toml", "--config", "/b.toml"), "/b.toml"),
        (("--log-level", "debug"), ""),
        (("--config",), ""),
    ],
)
def test_an_option_is_found_however_it_is_written(arguments: tuple[str, ...], value: str) -> None:
    assert option(process(*arguments), "--config", "-c") == value


def test_a_relative_path_is_that_of_the_process() -> None:
    assert path_option(process("-c", "x/a.toml", directory="/srv"), "-c") == "/srv/x/a.toml"
    assert path_option(process(), "-c") == ""


def test_a_drop_in_that_was_changed_or_removed_after_the_start_is_named(tmp_path: Path) -> None:
    file, drop_in = tmp_path / "config.toml", tmp_path / "conf.d" / "10-x.toml"
    drop_in.parent.mkdir()
    for each in (file, drop_in):
        each.write_text("")
    text = f"imports = ['{tmp_path}/conf.d/*.toml', \"other.toml\"]\n"
    now = time.time()
    for each in (file, drop_in, drop_in.parent):
        os.utime(each, (now - 100, now - 100))
    assert newer_file(file, text, now - 50) == ""
    os.utime(drop_in, (now, now))
    assert newer_file(file, text, now - 50) == str(drop_in)
    drop_in.unlink()
    assert newer_file(file, text, now - 50) == str(drop_in.parent)
    os.utime(drop_in.parent, (now - 100, now - 100))
    (tmp_path / "other.toml").write_text("")
    assert newer_file(file, text, now - 50) == str(tmp_path / "other.toml")
    assert newer_file(file, "", now - 200) == str(file)


CRI_1 = '[plugins."io.containerd.grpc.v1.cri".containerd]\nsnapshotter = "{}"\n'


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (CRI_1.format("overlayfs"), "1.7.24", BY_DEFAULT),
        (CRI_1.format("zfs"), "1.6.20", Unpacking("zfs")),
        (CRI_1.format("btrfs"), "1.7.24", Unpacking("btrfs", has_local=True)),
        (CRI_1.format("stargz"), "", Unpacking("stargz", has_local=True)),
        (IMAGES.format('snapshotter = "native"'), "2.4.2", Unpacking("native", has_local=True)),
        (IMAGES.format('snapshotter = "overlayfs"'), "2.4.2", BY_DEFAULT),
        # Not set, not known, or no name of a snapshotter: as ctr does it by itself.
        ("version = 3\n", "2.4.2", BY_DEFAULT),
        ("", "2.4.2", BY_DEFAULT),
        ("no TOML", "2.4.2", BY_DEFAULT),
        (CRI_1.format("--all"), "1.7.24", BY_DEFAULT),
        (IMAGES.format("snapshotter = 5"), "2.4.2", BY_DEFAULT),
        ('[plugins."io.containerd.grpc.v1.cri"]\ncontainerd = 5\n', "1.7.24", BY_DEFAULT),
    ],
)
def test_the_snapshotter_is_that_of_the_cri_plugin_in_either_version_of_the_configuration(
    text: str, version: str, expected: Unpacking
) -> None:
    assert unpacking(text, version) == expected


def test_ctr_is_called_with_the_snapshotter_only_where_it_would_take_another_one() -> None:
    def lines(unpacking: Unpacking) -> list[str]:
        ctr = Ctr(("k3s", "ctr"), "k8s.io", unpacking)
        return [" ".join(line[4:]) for line in (ctr.line_of_import, ctr.line_of_check(("a:1",)))]

    assert lines(BY_DEFAULT) == ["images import -", "images check name==a:1"]
    with_zfs = "images check --snapshotter zfs name==a:1"
    assert lines(Unpacking("zfs")) == ["images import --snapshotter zfs -", with_zfs]
    # The transfer service of containerd 2 does not unpack for it.
    assert lines(Unpacking("zfs", has_local=True)) == [
        "images import --local --snapshotter zfs -",
        with_zfs,
    ]
