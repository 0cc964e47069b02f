"""The past of objects, read from a file: `actors history`, `blame`, `audit`, and `actors state --at`."""
