"""The server of `actors serve`: sockets, HTTP/1.1 with limits, and a shutdown that answers every accepted request."""
