"""How often a step with its own retry policy has failed; stored in the journal entry of its command.

The count is rewritten in place, so failures do not make the journal longer, and a replay does not see them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from actors.journal.entries import Entry


class Tries(msgspec.Struct, frozen=True):
    """`next_ms` is the time of the next try, None if there is none. `error` is the last error, with its traceback."""

    failed: int = 0
    since_ms: int = 0
    next_ms: int | None = None
    error: str = ""

    @classmethod
    def of(cls, failed: int | None, details: str | None) -> Self:
        """The tries in the columns `ref` and `before` of an entry. Empty if the step has not failed, or `before` is unreadable."""
        if not failed or details is None:
            return cls()
        try:
            since_ms, next_ms, error = _decode(details)
        except (msgspec.MsgspecError, TypeError):
            return cls(failed)
        return cls(failed, since_ms, next_ms, error)

    def once_more(self, now_ms: int, error: str) -> Tries:
        """The tries after one more failure."""
        return Tries(self.failed + 1, self.since_ms if self.failed else now_ms, None, error)

    def at(self, next_ms: int) -> Tries:
        """These tries, with the next try at `next_ms`."""
        return Tries(self.failed, self.since_ms, next_ms, self.error)

    def write(self, entry: Entry) -> None:
        """Put the tries into the columns of the entry."""
        entry.ref = self.failed
        entry.before = _encode((self.since_ms, self.next_ms, self.error)).decode()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[int, int | None, str]).decode
