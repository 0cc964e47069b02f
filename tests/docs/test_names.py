"""Names in the text of a document exist: attributes of the context, the app and the options; commands and their options; files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import click
import pytest

import actors.errors
from actors import App, Context, Limits, RetryPolicy, handler, schedule
from actors.cli.commands import cli
from actors.http_options import Cors, HttpOptions
from actors.testing import Disk, ManualClock, World
from actors.transport.client import Client, SyncClient
from tests.docs.documents import ROOT, documents, read

OWNERS = {
    "ctx": Context,
    "app": App,
    "Limits": Limits,
    "RetryPolicy": RetryPolicy,
    "HttpOptions": HttpOptions,
    "Cors": Cors,
    "client": Client,
    "world": World,
    "World": World,
    "App": App,
    "Client": Client,
    "SyncClient": SyncClient,
    "Disk": Disk,
    "ManualClock": ManualClock,
    "Context": Context,
}
CALLED = {
    "App": App,
    "Limits": Limits,
    "RetryPolicy": RetryPolicy,
    "HttpOptions": HttpOptions,
    "Cors": Cors,
    "Client": Client,
}
DECORATORS = {"@handler": handler, "@schedule": schedule}
DOCUMENTS = [ROOT / "README.md", *documents(), ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md"]
_ATTRIBUTE = re.compile(rf"(?<![\w.\"'/:])({'|'.join(OWNERS)})\.([a-z]\w*)")
_OPTION = re.compile(rf"(?<![\w.])({'|'.join(CALLED)}|@handler|@schedule)\(([^()]*)\)")
_ERROR = re.compile(r"\bactors\.errors\.(\w+)")


# Attributes that an instance gets when it is made, and those of other packages' objects in pages about them.
OF_INSTANCES = {("World", "app"), ("World", "clock"), ("World", "disk"), ("World", "store")}
OF_OTHERS = {("restate-clients.md", "client"), ("from-restate.md", "ctx"), ("from-durable-objects.md", "ctx")}


def names(path: Path) -> Iterator[str]:
    """What a document names and the code does not have, each with its line."""
    for line, span in read(path).spans():
        for owner, name in _ATTRIBUTE.findall(span):
            cls = OWNERS[owner]
            if (cls.__name__, name) in OF_INSTANCES or (path.name, owner) in OF_OTHERS:
                continue
            if (
                not hasattr(cls, name)
                and name not in getattr(cls, "__annotations__", {})
                and (owner, name) != ("app", "db")
            ):
                yield f"{line}: {span}: {cls.__name__} has no {name!r}"
        for called, arguments in _OPTION.findall(span):
            function = CALLED.get(called) or DECORATORS[called]
            parameters = known_options(function)
            for option in re.findall(r"(?:^|[ ,])(\w+)=", arguments):
                if option not in parameters:
                    yield f"{line}: {span}: {called} has no option {option!r}"
        for name in _ERROR.findall(span):
            if not hasattr(actors.errors, name):
                yield f"{line}: {span}: actors.errors has no {name}"
        if span.startswith("actors ") and (wrong := command_problem(span)):
            yield f"{line}: {span}: {wrong}"


def known_options(function: object) -> set[str]:
    if isinstance(function, type) and hasattr(function, "__dataclass_fields__"):
        return set(function.__dataclass_fields__)
    if function is handler:
        return {"name", "private", "retry", "atomic"}
    assert callable(function)
    called = App.__init__ if function is App else function
    return set(signature(called).parameters)


def command_problem(line: str) -> str | None:
    """Why this is not a command of `actors`; None if it is."""
    try:
        words = shlex.split(line.replace("…", "x").replace("...", "x"), comments=True)[1:]
    except ValueError:
        return None
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        alternatives = words[0].split("|")
        context = click.Context(command)
        found = {word: command.get_command(context, word) for word in alternatives}
        for word, each in found.items():
            if each is None:
                return f"there is no command {word!r}"
            command = each
        words = words[1:]
        while words and words[0] == "|":  # list | show
            words = words[2:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        option = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][\w-]*", option) and option not in known | {"--help", "-h"}:
            return f"the command has no option {option}"
    return None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_what_exists(path: Path) -> None:
    assert list(names(path)) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`ctx.slep(5)`", "Context has no 'slep'"),
        ("`Limits.max_pendings`", "Limits has no 'max_pendings'"),
        ("`App(storag=...)`", "App has no option 'storag'"),
        ("`@handler(atomik=True)`", "@handler has no option 'atomik'"),
        ("`actors.errors.Deadlok`", "actors.errors has no Deadlok"),
        ("`actors serv shop:app`", "there is no command 'serv'"),
        ("`actors serve --prot 5`", "the command has no option --prot"),
        ("`actors invocations kil 5`", "there is no command 'kil'"),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\nSee {text}.\n")
    (found,) = names(tmp_path / "page.md")
    assert wrong in found


@pytest.mark.parametrize(
    "text",
    [
        "`ctx.sleep(5)`",
        "`App(storage=...)`",
        "`actors invocations kill ID`",
        "`actors serve --port 1`",
        "`Limits.max_key`",
    ],
)
def test_a_name_that_exists_is_not_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\nSee {text}.\n")
    assert list(names(tmp_path / "page.md")) == []
