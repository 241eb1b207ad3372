"""A stand-in for docker 20.10 with the classic store."""

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from breakglass.sandbox.standins.docker_pull import pull
from breakglass.sandbox.standins.docker_save import save
from breakglass.sandbox.standins.docker_store import (
    ROOT,
    changing,
    configuration_file,
    find,
    layer_file,
    load,
    with_tag,
)
from breakglass.sandbox.standins.state import Failure, architecture, unknown

VERSION = "20.10.24"
FIELD = re.compile(r"{{\s*(?P<json>json\s+)?\.(?P<path>[\w.]*)\s*}}")


def main(argv: list[str]) -> int:
    argv = [
        part
        for argument in argv
        for part in (argument.split("=", 1) if argument.startswith("--format=") else [argument])
    ]
    if argv[:1] == ["image"]:
        argv = {"ls": ["images"], "rm": ["rmi"], "inspect": ["image inspect"]}.get(
            argv[1] if argv[1:] else "", argv[1:2]
        ) + argv[2:]
    command = COMMANDS.get(argv[0] if argv else "")
    if command is None:
        return unknown("docker", argv[0] if argv else "(nothing)")
    try:
        return command(argv[1:])
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return 1


def version(argv: list[str]) -> int:
    engine = {"Version": VERSION, "ApiVersion": "1.41", "Os": "linux", "Arch": architecture()}
    return show(
        {"Client": engine, "Server": engine},
        argv,
        plain=f"Client:\n Version: {VERSION} (sandbox)\nServer:\n Version: {VERSION} (sandbox)",
    )


def info(argv: list[str]) -> int:
    facts: dict[str, Any] = {
        "DockerRootDir": str(ROOT),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "extfs"]],
        "ServerVersion": VERSION,
    }
    facts |= {
        "OSType": "linux",
        "Architecture": os.uname().machine,
        "Images": len(set(load()["tags"].values())),
    }
    return show(facts, argv, plain=f"Server Version: {VERSION} (sandbox)\nDocker Root Dir: {ROOT}")


def show(facts: dict[str, Any], argv: list[str], *, plain: str) -> int:
    template = plain
    if argv[:1] in (["--format"], ["-f"]) and len(argv) == 2:
        template = argv[1]
    elif argv:
        return unknown("docker", argv[0])
    text = render(template, facts)
    if text is None:
        return unknown("docker", template)
    sys.stdout.write(text + "\n")
    return 0


def render(template: str, facts: dict[str, Any]) -> str | None:
    """A Go template of `{{.A.B}}` and `{{json .A}}` only; None for any other."""

    def value(match: re.Match[str]) -> str:
        found: Any = facts
        for name in filter(None, match["path"].split(".")):
            found = found[name]
        return (
            json.dumps(found, separators=(",", ":"))
            if match["json"] or isinstance(found, dict | list)
            else str(found)
        )

    try:
        text = FIELD.sub(value, template)
    except (KeyError, TypeError):
        return None
    return None if "{{" in FIELD.sub("", template) else text


def inspect(argv: list[str]) -> int:
    template, names = (
        (argv[1], argv[2:])
        if argv[:1] in (["--format"], ["-f"]) and len(argv) > 1
        else (None, argv)
    )
    if option := next((name for name in names if name.startswith("-")), None) or (
        "" if names else "(no image)"
    ):
        return unknown("docker", option)
    store, found, missing = load(), [], 0
    for name in names:
        image_id = find(store, name)
        if image_id is None:
            missing = 1
            sys.stderr.write(f"Error: No such image: {name}\n")
        else:
            found.append(describe(store, image_id))
    if template is None:
        sys.stdout.write(json.dumps(found, indent=4) + "\n")
        return missing
    lines = [render(template, image) for image in found]
    if None in lines:
        return unknown("docker", template)
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "\n")
    return missing


def describe(store: dict[str, Any], image_id: str) -> dict[str, Any]:
    configuration = json.loads(configuration_file(image_id).read_bytes())
    tags = sorted(name for name, known in store["tags"].items() if known == image_id)
    return {
        "Id": image_id,
        "RepoTags": tags,
        "RepoDigests": sorted(
            {store["digests"][name] for name in tags if name in store["digests"]}
        ),
        "Created": configuration["created"],
        "Architecture": configuration["architecture"],
        "Os": configuration["os"],
        "Size": sum(
            layer_file(diff_id).stat().st_size for diff_id in configuration["rootfs"]["diff_ids"]
        ),
        "Config": configuration["config"],
        "RootFS": {"Type": "layers", "Layers": configuration["rootfs"]["diff_ids"]},
    }


def images(argv: list[str]) -> int:
    if argv not in ([], ["-q"], ["--quiet"], ["--no-trunc"]):
        return unknown("docker", argv[0])
    rows = [
        (*name.rpartition(":")[::2], image_id if "--no-trunc" in argv else image_id[7:19])
        for name, image_id in sorted(load()["tags"].items())
    ]
    if argv in (["-q"], ["--quiet"]):
        sys.stdout.write(
            "".join(f"{image_id}\n" for image_id in dict.fromkeys(row[2] for row in rows))
        )
        return 0
    for row in [("REPOSITORY", "TAG", "IMAGE ID"), *rows]:
        sys.stdout.write(f"{row[0]:40}  {row[1]:12}  {row[2]}\n")
    return 0


def rmi(argv: list[str]) -> int:
    names = [name for name in argv if name not in ("-f", "--force")]
    if option := next((name for name in names if name.startswith("-")), None) or (
        "" if names else "(no image)"
    ):
        return unknown("docker", option)
    with changing() as store:
        for name in names:
            image_id = find(store, name)
            if image_id is None:
                raise Failure(f"Error: No such image: {name}")
            for tag in (
                [with_tag(name)]
                if with_tag(name) in store["tags"]
                else [tag for tag, known in store["tags"].items() if known == image_id]
            ):
                del store["tags"][tag]
                store["digests"].pop(tag, None)
                sys.stdout.write(f"Untagged: {tag}\n")
            if image_id not in store["tags"].values():
                configuration_file(image_id).unlink()
                sys.stdout.write(f"Deleted: {image_id}\n")
        kept = {
            diff_id
            for known in store["tags"].values()
            for diff_id in json.loads(configuration_file(known).read_bytes())["rootfs"]["diff_ids"]
        }
        for layer in (ROOT / "layers").glob("*.tar"):
            if f"sha256:{layer.stem}" not in kept:
                layer.unlink()
    return 0


def tag(argv: list[str]) -> int:
    if len(argv) != 2 or any(name.startswith("-") for name in argv):
        return unknown("docker", " ".join(argv))
    with changing() as store:
        image_id = find(store, argv[0])
        if image_id is None:
            raise Failure(f"Error response from daemon: No such image: {argv[0]}")
        store["tags"][with_tag(argv[1])] = image_id
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "version": version,
    "info": info,
    "pull": pull,
    "save": save,
    "images": images,
    "image inspect": inspect,
    "rmi": rmi,
    "tag": tag,
}
