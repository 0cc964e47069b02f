"""The table of examples names each example, with a command that its docstring explains."""

from __future__ import annotations

import re

from tests.acceptance.programs import EXAMPLES

ROW = re.compile(r"^\| \[([\w.]+)\]\(([\w./]+)\) \| `(python .*?)` \| .+ \|$", re.MULTILINE)


def test_each_example_is_in_the_table_with_a_documented_command() -> None:
    rows = ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8"))
    examples = {path.name for path in EXAMPLES.glob("*.py")} | {path.parent.name for path in EXAMPLES.glob("*/*.py")}
    assert {name for name, _, _ in rows} == examples - {"__init__.py"}
    for name, link, command in rows:
        assert link.startswith(name)
        source = (EXAMPLES / link).read_text(encoding="utf-8")
        assert re.search(rf"^    {re.escape(command)}(  |$)", source, re.MULTILINE), command
