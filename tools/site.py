"""`make docs`: the documentation as a site of static files, with copies for language models. Nothing is fetched.

The pages of `docs/` and the documents beside them (changelog, architecture, ...) are copied into one folder, where their links lead to
pages of the site, or to the source on the web. Zensical makes HTML of that folder. Then follow, for readers that are programs: each page as
Markdown, `llms.txt` (a line for each page) and `llms-full.txt` (the pages themselves). At last all links and anchors of the site are followed.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
# Documents that are not in docs/, by the place they have in the site.
BESIDE = {
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/architecture.md": "ARCHITECTURE.md",
    "project/benchmarks.md": "benchmarks/README.md",
    "project/examples.md": "examples/README.md",
}
# What llms-full.txt holds: what a program needs that writes or runs objects.
FULL = ("index.md", "learn/", "howto/", "promises/", "reference/")
NOT_IN_FULL = (
    "reference/cli",
    "reference/err",
    "reference/file",
    "reference/glossary",
    "reference/metrics",
    "promises/failure",
    "howto/assistant",
)
NOT_MADE = ("actors.Context", "actors.futures.", "actors.handlers.")  # classes that users do not make
LARGEST = 400_000  # bytes of llms-full.txt: about 100,000 tokens
DESCRIPTION = 120  # characters

_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)((?: \"[^\"]*\")?)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.M | re.S)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.S)
_DIRECTIVE = re.compile(r"^::: ([\w.]+)\n(?:    .*\n)*", re.M)
_MEMBERS = re.compile(r"^      members: \[(.*)\]$", re.M)
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.S)


class BadSite(Exception):
    """The site cannot be made, or has a dead link. Each line of the message names a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its file here, its path and section in the site, its title, and a line that says what it holds."""

    source: Path
    path: str  # learn/first-object.md
    section: str  # Learn
    title: str
    description: str
    text: str


def read(source: Path, path: str, section: str) -> Page:
    """Raises BadSite for a page without a title or a description."""
    text = source.read_text(encoding="utf-8")
    front = _FRONT.match(text)
    described = re.search(r"^description: *(.+)$", front[1], re.M) if front else None
    body = text[front.end() :] if front else text
    title = re.search(r"^# (.+)$", _FENCE.sub("", body), re.M)
    name = source.relative_to(ROOT)
    if title is None:
        raise BadSite(f"{name}: a page begins with a title, '# Title'.")
    if described is None and _is_for_users(path):
        raise BadSite(f"{name}: a page begins with front matter that has a description.")
    description = described[1].strip() if described else title[1]
    if len(description) > DESCRIPTION:
        raise BadSite(f"{name}: the description has {len(description)} characters, more than {DESCRIPTION}.")
    return Page(source, path, section, title[1].replace("`", ""), description, body)


def _is_for_users(path: str) -> bool:
    return not path.startswith("project/")


def pages() -> list[Page]:
    """All pages of the site, in the order of the navigation. Raises BadSite if a page is not in it, or twice."""
    sources = {path: ROOT / name for path, name in BESIDE.items()}
    for source in sorted((ROOT / "docs").rglob("*.md")):
        path = source.relative_to(ROOT / "docs").as_posix()
        if path.startswith("internals/"):
            path = f"project/{path.replace('README.md', 'index.md')}"
        sources[path] = source
    named = navigation()
    missing, unknown = sources.keys() - named.keys(), named.keys() - sources.keys()
    if missing or unknown:
        raise BadSite(
            f"zensical.toml: the navigation lacks {sorted(missing)}, and names {sorted(unknown)}, which do not exist."
        )
    return [read(sources[path], path, section) for path, section in named.items()]


def navigation() -> dict[str, str]:
    """The path of each page, with the title of its section, in the order of zensical.toml. Raises BadSite for a page named twice."""
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for section in settings["project"]["nav"]:
        ((title, entries),) = section.items()
        for path in _paths(entries):
            if path in found:
                raise BadSite(f"zensical.toml: the navigation names {path} twice.")
            found[path] = title
    return found


def _paths(entry: object) -> Iterator[str]:
    match entry:
        case str():
            yield entry
        case list():
            for part in entry:
                yield from _paths(part)
        case dict():
            for part in entry.values():
                yield from _paths(part)


@functools.cache
def source_address() -> str:
    """Where files are on the web that are not pages of the site."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address: str = project["urls"]["Source"]
    return f"{address}/blob/main"


def linked(page: Page, places: dict[Path, str]) -> str:
    """The text with links that work in the site. Raises BadSite for a link to a file that does not exist."""
    dead: list[str] = []

    def moved(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if "://" in match[2] or match[2].startswith("mailto:") or not target:
            return match[0]
        path = (page.source.parent / target).resolve()
        if path.is_dir() and path / "README.md" in places:
            path /= "README.md"
        if path in places:
            where = os.path.relpath(places[path], Path(page.path).parent).replace(os.sep, "/")
        elif path.exists():
            where = f"{source_address()}/{path.relative_to(ROOT).as_posix()}"
        else:
            dead.append(f"{page.source.relative_to(ROOT)}: {match[2]} does not exist.")
            return match[0]
        return f"[{match[1]}]({where}{'#' + anchor if anchor else ''}{match[3]})"

    parts, end = [], 0
    text = _without_comments(page.text)
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(moved, text[end : fence.start()]), fence[0]]
        end = fence.end()
    parts.append(_LINK.sub(moved, text[end:]))
    if dead:
        raise BadSite("\n".join(dead))
    return "".join(parts)


