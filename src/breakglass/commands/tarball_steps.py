"""The steps that verify, publish and remove a tarball, and point `latest` at one."""

from breakglass.errors import NOTHING, Next
from breakglass.observe.shelf import Shelf, Tarball
from breakglass.plan import Argv, Host, Purpose, Run, Step, script, title
from breakglass.signatures.judgement import SignatureState


def repoint(host: Host, directory: str, name: str, file: str) -> tuple[Step, ...]:
    """`latest` means this file: in one rename, on the disk before the next step."""
    link = f"{directory}/{name}-latest.tar.gz"
    hidden = f"{directory}/.{name}-latest.tar.gz.partial"
    return (
        Run(host, (("ln", "-sfnT", file, hidden),), title=title("link the new latest to", file)),
        Run(host, (("mv", "-fT", hidden, link),), title=title("point latest at", file)),
        Run(host, (("sync", directory),), title=title("flush", directory, " to disk")),
    )


def removal(shelf: Shelf, tarball: Tarball) -> Run:
    """The tarball goes before its proof: nothing that is there is ever without it."""
    path = shelf.path(tarball)
    record = path.removesuffix(".tar.gz") + ".json"
    has_signature = tarball.signature.state is not SignatureState.UNSIGNED
    signature = (record + ".sig",) if has_signature else ()
    return Run(
        shelf.host,
        (("rm", "-f", "--", path, path + ".sha256", record, *signature),),
        title=title("remove", tarball.file),
    )


def tidying(shelf: Shelf, *, but: str | None) -> tuple[Step, ...]:
    """Removes what runs that were cut short have left; `but` is the tarball that is about to be
    written, whose partial is dealt with there.
    """
    discards = tuple(
        discard(shelf.host, shelf.directory, partial.file)
        for partial in shelf.partials
        if partial.file != but
    )
    orphans = tuple(
        f"{shelf.directory}/{orphan}"
        for orphan in shelf.orphans
        if but is None or not orphan.startswith((but + ".", but.removesuffix(".tar.gz") + ".json"))
    )
    if not orphans:
        return discards
    count = f"{len(orphans)} sidecar{'' if len(orphans) == 1 else 's'}"
    line = ("rm", "-f", "--", *orphans)
    return (*discards, Run(shelf.host, (line,), title=f"remove {count} without a tarball"))


def discard(host: Host, directory: str, file: str) -> Run:
    """Removes the hidden files of a tarball that has not arrived whole."""
    return Run(
        host,
        (archive("discard", directory, file),),
        title=title("discard the partial", file),
    )


def publish(host: Host, directory: str, file: str) -> Run:
    """The partial gets its name, and its sidecars are there before it."""
    return Run(host, (archive("publish", directory, file),), title=title("publish", file))


def verify(shelf: Shelf, tarball: Tarball, *, repair: Next = NOTHING) -> Run:
    """Reads a tarball to its end and compares it with its record, whose names were checked."""
    record = tarball.record
    assert record is not None
    companions = tuple(dict(record.companions))
    names = ("--reference", *record.references, *(("--companion", *companions) * bool(companions)))
    return Run(
        shelf.host,
        (archive("verify", shelf.path(tarball), *names),),
        total_bytes=tarball.size_bytes,
        title=title("verify", tarball.file),
        purpose=Purpose.LOOKS,
        repair=repair,
    )


def canonical(shelf: Shelf, tarball: Tarball) -> Argv:
    """Prints the images of a tarball as an archive that is written anew, with the recorded names
    and no others.
    """
    record = tarball.record
    assert record is not None
    images = (f"{name}={image_id}" for name, image_id in record.image_ids.items())
    digests = (f"--digest={name}={digest}" for name, digest in record.digests)
    return archive("canonical", shelf.path(tarball), *images, *digests)


def archive(*arguments: str) -> Argv:
    return script("archive", *arguments)
