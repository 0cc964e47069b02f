"""Arguments whose sender does not know the handler: by position and name, or as words that a user typed.

Promise: their meaning is decided here, where the handler's types are known, and never guessed by the sender.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.errors import BadArguments, SerializationError
from actors.model.definitions import HandlerDefinition

ARGUMENTS = "application/vnd.actors.arguments+json"  # {"positional": [value, ...], "named": {name: value}}
WORDS = "application/vnd.actors.words+json"  # [word, ...]; a word is a str


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    positional: list[msgspec.Raw] = []
    named: dict[str, msgspec.Raw] = {}


_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_array = msgspec.json.Decoder(list[msgspec.Raw])
_arguments = msgspec.json.Decoder(Arguments)
_words = msgspec.json.Decoder(list[str])
_quoted = msgspec.json.Encoder().encode
_raw = msgspec.json.Decoder(msgspec.Raw)


def read_arguments(target: HandlerDefinition, body: bytes, content_type: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and named arguments in a request's body. Raises BadArguments."""
    if body and not is_json(content_type) and not (target.arity == 1 and target.codecs[0].type is bytes):
        raise BadArguments(
            f"{target.target} takes JSON, but the body has the content-type {content_type[:100]!r}. Send JSON as "
            "application/json; a text stands in double quotes."
        )
    if content_type == ARGUMENTS:
        try:
            given = _arguments.decode(body)
            positional = [bytes(raw).decode() for raw in given.positional]
            named = {name: bytes(raw).decode() for name, raw in given.named.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(f"The body is not valid {ARGUMENTS}: {error}.") from None
        return _placed(target, positional, named, value_of)
    if content_type == WORDS:
        try:
            words = _words.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(f"The body is not valid {WORDS}: {error}.") from None
        return _placed(target, *_sorted(target, words), _meant)
    return arguments(target, body)


def _sorted(target: HandlerDefinition, words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The positional words, and the named words: `name=value`. An unknown name counts as a mistake."""
    positional: list[str] = []
    named: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in target.names:
            if name in named:
                raise BadArguments(f"{target.target}: {name}= is given twice.")
            named[name] = value
        elif name.isidentifier() and value.strip("=") and not any(codec.type is bytes for codec in target.codecs):
            known = ", ".join(target.names) or "none"
            raise BadArguments(
                f"{target.target} has no parameter {name[:40]!r}. Its parameters: {known}. To pass a text with an equals "
                f"""sign, write it as JSON: '"{word[:40]}"'."""
            )
        elif named:
            raise BadArguments(
                f"{target.target}: {word[:40]!r} has no name but follows a named argument. Put it first."
            )
        else:
            positional.append(word)
    return positional, named


def _placed(
    target: HandlerDefinition,
    positional: list[str],
    named: dict[str, str],
    read: Callable[[HandlerDefinition, int, str], Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if len(positional) > target.arity:
        takes = f"takes {', '.join(target.names)}" if target.names else "takes no arguments"
        raise BadArguments(f"{target.target} {takes}; {len(positional)} were given without a name.")
    for name in named:
        if name not in target.names:
            known = ", ".join(target.names) or "none"
            raise BadArguments(f"{target.target} has no parameter {name[:40]!r}. Its parameters: {known}.")
    args = tuple(read(target, place, text) for place, text in enumerate(positional))
    return args, {name: read(target, target.names.index(name), text) for name, text in named.items()}


def _meant(target: HandlerDefinition, place: int, word: str) -> Any:
    """The value of a word: JSON if that fits the parameter, or else the text itself if that fits."""
    codec = target.codecs[place]
    if codec.type is bytes:
        return word.encode()
    try:
        return codec.decode(word)
    except SerializationError:
        return value_of(target, place, _quoted(word).decode())


def arguments(target: HandlerDefinition, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments in a request's body. Raises BadArguments.

    One parameter takes the whole body as its value, several an object of their names, or an array; without a body all have
    their defaults. A parameter of type bytes takes the body as it is.
    """
    if target.arity == 1 and target.codecs[0].type is bytes:
        return (body,), {}
    if not body.strip():
        return (), {}
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadArguments(f"{target.target}: the body is not UTF-8: {error}.") from None
    if target.arity == 1:
        return (value_of(target, 0, text),), {}
    if target.arity == 0:
        if text.strip() in ("null", "{}", "[]"):
            return (), {}
        raise BadArguments(f"{target.target} takes no arguments: send an empty body.")
    try:
        if text.lstrip().startswith("["):
            values = _raw_array.decode(text)
            if len(values) <= target.arity:
                return tuple(value_of(target, place, bytes(raw).decode()) for place, raw in enumerate(values)), {}
            raise BadArguments(f"{target.target} takes {target.arity} arguments, the body holds {len(values)}.")
        named = _raw_object.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        if fault := json_fault(text):
            raise BadArguments(
                f"{target.target}: the body is not valid JSON: {fault}. Send a JSON object of {', '.join(target.names)}, or an "
                "array; a text stands in double quotes."
            ) from None
        raise BadArguments(
            f"{target.target} takes several arguments: send a JSON object of {', '.join(target.names)}, or an array. {error}."
        ) from None
    places = {name: place for place, name in enumerate(target.names)}
    unknown = [name for name in named if name not in places]
    if unknown:
        raise BadArguments(
            f"{target.target} has no parameter {unknown[0]!r}. Its parameters: {', '.join(target.names)}."
        )
    return (), {name: value_of(target, places[name], bytes(raw).decode()) for name, raw in named.items()}


def value_of(target: HandlerDefinition, place: int, text: str) -> Any:
    """The argument at this place, from JSON. Raises BadArguments."""
    try:
        return target.codecs[place].decode(text)
    except SerializationError as error:
        if fault := json_fault(text):
            raise BadArguments(
                f"{target.target}: the body is not valid JSON: {fault}. Send JSON; a text stands in double quotes, for "
                'example "hello".'
            ) from None
        raise BadArguments(f"{target.target}: argument {target.names[place]!r}: {error.message}") from None


def is_json(content_type: str) -> bool:
    """Whether a body may be JSON. A body without a type, or with curl's default type, is read as JSON."""
    return content_type in ("", "application/json", "application/x-www-form-urlencoded") or content_type.endswith(
        "+json"
    )


def json_fault(text: str) -> str | None:
    """Why a text is not valid JSON, and where. None for a text that is, or that is nested too deeply to say."""
    try:
        _raw.decode(text)
    except RecursionError:
        return None
    except msgspec.DecodeError as error:
        said, _, place = str(error).removeprefix("JSON is malformed: ").rpartition(" (byte ")
        offset = place.rstrip(")")
        if not offset.isdecimal():
            return f"it ends too early, after {text[-20:]!r}"
        encoded = text.encode()
        index = len(encoded[: int(offset)].decode(errors="ignore")) - said.startswith("trailing characters")
        line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
        rest = repr(text[index : index + 20])
        where = f": {rest}" if index < len(text) else ", the end"
        return f"{said} at line {line}, column {column}{where}"
    return None
