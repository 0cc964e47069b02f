"""Commands that open an app's database: they read it, leave a request in it, or copy it."""
