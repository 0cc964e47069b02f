"""Fragments: lines that stand in a handler or inside `async with App(...) as app:`, made into programs."""

from __future__ import annotations

import textwrap

from tests.docs.documents import Block, Document

_IMPORTS = """\
from typing import Any
from actors import App, Context, Service, VirtualObject, Workflow, handler, run, shared  # noqa: F401
"""

_APP = """

async def fragment(app: App) -> Any:
{body}


async def main() -> None:
    classes = [cls for cls in list(globals().values()) if isinstance(cls, type) and issubclass(cls, Service | VirtualObject)]
    async with App(*(cls for cls in classes if cls not in (Service, VirtualObject, Workflow)), storage="sqlite://") as app:
        await fragment(app)


if __name__ == "__main__":
    run(main())
"""

_HANDLER = """

class Fragment(VirtualObject):
    @handler
    async def fragment(self, ctx: Context) -> Any:
{body}


async def main() -> None:
    classes = [cls for cls in list(globals().values()) if isinstance(cls, type) and issubclass(cls, Service | VirtualObject)]
    async with App(*(cls for cls in classes if cls not in (Service, VirtualObject, Workflow)), storage="sqlite://") as app:
        await app.object(Fragment, "one").fragment()


if __name__ == "__main__":
    run(main())
"""


def program(document: Document, block: Block) -> str:
    """A whole program around this fragment: the preludes of its document, the fragment, and a main."""
    template, depth = (_APP, 4) if block.fragment == "app" else (_HANDLER, 8)
    body = textwrap.indent(block.text.rstrip("\n"), " " * depth)
    return _IMPORTS + document.prelude + template.format(body=body)
