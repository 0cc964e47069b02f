"""Whether a value is what code gives, although part of what it gives differs from one execution to the next.

Promise: the code has been executed with several clocks, ids and random numbers. Where the results agree, the value must agree with them;
where they differ, anything goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from actors.serde import Codec
from actors.serde.failures import failure_of

_encode = msgspec.json.Encoder(order="deterministic").encode


def fits(value: str, results: Sequence[str], codec: Codec | None = None) -> bool:
    """Whether a JSON text may be another one of the `results`, of the type that `codec` knows."""
    first = results[0]
    if all(_equal(one, first, codec) for one in results):
        return _equal(value, first, codec)
    if codec is not None and codec.unordered:
        return True  # two texts may list the same items in other places
    return _may_be(msgspec.json.decode(value), [msgspec.json.decode(one) for one in results])


def fits_failure(value: str, results: Sequence[str]) -> bool:
    """Whether a stored failure may be another one of the `results`. Codes and messages count, without the addresses of objects."""
    return fits(_told(value), [_told(one) for one in results])


def _equal(one: str, other: str, codec: Codec | None) -> bool:
    return one == other or (codec is not None and codec.equal(one, other))


def _told(failure: str) -> str:
    stored = failure_of(failure)
    message = re.sub(r"\b0x[0-9a-f]+", "0x", stored.message)
    return msgspec.json.encode([stored.code, stored.error, message]).decode()


def _may_be(value: Any, results: list[Any]) -> bool:
    first = results[0]
    if len({_encode(one) for one in results}) == 1:
        return _encode(value) == _encode(first)
    if all(isinstance(one, dict) and one.keys() == first.keys() for one in results):
        return (
            isinstance(value, dict)
            and value.keys() == first.keys()
            and all(_may_be(value[name], [one[name] for one in results]) for name in first)
        )
    if all(isinstance(one, list) and len(one) == len(first) for one in results):
        return (
            isinstance(value, list)
            and len(value) == len(first)
            and all(_may_be(item, [one[at] for one in results]) for at, item in enumerate(value))
        )
    return True
