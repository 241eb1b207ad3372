"""A stand-in for docker 20.10 with the classic store."""

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from breakglass.sandbox.standins.docker_load import load_images
from breakglass.sandbox.standins.docker_pull import pull
from breakglass.sandbox.standins.docker_save import save
from breakglass.sandbox.standins.docker_store import (
    ROOT,
    changing,
    configuration_file,
    find,
    layer_file,
    load,
)
from breakglass.sandbox.standins.state import Failure, refused_option, unknown

VERSION = "20.10.24"
FIELD = re.compile(r"{{\s*\.(?P<path>[\w.]*)\s*}}")


def main(argv: list[str]) -> int:
    length = 2 if argv[:1] == ["image"] else 1
    command = COMMANDS.get(" ".join(argv[:length]))
    if command is None:
        return unknown("docker", " ".join(argv[:length]) or "(nothing)")
    try:
        return command(argv[length:])
    except Failure as failure:
        sys.stderr.write(f"{failure}\n")
        return 1


def info(argv: list[str]) -> int:
    facts = {"DockerRootDir": str(ROOT), "Driver": "overlay2", "ServerVersion": VERSION}
    if argv[:1] != ["--format"] or len(argv) != 2:
        return unknown("docker", " ".join(argv) or "(no --format)")
    text = render(argv[1], facts)
    if text is None:
        return unknown("docker", argv[1])
    sys.stdout.write(text + "\n")
    return 0


def list_tags(argv: list[str]) -> int:
    """`docker image ls --format {{.Tag}} REPOSITORY`."""
    if len(argv) != 3 or argv[:2] != ["--format", "{{.Tag}}"]:
        return unknown("docker", " ".join(argv))
    names = (name.rpartition(":") for name in load()["tags"])
    sys.stdout.write("".join(f"{tag}\n" for name, _, tag in names if name == argv[2]))
    return 0


def tag_image(argv: list[str]) -> int:
    """`docker tag NAME@DIGEST NAME:TAG`."""
    if len(argv) != 2 or any(name.startswith("-") for name in argv):
        return unknown("docker", " ".join(argv))
    source, name = argv
    with changing() as state:
        if source not in state["by_digest"]:
            raise Failure(f"Error response from daemon: No such image: {source}")
        state["tags"][name] = state["by_digest"][source]
        state["digests"][name] = source
    return 0


def list_containers(argv: list[str]) -> int:
    """No container was ever made here."""
    known = ["--all", "--format", "{{.Image}}"]
    return 0 if argv == known else unknown("docker", " ".join(argv))


def remove(argv: list[str]) -> int:
    """`docker image rm`: the names. The layers stay: other images may have them too."""
    if option := refused_option(argv):
        return unknown("docker", option)
    with changing() as state:
        for name in argv:
            if state["tags"].pop(name, None) is None:
                raise Failure(f"Error response from daemon: No such image: {name}")
            sys.stdout.write(f"Untagged: {name}\n")
            _remove_digests(state, name.rpartition(":")[0])
    return 0


def _remove_digests(state: dict[str, Any], repository: str) -> None:
    """With the last tag of a repository an image loses its digests there."""
    tagged = {
        image_id for tag, image_id in state["tags"].items() if tag.startswith(f"{repository}:")
    }
    for name, image_id in list(state["by_digest"].items()):
        if name.startswith(f"{repository}@") and image_id not in tagged:
            del state["by_digest"][name]
            sys.stdout.write(f"Untagged: {name}\n")


def inspect(argv: list[str]) -> int:
    template, names = None, argv
    if argv[:1] == ["--format"] and len(argv) > 1:
        template, names = argv[1], argv[2:]
    if option := refused_option(names):
        return unknown("docker", option)
    store, images = load(), []
    status = 0
    for name in names:
        image_id = find(store, name)
        if image_id is None:
            status = 1
            sys.stderr.write(f"Error: No such image: {name}\n")
        else:
            images.append(describe(store, image_id))
    if template is None:
        sys.stdout.write(json.dumps(images, indent=4) + "\n")
        return status
    lines = [render(template, image) for image in images]
    if None in lines:
        return unknown("docker", template)
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "\n")
    return status


def render(template: str, facts: dict[str, Any]) -> str | None:
    """The text of a Go template that consists of text and `{{.A.B}}`; None for any other."""

    def value(match: re.Match[str]) -> str:
        result: Any = facts
        for name in filter(None, match["path"].split(".")):
            result = result[name]
        if isinstance(result, dict | list):
            return json.dumps(result, separators=(",", ":"))
        return str(result)

    if "{{" in FIELD.sub("", template):
        return None
    try:
        return FIELD.sub(value, template)
    except (KeyError, TypeError):
        return None


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


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "info": info,
    "load": load_images,
    "pull": pull,
    "save": save,
    "tag": tag_image,
    "ps": list_containers,
    "image inspect": inspect,
    "image ls": list_tags,
    "image rm": remove,
}
