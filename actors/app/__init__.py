"""A process: the app, its operations by name, and the handles that callers hold."""
