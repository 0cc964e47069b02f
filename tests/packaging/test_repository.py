"""What must hold of the files of the repository: pins, layers, and nothing that names one machine or one download host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    """The files of the repository, those not committed yet included."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_download_host_or_a_folder_of_one_machine() -> None:
    # Written in parts, so that this file does not name them.
    hosts = ["pypi" + ".org", "python" + "hosted", "registry.npm" + "js", "deb.debian" + ".org", "crates" + ".io"]
    folders = ["/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/wo" + "rk/", "C:" + "\\\\Users"]
    unwanted = re.compile("|".join(map(re.escape, hosts + folders)))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if unwanted.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_no_lock_file_and_no_database_is_committed() -> None:
    unwanted = re.compile(r"(\.lock|\.db|\.db-wal|\.db-shm|\.pyc|package-lock\.json|pdm\.lock|uv\.lock)$")
    assert [path.name for path in tracked() if unwanted.search(path.name)] == []


def test_no_test_patches() -> None:
    imported = re.compile(r"^\s*(from unittest(\.mock)? import .*\b(mock|patch)\b|import unittest\.mock)", re.MULTILINE)
    texts = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    assert [str(path) for path, text in texts.items() if imported.search(text)] == []


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    return {canonical(name): version for name, version in (line.split("==") for line in pinned)}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_has_one_plain_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements} - {project["name"]}
    assert names <= pins().keys()


def test_the_two_links_that_show_the_tree_to_tools_are_relative() -> None:
    for name in ("storage", "transport"):
        link = ROOT / "actors" / name
        if link.is_symlink():  # a checkout without symbolic links has text files there
            assert link.readlink() == Path("..", name)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


# module: a line that breaks the layers there
VIOLATIONS = {
    "actors/storage/sqlite/lock.py": "from actors.errors import ActorsError",
    "actors/storage/sqlite/schema.py": "import msgpack",
    "actors/engine/partition.py": "from actors.app.app import App",
    "actors/engine/committer.py": "from actors.testing import Disk",
    "actors/app/app.py": "import actors.transport",
    "actors/model/context.py": "import actors.cli",
    "actors/engine/clock.py": "import click",
    "actors/storage/errors.py": "from actors.storage.sqlite.database import connect",
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    shutil.copytree(ROOT / "actors", folder / "actors", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_each_import_against_the_layers_is_reported(copied: Path) -> None:
    before = {module: (copied / module).read_text() for module in VIOLATIONS}
    try:
        for module, text in before.items():
            planted = text.replace("from __future__", f"{VIOLATIONS[module]}\nfrom __future__", 1)
            (copied / module).write_text(planted)
        done = lint_imports(copied)
    finally:
        for module, text in before.items():
            (copied / module).write_text(text)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
    told = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for module, line in VIOLATIONS.items():
        importer, imported = module.removesuffix(".py").replace("/", "."), line.split()[1]
        number = before[module].partition("from __future__")[0].count("\n") + 1
        pattern = re.compile(rf"- {re.escape(importer)} -> {re.escape(imported)}\S* \(.*\bl\.{number}\b.*\)")
        assert any(map(pattern.match, told)), (module, told)


def test_the_layers_hold(copied: Path) -> None:
    done = lint_imports(copied)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_module_needs_a_place_among_the_layers(copied: Path) -> None:
    path = copied / "actors" / "utils.py"
    path.touch()
    try:
        done = lint_imports(copied)
    finally:
        path.unlink()
    assert done.returncode == 1
    assert "utils" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_says_clearly_that_python_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$1$2" in *print*) echo 3.9;; --version) echo "Python 3.9.1";; *) exit 1;; esac\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "test", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr and "Python 3.9.1" in done.stderr
    assert not (tmp_path / "venv").exists()
