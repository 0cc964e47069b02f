"""`actors restate releases`: the deployments of a restate-server with their open invocations, and the removal of one of them."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.console import Console

from actors.cli.restate.options import json_option, restate_option, result_of
from actors.cli.show.layout import Page, count, safe
from actors.errors import ActorsError
from actors.transport.restate.admin import Admin, Deployment


async def _listed(url: str) -> list[Deployment]:
    async with Admin(url) as admin:
        await admin.check()
        return await admin.deployments()


async def _removed(url: str, id: str, force: bool) -> None:
    async with Admin(url) as admin:
        await admin.check()
        known = {one.id: one for one in await admin.deployments()}
        if id not in known:
            raise ActorsError(f"Unknown deployment {id!r}. Known deployments: {', '.join(known) or 'none'}.")
        release = known[id]
        if release.open:
            raise ActorsError(
                f"{id} has {count(release.open, 'open invocation')}, which could not go on. Wait until they have ended, or cancel "
                "them."
            )
        if release.current and not force:
            raise ActorsError(
                f"{id} is the current release of {', '.join(release.current)}: without it calls of these classes fail. Deploy "
                "another release first, or use --force."
            )
        await admin.remove(id)


@click.command("releases")
@restate_option
@click.option(
    "--remove", "removed", metavar="ID", help="Remove this deployment. Refused while it has open invocations."
)
@click.option("--force", is_flag=True, help="With --remove: also if it is the current release of a class.")
@json_option
def releases(restate: str, removed: str | None, force: bool, as_json: bool) -> None:
    """List the releases that a restate-server knows, the oldest first, with their open invocations.

    An endpoint may be stopped for good once its release has no open invocations and is not the current release of a class.
    """
    if removed is not None:
        result_of(_removed(restate, removed, force), as_json)
        click.echo(json.dumps({"deployment": removed, "outcome": "removed"}) if as_json else f"{removed} removed")
        return
    found = result_of(_listed(restate), as_json)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found], ensure_ascii=False))
    elif not found:
        click.echo("The server knows no release. Register one: actors deploy MODULE:APP --at URL")
    else:
        rows = [
            [(one.id, ""), (safe(one.url), ""), (one.created[:19], ""), (str(one.open), ""), (_current(one), "")]
            for one in found
        ]
        Page(Console(highlight=False)).columns(
            ("deployment", "url", "registered", "open", "current release of"), rows, right=("open",)
        )


def _current(release: Deployment) -> str:
    return safe(", ".join(release.current)) or "-"