def _without_comments(text: str) -> str:
    """Comments say how blocks are tested; readers of the site do not need them."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_COMMENT.sub("", text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _COMMENT.sub("", text[end:])])


def stage(found: list[Page], folder: Path) -> dict[str, str]:
    """Copy all pages into one folder, ready for Zensical. The text of each page by its path. Raises BadSite."""
    shutil.rmtree(folder, ignore_errors=True)
    places = {page.source.resolve(): page.path for page in found}
    texts, problems = {}, []
    for page in found:
        try:
            texts[page.path] = linked(page, places)
        except BadSite as error:
            problems.append(str(error))
            continue
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        front = f'---\ntitle: "{page.title}"\ndescription: "{page.description}"\n---\n'.replace("`", "")
        path.write_text(front + texts[page.path], encoding="utf-8")
    if problems:
        raise BadSite("\n".join(problems))
    return texts


def build() -> None:
    """Make the HTML. Raises BadSite."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadSite(f"zensical ended with {done.returncode}:\n{_COLOUR.sub('', done.stdout) or done.stderr}")


def write_for_programs(found: list[Page], texts: dict[str, str], site: Path) -> None:
    """`page.md` beside each page, `llms.txt` and `llms-full.txt`."""
    index = ["# Durable virtual objects for Python", ""]
    section = None
    full = []
    for page in found:
        if page.section != section:
            section = page.section
            index += ["", f"## {section}", ""]
        text = rendered(texts[page.path])
        target = site / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        index.append(f"- [{page.title}]({page.path}): {page.description}")
        if page.path.startswith(FULL) and not page.path.startswith(NOT_IN_FULL):
            full.append(f"<!-- {page.path} -->\n{text.strip()}\n")
    (site / "llms.txt").write_text("\n".join(index) + "\n", encoding="utf-8")
    whole = "\n\n".join(full)
    if len(whole.encode()) > LARGEST:
        raise BadSite(
            f"llms-full.txt has {len(whole.encode()):,} bytes, more than {LARGEST:,}. Leave pages out of FULL."
        )
    (site / "llms-full.txt").write_text(whole, encoding="utf-8")


def rendered(text: str) -> str:
    """The text of a page with signatures and docstrings in place of the lines that stand for them."""
    return _DIRECTIVE.sub(lambda match: described(match[1], _MEMBERS.search(match[0])), text)


def described(path: str, members: re.Match[str] | None) -> str:
    """A name as Markdown: its signature, its docstring, and those of the named members."""
    owner = locate(path)
    names = [name.strip() for name in members[1].split(",")] if members else []
    return "\n".join(
        [_entry("##", path, owner), *(_entry("###", name, inspect.getattr_static(owner, name)) for name in names)]
    )


def locate(path: str) -> Any:
    """The object with this dotted path. Raises BadSite."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        try:
            for name in parts[end:]:
                found = getattr(found, name)
        except AttributeError:
            break
        return found
    raise BadSite(f"a page of the reference names {path}, which does not exist.")


def _shown(signature: inspect.Signature) -> str:
    """A signature whose annotations, which are texts, have no quotes."""
    parameters = [
        one.replace(annotation=one.annotation if one.annotation is one.empty else _Bare(one.annotation))
        for one in signature.parameters.values()
        if one.name != "self"
    ]
    returned = signature.return_annotation
    if returned is not signature.empty:
        returned = _Bare(returned)
    return str(signature.replace(parameters=parameters, return_annotation=returned))


class _Bare:
    def __init__(self, text: object) -> None:
        self._text = text if isinstance(text, str) else inspect.formatannotation(text)

    def __repr__(self) -> str:
        return self._text


def _entry(level: str, name: str, found: Any) -> str:
    found = getattr(found, "__func__", found)
    is_property = isinstance(found, property)
    found = getattr(found, "fget", found)
    lines = [f"{level} {name}", ""]
    try:
        signature = "" if name.startswith(NOT_MADE) else _shown(inspect.signature(found))
    except (TypeError, ValueError):
        signature = ""
    if signature and not (isinstance(found, type) and issubclass(found, BaseException)):
        text = signature.replace("() -> ", ": ", 1) if is_property else signature
        lines += ["```python", f"{name.rpartition('.')[2]}{text}", "```", ""]
    return "\n".join([*lines, inspect.getdoc(found) or "", ""])


class _Links(HTMLParser):
    """Anchors, links, and what a browser loads, of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loads.append(values["href"])
        elif "src" in values:
            self.loads.append(values["src"])


def problems(site: Path) -> list[str]:
    """Dead links and anchors of the site, and everything that a browser would load from elsewhere."""
    parsed: dict[Path, _Links] = {}
    for path in sorted(site.rglob("*.html")):
        parsed[path] = _Links()
        parsed[path].feed(path.read_text(encoding="utf-8"))
    found = []
    for path, page in parsed.items():
        name = path.relative_to(site)
        found += [f"{name}: loads {load}" for load in page.loads if re.match(r"(?:https?:)?//", load)]
        for link in page.links:
            if re.match(r"[a-z]+:", link) or path.name == "404.html":
                continue
            where, _, anchor = link.partition("#")
            target = (path.parent / unquote(where)).resolve() if where else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{name}: {link} leads nowhere")
            elif anchor and target in parsed and unquote(anchor) not in parsed[target].anchors and anchor != "__skip":
                found.append(f"{name}: {link}: the page has no such anchor")
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)}: loads {address}"
            for address in re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", path.read_text(encoding="utf-8"))
        ]
    return found


def make() -> None:
    """Raises BadSite."""
    found = pages()
    texts = stage(found, PAGES)
    build()
    write_for_programs(found, texts, SITE)
    if dead := problems(SITE):
        raise BadSite("\n".join(dead))


if __name__ == "__main__":
    try:
        make()
    except BadSite as error:
        sys.exit(f"The site was not made:\n{error}")
    print(f"The site is in {SITE.relative_to(ROOT)}: open {SITE.relative_to(ROOT)}/index.html")
