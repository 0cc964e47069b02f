"""The programming model, as users write it and engines read it: classes, handlers, state, the context and its futures.

Nothing in this package knows an engine, a database or a network. The requests of a running handler go through one port,
`journaling.Journaling`, which each engine implements.
"""
