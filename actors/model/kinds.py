"""Classes addressed with a key, and classes addressed without: the bounds of `ctx.object(cls, key)` and `ctx.service(cls)`."""


class Keyed:
    """A VirtualObject or a Workflow."""

    __slots__ = ()


class Keyless:
    """A Service."""

    __slots__ = ()
