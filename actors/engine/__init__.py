"""One partition: many invocations, one database file.

`partition` makes the parts and joins them. A part knows what its constructor is given; an arrow that leads up is a callable
that the partition hands in. Nothing here knows classes of users, SQL or a network.
"""
