"""`actors check`: all that is stored against the current code, in a process of its own."""
