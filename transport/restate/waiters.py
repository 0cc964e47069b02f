"""The header that names who waits for a call: by it a call that would wait for itself is refused.

Anyone may send such a header. A header that is not a JSON list of texts counts as empty; a forged list only refuses calls of the
invocation that it was sent to.
"""

from __future__ import annotations

import json

import msgspec

CHAIN = "x-actors-chain"  # the exclusive objects that wait, `service/key`, outermost first
LONGEST = 100  # objects; the outermost are dropped

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


def chain_of(header: str) -> list[str]:
    if not header:
        return []
    try:
        return _decode(header)[-LONGEST:]
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
        return []


def chain_text(chain: list[str]) -> str:
    """ASCII only, as headers must be."""
    text = _encode(chain[-LONGEST:])
    return text.decode() if text.isascii() else json.dumps(chain[-LONGEST:], separators=(",", ":"))
