"""What is recorded of one invocation, and its replay. Pure: no clock, no random number, no I/O, no loop."""
