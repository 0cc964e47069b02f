"""What the entry of a SEND keeps of a message that is placed beside its handler.

Promise: the message can be placed from the journal alone. The handler may be ended before its replay has come to the message
again, or may be gone from the app, and its messages must arrive nevertheless.
"""

from __future__ import annotations

import msgspec


class RecordedSend(msgspec.Struct, frozen=True, array_like=True):
    """A message without its arguments, which are the value of the entry; the rest is in `before`.

    `number` is the number that the invocation is to get: None for a message under an idempotency key, which may become another
    invocation. `idempotency_key` is None for the run of a workflow too.
    """

    number: int | None
    service: str
    handler: str
    key: str
    idempotency_key: str | None = None
    delay_ms: int = 0
    headers: dict[str, str] | None = None

    def text(self) -> str:
        return _encode(self).decode()


def recorded_send(before: str | None) -> RecordedSend | None:
    """The message in the column `before` of an entry. None for a message that an older release recorded, or a refused message."""
    try:
        return _decode(before or "")
    except (msgspec.MsgspecError, TypeError):
        return None


def sent_number(before: str | None) -> int | None:
    """The number that a message got before it was placed; an older release recorded nothing else. None if it got none."""
    recorded = recorded_send(before)
    if recorded is not None:
        return recorded.number
    return int(before) if before is not None and before.isdecimal() else None


def renumbered(before: str | None, number: int) -> str:
    """`before` for the same message with another number."""
    recorded = recorded_send(before)
    return str(number) if recorded is None else msgspec.structs.replace(recorded, number=number).text()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RecordedSend).decode
