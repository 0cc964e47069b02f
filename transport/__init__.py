"""HTTP: the ASGI application, its documents, and the clients.

The package imports `actors`, never the other way round, except that `actors.App` is the `App` of `served`.
"""

if __name__ != "actors.transport":
    raise ImportError("import this package as 'actors.transport'")
