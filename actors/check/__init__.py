"""All that is stored, held against the current code, without an effect: `await check(App(...), "file.db")`."""

from actors.check.checking import Counts, Finding, Report, check

__all__ = ["Counts", "Finding", "Report", "check"]
