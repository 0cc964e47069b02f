"""The clients of an app served over HTTP: asynchronous and blocking, with the same requests and answers."""

from actors.transport.client.client import Client
from actors.transport.client.sync_client import SyncClient

__all__ = ["Client", "SyncClient"]
