"""What is in memory, what comes into it, and what leaves it."""
