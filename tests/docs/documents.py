"""A document of this project, read: its blocks, in order, with what the comment above each block says of it.

How a block is written, and what a test does with it, is in CONTRIBUTING.md, "Documentation".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = {
    "python",
    "console",
    "output",
    "toml",
    "ini",
    "yaml",
    "json",
    "nginx",
    "caddyfile",
    "sql",
    "text",
    "mermaid",
}
MARKS = {"fragment", "no-run", "part-of", "uses", "theirs"}

_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.S)
_FILE_NAME = re.compile(r"(?:#|//|--) ([\w-]+(?:/[\w-]+)*\.[a-z]+)(?:,.*|:.*)?$")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class BadDocument(Exception):
    """A document breaks a rule of how blocks are written. The message names the line."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    `line` is the line of its first character in the document, counted from 1. `file` is the name in its first line, if the block is
    a file. `marks` holds what the comments directly above it say, `{"no-run": "needs a server of Temporal"}`.
    """

    line: int
    language: str
    text: str
    file: str | None = None
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def fragment(self) -> str | None:
        """`app` or `handler`: where the lines of this fragment stand."""
        return self.marks.get("fragment")


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    text: str
    blocks: tuple[Block, ...]
    prelude: str = ""
    uses: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name

    def spans(self) -> Iterator[tuple[int, str]]:
        """Line and text of each inline code span."""
        for token in _MARKDOWN.parse(self.text):
            for child in token.children or ():
                if child.type == "code_inline":
                    yield (token.map or [0])[0] + 1, child.content


def documents() -> list[Path]:
    """All documents whose blocks are executed: README.md and the pages for users."""
    return [
        ROOT / "README.md",
        *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "internals" not in path.parts),
    ]


def read(path: Path) -> Document:
    """Raises BadDocument."""
    return parse(path, path.read_text(encoding="utf-8"))


def parse(path: Path, text: str) -> Document:
    """Raises BadDocument."""
    body = _without_front_matter(text)
    blocks: list[Block] = []
    marks: dict[str, str] = {}
    preludes: list[str] = []
    uses: list[tuple[str, str]] = []
    for token in _MARKDOWN.parse(body):
        if token.type == "html_block":
            for comment in _COMMENT.findall(token.content):
                _take(comment, marks, preludes, uses, f"{path.name}:{_line(token)}")
        elif token.type in ("fence", "code_block"):
            blocks.append(_block(token, marks, path.name))
            marks = {}
        elif token.type in ("paragraph_open", "heading_open", "table_open") and marks:
            raise BadDocument(f"{path.name}:{_line(token)}: the comment {marks} does not stand above a block.")
    return Document(path, body, tuple(blocks), "\n".join(preludes), tuple(uses))


def _without_front_matter(text: str) -> str:
    """The text with empty lines in place of front matter, so that lines keep their numbers."""
    match = re.match(r"---\n.*?\n---\n", text, re.S)
    return "\n" * match[0].count("\n") + text[match.end() :] if match else text


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _take(comment: str, marks: dict[str, str], preludes: list[str], uses: list[tuple[str, str]], place: str) -> None:
    if comment.startswith("prelude\n"):
        preludes.append(comment.removeprefix("prelude\n"))
        return
    for line in comment.splitlines():
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name not in MARKS:
            continue  # a comment for people
        if name == "uses":
            document, _, file = value.partition(" ")
            uses.append((document, file))
            continue
        if name in ("no-run", "theirs", "part-of") and not value:
            raise BadDocument(f"{place}: {name} requires a reason or a name after the colon.")
        if name == "fragment" and value not in ("app", "handler"):
            raise BadDocument(f"{place}: fragment: {value!r} is not known. Write fragment: app, or fragment: handler.")
        marks[name] = value


def _block(token: Token, marks: dict[str, str], document: str) -> Block:
    if token.type == "code_block":
        raise BadDocument(f"{document}:{_line(token)}: an indented block. Write a fence with a language.")
    language = token.info.strip()
    line = _line(token) + 1
    if language not in LANGUAGES:
        raise BadDocument(
            f"{document}:{line - 1}: {language!r} is not a known language of blocks. Known: {', '.join(sorted(LANGUAGES))}."
        )
    first, _, _ = token.content.partition("\n")
    match = _FILE_NAME.match(first) if language not in ("console", "output", "text") else None
    return Block(line, language, token.content, match[1] if match else None, dict(marks))
