"""The stored form of values: typed values as JSON text, untyped values as msgpack, both restored exactly.

`codec` is the entry point. It asks `constraints` whether msgspec or pydantic (`pydantic_models`) converts a type, and lets
`exactness` verify the restored value. `growing` keeps the text of a large list, `packing` handles values without a declared type,
and `type_names` renders types and values for messages.
"""

from actors.serde.codec import (
    ANY,
    Codec,
    codec_for,
    codec_named,
    join,
    plain_codec,
    split,
    value_codec,
)

__all__ = ["ANY", "Codec", "codec_for", "codec_named", "join", "plain_codec", "split", "value_codec"]
