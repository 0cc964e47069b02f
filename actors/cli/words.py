"""The words of a command line as text: decoded as they were typed, and valid Unicode."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import click

from actors.cli.show.streams import typed


def texts(values: dict[str, Any], paths: Container[str] = ()) -> dict[str, Any]:
    """The values of options and arguments, with texts decoded as typed, except for paths. Raises click.UsageError."""
    return {
        name: tuple(_text(name, one) for one in value) if isinstance(value, tuple) else _text(name, value)
        for name, value in values.items()
        if name not in paths
    } | {name: value for name, value in values.items() if name in paths}


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = typed(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{name.upper()} is not valid Unicode text: {text!r}.") from None
    return text
