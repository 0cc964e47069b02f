"""The same classes on Restate."""
