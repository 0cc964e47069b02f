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
PROGRAMS = ("examples", "benchmarks")
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
# Pronouns instead of nouns, and words that only their author understands at once.
PRONOUNS = {
    r"\btold\b": "receives, is notified, knows",
    r"\basked for\b": "requested, the request",
    r"\bthe (?:first|second|last|next|other|old|new|same) one\b": "say the noun",
    r"\b(?:of|for|by|to|with) one that\b": "say the noun",
    r"(?:^|[.:;] )(?:those|one) (?:that|of|who)\b(?! (?:the|these)\b)": "say the noun",
    r"^(?:They|That) (?:is|are|was|were|has|have)\b": "say the noun",
    r"^The same (?:by|for|in|of|to|one)\b": "say what is the same",
    r"\bwhat (?:it|they) (?:is|are|was|were|has|have|had)\b": "say the noun",
    r"\bif it is none\b": "if it is not a valid X",
    r"\b(?:is|are) owed\b": "is due",
    r"\ball that (?:is|was)\b": "everything stored, all X",
    r"\bused in a wrong way\b": "wrong usage",
    r"\bwithout a word\b": "silently",
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


def findings(source: str, refused: dict[str, str] = REFUSED) -> list[str]:
    """The texts in this source that need other words."""
    places = []
    for line, text in _texts(ast.parse(source)):
        words = " ".join(text.split())
        for pattern, instead in refused.items():
            for match in re.finditer(pattern, words, re.IGNORECASE):
                around = words[max(0, match.start() - 30) : match.end() + 30]
                places.append(f"{line}: ...{around}... Say: {instead}")
    return places


def sources(*packages: str) -> list[str]:
    """The paths of the Python files below these folders, without links to other packages."""
    paths = [path.relative_to(ROOT) for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [p.as_posix() for p in paths if p.parts[1] not in PACKAGES and p.as_posix() not in UNCHANGED]


def findings_in(paths: list[str], refused: dict[str, str]) -> list[str]:
    return [
        f"{path}:{finding}"
        for path in paths
        for finding in findings((ROOT / path).read_text(encoding="utf-8"), refused)
    ]


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


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError("The caller is told.")',
        'raise ValueError("More was asked for than there is.")',
        'help = "Give the old one."',
        '"""The key of one that was restarted."""',
        'class Public:\n    """Those that match,\n    the newest first."""',
        '"""They are open."""',
        'class Public:\n    """Cancel invocations. One that has ended is skipped."""',
        'class Public:\n    def method(self):\n        """The same by name."""',
        'help = "Show what it is."',
        '"""The array, or an error if it is none."""',
        'advice = f"{count} answers are owed."',
        '"""Check all that is stored."""',
        '"""Exit code 2: used in a wrong way."""',
        '"""A server that vanished without a word."""',
    ],
)
def test_pronouns_instead_of_nouns_are_found(source: str) -> None:
    assert findings(source, PRONOUNS)


@pytest.mark.parametrize(
    "source",
    [
        'raise ValueError("There is another one in the file. That one is fine.")',
        'help = "Show what is stored, and what it waits for. They are read only. One of the two is enough."',
        '"""Every message that was stored."""',
        "told = 1  # what it is that was asked for",
        'def _private():\n    """Those that match."""',
    ],
)
def test_nouns_comments_and_private_docstrings_are_left_alone(source: str) -> None:
    assert findings(source, PRONOUNS) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_messages_and_public_docstrings_are_plain_english(package: str) -> None:
    found = findings_in(sources(package), REFUSED)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("package", [*PACKAGES, *PROGRAMS])
def test_messages_and_public_docstrings_say_the_noun(package: str) -> None:
    paths = sources(package)
    found = findings_in(paths, REFUSED | PRONOUNS)
    assert paths and not found, "\n" + "\n".join(found)
