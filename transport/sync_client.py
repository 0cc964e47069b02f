"""The blocking client by the path it has always had; `actors.transport.client` holds both clients."""

from actors.transport.client import SyncClient

__all__ = ["SyncClient"]
