"""The English of what readers see: messages, help texts, and docstrings of public names.

Also run by `make style`. Comments and names are not looked at.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "storage", "transport")
UNCHANGED = {"storage/sqlite/schema.py"}  # released migration steps are never edited
# A regular expression and what to write instead.
REFUSED = {
    r"(?<!\bthere )\b(?:is|are) no (?!longer\b)[a-z{]": "is not a valid X; is not X; there is no X",
    r"\bwants?\b": "requires, expects",
    r"\bwhoever\b": "the caller, the client, the operator",
    r"\b(?:nobody|somebody|anybody|everybody)\b": "no caller, another handler, all clients",
    r"\bbelongs? into\b": "belongs in",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\b(?:is|are) told\b": "receives, is notified, is called with",
    r"\bof ours\b": "internal",
    r"\bat hand\b": "available",
    r"\bcode of now\b": "the current code",
    r"\b(?:leaves?|left) memory\b": "is evicted, was evicted",
}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _docstring(node: ast.Module | Definition) -> ast.Constant | None:
    match node.body[:1]:
        case [ast.Expr(value=ast.Constant(value=str()) as text)]:
            return text
    return None


def _texts(node: ast.AST, *, public: bool = True) -> Iterator[tuple[int, str]]:
    """Line and text of each literal in this node, and of the docstrings of names without an underscore in front."""
    skipped = None
    if isinstance(node, ast.Module | Definition):
        public = public and (isinstance(node, ast.Module) or not node.name.startswith("_"))
        skipped = None if public else _docstring(node)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield node.lineno, "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        if isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant):
            continue
        if skipped is None or not isinstance(child, ast.Expr) or child.value is not skipped:
            yield from _texts(child, public=public)


def findings(source: str) -> list[str]:
    """What in this source is to be said in other words."""
    found = []
    for line, text in _texts(ast.parse(source)):
        said = " ".join(text.split())
        for pattern, instead in REFUSED.items():
            for match in re.finditer(pattern, said, re.IGNORECASE):
                around = said[max(0, match.start() - 30) : match.end() + 30]
                found.append(f"{line}: ...{around}... Say: {instead}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError("5 is no delay. Use 5s.")',
        'raise ValueError(f"{text!r} is no delay")',
        'raise ValueError(f"this is no {kind}")',
        'advice = ("This route wants "\n    "a token.")',
        'help = f"{len(names)} belong into {place}"',
        '"""Whoever calls it."""',
        'class Public:\n    """Waits until somebody\n    mends it."""',
        'class Public:\n    async def method(self):\n        """Is told."""',
        'def _private():\n    """Fine."""\n    raise ValueError("These are no names.")',
        'def _private(text=f"{1:{len(\'nobody\')}}"):\n    return [f"{x}" for x in "somebody waits"]',
    ],
)
def test_words_that_make_readers_stop_are_found(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError("There is no app, and it is no longer there.")',
        'raise ValueError("It is not a valid delay.")',
        "x = 1  # whoever reads this: it is no message",
        'def _private():\n    """What somebody wants."""',
        'class _Private:\n    def method(self):\n        """What somebody wants."""',
        "wants = nobody",
    ],
)
def test_good_words_comments_and_private_docstrings_are_left_alone(source: str) -> None:
    assert findings(source) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_messages_and_public_docstrings_are_plain_english(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{finding}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.relative_to(ROOT).parts[1] not in PACKAGES  # links to the other packages
        and path.relative_to(ROOT).as_posix() not in UNCHANGED
        for finding in findings(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n" + "\n".join(found)
