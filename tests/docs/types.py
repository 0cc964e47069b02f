"""All Python blocks of all documents as modules of one folder, for type checkers and for the formatter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.docs import fragments
from tests.docs.documents import ROOT, Block, Document, read


@dataclass(frozen=True, slots=True)
class Module:
    """A module, and the line of the document that its first line comes from."""

    path: Path
    document: Document
    block: Block


def write(documents: list[Document], folder: Path) -> list[Module]:
    """One folder for each document, as a package, with a module for each block. Imports of files become imports of that package."""
    modules = []
    for document in documents:
        package = re.sub(r"\W", "_", document.name.removesuffix(".md")).lower()
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
        blocks = [block for block in document.blocks if _is_checked(block)]
        used = [block for block in (_used(name, file) for name, file in document.uses) if _is_checked(block)]
        names = {Path(block.file).stem for block in [*blocks, *used] if block.file}
        latest: dict[str, str] = {}
        for block in [*used, *blocks]:
            name = _name(block, latest)
            text = fragments.program(document, block) if block.fragment else block.text
            path = folder / package / f"{name}.py"
            path.write_text(_with_imports(text, names, package, latest), encoding="utf-8")
            modules.append(Module(path, document, block))
    return modules


def _is_checked(block: Block) -> bool:
    return block.language == "python" and not {"theirs", "part-of"} & block.marks.keys()


def _used(name: str, file: str) -> Block:
    return next(block for block in read(ROOT / name).blocks if block.file == file)


def _name(block: Block, latest: dict[str, str]) -> str:
    """A file that is shown in several versions is a module for each version; later blocks import the latest version."""
    if block.file is None:
        return f"line_{block.line}"
    stem = Path(block.file).stem
    latest[stem] = f"{stem}_{block.line}" if stem in latest else stem
    return latest[stem]


def _with_imports(text: str, names: set[str], package: str, latest: dict[str, str]) -> str:
    def moved(match: re.Match[str]) -> str:
        name = match[3]
        if name not in names:
            return match[0]
        module = latest.get(name, name)
        return (
            f"{match[1]}from {package}.{module} import"
            if match[2] == "from"
            else f"{match[1]}from {package} import {module} as {name}"
        )

    return re.sub(r"^( *)(from|import) (\w+)(?: import|(?=\s*$))", moved, text, flags=re.M)


def mypy(modules: list[Module]) -> subprocess.CompletedProcess[str]:
    options = [
        "--strict",
        "--explicit-package-bases",
        "--follow-imports=silent",
        "--no-error-summary",
        "--cache-dir",
        str(ROOT / ".mypy_cache" / "docs"),
    ]
    return _checked(modules, ["mypy", *options, "."])


def pyright(modules: list[Module]) -> subprocess.CompletedProcess[str]:
    settings = {"include": ["."], "extraPaths": [str(ROOT)], "pythonVersion": "3.11", "typeCheckingMode": "standard"}
    (modules[0].path.parents[1] / "pyrightconfig.json").write_text(json.dumps(settings))
    return _checked(modules, ["pyright", "--pythonpath", sys.executable])


def ruff(modules: list[Module]) -> subprocess.CompletedProcess[str]:
    return _checked(
        modules,
        [
            "ruff",
            "check",
            "--isolated",
            "--select",
            "F,E9,B,ASYNC,PIE,SIM",
            "--ignore",
            "ASYNC110,ASYNC240",
            "--output-format",
            "concise",
            ".",
        ],
    )


def _checked(modules: list[Module], command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a checker over all modules. Its output names the lines of documents in place of those of modules."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=modules[0].path.parents[1],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    places = {f"{module.path.parent.name}/{module.path.name}": module for module in modules}

    def place(match: re.Match[str]) -> str:
        module = places.get("/".join(Path(match[1]).parts[-2:]))
        if module is None:
            return match[0]
        offset = 0 if module.block.fragment else int(match[2]) - 1  # a fragment has lines in front of it
        return f"{module.document.name}:{module.block.line + offset}:"

    done.stdout = re.sub(r"^\s*(\S+\.py):(\d+):", place, done.stdout, flags=re.M)
    return done
