"""One partition: many invocations, one database file.

`partition` creates the parts and joins them. A part knows only its constructor arguments; an arrow that leads up is a callable
that the partition sets. Nothing here knows classes of users, SQL or a network.
"""
