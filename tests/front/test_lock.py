"""What is installed is what was tested: the lock files, and the bundle made by them."""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from release.bundle import INSTALL, NAMESPACE, REQUIREMENTS, SUMS, requirement, seal
from release.lock import DEVELOPMENT, ENTRY, RUN_TIME, needed, read_lock

from breakglass.signatures.sshsig import blocks, decode
from tests.front.documents import ROOT
from tests.signing import allow, make_key, public_blob, public_line, verified_by_keygen, with_keygen

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
AT_RUN_TIME = PROJECT["project"]["dependencies"]
TO_DEVELOP = [
    *AT_RUN_TIME,
    *PROJECT["project"]["optional-dependencies"]["dev"],
    *PROJECT["build-system"]["requires"],
]
FILES = [(RUN_TIME, AT_RUN_TIME), (DEVELOPMENT, TO_DEVELOP)]


@pytest.mark.parametrize(("file", "named"), FILES, ids=lambda each: getattr(each, "name", ""))
def test_a_lock_file_has_what_the_project_names_and_a_hash_for_each(
    file: Path, named: list[str]
) -> None:
    locked, requirements = read_lock(file), [Requirement(line) for line in named]
    for wanted in requirements:
        version = locked[canonicalize_name(wanted.name)].version
        assert wanted.specifier.contains(version), f"{wanted}, and {version} is locked: make lock"
    assert {name for name, each in locked.items() if "breakglass (pyproject.toml)" in each.why} == {
        canonicalize_name(wanted.name) for wanted in requirements
    }
    assert [name for name, each in locked.items() if not each.hashes] == []
    rest = ENTRY.sub("", file.read_text("utf-8"))
    assert [line for line in rest.splitlines() if not line.startswith("#")] == []


def test_the_lock_files_have_the_same_packages_for_every_python_and_the_documents_name_them() -> (
    None
):
    at_run_time, to_develop = read_lock(RUN_TIME), read_lock(DEVELOPMENT)
    for name, each in at_run_time.items():
        assert (each.requirement, each.hashes) == (
            to_develop[name].requirement,
            to_develop[name].hashes,
        )
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert f"--python-version {oldest} " in (ROOT / "Makefile").read_text("utf-8")
    page = (ROOT / "docs/packages.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([0-9]\S*) \|", page, re.MULTILINE))
    assert rows == needed(), "make packages"


def tiny_wheel(directory: Path, version: str) -> Path:
    """A package with one module, which says its version."""
    about = f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"VERSION = '{version}'\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256="
        + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        + f",{len(text)}\n"
        for name, text in files.items()
    )
    wheel = directory / f"tiny-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return wheel


def install(bundle: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """As README.txt of the bundle says."""
    line = [sys.executable, "-m", "pip", *INSTALL, "--target", str(into)]
    return subprocess.run(line, cwd=bundle, capture_output=True, text=True, check=False)


def test_a_bundle_installs_the_wheels_that_it_was_made_of_and_no_other(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    wheel = tiny_wheel(bundle, "1.0")
    (bundle / REQUIREMENTS).write_text(requirement(wheel))
    tiny_wheel(bundle, "2.0")
    ended = install(bundle, tmp_path / "good")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "good/tiny.py").read_text() == "VERSION = '1.0'\n"
    # Still a wheel that pip would install: the comment of the archive is longer by one byte.
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.comment = b"x"
    ended = install(bundle, tmp_path / "bad")
    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    assert not (tmp_path / "bad").exists()


def sealed(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle of two files, and the key that signed it."""
    bundle, key = tmp_path / "bundle", make_key(tmp_path, "key")
    (bundle / "docs").mkdir(parents=True)
    (bundle / "docs/page.md").write_text("a page\n")
    (bundle / REQUIREMENTS).write_text("nothing\n")
    seal(bundle, key)
    return bundle, key


def test_the_sums_of_a_bundle_are_signed_for_this_purpose_and_a_changed_byte_shows(
    tmp_path: Path,
) -> None:
    bundle, key = sealed(tmp_path)
    (block,) = blocks((bundle / f"{SUMS}.sig").read_text())
    signature, sums = decode(block), (bundle / SUMS).read_bytes()
    assert (signature.key, signature.namespace) == (public_blob(key), NAMESPACE)
    assert signature.is_of(sums)
    assert not signature.is_of(sums.replace(b"page", b"Page"))
    line = [str(shutil.which("sha256sum")), "--check", "--quiet", SUMS]
    assert subprocess.run(line, cwd=bundle, capture_output=True, check=False).returncode == 0
    (bundle / "docs/page.md").write_text("a pagf\n")
    assert subprocess.run(line, cwd=bundle, capture_output=True, check=False).returncode != 0


@with_keygen
def test_ssh_keygen_finds_the_same(tmp_path: Path) -> None:
    bundle, key = sealed(tmp_path)
    signature, sums = bundle / f"{SUMS}.sig", (bundle / SUMS).read_bytes()
    signers = allow(tmp_path / "signers", f"somebody {public_line(key)}")
    for message, namespace, good in (
        (sums, NAMESPACE, True),
        (sums.replace(b"page", b"Page"), NAMESPACE, False),
        (sums, "breakglass-record", False),
    ):
        assert (
            verified_by_keygen(message, signature, signers, "somebody", namespace=namespace) is good
        )
