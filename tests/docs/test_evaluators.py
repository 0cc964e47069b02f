"""What executes documents notices when a document is false."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import types
from tests.docs.console import Command, Wrong, commands, pattern
from tests.docs.documents import BadDocument, parse
from tests.docs.running import Ports, run

COUNTER = """\
```python
# counter.py
from actors import App, VirtualObject, handler, run


class Counter(VirtualObject):
    count: int = 0

    @handler
    async def add(self, n: int) -> int:
        self.count += n
        return self.count


app = App(Counter, storage="sqlite:///counter.db")
```
"""
USE = """\
```python
from actors import App, run
from counter import Counter


async def main() -> None:
    async with App(Counter, storage="sqlite://") as app:
        print(await app.object(Counter, "a").add(5))


run(main())
```
"""
PRELUDE = "<!-- prelude\nfrom counter import Counter\n-->\n"
CURL = "curl -s localhost:8080/Counter/a/add --json 5"
ASYNC_MISTAKE = USE.replace(".add(5)", '.add("5")')


def execute(text: str, folder: Path, patience_s: float = 40) -> None:
    run(parse(folder / "page.md", text), folder / "reader", patience_s)


def test_a_true_document_passes(tmp_path: Path) -> None:
    served = f"```console\n$ actors serve counter:app &\nServing Counter at http://…\n$ {CURL} && echo\n5\n$ {CURL}\n10\n```\n"
    execute(COUNTER + USE + "```output\n5\n```\n" + served, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COUNTER + USE.replace(".add", ".increase"), "no attribute 'increase'|increase"),
        (COUNTER + USE + "```output\n6\n```\n", "The document shows:\n6"),
        ("```console\n$ false\n```\n", "ended with exit code 1"),
        ("```console\n$ true # exit code 1\n```\n", "ended with exit code 0"),
        ("```console\n$ echo one\ntwo\n```\n", "The document shows:\ntwo"),
        ("```console\n$ echo two > it\n$ sleep 1; cat it\none\n```\n", "The document shows:\none"),
        ("```console\n$ (command sleep 0.2; echo late) &\nearly\n```\n", "The document shows:\nearly"),
        ("```console\n$ pip install 'virtual-actors[nothing]'\n```\n", "no extra 'nothing'"),
        ("```python\nraise SystemExit(3)\n```\n", "exit code 3"),
        ('```python\nif __name__ == "__main__":\n    raise SystemExit(4)\n```\n', "exit code 4"),
        ("```python\n# broken.py\nimport nothing_of_this_name\n```\n", "nothing_of_this_name"),
        (
            COUNTER + f"{PRELUDE}<!-- fragment: app -->\n```python\nawait app.call('No', 'k', 'such')\n```\n",
            "UnknownService",
        ),
        ("<!-- fragment: handler -->\n```python\nctx.object(App, 'k')\n```\n", "exit code 1"),
        (
            "<!-- part-of: examples/orders.py -->\n```python\nthis is not in it\n```\n",
            "not a part of examples/orders.py",
        ),
    ],
    ids=lambda value: value.splitlines()[-2][:30] if "\n" in value else None,
)
def test_a_false_document_fails(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Wrong, match=message):
        execute(text, tmp_path, patience_s=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nx\n```\n", "not a known language"),
        ("    indented\n", "an indented block"),
        ("<!-- no-run: -->\n```python\n1\n```\n", "requires a reason"),
        ("<!-- fragment: page -->\n```python\n1\n```\n", "fragment: 'page' is not known"),
        ("<!-- no-run: later -->\n\nA paragraph.\n", "does not stand above a block"),
        ("```console\nls\n```\n", "a command begins with"),
        ("```output\nls\n```\n", "no program stands before"),
        ("<!-- uses: README.md nothing.py -->\n", "has no such block"),
    ],
)
def test_a_block_that_breaks_a_rule_is_reported(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadDocument, match=message):
        execute(text, tmp_path)


def test_a_wrong_type_in_a_block_is_reported_by_mypy(tmp_path: Path) -> None:
    for number, (text, code) in enumerate(((USE, 0), (ASYNC_MISTAKE, 1))):
        modules = types.write([parse(tmp_path / "page.md", COUNTER + text)], tmp_path / str(number))
        done = types.mypy(modules)
        assert done.returncode == code, done.stdout
        assert ("arg-type" in done.stdout) == bool(code)


def test_a_command_after_a_sleep_looks_until_it_sees_what_is_shown(tmp_path: Path) -> None:
    execute(
        "```console\n$ (command sleep 0.3; echo late > late.txt) &\n$ sleep 1; cat late.txt\nlate\n```\n", tmp_path, 3
    )


def test_commands_of_several_lines_are_one_command() -> None:
    found = commands("$ curl a \\\n  b\nanswer\n$ cat <<'END'\nx\nEND\nx\n", 10)
    assert found == [Command(10, "curl a \\\n  b", ("answer",)), Command(13, "cat <<'END'\nx\nEND", ("x",))]


def test_dots_stand_for_text_in_a_line_or_for_any_lines() -> None:
    assert pattern(["id prom_1…", "…", "end"]).fullmatch("id prom_1AB\nend\n")
    assert pattern(["id prom_1…", "…", "end"]).fullmatch("id prom_1AB\nmore\nand more\nend\n")
    assert not pattern(["id prom_1…"]).fullmatch("id prom_1AB\nmore\n")


def test_each_port_of_a_document_becomes_one_free_port() -> None:
    ports = Ports()
    first = ports.moved("curl localhost:8080/a; actors serve x:y --port 8080; curl 127.0.0.1:9080")
    assert "8080" not in first and "9080" not in first
    assert first == ports.moved("curl localhost:8080/a; actors serve x:y --port 8080; curl 127.0.0.1:9080")


def test_only_python_of_another_page_is_checked(tmp_path: Path) -> None:
    page = parse(tmp_path / "page.md", "<!-- uses: docs/howto/testing.md pyproject.toml -->\n" + COUNTER)
    assert [module.path.name for module in types.write([page], tmp_path / "out")] == ["counter.py"]


def test_a_file_that_changes_is_checked_in_each_version(tmp_path: Path) -> None:
    text = COUNTER + COUNTER.replace("add(self", "plus(self") + USE.replace(".add(5)", ".plus(5)")
    names = [module.path.name for module in types.write([parse(tmp_path / "page.md", text)], tmp_path / "out")]
    assert names == ["counter.py", "counter_18.py", "line_34.py"]
