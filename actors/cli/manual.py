"""`actors explain` and `actors prompt`: the pages of the documentation that are installed with the package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

import click
from rich.console import Console
from rich.markdown import Markdown

from actors.model.spelling import hint

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.S)
_COMMENT = re.compile(r"^<!--.*?-->\n", re.M | re.S)
_HEADING = re.compile(r"^### `(\w+)`\n", re.M)
_GROUP = re.compile(r"^## .*\n", re.M)
_CLASS = re.compile(r"`(\w+)`")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def _page(name: str) -> str:
    text = (files("actors.cli") / "pages" / name).read_text(encoding="utf-8")
    return _COMMENT.sub("", _FRONT_MATTER.sub("", text))


def sections() -> dict[str, str]:
    """The text of each code in the order of the page, links replaced by their names."""
    parts = _HEADING.split(_GROUP.sub("\f", _page("error-codes.md")))
    return {
        code: _LINK.sub(r"\1", text.partition("\f")[0].strip())
        for code, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def class_of(text: str) -> str | None:
    """The class that a section begins with, `MailboxFull`."""
    match = _CLASS.match(text)
    return match[1] if match else None


def find(name: str, known: Mapping[str, str]) -> str:
    """The code that is meant: a code, also in brackets, or the name of a class. Raises click.UsageError."""
    code = name.strip("[]").lower()
    if code in known:
        return code
    classes = {cls: code for code, text in known.items() if (cls := class_of(text)) is not None}
    wanted = name.rpartition(".")[2]
    if wanted in classes:
        return classes[wanted]
    raise click.UsageError(
        f"{name!r} is not an error code.{hint(name, [*known, *classes])} `actors explain` lists all codes."
    )


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Say what an error code means, and what to do.

    CODE is the stable code of an error, or the name of its class: mailbox_full, MailboxFull. Without CODE all codes are listed.
    """
    known = sections()
    console = Console(highlight=False)
    if code is None:
        for name, text in known.items():
            click.echo(f"{name:<32}{_summary(text)}")
        return
    name = find(code, known)
    if console.is_terminal:
        console.print(Markdown(f"**{name}**\n\n{known[name]}"))
    else:
        click.echo(f"{name}\n{_without_class_marks(known[name])}")


def _summary(text: str) -> str:
    """The first sentence of a section."""
    _, _, meaning = text.partition("\n\n")
    return re.split(r"(?<=[.:]) ", " ".join(meaning.split()).replace("`", ""), maxsplit=1)[0]


def _without_class_marks(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first.replace('`', '')}\n{rest}"


@click.command()
def prompt() -> None:
    """Print a page that teaches a language model to write code with this package: rules, idioms, mistakes.

    Paste it in front of your question, or keep it in the instructions of your assistant.
    """
    click.echo(_LINK.sub(r"\1", _page("assistant.md")).strip())
