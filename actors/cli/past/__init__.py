"""The past, read from a file: `actors history`, `blame`, `audit`, `state --at`, `replay` and `capture`."""
