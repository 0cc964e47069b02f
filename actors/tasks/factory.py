"""The task factory of a loop on which handlers run: it makes their tasks branches."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from actors.tasks.branches import Branches, MainLine, Named, Steps

_Task: Any = Named if sys.version_info[:2] == (3, 13) else asyncio.Task


class TaskFactory:
    """Makes the tasks of a loop while apps run on it. Tasks of handlers become branches; all others are made as before."""

    def __init__(self, before: Any) -> None:
        self._before = before
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        branches = branches_of(asyncio.current_task(loop))
        if branches is not None:
            return branches.start(loop, coroutine, self._before, options)
        if self._before is None:
            return _Task(coroutine, loop=loop, **options)
        return self._before(loop, coroutine, **options)

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        self.users -= 1
        if not self.users and loop.get_task_factory() is self:
            loop.set_task_factory(self._before)


def see_tasks(loop: asyncio.AbstractEventLoop) -> TaskFactory:
    """From now on the tasks that handlers start on this loop are known, until the factory is released as often."""
    before: Any = loop.get_task_factory()
    factory = before if isinstance(before, TaskFactory) else TaskFactory(before)
    if factory is not before:
        loop.set_task_factory(factory)
    factory.users += 1
    return factory


def tasks_are_seen(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether our task factory is still installed."""
    return isinstance(loop.get_task_factory(), TaskFactory)


def branches_of(task: Any) -> Branches | None:
    """The tasks of the handler that this task belongs to, if it belongs to one."""
    if task is None:
        return None
    if isinstance(task, MainLine):
        return task.branches()
    steps: Any = getattr(task, "_coro", None)
    return steps.branches if type(steps) is Steps else None
