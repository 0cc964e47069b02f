"""Programs that use the framework as its users would. Each says at its top how to run it."""
