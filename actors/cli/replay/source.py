"""The source of a test that replays what was captured."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from actors.cli.replay.captured import Captured
from actors.cli.replay.python_text import WIDTH, Invoked, Source, imports, lines
from actors.model.definitions import ServiceDefinition
from actors.model.handlers import Handler
from actors.testing import entries as e

_PLAIN = {"result", "answer"}  # written as result=None: None is an answer too


def attribute_of(definition: ServiceDefinition, handler: str) -> tuple[str, bool]:
    """The name by which a class has a handler, and whether it is written in the body of this class."""
    for name in dir(definition.cls):
        found = inspect.getattr_static(definition.cls, name)
        if isinstance(found, Handler) and found.name == handler:
            return name, found.owner is definition.cls
    return handler, True


def module(tests: Sequence[tuple[Captured, list[type], str | None]]) -> str:
    """The whole file. With each test: the classes that it calls, and what is wrong with it."""
    bodies: list[list[str]] = []
    named: dict[str, set[str]] = {}
    used: set[str] = set()
    standard: set[str] = {"import asyncio"}
    taken: set[str] = set()
    for capture, calls, problem in tests:
        call = _call(capture, calls)
        for one in [capture.subject.definition.cls, *calls]:
            named.setdefault(one.__module__, set()).add(one.__qualname__.partition(".")[0])
        for entry in capture.journal:
            used.add(type(entry).__name__)
        standard.update(imports([call, capture.outcome, capture.failure, capture.state]))
        bodies.append(_test(capture, call, problem, taken))
    head = sorted(standard, key=lambda line: (line.startswith("from"), line))
    head += ["", "from actors.testing import replayed"]
    if used:
        head += _imported("actors.testing.entries", used)
    head.append("")
    for name in sorted(named):
        head += _imported(name, named[name])
    text = head
    for body in bodies:
        text = [*text, "", "", *body]
    return "\n".join(text) + "\n"


def _imported(name: str, names: set[str]) -> list[str]:
    line = f"from {name} import {', '.join(sorted(names))}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {name} import (", *(f"    {one}," for one in sorted(names)), ")"]


def _call(capture: Captured, calls: list[type]) -> Invoked:
    subject = capture.subject
    attribute, own = attribute_of(subject.definition, subject.row.handler)
    cls = subject.definition.cls.__qualname__
    named: list[tuple[str, Any]] = []
    if not own:
        named.append(("cls", Source(cls)))
    if subject.row.shown_key:
        named.append(("key", capture.key))
    if capture.arguments:
        named.append(("arguments", capture.arguments))
    if subject.definition.kind != "service":
        named.append(("before", capture.before))
    if capture.version is not None:
        named.append(("version", capture.version))
    if capture.headers:
        named.append(("headers", capture.headers))
    if capture.seed is not None:
        named.append(("seed", capture.seed))
    if calls:
        named.append(("calls", [Source(one.__qualname__) for one in calls]))
    if capture.journal:
        named.append(("journal", [_entry(entry) for entry in capture.journal]))
    if not capture.ended:
        named.append(("ended", False))
    return Invoked("replayed", [Source(f"{cls}.{attribute}")], named, exploded=True)


def _entry(entry: e.JournalEntry) -> Invoked:
    """`Run("send_mail", result=None, position=5)`: what comes first without its name, answers and options with it."""
    positional: list[Any] = []
    named: list[tuple[str, Any]] = []
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        if field.default is dataclasses.MISSING:
            positional.append(dict(value) if isinstance(value, Mapping) else value)
        elif value is not field.default and (field.name in _PLAIN or value != field.default):
            named.append((field.name, value))
    return Invoked(type(entry).__name__, positional, named)


def _test(capture: Captured, call: Invoked, problem: str | None, taken: set[str]) -> list[str]:
    row = capture.subject.row
    date = datetime.datetime.fromtimestamp(row.accepted_ms / 1000, datetime.UTC).date()
    name = base = f"test_{row.handler}_of_{date:%Y_%m_%d}"
    count = 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    found = []
    if problem is not None:
        found += [f"# {line}".rstrip() for line in problem.splitlines()]
    found.append(f"def {name}() -> None:")
    if capture.imposed:
        found.append("    # The runtime ended it. This is how far its code had come.")
    found += lines(Invoked("asyncio.run", [call], exploded=True), "run = ", indent=4)
    if not capture.ended:
        found += _assertion("run.waits_for", capture.waits_for)
    elif capture.failure is not None:
        found += _assertion("run.failure", capture.failure)
    else:
        found += _assertion("run.outcome", capture.outcome)
    if capture.subject.definition.kind != "service":
        found += _assertion("run.state", capture.state)
    return found


def _assertion(name: str, value: Any) -> list[str]:
    if value is None or value is True or value is False:
        return [f"    assert {name} is {value}"]
    found = lines(value, f"assert {name} == ", indent=4)
    if len(found) == 1 and len(found[0]) > WIDTH:
        return ["    assert (", f"        {name}", *lines(value, "== ", indent=8), "    )"]
    return found
