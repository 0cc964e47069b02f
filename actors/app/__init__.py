"""A process: the app, the way in by name, and what callers hold."""
