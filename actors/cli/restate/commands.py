"""The group `actors restate`."""

from __future__ import annotations

import click

from actors.cli.restate.releases import releases
from actors.cli.restate.serving import serve


@click.group()
def restate() -> None:
    """Run an app on a restate-server or a cluster of them."""


restate.add_command(serve)
restate.add_command(releases)
