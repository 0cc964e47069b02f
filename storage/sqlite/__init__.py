"""The store on SQLite: one file, its lock, its log, and all SQL statements.

No other package knows SQL or a file name. This package imports the standard library, aiosqlite, msgspec and `storage`.
"""
