"""Which objects and invocations are in memory, how they are loaded, and how they are evicted."""
