"""What users have written as an import goes on to work, wherever the module behind it stands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md"]
DOCUMENTS += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
LINE = re.compile(r"^ *from (actors[\w.]*) import ([\w, ]+?) *(?:#.*)?$", re.MULTILINE)

# Released paths. A path is never taken out of this list without a deprecation.
RELEASED = {
    "actors": [
        "App",
        "Context",
        "Limits",
        "RetryPolicy",
        "Service",
        "VirtualObject",
        "Workflow",
        "field",
        "handler",
        "run",
    ],
    "actors.check": ["check"],
    "actors.errors": ["DefinitionError", "DurableTimeout", "InvocationCancelled", "OutcomePending", "TerminalError"],
    "actors.fastapi": ["mount"],
    "actors.futures": ["Awakeable", "Call", "DurableFuture"],
    "actors.handlers": ["InvocationHandle"],
    "actors.http_options": ["Cors", "HttpOptions"],
    "actors.logs": ["InvocationFilter", "JsonFormatter", "ReplayFilter"],
    "actors.storage": ["DatabaseInUse", "SqliteStore", "StorageError"],
    "actors.testing": [
        "Disk",
        "Faults",
        "InlineExecutor",
        "ManualClock",
        "ManualWorld",
        "MisusedWorld",
        "NoNetwork",
        "NotReproducible",
        "SimulatedCrash",
        "SimulatedStore",
        "Stuck",
        "WaitingAwakeable",
        "World",
        "WorldFailed",
        "crash_everywhere",
        "explore",
        "serves",
        "simulate",
    ],
    "actors.tracing": ["Tracing"],
    "actors.transport.client": ["Client", "SyncClient"],
    "actors.transport.sync_client": ["SyncClient"],
}


def documented() -> list[tuple[str, str, str]]:
    """(document, module, name) for each import that a document shows."""
    return [
        (document, module, name.split(" as ")[0].strip())
        for document in DOCUMENTS
        for module, names in LINE.findall((ROOT / document).read_text(encoding="utf-8"))
        for name in names.split(",")
    ]


@pytest.mark.parametrize(("module", "names"), RELEASED.items(), ids=RELEASED)
def test_a_released_import_path_still_works(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    assert [name for name in names if not hasattr(found, name)] == []


@pytest.mark.parametrize(("document", "module", "name"), documented())
def test_an_import_that_a_document_shows_works(document: str, module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"{document}: from {module} import {name}"


def test_the_documents_show_imports() -> None:
    assert len(documented()) > 5
