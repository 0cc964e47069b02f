"""`python -m tools.reference`: write docs/reference/cli.md, the page of all commands, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from actors.cli.commands import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """\
---
description: Every command of actors, with its arguments and options.
---
# Command line

`pip install 'virtual-actors[cli]'`; `serve` requires the extra `serve`, and `deploy` and `restate` the extra `restate`. How the commands are used is
in [Command line](../operate/command-line.md); this page is made from the commands themselves (`python -m tools.reference`).

Exit codes, unless a command says otherwise: 0 done, 1 refused or not answered, with the reason on stderr, 2 wrong usage.
"""


def page() -> str:
    parts = [HEAD]
    for path, command in commands("actors", cli):
        parts.append(section(path, command))
    return "\n".join(parts)


def commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, by their full names, in the order of the alphabet."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(f"{path} {name}", found)
    elif not command.hidden:
        yield path, command


def section(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    lines = [f"## {path}", "", "```text", f"{path} {' '.join(command.collect_usage_pieces(context))}", "```", ""]
    lines += [paragraph(text) for text in paragraphs(command.help or "")]
    options = [
        parameter for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
    ]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [row(option, context) for option in options]
        lines.append("")
    return "\n".join(lines)


def paragraphs(help: str) -> list[str]:
    return inspect.cleandoc(help).split("\n\n")


def paragraph(text: str) -> str:
    """A paragraph of a help text; one that click does not wrap (after \\b) becomes a block."""
    if text.startswith("\b"):
        return f"```text\n{text[1:].strip(chr(10))}\n```\n"
    return " ".join(text.split()) + "\n"


def row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names, meaning = record
    return "| `{}` | {} |".format(*(" ".join(text.split()).replace("|", r"\|") for text in (names, meaning)))


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name} is written.")


if __name__ == "__main__":
    main()
