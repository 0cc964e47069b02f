"""Typed values as JSON text and untyped ones as msgpack, exactly: what a value becomes in the file, and that it comes back.

`codec` is the way in. It asks `constraints` who converts a type, msgspec or pydantic (`pydantic_models`), and has `exactness` prove
the way back. `growing` knows the text of a large list, `packing` is for values without a declared type, and `type_names` says of
values and types what people read.
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
