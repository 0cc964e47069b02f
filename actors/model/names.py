"""Valid names: of objects, steps, promises and state values; of classes and handlers. And how an object is written."""

from __future__ import annotations

from actors.errors import BadArguments, BadKey, DefinitionError
from actors.serde.type_names import shortened
from actors.storage.records import OWN_KEY


def check_name(name: str, what: str) -> None:
    """Raise BadArguments for a name that cannot be stored."""
    try:
        if isinstance(name, str) and 0 < len(name) <= 1000 and name.encode():
            return
    except UnicodeEncodeError:
        pass
    raise BadArguments(
        f"{what} requires a str of 1 to 1,000 characters of Unicode text as the name, got {shortened(name)}."
    )


def checked_key(key: str) -> str:
    """`key`, if it can name an object. Raises BadKey."""
    if type(key) is str and key:
        if key.isascii() and key.isprintable():  # most keys are: no control characters
            return key
        try:
            key.encode()
        except UnicodeEncodeError:
            raise BadKey(f"The object key {key!r} is not valid Unicode text.") from None
        if "\x00" not in key and key[0] != OWN_KEY:
            return key
    hint = f" Use str({key!r})." if isinstance(key, int) else ""
    raise BadKey(
        f"An object key is a non-empty str without NUL characters that does not begin with U+0001, got {shortened(key)}.{hint}"
    )


LONGEST_NAME = 255  # characters of the name of a class or handler: it is stored with each message


def check_declared_name(name: str, where: str) -> None:
    """Raise DefinitionError unless `name` can stand in a URL as one segment of its path."""
    if not isinstance(name, str) or not name.strip(".") or not all(c.isalnum() or c in "_.-" for c in name):
        raise DefinitionError(f"{where}: {name!r} is not a usable name. Use letters, digits, '_', '.' and '-'.")
    if len(name) > LONGEST_NAME:
        raise DefinitionError(f"{where}: the name {shortened(name)} is longer than {LONGEST_NAME} characters.")


def address(*parts: str) -> str:
    """An object or a handler as written in messages: `Order/o1/add`, or `Mailer/deliver` for a service."""
    return "/".join(part for part in parts if part)
