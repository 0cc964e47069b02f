"""The command line where its terminal or pipe does not speak UTF-8: it prints what can be shown, escapes the rest, never fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors import App, Context, TerminalError, VirtualObject, handler
from actors.cli.show.streams import typed

ROOT = Path(__file__).parents[2]
KEY = "\U0001f600ü"

SHOP = """
from actors import App, Context, TerminalError, VirtualObject, handler
class Counter(VirtualObject):
    note: str = ""
    @handler
    async def add(self, text: str) -> str: ...
    @handler
    async def hold(self, ctx: Context) -> str:
        return await ctx.awakeable(str)
    @handler
    async def fail(self) -> None: ...
app = App(Counter, storage="sqlite:///x.db")
"""

# Runs several command lines in one process: [arguments, ...] from stdin; each is followed by a line `exit N`.
MANY = """
import json, sys
from actors.__main__ import main
for words in json.load(sys.stdin):
    sys.argv = ["actors", *words]
    try:
        main()
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        print("exit", code, file=stream, flush=True)
"""


class Counter(VirtualObject):
    note: str = ""

    @handler
    async def add(self, text: str) -> str:
        self.note = text
        return text

    @handler
    async def hold(self, ctx: Context) -> str:
        return await ctx.awakeable(str)

    @handler
    async def fail(self) -> None:
        raise TerminalError("nö \U0001f600", metadata={"ü": "ß"})


async def _lived(folder: Path) -> tuple[str, str]:
    """A file with names and values beyond ASCII; the ids of an open invocation and of a failed one."""
    (folder / "shop.py").write_text(SHOP)
    async with App(Counter, storage=f"sqlite:///{folder}/x.db") as app:
        await app.object(Counter, KEY).add("grüße…" + "x" * 100)
        failed = await app.object(Counter, KEY).fail.send()
        with pytest.raises(TerminalError):
            await failed.result()
        held = await app.object(Counter, "held" + KEY).hold.send()
        while not await app.awakeables():
            pass
        return held.id, failed.id


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-16-le", "utf-8"])
async def test_every_command_prints_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    held, failed = await _lived(tmp_path)
    lines = [
        ["invocations", "list"],
        ["invocations", "show", held],
        ["invocations", "show", failed],
        ["invocations", "list", "--key", KEY],
        ["awakeables", "list"],
        ["requests", "list"],
        ["state", f"Counter/{KEY}", "--db", "x.db"],
        ["sql", "SELECT key, value FROM state"],
        ["check", "shop:app"],
        ["invocations", "list", "--json", "--key", KEY],
        ["invocations", "show", failed, "--json"],
        ["awakeables", "list", "--json"],
        ["state", f"Counter/{KEY}", "--db", "x.db", "--json"],
        ["sql", "SELECT key AS 'ü', value FROM state", "--json"],
        ["--help"],
        ["sql", "selekt ü"],
        ["invocations", "show", "ü" + KEY],
        ["invocations", "list", "--status", "ü"],
        ["invocations", "purge", "--key", "nö", "--yes"],
        ["call", "Counter/ü/add", KEY, "--url", "http://127.0.0.1:1"],
        ["check", "ü:app"],
        ["serve", "ü:app", "--port", "0"],
        ["serve", "shop:app", "--uds", "nö/ü"],
        ["ü"],
        ["invocations", "list", "--ü"],
        ["state", f"Counter/{KEY}", "--db", "ü.db"],
    ]
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", MANY],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "ACTORS_DB": "x.db"},
        input=json.dumps(lines).encode(encoding),
        capture_output=True,
        timeout=100,
        check=False,
    )
    out, errors = ended.stdout.decode(encoding), ended.stderr.decode(encoding)
    assert ended.returncode == 0 and "Traceback" not in out + errors, errors
    codes = [line.removeprefix("exit ") for line in out.splitlines() if line.startswith("exit ")]
    assert [code in ("0", "None") for code in codes] == [True] * 15 + [False] * 3 + [True] + [False] * 7
    printed = out.replace("\r\n", "\n").split("\nexit 0\n")
    shown = KEY.encode(encoding, "replace").decode(encoding)
    for text in printed[:5]:
        assert KEY in text or "\\ud83d\\ude00" in text
    for text in printed[9:14]:
        assert "ü" in json.dumps(json.loads(text), ensure_ascii=False)
    assert ("ü" in shown) == ("ü" in printed[0])


def test_an_argument_that_python_decoded_by_another_encoding_is_what_was_typed() -> None:
    assert typed("ü") == "ü" and typed("a") == "a"
    assert typed("\udcc3\udcbc") == "ü"
    assert typed("\udcff") == "\udcff"  # it is not UTF-8: whoever needs text refuses it
