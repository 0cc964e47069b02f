"""Notebooks: a loop that runs already, and cells that are run again without closing what they made before."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from actors import App, VirtualObject, handler, run
from actors.storage import DatabaseInUse

ROOT = Path(__file__).resolve().parents[2]
CELL = """
from actors import App, VirtualObject, handler

class Counter(VirtualObject):
    n: int = 0

    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n

app = App(Counter, storage=storage)
await app.start()
print(await app.object(Counter, "a").add())
"""


async def cell(text: str, names: dict[str, Any]) -> None:
    """What a notebook does with a cell, in a loop that goes on."""
    code = compile(text, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    made = eval(code, names)
    if made is not None:
        await made


async def test_run_inside_a_running_loop_says_what_to_write() -> None:
    async def prepare() -> None: ...

    with pytest.raises(RuntimeError, match=r"as in Jupyter\. Write `await prepare\(\)` instead"):
        run(prepare())


@pytest.mark.may_log("was not closed before its event loop ended, or before the last reference")
async def test_a_cell_that_makes_an_app_can_be_run_again(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"storage": storage}
    for _ in range(3):
        await cell(CELL, names)
    await names["app"].close()
    assert capsys.readouterr().out.split() == ["1", "2", "3"]


async def test_an_app_may_start_on_another_thread_during_the_search(storage: str, tmp_path: Path) -> None:
    class Counter(VirtualObject):
        @handler
        async def count(self) -> None: ...

    others: list[App] = []

    async def start_another() -> None:
        app = App(Counter, storage=f"sqlite:///{tmp_path / 'other.db'}")
        async with app:
            others.append(app)

    class Looked(str):
        """A path during whose comparison another thread starts an app."""

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            thread = threading.Thread(target=lambda: asyncio.run(start_another()))
            thread.start()
            thread.join()
            return str(self) == other

    async with App(Counter, storage=storage) as app:
        app._life.file = Looked(app._life.file)
        with pytest.raises(DatabaseInUse):
            await App(Counter, storage=storage).start()
    assert others


@pytest.mark.may_log("was not closed before its event loop ended, or before the last reference")
async def test_a_call_of_the_app_before_goes_on_in_the_next_one(storage: str) -> None:
    text = (
        CELL
        + "\nfrom actors import Context\n"
        + CELL.replace("Counter", "Waits")
        .replace(
            "self) -> int:\n        self.n += 1\n        return self.n",
            "self, ctx: Context) -> str:\n        return await ctx.awakeable(str)",
        )
        .replace('print(await app.object(Waits, "a").add())', 'sent = await app.object(Waits, "a").add.send()')
    )
    names: dict[str, Any] = {"storage": storage}
    await cell(text, names)
    id = names["sent"].id
    names.pop("sent")
    await cell(text, names)
    app = names["app"]
    while not (found := await app.awakeables()):  # its commit may come later than that of the message
        pass
    (first,) = found
    await app.resolve_awakeable(first.id, "yes")
    assert await app.invocation(id).result() == "yes"
    await app.close()


async def test_an_app_that_is_still_used_keeps_its_file(storage: str) -> None:
    class Counter(VirtualObject):
        @handler
        async def add(self) -> int:
            return 1

    async with App(Counter, storage=storage) as app:
        with pytest.raises(DatabaseInUse, match=r"another App of this process.*await app\.close\(\)"):
            await App(Counter, storage=storage).start()
        assert await app.object(Counter, "a").add() == 1


CLASS = """
from actors import VirtualObject, handler
class Counter(VirtualObject):
    n: int = 0
    @handler
    async def add(self) -> int:
        self.n += 1
        return self.n
"""

# Lines alone: Python 3.13.0 reads no blocks from a pipe in `python -m asyncio`.
SESSION = """
from actors import App
from counter import Counter
app = App(Counter, storage="sqlite:///app.db")
await app.start()
await app.object(Counter, "a").add()
before = app
app = App(Counter, storage="sqlite:///app.db")
await app.start()
await app.object(Counter, "a").add()
await app.close()
"""


def test_in_an_interactive_session_the_new_app_takes_the_place_of_the_old(tmp_path: Path) -> None:
    (tmp_path / "counter.py").write_text(CLASS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path))), "PYTHON_BASIC_REPL": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "asyncio"],
        input=SESSION,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "app.db: the new App takes its place" in ended.stderr
    assert [line.split()[-1] for line in ended.stdout.splitlines() if line.split() and line.split()[-1].isdigit()] == [
        "1",
        "2",
    ]
