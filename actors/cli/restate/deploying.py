"""`actors deploy module:app --at URL`: a restate-server gets to know a release, and the schedules of the app are adapted to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from actors.cli.restate.descriptions import Services, by_name, described, differences, listed, shape
from actors.cli.restate.options import ingress_option, json_option, restate_option, result_of, web_address
from actors.cli.restate.placing import Change, change_to, placed, shares
from actors.cli.show.layout import count, safe
from actors.cli.target import load_app
from actors.errors import ActorsError, ServerUnreachable
from actors.transport.client import Client
from actors.transport.restate.admin import Admin, Deployment, Registered, discovered
from actors.transport.restate.manifest import refused
from actors.transport.restate.schedules import NAME, with_schedules

PLACING_S = 60.0  # one schedule
UNCHANGED = (
    " Classes and handlers are as they were registered. Changes inside handlers are not compared: if open invocations must not "
    "meet them, deploy under a URL of its own."
)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy has done, or would do. `schedules` says of each schedule "placed", "kept" or "withdrawn"."""

    id: str
    new: bool
    services: list[str]
    schedules: dict[str, str]
    older: list[Deployment]


@dataclass(frozen=True, slots=True)
class Deploying:
    """The work of one `actors deploy`."""

    target: str
    at: str
    restate: str
    ingress: str
    http1: bool
    dry_run: bool
    force: bool
    breaking: bool

    async def deployed(self) -> Deployed:
        """Raises BadTarget, or ActorsError for what is refused or not reached."""
        options = with_schedules(load_app(self.target).engine_options())
        unsupported = refused(options.catalog, options.retry)
        if unsupported:
            raise ActorsError("\n".join(unsupported))
        async with Admin(self.restate) as admin:
            await admin.check()
            there = await placed(admin)
            registered = await self._registered(admin, described(options))
            releases = await admin.deployments()
            schedules = await self._adapted(admin, registered.id, change_to(options.catalog, there, releases))
        older = [one for one in releases if one.id != registered.id and one.open and shares(one, options.catalog)]
        return Deployed(registered.id, registered.new, list(registered.services), schedules, older)

    # --- the release ----------------------------------------------------------------------------------------------------

    async def _registered(self, admin: Admin, here: Services) -> Registered:
        """Register the release at its URL, if it is the release here and does not replace another one behind a known URL."""
        document = await discovered(self.at)
        if document is not None:
            self._check_mode(document)
        trial = await self._register(admin, document, dry_run=True, breaking=True)
        if document is not None:
            self._check_release(here, by_name(document["services"]), trial.new or self.force)
            if not (trial.new or self.force):
                await self._check_known_mode(admin, trial.id, document)
        if document is None or not (trial.new or self.force):
            fresh = await self._register(admin, document, dry_run=True, force=True, breaking=True)
            if document is None:  # it answers the server only, which describes classes in other words
                self._check_release(shape(here), shape(fresh.services), trial.new or self.force)
            changed = differences(fresh.services, trial.services) if not (trial.new or self.force) else []
            if changed:
                raise ActorsError(
                    f"{self.at} is registered with another release: {listed(changed)}. Deploy this one under a URL of its own, "
                    "so that open invocations end on the earlier release, or use --force, which may break them."
                )
        current = await admin.services()
        if not (trial.new or self.force):
            self._check_current(trial, current)
        self._check_breaking(trial, current)
        return trial if self.dry_run else await self._register(admin, document)

    def _check_mode(self, document: dict[str, Any]) -> None:
        if self.http1 and document.get("protocolMode") == "BIDI_STREAM":
            raise ActorsError(
                f"The endpoint at {self.at} streams over HTTP/2. Deploy it without --http1, or start it with --http1 as well."
            )

    async def _check_known_mode(self, admin: Admin, id: str, document: dict[str, Any]) -> None:
        """The server would go on to ask the endpoint as it did when the URL was registered."""
        streams = document.get("protocolMode") == "BIDI_STREAM"
        if await admin.streams(id) is (not streams):
            registered = "with --http1, and streams now. Start it with --http1"
            if not streams:
                registered = "as an endpoint that streams, and is served with --http1 now. Start it without --http1"
            raise ActorsError(
                f"{self.at} is registered {registered}, deploy it under a URL of its own, or use --force."
            )

    def _check_release(self, here: Services, there: Services, replaces: bool) -> None:
        differ = differences(here, there)
        if differ:
            raise ActorsError(
                f"The endpoint at {self.at} serves another release: {listed(differ)}. "
                + (
                    "Start it with this code first."
                    if replaces
                    else "Start this code under a URL of its own, for example with another --port, and deploy it there."
                )
            )

    def _check_current(self, known: Registered, current: Services) -> None:
        """A later release may have replaced this release: the server would not go back to it."""
        later = [name for name in known.services if name != NAME and current[name]["deployment_id"] != known.id]
        if later:
            raise ActorsError(
                f"{self.at} is registered already, and the later release {current[later[0]]['deployment_id']} has replaced it for "
                f"{listed(later)}. To go back, deploy this release under a URL of its own, or use --force."
            )

    def _check_breaking(self, trial: Registered, current: Services) -> None:
        """The server itself refuses another kind only, and nothing with `force`."""
        lost: list[str] = []
        for name, known in current.items():
            if name in trial.services:
                service = trial.services[name]
                lost += [f"{name}/{handler}" for handler in known["handlers"] if handler not in service["handlers"]]
                lost += [f"{name}, which is of another kind"] if service["ty"] != known["ty"] else []
            elif known["deployment_id"] == trial.id and name != NAME:
                lost.append(name)
        if lost and not self.breaking:
            raise ActorsError(
                f"The release removes or changes {listed(lost)}. Calls and messages of callers that do not know this would fail. "
                "Use --breaking to deploy it anyway."
            )

    async def _register(
        self,
        admin: Admin,
        document: dict[str, Any] | None,
        dry_run: bool = False,
        force: bool = False,
        breaking: bool = False,
    ) -> Registered:
        try:
            return await admin.register(
                self.at,
                http1=self.http1,
                force=force or self.force,
                breaking=breaking or self.breaking,
                dry_run=dry_run,
            )
        except ServerUnreachable:
            raise
        except ActorsError as error:
            if self.http1 or (document is not None and document.get("protocolMode") == "BIDI_STREAM"):
                raise
            if document is None:
                raise ActorsError(
                    f"{error}\nIf the endpoint was started with --http1, deploy it with --http1."
                ) from None
            raise ActorsError(
                f"The endpoint at {self.at} does not stream: it was started with --http1, or is served by a host that cannot. "
                f"Deploy it with --http1 as well. {error}"
            ) from None

    async def _adapted(self, admin: Admin, id: str, change: Change) -> dict[str, str]:
        """Place and withdraw schedules."""
        if self.dry_run:
            return change.foreseen()
        try:
            async with Client(self.ingress, timeout=PLACING_S) as client:
                return await change.make(client, admin)
        except ActorsError as error:
            reason = str(error)
            if isinstance(error, ServerUnreachable) and self.ingress in reason:  # that text says that nothing was done
                reason = f"no restate-server answers at {self.ingress}."
            raise ActorsError(
                f"The release is registered as deployment {id}, but not all of its schedules are in place: {reason} Name the URL "
                "where callers reach the server with --ingress, and deploy again."
            ) from None


