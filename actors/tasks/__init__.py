"""The asyncio tasks that the code of a handler starts, for every engine that runs handlers."""
