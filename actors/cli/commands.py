"""The commands of `actors`."""

from __future__ import annotations

import click

from actors.cli.file.options import misplaced_option
from actors.cli.lazy import LazyGroup

_PEOPLE = dict.fromkeys(("call", "completion", "reject", "resolve", "send", "sql"), "actors.cli.client_commands")


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    modules={
        **_PEOPLE,
        "audit": "actors.cli.past.audit",
        "awakeables": "actors.cli.file.awakeable_commands",
        "backup": "actors.cli.file.copies",
        "blame": "actors.cli.past.blame",
        "capture": "actors.cli.replay.capturing",
        "check": "actors.cli.check.command",
        "demo": "actors.cli.demo.command",
        "deploy": "actors.cli.restate.deploying",
        "doctor": "actors.cli.file.doctor",
        "explain": "actors.cli.manual",
        "explore": "actors.cli.exploring",
        "history": "actors.cli.past.history",
        "invocations": "actors.cli.file.invocation_commands",
        "prompt": "actors.cli.manual",
        "replay": "actors.cli.replay.replaying",
        "requests": "actors.cli.file.request_commands",
        "restate": "actors.cli.restate.commands",
        "restore": "actors.cli.file.copies",
        "serve": "actors.cli.serving",
        "state": "actors.cli.past.state",
    },
)
@click.version_option(package_name="virtual-actors")
@misplaced_option
def cli() -> None:
    """Durable virtual objects on asyncio and SQLite."""
