"""How often invocations have failed in this process, and with what: the log gets each traceback once.

The server counts the attempts, and knows when there is to be no other; an endpoint sees those that came to it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from actors.errors import short_reason
from actors.model.raised import place_of, principal

log = logging.getLogger("actors")

KEPT = 1000  # invocations; of those that failed longest ago nothing is known


class FailedAttempts:
    """By invocation id."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, set[object]]] = OrderedDict()

    def warn(self, id: str, label: str, what: str, error: BaseException, names: dict[str, str]) -> int:
        """Log that an attempt or a step has failed; `names` of the invocation are for the record. Returns how often it has, here."""
        failed, places = self._known.pop(id, (0, set()))
        failed += 1
        self._known[id] = (failed, places)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        place = place_of(error)
        new = place not in places
        places.add(place)
        times = "" if failed == 1 else f" again, {failed} times in this process"
        log.warning(
            "%s: %s failed%s: %s",
            label,
            what,
            times,
            " ".join(short_reason(principal(error)).split())[:500],
            exc_info=error if new else None,
            extra=names,
        )
        return failed

    def forget(self, id: str) -> None:
        """The invocation has ended."""
        self._known.pop(id, None)
