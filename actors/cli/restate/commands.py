"""The group `actors restate`."""

from __future__ import annotations

import click

from actors.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    modules={
        "awakeables": "actors.cli.restate.awakeable_commands",
        "invocations": "actors.cli.restate.invocation_commands",
        "releases": "actors.cli.restate.releases",
        "serve": "actors.cli.restate.serving",
        "sql": "actors.cli.restate.table_commands",
        "state": "actors.cli.restate.table_commands",
    },
)
def restate() -> None:
    """Run an app on a restate-server or a cluster of them, and operate it there."""
