"""Values as bodies of Restate's calls, outcomes and completions, and back. Pure.

Promise: a body is what our own HTTP ingress takes and gives for the same value; and equal values have equal bytes, whatever
process has encoded them: the machine compares bytes on replay, so the members of sets stand in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from actors.errors import SerializationError
from actors.model.definitions import HandlerDefinition
from actors.serde import ANY, Codec, packing
from actors.serde.codec import join, split
from actors.serde.type_names import shortened

_UNTYPED, _TYPED = b"\x00", b"\x01"  # first byte of a step's result: msgpack, or the JSON of its codec


def body_of(target: HandlerDefinition, array: str) -> bytes:
    """The body of a call with these arguments, a JSON array."""
    if target.arity == 0:
        return b""
    if target.arity == 1:
        codec, text = target.codecs[0], array[1:-1]
        return bytes(codec.decode(text)) if codec.type is bytes else stable(codec, text).encode()
    return join([stable(codec, text) for codec, text in zip(target.codecs, split(array), strict=True)]).encode()


def encoded(codec: Codec, value: Any) -> bytes:
    """The body of a handler's result. Raises SerializationError."""
    return of_text(codec, codec.encode(value))


def of_text(codec: Codec, text: str) -> bytes:
    """The body of a value that is JSON already."""
    if codec.type in (None, type(None)):
        return b""
    if codec.type is bytes:
        return bytes(codec.decode(text))
    return stable(codec, text).encode()


def decoded(codec: Codec, body: bytes | None) -> Any:
    """The value of a body. Raises SerializationError."""
    return codec.decode(text_of(codec, body)) if codec.type is not bytes else bytes(body or b"")


def text_of(codec: Codec, body: bytes | None) -> str:
    """The JSON text of a body; an empty one is null. Raises SerializationError."""
    if not body:
        return "null"
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise SerializationError(f"{shortened(body)} does not fit {codec.name}: it is not UTF-8 text.") from None


def completed(codec: Codec, body: bytes | None) -> Any:
    """The value of an awakeable or a promise, which programs other than ours may have completed. Raises SerializationError."""
    if codec is ANY and body:
        try:
            body.decode()
        except UnicodeDecodeError:
            return bytes(body)
    return decoded(codec, body)


def step_result(codec: Codec | None, value: Any) -> bytes:
    """The recorded result of a step. Raises SerializationError."""
    return _UNTYPED + packing.pack(value) if codec is None else _TYPED + codec.encode(value).encode()


def of_step(codec: Codec | None, body: bytes | None) -> Any:
    """The value of a step's recorded result, also if the step has got or lost its type since. Raises SerializationError."""
    kind, rest = (body or b"")[:1], (body or b"")[1:]
    if kind == _UNTYPED:
        return packing.unpack(rest)
    return (codec or ANY).decode(rest.decode())


# --- the order of sets ----------------------------------------------------------------------------------------------------------


def stable(codec: Codec, text: str) -> str:
    """The JSON of a value, with the members of its sets in a fixed order."""
    arrange = _arrangement(codec)
    return text if arrange is None else arrange(text)


@lru_cache(maxsize=4096)
def _arrangement(codec: Codec) -> Callable[[str], str] | None:
    try:
        info = inspect.type_info(codec.type)
    except Exception:  # a type of pydantic's, which msgspec does not know
        return None
    return _of(info, {})


Arrange = Callable[[str], str]


def _of(info: Any, open_ones: dict[Any, list[Arrange | None]]) -> Arrange | None:
    """How JSON of this type is arranged; None if it holds no set. `open_ones` are types that hold themselves."""
    if isinstance(info, (inspect.SetType, inspect.FrozenSetType)):
        member = _of(info.item_type, open_ones)
        return lambda text: join(sorted(_each(text, member)))
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        item = _of(info.item_type, open_ones)
        return None if item is None else lambda text: join(_each(text, item))
    if isinstance(info, inspect.TupleType):
        items = [_of(one, open_ones) for one in info.item_types]
        return None if not any(items) else lambda text: join(_parts(text, items))
    if isinstance(info, inspect.DictType):
        value = _of(info.value_type, open_ones)
        return None if value is None else lambda text: _object(text, lambda _: value)
    if isinstance(info, inspect.UnionType):
        kinds = [(one, _of(one, open_ones)) for one in info.types]
        return None if not any(arrange for _, arrange in kinds) else lambda text: _chosen(text, kinds)
    fields = getattr(info, "fields", None)
    cls = getattr(info, "cls", None)
    if not fields or cls is None:
        return None
    if cls in open_ones:  # it holds itself
        known = open_ones[cls]
        return lambda text: known[0](text) if known[0] is not None else text
    holder: list[Arrange | None] = [None]
    open_ones[cls] = holder
    found = {
        getattr(field, "encode_name", field.name): _of(field.type, open_ones) for field in fields
    }  # no other names in tuples
    del open_ones[cls]
    if not any(found.values()):
        return None
    if _is_array(info):
        in_order = [None] * (getattr(info, "tag", None) is not None) + list(found.values())
        holder[0] = lambda text: join(_parts(text, in_order))
    else:
        holder[0] = lambda text: _object(text, found.get)
    return holder[0]


def _is_array(info: Any) -> bool:
    """Whether values of this type are JSON arrays."""
    return isinstance(info, _ARRAYS) or getattr(info, "array_like", False)


_ARRAYS = (
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.ListType,
    inspect.VarTupleType,
    inspect.TupleType,
    inspect.NamedTupleType,
)
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_quoted = msgspec.json.Encoder().encode


def _each(text: str, arrange: Arrange | None) -> list[str]:
    return [arrange(item) if arrange is not None else item for item in split(text)] if text[:1] == "[" else [text]


def _parts(text: str, arranges: list[Arrange | None]) -> list[str]:
    items = split(text)
    rest = items[len(arranges) :]
    return [
        arrange(item) if arrange is not None else item for item, arrange in zip(items, arranges, strict=False)
    ] + rest


def _object(text: str, arrange_of: Callable[[str], Arrange | None]) -> str:
    if text[:1] != "{":
        return text
    members = []
    for name, raw in _raw_object.decode(text).items():
        value, arrange = bytes(raw).decode(), arrange_of(name)
        members.append(f"{_quoted(name).decode()}:{arrange(value) if arrange is not None else value}")
    return "{" + ",".join(members) + "}"


def _chosen(text: str, kinds: list[tuple[Any, Arrange | None]]) -> str:
    """One of a union's types. JSON tells arrays from objects; msgspec allows several of either only if they have tags."""
    if text[:1] not in ("[", "{"):
        return text
    is_array = text[:1] == "["
    for info, arrange in kinds:
        if _is_array(info) is is_array and _has_tag(info, text, is_array):
            return arrange(text) if arrange is not None else text
    return text


def _has_tag(info: Any, text: str, is_array: bool) -> bool:
    tag = getattr(info, "tag", None)
    if tag is None:
        return is_array or isinstance(info, inspect.DictType) or getattr(info, "fields", None) is not None
    if is_array:
        raw = split(text)[:1]
        return raw == [_quoted(tag).decode()]
    return _raw_object.decode(text).get(info.tag_field) == _quoted(tag)
