"""The same classes on a restate-server or a cluster of them: the endpoint that the server calls."""

from actors.transport.restate.endpoint import Endpoint, endpoint

__all__ = ["Endpoint", "endpoint"]
