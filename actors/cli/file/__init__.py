"""Commands that open a file of an app: they read it, leave a request in it, or copy it."""
