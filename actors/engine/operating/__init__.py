"""The actions of operators, schedules and time on invocations and objects."""
