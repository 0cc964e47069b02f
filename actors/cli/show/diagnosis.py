"""What the doctor found, in a terminal: the root cause, what is behind it, and what frees it.

Promise: it needs only the facts that `actors.doctor.facts` makes, so an answer over HTTP looks like one from the file.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

from actors.cli.show.layout import Page, count, safe
from actors.cli.show.records import Facts
from actors.doctor.causes import length

NO_APP = "No app runs on this file. What follows is its last commit."


class DiagnosisText:
    """Prints facts on a page. `command` turns the words of a way out into a line that can be typed."""

    def __init__(self, page: Page, now: datetime.datetime, command: Callable[[Sequence[str]], str]) -> None:
        self._page = page
        self._now = now
        self._command = command

    def show(self, found: Facts) -> None:
        """Print a diagnosis, or all trouble; "running" says whether an app runs."""
        if not found["running"]:
            self._page.text(NO_APP)
        if "causes" in found:
            self._trouble(found)
        else:
            self._diagnosis(found)

    def _diagnosis(self, found: Facts) -> None:
        page = self._page
        if found["cause"] == "free":
            page.text(safe(f"{found['subject']}: {found['text']}"))
            if found["id"] is not None:
                page.line(safe(f"  {found['id']}"), style="dim")
            return
        following = [*found["chain"][1:], found][: len(found["chain"])]
        for link, behind in zip(found["chain"], following, strict=True):
            page.text(safe(f"{link['name']} {link['text']} {behind['name']}."))
            page.line(safe(f"  {link['id']}"), style="dim")
        page.text(safe(f"{found['name']} {found['text']}"), style="bold")
        page.line(safe(f"  {found['id']}"), style="dim")
        if found["detail"]:
            page.text(safe(found["detail"]), indent=2)
        if found["other_causes"]:
            page.text(f"Beside this, {count(found['other_causes'], 'other wait')} would have to end.")
        self._behind(found)
        self._ways(found)

    def _trouble(self, found: Facts) -> None:
        page = self._page
        page.text(safe(found["headline"]), style="bold")
        for cause in found["causes"]:
            page.line()
            alike = f" and {cause['alike']:,} more like it" if cause["alike"] else ""
            page.text(safe(f"{cause['name']}{alike} {cause['text']}"))
            page.line(safe(f"  {cause['id']}"), style="dim")
            if cause["detail"]:
                page.text(safe(cause["detail"]), indent=2)
            said = [f"{count(cause['behind'], 'message')} behind"] if cause["behind"] else []
            if cause["other_keys"]:
                said.append(f"it holds {count(len(cause['other_keys']), 'other key')} too")
            if said:
                page.text(", ".join(said), indent=2)
            self._ways(cause, most=1)
        if found["cut"]:
            page.line()
            page.text("There is more than was looked at. `actors invocations list --status paused` lists all.")

    def _behind(self, found: Facts) -> None:
        if found["behind"] and found["behind_since"] is not None:
            since = datetime.datetime.fromisoformat(found["behind_since"])
            waits = length(int((self._now - since).total_seconds() * 1000))
            self._page.text(f"Behind it: {count(found['behind'], 'message')}, the oldest for {waits}.")
        if found["callers"]:
            more = f" and {found['more_callers']:,} more" if found["more_callers"] else ""
            many = found["more_callers"] or len(found["callers"]) > 1
            self._page.text(safe(f"{', '.join(found['callers'])}{more} {'wait' if many else 'waits'} for its result."))

    def _ways(self, cause: Facts, most: int | None = None) -> None:
        page = self._page
        if cause["ways"] and most is None:
            page.line("What frees it:")
        for way in cause["ways"][:most]:
            if way["command"]:
                page.line(safe(f"  {self._command(way['command'])}"))
                page.text(safe(way["effect"]), indent=4)
            else:
                page.text(safe(way["effect"]), indent=2)
