"""Build breakglass-remote.pyz: `cd src && python3 -m breakglass.remote.pack FILE`."""

from __future__ import annotations

import io
import sys
import zipfile
from functools import lru_cache
from pathlib import Path

PACKAGE = "breakglass/remote"
START = b"""\
import sys
from breakglass.remote.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@lru_cache(maxsize=None)
def pack() -> bytes:
    """The zipapp's bytes: all of this package; the same for the same files."""
    directory = Path(__file__).parent
    files = {
        f"{PACKAGE}/{path.relative_to(directory).as_posix()}": path.read_bytes()
        for path in directory.rglob("*.py")
    }
    # The package above is empty there: our own one needs a newer Python.
    files.update({"__main__.py": START, "breakglass/__init__.py": b""})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            # Without the time and the rights of the files: these differ from machine to machine.
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return packed.getvalue()


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pack())
