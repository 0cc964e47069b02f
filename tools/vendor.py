"""Copies the libraries of the console from npm into the package: `python -m tools.vendor`. Nothing else asks npm for them.

The files are copied as they are, but for two lines: the import of preact names a file, since no bundler resolves it, and the
comment that names a source map, which is not copied, is left out. VERSIONS says what each file was made from.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

VENDOR = Path(__file__).parents[1] / "transport" / "console" / "vendor"


class Source(NamedTuple):
    """A file of an npm package, and its name here."""

    package: str
    version: str
    path: str
    name: str


SOURCES = (
    Source("preact", "11.2.0", "dist/preact.mjs", "preact.js"),
    Source("preact", "11.2.0", "hooks/dist/hooks.mjs", "hooks.js"),
    Source("htm", "3.1.1", "dist/htm.mjs", "htm.js"),
)


def main() -> None:
    VENDOR.mkdir(parents=True, exist_ok=True)
    versions, licences = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for source in SOURCES:
            package = packed(source, Path(folder))
            original = package[source.path]
            changed = rewritten(original)
            (VENDOR / source.name).write_bytes(changed)
            licences[source.package] = package["LICENSE"].decode().strip()
            versions.append(f"{source.name}  {source.package} {source.version}  {digest(original)}  {digest(changed)}")
    (VENDOR / "VERSIONS").write_text("\n".join(versions) + "\n", encoding="utf-8")
    parts = [f"{name}\n{'=' * len(name)}\n\n{text}\n" for name, text in licences.items()]
    (VENDOR / "LICENSES").write_text("\n".join(parts), encoding="utf-8")


def packed(source: Source, folder: Path) -> dict[str, bytes]:
    """The files of the package by their paths."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{source.package}@{source.version}"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (archive,) = folder.glob(f"{source.package.strip('@').replace('/', '-')}-{source.version}.tgz")
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as files:
        for member in files.getmembers():
            opened = files.extractfile(member)
            if opened is not None:
                found[member.name.partition("/")[2]] = opened.read()
    return found


def rewritten(content: bytes) -> bytes:
    """The file as the page loads it."""
    content = re.sub(rb'from\s*"preact"', b'from"./preact.js"', content)
    return re.sub(rb"\n?//# sourceMappingURL=\S+\n?", b"\n", content)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
