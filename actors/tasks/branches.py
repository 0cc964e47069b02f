"""The tasks of asyncio that the code of a handler starts: each is known, each of its steps is seen, none outlives the attempt.

Promise: `at_rest` says when none of them can go on. Completions are shown at rest only, so what branches ask for, and in
which order, follows from the completions and not from how these fell into turns of the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from actors.model.futures import Bridge, DurableFuture, mark_seen
from actors.model.raised import contained
from actors.tasks.awaited import innermost, started_together

log = logging.getLogger("actors")

# Turns of the loop without a step of any branch, after which all are at rest. What asyncio does between two steps takes
# a turn for each future that is completed by another one's callback: two for gather. Each gather around it adds one more,
# see `Branches.awaits`.
QUIET_TURNS = 6
PATIENCE = 1000  # turns; a branch that goes round in sleep(0) must not keep the others from what they wait for


class Steps(Coroutine[Any, Any, Any]):
    """What asyncio steps in place of a branch's coroutine, so that each step is seen."""

    __slots__ = ("awaited", "branches", "coroutine")

    def __init__(self, branches: Branches, coroutine: Any) -> None:
        self.branches = branches
        self.coroutine = coroutine
        self.awaited: Any = None

    def send(self, value: Any) -> Any:
        return self._step(self.coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self.coroutine.throw, *error)

    def _step(self, go_on: Callable[..., Any], *arguments: Any) -> Any:
        self.branches.stirred()
        self.awaited = None
        try:
            awaited = self.awaited = go_on(*arguments)
            self.branches.awaits(awaited)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the loop
            raise contained(error, "A task of the handler") from error
        if self.branches.over and isinstance(awaited, DurableFuture):  # nothing will complete it
            self.coroutine.close()
            raise asyncio.CancelledError
        return awaited

    def close(self) -> None:
        self.coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.coroutine.__await__()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Debuggers and the texts of tasks look at `cr_code` and the like."""
        return getattr(self.coroutine, name)


class Named(asyncio.Task[Any]):
    """A task that keeps its name: for one made by a factory, Python 3.13 may set the name None."""

    def set_name(self, value: object) -> None:
        if value is not None:
            super().set_name(value)


class Branch(Named):
    """A task whose hash is the same in each attempt: sets of tasks, such as those of asyncio.wait and of task groups, keep their order."""

    def __init__(self, branches: Branches, coroutine: Any, number: int, options: dict[str, Any]) -> None:
        self._branches = branches
        self._hash = hash((branches.seed, number))
        super().__init__(Steps(branches, coroutine), **options)

    def __hash__(self) -> int:
        return self._hash

    def get_coro(self) -> Any:
        steps: Any = super().get_coro()
        return steps.coroutine if type(steps) is Steps else steps

    def add_done_callback(self, fn: Callable[..., object], /, *, context: Any = None) -> None:
        super().add_done_callback(_Reaction(self._branches, fn), context=context)


class _Reaction:
    """What is called when a branch ends, such as the task group it belongs to: whatever it cancels, a replay cancels too."""

    __slots__ = ("_branches", "_callback")

    def __init__(self, branches: Branches, callback: Callable[..., object]) -> None:
        self._branches = branches
        self._callback = callback

    def __call__(self, task: Any) -> None:
        self._branches.reacting += 1
        try:
            self._callback(task)
        finally:
            self._branches.reacting -= 1

    def __eq__(self, other: object) -> bool:
        """remove_done_callback looks for the callback itself."""
        return self._callback == (other._callback if isinstance(other, _Reaction) else other)

    __hash__ = None  # type: ignore[assignment]


class MainLine:
    """What runs a handler, as the tasks know it that the handler starts. Current while the handler's code is stepped, or no task."""

    __slots__ = ()

    @property
    def refuses(self) -> bool:
        """Whether requests through the context are refused."""
        raise NotImplementedError

    @property
    def leaving(self) -> set[Any]:
        """The futures that must end before the loop may."""
        raise NotImplementedError

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Call in the next turn of the loop, outside the handler's context."""
        raise NotImplementedError

    def branches(self) -> Branches:
        """The tasks that the handler has started, or is about to."""
        raise NotImplementedError

    def rested(self) -> None:
        """None of the tasks can go on: let the handler go on as far as it goes."""
        raise NotImplementedError

    def branches_ended(self) -> None:
        """No task of the handler is left."""
        raise NotImplementedError


