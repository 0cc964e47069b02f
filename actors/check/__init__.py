"""Check all stored records against the current code, without any effect: `await check(App(...), "file.db")`."""

from actors.check.checking import Counts, Finding, Report, check

__all__ = ["Counts", "Finding", "Report", "check"]
