"""What users write, and what every engine reads of it: classes, handlers, state, the context and its futures.

Nothing in this package knows an engine, a database or a network. What a running handler asks for goes through one
port, `journaling.Journaling`, which each engine implements.
"""
