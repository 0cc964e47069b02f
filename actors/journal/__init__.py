"""The journal of an invocation, and its replay. Pure: no clock, no random numbers, no I/O, no event loop."""
