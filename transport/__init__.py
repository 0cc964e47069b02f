"""How requests get in and out of a process.

Empty today: in-process calls need no transport. HTTP comes to live here; it may import `actors`, never
the other way round.
"""

if __name__ != "actors.transport":
    raise ImportError("import this package as 'actors.transport'")
