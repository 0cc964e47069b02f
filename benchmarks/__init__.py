"""How fast the runtime is, as a fraction of what the disk and the language allow. See README.md for the method."""