class Branches:
    """Life: made with the first task, over when the handler has its outcome or its attempt is closed."""

    __slots__ = (
        "_begun",
        "_left",
        "_line",
        "_nested",
        "_number",
        "_patience",
        "_seen",
        "_steps",
        "asked_for",
        "over",
        "quiet",
        "reacting",
        "seed",
        "settling",
        "tasks",
        "warned_of",
    )

    def __init__(self, line: MainLine, seed: int) -> None:
        self._line = line
        self.seed = seed
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order in which they were started
        self.over = False
        self.quiet = False  # at rest since they were last looked at
        self.asked_for = False  # whether the attempt is to go on when they are at rest again
        self.reacting = 0
        self._number = 0
        self._steps = self._seen = self._left = self._patience = 0
        self._nested = 0  # how many gathers were awaited around another one, at most
        self.settling = False  # they are being watched until they are at rest
        self._begun: dict[int, asyncio.Task[Any]] = {}  # by id of the coroutine: see `started_together`
        self.warned_of: object = None  # what the log has said last of a replay that waits

    def owns(self, task: Any) -> bool:
        steps = getattr(task, "_coro", None)
        return type(steps) is Steps and steps.branches is self

    # --- starting and ending ----------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop, coroutine: Any, make: Any, options: dict[str, Any]) -> Any:
        """A task for a coroutine of the handler's. `make` is the loop's own task factory, or None."""
        if self._begun and (task := self._begun.pop(id(coroutine), None)) is not None:
            return task
        for one in started_together(coroutine):
            task = self._make(loop, one, make, options)
            self._begun[id(one)] = task
        return self._begun.pop(id(coroutine))

    def start_main(self, loop: asyncio.AbstractEventLoop, coroutine: Any, options: dict[str, Any]) -> Any:
        """The task of the handler itself, where it is a task. The endpoint starts it, so nothing is started together with it."""
        return self._make(loop, coroutine, None, options)

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, make: Any, options: dict[str, Any]) -> Any:
        self._number += 1
        self.stirred()
        if make is None:
            task: Any = Branch(self, coroutine, self._number, {"loop": loop, **options})
        elif make is getattr(asyncio, "eager_task_factory", None):
            task = Branch(self, coroutine, self._number, {"loop": loop, "eager_start": True, **options})
        else:
            task = make(loop, Steps(self, coroutine), **options)
        if not task.done():
            self.tasks[task] = None
            asyncio.Task.add_done_callback(task, self._ended)
            if self.over:
                task.cancel()
        return task

    def end(self) -> None:
        """The handler has its outcome, or its attempt is over. Requests of its tasks are refused from now on, and their
        errors dropped.
        """
        self.over = self.quiet = True
        for task in list(self.tasks):
            task.cancel()
            self._line.leaving.add(task)
        if not self.tasks:
            self._line.branches_ended()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        self._line.leaving.discard(task)
        if self.over and not self.tasks:
            self._line.call_soon(self._line.branches_ended)  # behind what is called for this one
        if task.cancelled():
            return
        if self.over or self._line.refuses:
            mark_seen(task)
        else:
            self.stirred()

    # --- rest -------------------------------------------------------------------------------------------------------------

    def stirred(self) -> None:
        """A branch takes a step, or the handler itself does."""
        self._steps += 1
        self.quiet = self.over
        if self.asked_for and not self.settling:
            self._look_on()

    def awaits(self, awaited: Any) -> None:
        """A branch, or the main line, waits. A gather around another gather takes one turn more to complete."""
        if type(awaited) is not _Gathering:
            return
        level = {one for one in awaited._children if type(one) is _Gathering}
        nested = 0
        while level:
            nested += 1
            level = {one for gathering in level for one in gathering._children if type(one) is _Gathering}
        self._nested = max(self._nested, nested)

    def at_rest(self) -> bool:
        """Whether none of them can go on. If not, the attempt is run again when they are at rest."""
        self.asked_for = True
        if not self.quiet and not self.settling:
            self._look_on()
        return self.quiet

    def only_waits(self) -> bool:
        """Whether there is one task, and it waits for a completion: a quick answer for the most frequent case of rest."""
        if len(self.tasks) != 1:
            return False
        (task,) = self.tasks
        awaited = awaited_by(task)
        return isinstance(awaited, Bridge) and not awaited.done()

    def _look_on(self) -> None:
        self.settling = True
        self._seen, self._left, self._patience = -1, QUIET_TURNS + self._nested, PATIENCE
        self._line.call_soon(self._look)

    def _look(self) -> None:
        if self.over:
            self.settling = False
            return
        self._patience -= 1
        if self._steps != self._seen:
            self._seen, self._left = self._steps, QUIET_TURNS + self._nested
        else:
            self._left -= 1
        if self._left and self._patience:
            self._line.call_soon(self._look)
            return
        self.settling, self.quiet = False, True
        self._line.rested()

    def shown(self) -> None:
        """A completion is shown: the branches react to it before the next completion is shown."""
        if self.tasks and not self.over:
            self.quiet = False

    def all_wait_durably(self) -> bool:
        """Whether each of them waits for a completion, or for others of them: nothing else can let them go on."""
        return all(self.waits_durably(awaited_by(task), task.get_coro()) for task in self.tasks)

    def waits_durably(self, awaited: Any, coroutine: Any) -> bool:
        """Whether `awaited`, which `coroutine` waits for, comes from the journal or from other branches. False if that
        cannot be determined.
        """
        if not asyncio.isfuture(awaited) or awaited.done():
            return False
        if isinstance(awaited, Bridge) or awaited in self.tasks:
            return True
        children = getattr(awaited, "_children", None)  # of gather
        if children is not None:
            return not all(child.done() for child in children) and all(  # else it is about to be done
                child.done() or self.waits_durably(child, None) for child in children
            )
        within = innermost(coroutine)
        code = getattr(within, "cr_code", None)
        if code is _TASK_GROUP_EXIT:
            return True
        if code is _WAIT and within.cr_frame is not None:
            local = within.cr_frame.f_locals
            return local.get("timeout") is None and all(
                one.done() or self.waits_durably(one, None) for one in local.get("fs", ())
            )
        return False


def awaited_by(task: asyncio.Task[Any]) -> Any:
    steps: Any = getattr(task, "_coro", None)
    return steps.awaited if type(steps) is Steps else None


_TASK_GROUP_EXIT: Any = asyncio.TaskGroup.__aexit__.__code__
_Gathering: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
_WAIT: Any = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
