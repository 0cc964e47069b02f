"""What a handler may wait for, beside its own steps and timers; and the waits that would never end."""
