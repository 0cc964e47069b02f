"""Bugs that users write, and which tool of the test kit finds each.

| bug                                          | replay   | guard    | fresh    | sweep    | simulate | explore  | atomic   |
|----------------------------------------------|----------|----------|----------|----------|----------|----------|----------|
| a step changes a list of the state           | found    |          |          | found    | found    | found    |          |
| a step changes a variable of its handler     | found    |          |          | found    | found    | found    |          |
| a step is not idempotent                     |          |          |          | found    | found    |          |          |
| a step makes its idempotency key itself      |          |          |          | found    | found    |          |          |
| an effect beside the context                 |          |          |          | found    | found    |          |          |
| a handler reads a file                       |          | found    |          |          |          | found    |          |
| a lost answer is taken for a refusal         |          |          |          |          | found    |          |          |
| an argument of steps changes                 |          |          |          |          | found    |          |          |
| steps at the same time share a variable      |          |          |          |          | found    |          |          |
| a step is not awaited                        |          |          |          |          | found    |          |          |
| the memory of the process decides            | found    |          | found    | found    | found    | found    |          |
| a class keeps a cache                        | found    |          | found    | found    | found    | found    |          |
| the process counts                           | found    |          | found    | found    | found    | found    |          |
| chance decides                               |          | found    |          |          |          |          |          |
| the environment decides                      |          | found    |          |          |          | found    |          |
| the order of a set                           |          |          | found    |          |          |          |          |
| the wall clock decides                       |          | found    |          |          |          | found    |          |
| a sleep of asyncio                           |          |          |          | found    | found    | found    |          |
| each day has 24 hours                        |          |          |          |          | found    |          |          |
| a late tick is booked on its own day         |          |          |          | found    | found    |          |          |
| a deadline passes while no process runs      |          |          |          | found    | found    |          |          |
| it looks and then takes                      |          |          |          |          | found    |          | found    |
| it reads and then writes a sum               |          |          |          |          | found    |          | found    |
| a shared handler decides                     |          |          |          |          | found    |          | found    |
| a sum is counted during a transfer           |          |          |          |          | found    |          | found    |
| two objects call each other                  |          |          |          |          | found    |          |          |
| one idempotency key for several requests     |          |          |          |          | found    |          |          |
| a message is sent too early                  |          |          |          |          | found    |          |          |
| an id leaves before it is on disk            |          |          |          | found    | found    |          |          |
| a compensation is lost when it is cancelled  |          |          |          |          | found    |          |          |
| a loop of tries does not hear a cancellation |          |          |          |          | found    |          |          |
| a retry hides a refusal                      |          |          |          |          | found    |          |          |
| a migration is not pure                      | found    |          |          | found    |          |          |          |

The replay and the guard look at each test with a world, without an assertion, a crash or a second caller. The columns of the sweep and
the simulation say what these find when no witness is asked: the sweep in the ordinary test with its one caller, the simulation in
a test with an invariant. The exploration runs no test at all: it makes random requests to the class, and asks all witnesses; with
atomic=True, the column atomic, it also judges each run as a whole.
The order of a set is the same in all processes of a world: only a fresh process, with another hash seed, sees that bug. It also sees
the memory of a process.
"""

from __future__ import annotations

from typing import Any

from tests.user_bugs import clocks, endings, memory, objects, side_effects
from tests.user_bugs.corpus import Bug

TOOLS = ("replay", "guard", "fresh", "sweep", "simulate", "explore", "atomic")

BUGS: list[Bug[Any]] = [*side_effects.BUGS, *memory.BUGS, *clocks.BUGS, *objects.BUGS, *endings.BUGS]
