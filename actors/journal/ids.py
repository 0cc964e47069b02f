"""Ids that leave the process: URL-safe, self-routing, unforgeable.

`inv_1…` names an invocation, `prom_1…` an awakeable of an invocation. Both carry the partition and the numbers that
find the record, and 80 bits of BLAKE2b keyed with the secret of the database file: ids cost no storage, and knowing
any number of ids does not help to forge another.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import random
import struct

from actors.errors import BadId

_INVOCATION = struct.Struct(">HQ")  # partition, seq
_AWAKEABLE = struct.Struct(">HQI")  # partition, seq, index
_TAG_BYTES = 10
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")


class IdMint:
    """Makes and reads the ids of one partition. `secret` is 32 bytes, made with the database file."""

    def __init__(self, secret: bytes, partition: int = 0) -> None:
        self.partition = partition
        self.begin(secret)

    def begin(self, secret: bytes) -> None:
        """Use this secret from now on. It is read from the file only after all parts were made."""
        self._invocations = _keyed(secret, b"invocation")
        self._awakeables = _keyed(secret, b"awakeable")
        self._numbers = _keyed(secret, b"random")

    def invocation(self, seq: int) -> str:
        return "inv_1" + _sealed(self._invocations, _INVOCATION.pack(self.partition, seq))

    def awakeable(self, seq: int, index: int) -> str:
        return "prom_1" + _sealed(self._awakeables, _AWAKEABLE.pack(self.partition, seq, index))

    def read_invocation(self, text: str) -> int:
        """The seq in an invocation id. Raises BadId if this file did not make it."""
        body = self._open(text, "inv_1", "an invocation id", self._invocations, _INVOCATION.size)
        _, seq = _INVOCATION.unpack(body)
        return int(seq)

    def read_awakeable(self, text: str) -> tuple[int, int]:
        """(seq, index) in an awakeable id. Raises BadId if this file did not make it."""
        body = self._open(text, "prom_1", "an awakeable id", self._awakeables, _AWAKEABLE.size)
        _, seq, index = _AWAKEABLE.unpack(body)
        return int(seq), int(index)

    def random(self, seq: int) -> random.Random:
        """The seeded generator of an invocation: the same numbers in each of its attempts."""
        return random.Random(self.seed(seq))

    def seed(self, seq: int) -> bytes:
        """What the generator of an invocation begins with."""
        return _tag(self._numbers, seq.to_bytes(8, "big"))

    def _open(self, text: str, prefix: str, what: str, keyed: hashlib.blake2b, size: int) -> bytes:
        """The body of an id. Raises BadId unless this file made the id."""
        if not isinstance(text, str) or not text.startswith(prefix):
            raise BadId(
                f"{_shown(text)} is not {what}: such an id starts with {prefix!r}. Pass the id exactly as you "
                "received it."
            )
        encoded = text[len(prefix) :]
        try:
            raw = binascii.a2b_base64(encoded.encode("ascii").translate(_STANDARD) + b"==")
        except ValueError:
            raw = b""
        body = raw[:size]
        # Comparing the whole text refuses other spellings of the same bytes, too; in constant time, because the time
        # it takes would tell how many characters of a guess are right. (What decoded is ASCII, as compare_digest requires.)
        if (
            len(raw) != size + _TAG_BYTES
            or not hmac.compare_digest(_sealed(keyed, body), encoded)
            or int.from_bytes(body[:2], "big") != self.partition
        ):
            raise BadId(
                f"{_shown(text)} is not {what} of this app. Ids are valid only for the database that made them."
            )
        return body


def _keyed(secret: bytes, purpose: bytes) -> hashlib.blake2b:
    """The hash that every tag of this purpose starts from: copying it takes half the time of making a new hash."""
    return hashlib.blake2b(key=secret, person=purpose, digest_size=_TAG_BYTES)


def _tag(keyed: hashlib.blake2b, body: bytes) -> bytes:
    hashed = keyed.copy()
    hashed.update(body)
    return hashed.digest()


def _sealed(keyed: hashlib.blake2b, body: bytes) -> str:
    hashed = keyed.copy()  # `_tag`, for each awakeable that is made or completed
    hashed.update(body)
    return binascii.b2a_base64(body + hashed.digest(), newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
