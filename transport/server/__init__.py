"""The server of `actors serve`: sockets, HTTP/1.1 with bounds, and an end that answers every accepted request."""
