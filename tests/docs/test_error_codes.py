"""The page of error codes has a section for each stable code, and for nothing else."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache

import pytest

import actors
from actors.cli.manual import class_of, sections
from actors.errors import ActorsError
from tests.docs.documents import ROOT

INTERNAL = "internal_error"  # the code of an answer to an error that is not an ActorsError
NOT_FOR_USERS = {ActorsError.error}


@cache
def classes() -> dict[str, type[ActorsError]]:
    """The class that defines each code."""
    for module in pkgutil.walk_packages(actors.__path__, "actors."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {cls.error: cls for cls in subclasses(ActorsError) if "error" in cls.__dict__ and is_ours(cls)}


def is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "actors"


def subclasses(cls: type[ActorsError]) -> Iterator[type[ActorsError]]:
    for found in cls.__subclasses__():
        yield found
        yield from subclasses(found)


def refusals() -> dict[str, set[int]]:
    """The statuses of each code that the HTTP server answers with by itself."""
    found: dict[str, set[int]] = {}
    for path in (ROOT / "transport").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="refusal" | "BadRoute"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ):
                    found.setdefault(code, set()).add(status)
    return found


def test_each_code_has_a_section_and_each_section_a_code() -> None:
    assert set(sections()) == (set(classes()) | set(refusals()) | {INTERNAL}) - NOT_FOR_USERS


def test_the_server_has_codes_of_its_own() -> None:
    assert {"wrong_method", "token_wrong", "bad_http"} <= set(refusals())


@pytest.mark.parametrize("code", sorted(set(sections()) & set(classes())))
def test_a_section_names_the_class_and_the_status(code: str) -> None:
    cls, text = classes()[code], sections()[code]
    first, second, *_ = text.split("\n")
    if cls.__module__.startswith("actors.errors") or cls.__module__ == "actors.storage.errors":
        assert class_of(text) == cls.__name__
    statuses = {int(status) for status in re.findall(r"\b[45]\d\d\b", first)}
    if statuses and cls.error not in (
        "app_not_running",
        "outcome_pending",
    ):  # these two stop the app, which answers 503
        assert cls.code in statuses
    assert second == ""


@pytest.mark.parametrize("code", sorted(refusals()))
def test_a_section_names_the_statuses_of_a_refusal(code: str) -> None:
    first = sections()[code].partition("\n")[0]
    assert refusals()[code] <= {int(status) for status in re.findall(r"\b[45]\d\d\b", first)}
