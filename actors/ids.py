"""Ids that leave the process: URL-safe, self-routing, unforgeable.

`inv_1…` names an invocation, `prom_1…` one awakeable of one. Both carry the partition and the numbers that
find the record, and 80 bits of BLAKE2b keyed with the file's own secret: they cost no storage, and knowing
any number of them does not help to make another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
import struct

from actors.errors import BadId

_INVOCATION = struct.Struct(">HQ")  # partition, seq
_AWAKEABLE = struct.Struct(">HQI")  # partition, seq, index
_TAG_BYTES = 10


class IdMint:
    """Makes and reads the ids of one partition. `secret` is 32 bytes, made with the database file."""

    def __init__(self, secret: bytes, partition: int = 0) -> None:
        self._secret = secret
        self.partition = partition

    def invocation(self, seq: int) -> str:
        return "inv_1" + self._seal(b"invocation", _INVOCATION.pack(self.partition, seq))

    def awakeable(self, seq: int, index: int) -> str:
        return "prom_1" + self._seal(b"awakeable", _AWAKEABLE.pack(self.partition, seq, index))

    def read_invocation(self, text: str) -> int:
        """The seq in an invocation id. Raises BadId if this file did not make it."""
        body = self._open(text, "inv_1", "an invocation id", b"invocation", _INVOCATION.size)
        _, seq = _INVOCATION.unpack(body)
        return int(seq)

    def read_awakeable(self, text: str) -> tuple[int, int]:
        """(seq, index) in an awakeable id. Raises BadId if this file did not make it."""
        body = self._open(text, "prom_1", "an awakeable id", b"awakeable", _AWAKEABLE.size)
        _, seq, index = _AWAKEABLE.unpack(body)
        return int(seq), int(index)

    def random(self, seq: int) -> random.Random:
        """The seeded generator of an invocation: the same numbers in each of its attempts."""
        return random.Random(self._tag(b"random", seq.to_bytes(8, "big")))

    def _tag(self, purpose: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._secret, person=purpose, digest_size=_TAG_BYTES).digest()

    def _seal(self, purpose: bytes, body: bytes) -> str:
        return base64.urlsafe_b64encode(body + self._tag(purpose, body)).rstrip(b"=").decode()

    def _open(self, text: str, prefix: str, what: str, purpose: bytes, size: int) -> bytes:
        if not isinstance(text, str) or not text.startswith(prefix):
            raise BadId(
                f"{_shown(text)} is not {what}: such an id starts with {prefix!r}. Pass the id exactly as you "
                "received it."
            )
        encoded = text[len(prefix) :]
        try:
            raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        body = raw[:size]
        # Comparing the whole text refuses the other spellings that base64 allows, too; in constant time, because the
        # time it takes would tell how many characters of a guess are right. (What decoded is ASCII, as compare_digest
        # requires.)
        if (
            len(raw) != size + _TAG_BYTES
            or not hmac.compare_digest(self._seal(purpose, body), encoded)
            or int.from_bytes(body[:2], "big") != self.partition
        ):
            raise BadId(
                f"{_shown(text)} is not {what} of this app. Ids are valid only for the database that made them."
            )
        return body


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
