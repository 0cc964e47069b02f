"""The store on SQLite: one file, its lock, its log, and every statement that is run on them.

Nothing outside this package knows SQL or a file name; it imports the standard library, aiosqlite, msgspec and `storage`.
"""
