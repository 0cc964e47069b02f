"""The entries of a journal: the stored columns of each kind of command and completion."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from actors.errors import StateDecodeError


class Kind:
    """Entry kinds as stored. The kinds from COMPLETED on are completions: results that the handler receives."""

    UNSEEN = 0  # neither a command nor a completion: see `Journal.unseen`
    SET = 1
    CLEAR = 2
    RUN = 3
    SLEEP = 4
    AWAKEABLE = 5
    CALL = 6
    SEND = 7
    RESOLVE = 8
    REJECT = 9
    NOW = 10
    SNAPSHOT = 11
    ATTACH = 12
    CANCEL = 13
    PROMISE = 14
    PEEK = 15
    RESOLVE_PROMISE = 16
    REJECT_PROMISE = 17
    CHANGE = 18
    MIGRATED = 19  # neither a command nor a completion: see `Journal.migrate`
    COMPLETED = 20
    FAILED = 21
    CANCELLED = 22
    PLACED = 23

    NAMES: ClassVar[dict[int, str]] = {
        SET: "set state",
        CLEAR: "clear state",
        RUN: "run",
        SLEEP: "sleep",
        AWAKEABLE: "awakeable",
        CALL: "call",
        SEND: "send",
        RESOLVE: "resolve awakeable",
        REJECT: "reject awakeable",
        NOW: "now",
        SNAPSHOT: "snapshot",
        ATTACH: "attach",
        CANCEL: "cancel",
        PROMISE: "promise",
        PEEK: "peek at promise",
        RESOLVE_PROMISE: "resolve promise",
        REJECT_PROMISE: "reject promise",
        CHANGE: "change state",
        UNSEEN: "unseen",
        MIGRATED: "migrated",
        COMPLETED: "completed",
        FAILED: "failed",
        CANCELLED: "cancelled",
        PLACED: "placed",
    }


class Entry(msgspec.Struct, eq=False, gc=False):
    """One journal row in memory. What `value` and `ref` hold depends on `kind`:

    ========== ===================== ======================== =============================
    kind       name                  value                    ref
    ========== ===================== ======================== =============================
    SET        field                 new JSON text            version of the class; None: 1
                                                              (`before`: the old text, unless an
                                                              entry before it is a SET or CLEAR too)
    CLEAR      field                 –                        as for SET
    CHANGE     field                 difference of the texts  as for SET (`before`: fingerprints of
                                                              the old and the new text)
    RUN        step name             –                        failures under the step's own policy
                                                              (`before`: see `Tries`)
    SLEEP      duration in ms        –                        due, ms since the epoch
    AWAKEABLE  type                  timeout in ms            deadline, ms since the epoch
    CALL SEND  service/key/handler   arguments, JSON array    seq of the callee; None: see PLACED
                                     (None: refused)          (`before` of a SEND that is placed
                                                              later: see `RecordedSend`)
    ATTACH     invocation id         –                        seq of the invocation
    CANCEL     invocation id         –                        –
    RESOLVE    awakeable id          JSON text                –
    PROMISE    name of the promise   type, JSON text          –  (the handler waits for it)
    PEEK       name of the promise   –                        –
    RESOLVE_ and REJECT_PROMISE: as RESOLVE, with the promise's name
    NOW        –                     –                        ms since the epoch
    SNAPSHOT   –                     JSON of all state        version of that state; None: 1
    UNSEEN     –                     –                        index of a completion: the next entry was
                                                              requested before it was shown
    MIGRATED   –                     JSON of all state        version of that state (`before`: JSON of
                                                              the texts that the first CHANGEs start from)
    COMPLETED  –                     JSON text, or msgpack    index of the command
    FAILED     –                     failure as JSON          index of the command
    CANCELLED  –                     –                        –  (the invocation is to end)
    PLACED     –                     seq of the callee        index of a CALL or SEND that has an
                                                              idempotency key, or waited for such a
                                                              command to be placed
    ========== ===================== ======================== =============================
    """

    idx: int
    kind: int
    name: str | None
    value: str | bytes | None
    ref: int | None
    before: str | None
    at_ms: int

    def __repr__(self) -> str:
        return describe(self.kind, self.name, self.value)


WRITES = frozenset((Kind.SET, Kind.CLEAR, Kind.CHANGE))


def taken(name: str | None, value: str | bytes | None, before: str | None) -> int:
    """The size of an entry's texts in bytes."""
    size = 0
    if name is not None:
        size = len(name) if name.isascii() else len(name.encode())
    if value is not None:
        size += len(value) if value.__class__ is bytes or value.isascii() else len(value.encode())  # type: ignore[union-attr]
    if before is not None:
        size += len(before) if before.isascii() else len(before.encode())
    return size


def describe(kind: int, name: str | None, value: str | bytes | None) -> str:
    """An entry in words, for messages; a long value is shortened."""
    text = Kind.NAMES[kind]
    if name is not None:
        text += f" {name!r}"
    if value is not None:
        shown = str(value)
        text += f" with {shown if len(shown) <= 200 else shown[:197] + '...'}"
    return text


_decoder = msgspec.json.Decoder(dict[str, str])


def packed_state(texts: dict[str, str]) -> str:
    """The whole state of an object, JSON texts by name, as one text."""
    return msgspec.json.encode(texts).decode()


def unpacked_state(text: str | bytes | None) -> dict[str, str]:
    """The state in a text of `packed_state`. Raises StateDecodeError for any other text."""
    try:
        return _decoder.decode(text or "")
    except msgspec.MsgspecError as error:
        raise StateDecodeError(f"The journal holds a state that cannot be read: {error}.") from None
