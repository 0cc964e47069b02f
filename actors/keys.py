"""What can name an object, a step, a promise or a state value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.errors import BadArguments, BadKey, WrongKind
from actors.serde.type_names import shortened
from actors.storage import OWN_KEY

if TYPE_CHECKING:
    from actors.handlers import HandlerDefinition


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


def key_for(target: HandlerDefinition, key: str) -> str:
    """`key`, if it can name an object of this handler's class; a Service has the empty one. Raises BadKey or WrongKind."""
    if target.service.kind != "service":
        return checked_key(key)
    if key == "":
        return ""
    raise WrongKind(f"{target.service.name} is a Service, which has no key. Pass '' as its key.")


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