# --- the command --------------------------------------------------------------------------------------------------------


@click.command("deploy")
@click.argument("target", metavar="MODULE:APP")
@click.option(
    "--at",
    required=True,
    callback=web_address,
    metavar="URL",
    help="Where the server reaches the endpoint of this release.",
)
@restate_option
@ingress_option
@click.option("--http1", is_flag=True, help="The endpoint was started with --http1.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done. Changes nothing.")
@click.option(
    "--force", is_flag=True, help="Replace the release behind a known URL. May break invocations that are open on it."
)
@click.option("--breaking", is_flag=True, help="Allow removed handlers and classes of another kind.")
@json_option
def deploy(
    target: str,
    at: str,
    restate: str,
    ingress: str,
    http1: bool,
    dry_run: bool,
    force: bool,
    breaking: bool,
    as_json: bool,
) -> None:
    """Register a release of an app with a restate-server, and place its schedules.

    Start the release first: actors restate serve MODULE:APP. The endpoint must serve the code that is here. New invocations go to
    the new release; invocations that have begun end on the release that they began on, so each release has a URL of its own.
    """
    deploying = Deploying(target, at, restate, ingress, http1, dry_run, force, breaking)
    show(deploying, result_of(deploying.deployed(), as_json), as_json)


def show(deploying: Deploying, deployed: Deployed, as_json: bool) -> None:
    """Print what was done, or would be done."""
    if as_json:
        facts = {
            "deployment": deployed.id,
            "url": deploying.at,
            "new": deployed.new,
            "dry_run": deploying.dry_run,
            "services": deployed.services,
            "schedules": deployed.schedules,
            "older": [{"deployment": one.id, "url": one.url, "open": one.open} for one in deployed.older],
        }
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    names = ", ".join(sorted(deployed.services))
    if deploying.dry_run:
        click.echo(
            f"Would {'register' if deployed.new or deploying.force else 'keep'} {names} at {deploying.at}. Nothing was changed."
        )
    else:
        how = "Registered" if deployed.new else "Registered again" if deploying.force else "Known already"
        found = UNCHANGED if how == "Known already" else ""
        click.echo(f"{how}: {names} at {deploying.at}, deployment {deployed.id}.{found}")
    for spec, done in deployed.schedules.items():
        click.echo(safe(f"  schedule {spec}: {'would be ' if deploying.dry_run else ''}{done}"))
    for one in deployed.older:
        click.echo(
            f"{count(one.open, 'open invocation')} on the earlier release {one.id}: keep its endpoint at {one.url} until "
            "`actors restate releases` shows 0."
        )
