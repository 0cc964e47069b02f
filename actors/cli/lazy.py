"""A group of commands that are imported when they are used.

Promise: a command costs the import of its own modules only. Together they take longer to import than most commands run: an HTTP
client, the engine, the SDK of Restate.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """`modules`: by name of a command, the module that has it under this name."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._modules})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self._modules:
            found = getattr(import_module(self._modules[cmd_name]), cmd_name)
            assert isinstance(found, click.Command)
            self.add_command(found)
        return found
