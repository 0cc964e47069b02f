"""What the attempts of a partition reach of it, in slots: a partition has so many attributes that each costs a look-up."""

from __future__ import annotations

from typing import Any, cast

from actors.attempt.ports import Host

_NAMES = tuple(
    sorted(
        name
        for base in Host.__mro__
        for name in {**vars(base), **vars(base).get("__annotations__", {})}
        if not name.startswith("_")
    )
)


class _Slots:
    __slots__ = _NAMES


def slotted(host: Host) -> Host:
    """The same host, as it is now: what is replaced later must be replaced in both."""
    copy: Any = _Slots()
    for name in _NAMES:
        setattr(copy, name, getattr(host, name))
    return cast(Host, copy)
