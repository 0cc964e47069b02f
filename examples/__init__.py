"""Programs that use the framework as its users would. Each module docstring says how to run the program."""
