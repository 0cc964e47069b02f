"""`actors check`: checks everything stored against the current code, in a process of its own."""
