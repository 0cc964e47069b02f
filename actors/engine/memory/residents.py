"""The tables of open invocations and of mailboxes in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from actors.attempt.invocation import Invocation, Mailbox


class Residents:
    """Tables that all parts read. The tables never change identity."""

    __slots__ = ("absent_waiters", "objects", "open", "paused_here")

    def __init__(self, services: Iterable[str]) -> None:
        self.open: dict[int, Invocation] = {}  # open invocations, by seq
        self.objects: dict[str, dict[str, Mailbox]] = {name: {} for name in services}
        # Futures of callers in this process whose invocations are not in memory, by seq.
        self.absent_waiters: dict[int, list[asyncio.Future[Any]]] = {}
        # Invocations that this process has paused: when loaded again, they are not tried again.
        self.paused_here: set[int] = set()

    def known(self, service: str, key: str) -> Mailbox | None:
        """The mailbox of an object that is in memory or about to be; None for any other."""
        objects = self.objects.get(service)
        return objects.get(key) if objects is not None else None

    def enter(self, service: str, key: str) -> Mailbox:
        """Create a mailbox for a cold object. The caller loads it."""
        mailbox = self.objects.setdefault(service, {})[key] = Mailbox(service, key)
        return mailbox

    def forget(self, mailbox: Mailbox) -> None:
        del self.objects[mailbox.service][mailbox.key]
