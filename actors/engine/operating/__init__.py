"""What operators, schedules and time do to invocations and objects."""
