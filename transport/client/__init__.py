"""The clients for an app that is served over HTTP: asynchronous and blocking, on the same requests and answers."""

from actors.transport.client.client import Client
from actors.transport.client.sync_client import SyncClient

__all__ = ["Client", "SyncClient"]
