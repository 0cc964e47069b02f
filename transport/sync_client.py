"""The blocking client under its original path; `actors.transport.client` holds both clients."""

from actors.transport.client import SyncClient

__all__ = ["SyncClient"]
