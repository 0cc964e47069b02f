"""The judge of runs as a whole: has each request looked as if it had run alone?

Promise: a run that is found guilty is one for sure. It is judged again with everything that may have been otherwise before that is said,
and a run that cannot be judged is counted with the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.errors import BadArguments
from actors.model.definitions import definition_of
from actors.model.names import address
from actors.model.virtual_object import Served
from actors.storage.records import Status
from actors.testing.alone import Rows
from actors.testing.atomicity import Asked, Broken, Undecided, unexplained
from actors.testing.conflicts import meeting
from actors.testing.obstacles import obstacle
from actors.testing.outside import Asking, Outside
from actors.testing.requests import Request, Requests
from actors.testing.step_faults import Step
from actors.testing.whole import Memory, States, Whole
from actors.testing.world import World

JUDGED = "judged as a whole"  # the names under which runs are counted
NOT_JUDGED = "not judged as a whole"
UNDECIDED = "undecided"

# On how many machines a request is executed, and how patiently. What one machine explains is explained; what all machines of a try
# agree in, and does not, is tried once more.
TRIES = ((1, False), (2, False), (4, True))
MOST_TOLD = 3  # differences of the state in the end


class Judge:
    """Judges the runs of one exploration of `classes`, one after the other, and remembers what requests do alone.

    Life: for each run `attend` before its first request; the world asks in the end. Raises BadArguments for classes of which no run can be
    judged.
    """

    def __init__(self, classes: Sequence[type[Served]], fakes: Mapping[Step, Callable[..., Any]]) -> None:
        self._classes = classes
        self._fakes = fakes
        self._memory = Memory()
        definitions = [definition_of(cls) for cls in classes]
        for definition in definitions:
            if definition.kind == "workflow":
                raise BadArguments(
                    f"explore(atomic=True) does not judge workflows, and {definition.name} is one: its promises and its run are not state of "
                    "an object. Explore the other classes with atomic=True, and this one in a test of its own without it."
                )
            for schedule in definition.schedules:
                raise BadArguments(
                    f"explore(atomic=True) does not judge classes with a schedule, and {schedule.handler.target} has one: no caller asks for "
                    "its runs. Explore the other classes with atomic=True, and this one in a test of its own without it."
                )
        self._handlers = {
            (definition.name, name): handler
            for definition in definitions
            for name, handler in definition.handlers.items()
        }

    def attend(self, world: World) -> Asking:
        """The watcher of a run, whose world is to ask for the judgement in the end."""
        asking = Asking()
        world.judge = lambda: self._judge(world, asking)
        return asking

    def _judge(self, world: World, asking: Asking) -> list[str]:
        query = world.query
        requests = Requests(query, world.clients, self._handlers)
        why = obstacle(query) or requests.obstacle()
        if why is not None:
            world.sometimes(f"{NOT_JUDGED}: {why},")
            return []
        last: Rows = tuple(query("SELECT service, key, name, value FROM object_state ORDER BY 1, 2, 3"))
        asked = requests.all()
        outside = Outside(query, asking)
        found: list[str] = []
        unclear: str | None = None
        for width, patient in TRIES:
            whole = Whole(
                self._classes, self._fakes, self._memory, outside, last, world.machine.ids.random, width, patient
            )
            with contextlib.closing(whole):
                try:
                    broken = unexplained(whole, whole.first(), [Asked(one, one.called, one.answered) for one in asked])
                except Undecided as undecided:
                    world.sometimes(f"{UNDECIDED}: {undecided},")
                    return []
                if broken is None:
                    found = []
                    break
                unclear = whole.unclear
                found = self._told(broken, whole, requests, asked, asking)
        if found and unclear is not None:
            world.sometimes(f"{NOT_JUDGED}: {unclear},")
            return []
        world.sometimes(JUDGED)
        return found

    def _told(
        self,
        broken: Broken[States, Request],
        whole: Whole,
        requests: Requests,
        asked: list[Request],
        asking: Asking,
    ) -> list[str]:
        if broken.request is not None:
            lines = [f"{broken.request.name} {_answered(broken.request)}. In no order of whole requests does it."]
        else:
            lines = ["The state in the end is not what any order of whole requests leaves."]
            lines += _differences(whole, broken.last)
        met = meeting(asked, broken.request, requests.rows, asking)
        return [*lines, *([met] if met is not None else [])]


def _answered(request: Request) -> str:
    if request.outcome is None:
        return "has not ended"
    status, text = request.outcome
    shown = text if len(text) <= 200 else text[:197] + "..."
    return f"answered {shown}" if status == Status.SUCCEEDED else f"failed with {shown}"


def _differences(whole: Whole, last: list[States]) -> list[str]:
    """What is left otherwise than in one of the states that whole requests leave: in that with the fewest differences."""
    nearest = min(([*whole.others(state)] for state in last), key=len, default=[])
    return [
        f"{address(service, key, name).replace(f'/{name}', f'.{name}')} is {value or 'unset'}, and after whole requests {result or 'unset'}."
        for (service, key, name), value, result in nearest[:MOST_TOLD]
    ]
