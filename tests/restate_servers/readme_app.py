"""Classes of README.md and of the pages in docs/ as they stand there, for a server on either engine."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from actors import App, Context, VirtualObject, handler

ROOT = Path(__file__).resolve().parents[2]


def module_with(text: str, page: str = "README.md") -> ModuleType:
    """The Python block of a page that holds this text, imported as a module."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    (block,) = [block for block in blocks if text in block and ("async def main" in block or page != "README.md")]
    name = f"readme_{len(block)}"
    file = Path(tempfile.mkdtemp()) / f"{name}.py"
    file.write_text(block, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


order = module_with("class Order(VirtualObject):")
signup = module_with("class Signup(Workflow):", "docs/howto/workflows.md")


beyond = module_with("class Counter(VirtualObject):", "docs/beyond-one-machine.md")
Counter: Any = beyond.Counter


class Front(VirtualObject, name="Front"):
    """A chain of calls, each to the next key."""

    @handler
    async def through(self, ctx: Context, keys: list[str]) -> int:
        if not keys:
            return int(await ctx.object(Counter, ctx.key).add(1))
        return 1 + await ctx.object(Front, keys[0]).through(keys[1:])


app = App(
    order.Order,
    signup.Signup,
    signup.Mailer,
    Counter,
    Front,
    storage=os.environ.get("README_STORAGE", "sqlite://"),
)
