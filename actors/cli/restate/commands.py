"""The group `actors restate`."""

from __future__ import annotations

import click

from actors.cli.restate.awakeable_commands import awakeables
from actors.cli.restate.invocation_commands import invocations
from actors.cli.restate.releases import releases
from actors.cli.restate.serving import serve
from actors.cli.restate.table_commands import sql, state


@click.group()
def restate() -> None:
    """Run an app on a restate-server or a cluster of them, and operate it there."""


restate.add_command(serve)
restate.add_command(releases)
restate.add_command(invocations)
restate.add_command(awakeables)
restate.add_command(state)
restate.add_command(sql)
