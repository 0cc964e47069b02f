"""The reference says what the code says: commands, options with their defaults, limits, views, gauges."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields
from datetime import timedelta

import pytest

import actors
import actors.errors
import actors.testing
import actors.transport.client
from actors import App, Limits, RetryPolicy, handler
from actors.http_options import Cors, HttpOptions
from actors.testing import Disk
from tests.docs.documents import ROOT
from tests.http.asgi import ask
from tools import reference

# Gauges of an app whose database is a file, read at an interval.
OF_FILES = {"actors_database_bytes", "actors_log_bytes"}
REFERENCE = ROOT / "docs" / "reference"
DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.M)


class Nothing(actors.VirtualObject):
    @handler
    async def nothing(self) -> None: ...


def text_of(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def test_the_page_of_commands_is_made_from_the_commands() -> None:
    assert text_of("cli") == reference.page(), "Run: python -m tools.reference"


def public_names() -> set[str]:
    found = {f"actors.{name}" for name in actors.__all__}
    found |= {f"actors.testing.{name}" for name in actors.testing.__all__}
    found |= {f"actors.transport.client.{name}" for name in actors.transport.client.__all__}
    classes = ast.parse((ROOT / "actors" / "errors.py").read_text(encoding="utf-8")).body
    found |= {f"actors.errors.{node.name}" for node in classes if isinstance(node, ast.ClassDef)}
    return {name.replace("actors.errors.TerminalError", "actors.TerminalError") for name in found}


def test_each_public_name_is_documented_once() -> None:
    named = [
        name.replace("client.client.", "client.").replace("client.sync_client.", "client.")
        for path in sorted((ROOT / "docs").rglob("*.md"))
        for name in DIRECTIVE.findall(path.read_text(encoding="utf-8"))
    ]
    assert sorted(name for name in named if named.count(name) > 1) == []
    assert public_names() - set(named) == set()


def rows(name: str, heading: str) -> dict[str, tuple[str, ...]]:
    """The rows of the table below a heading, by the name in the first column."""
    section = text_of(name).partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found[cells[0].strip("` ")] = tuple(cells[1:])
    return found


def shown(value: object) -> str:
    """A default as the tables write it."""
    if isinstance(value, bool) or value is None:
        return f"`{value}`"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g} s" if value < 3600 else f"{timedelta(seconds=value).days} day"
    return f"`{value!r}`".replace("'", '"')


@pytest.mark.parametrize(
    ("heading", "cls"),
    [("Limits", Limits), ("RetryPolicy", RetryPolicy), ("HttpOptions", HttpOptions), ("Cors", Cors)],
)
def test_each_option_is_listed_with_its_default(heading: str, cls: type) -> None:
    listed = rows("configuration", heading)
    assert list(listed) == [option.name for option in fields(cls)]
    for option in fields(cls):
        if option.default is not MISSING and option.name != "factor":
            assert listed[option.name][0] == shown(option.default), option.name


def test_each_option_of_an_app_is_listed() -> None:
    options = [name for name, one in inspect.signature(App.__init__).parameters.items() if one.kind is one.KEYWORD_ONLY]
    assert list(rows("configuration", "App")) == options


async def test_the_columns_of_each_view_are_listed() -> None:
    disk = Disk()
    async with App(Nothing, storage="sqlite://", store=disk.store()):
        views = [name for (name,) in disk.query("SELECT name FROM sqlite_master WHERE type = 'view'")]
        for view in views:
            columns = [row[1] for row in disk.query(f"SELECT * FROM pragma_table_info('{view}')")]
            assert list(rows("storage-views", view)) == columns, view
    assert len(views) == 6


async def test_each_metric_is_listed() -> None:
    async with App(Nothing, storage="sqlite://") as app:
        answer = await ask(app, "GET", "/metrics")
        families = dict(re.findall(r"^# TYPE (actors_\w+) (\w+)$", answer.body.decode(), re.M))
    listed = {name: cells[0] for name, cells in rows("metrics", "Metrics").items()}
    always = {name: kind for name, kind in listed.items() if name not in OF_FILES}
    assert always == families


async def test_each_route_is_listed() -> None:
    async with App(Nothing, storage="sqlite://") as app:
        paths = (await ask(app, "GET", "/openapi.json")).json["paths"]
    text = text_of("http").replace("{idempotency key}", "{idempotencyKey}")
    fixed = [path for path in paths if path.startswith("/restate")]
    assert len(fixed) > 8
    shown = {path.rpartition("/")[0] if path.endswith(("/output", "/reject")) else path for path in fixed}
    named = {
        path.replace("{workflow}", "{service}").replace("/{key}/{handler}/", "/…/").replace("/{handler}/", "/…/")
        for path in shown
    }
    assert [path for path in named if path not in text.replace("/{key}/{handler}/", "/…/")] == []
