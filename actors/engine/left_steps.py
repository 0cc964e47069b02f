"""Executions of steps that were under way when their partition stopped: a thread cannot be stopped.

Promise: in one process a step is never executed beside itself. A partition that opens the same file later joins the execution
that is left of the one before, and its result counts: the function was executed because the journal asks for it, and the
journal still has no answer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from typing import Any

Key = tuple[bytes, int, int]  # the secret of the file, which it has under any name; the invocation; the command
Job = concurrent.futures.Future[Any] | asyncio.Task[Any]

_left: dict[Key, Job] = {}  # a thread takes its own job off: look through a copy


def leave(key: Key, job: Job) -> None:
    """Keep the execution for the next partition, also if it ends before that has begun."""
    _left[key] = job


def join(key: Key, loop: asyncio.AbstractEventLoop) -> Job | None:
    """The execution that is left of this step. Its error is CancelledError if it was cancelled on another loop.

    A coroutine goes on only while its loop runs: of a loop that was closed nothing is left. A loop that has stopped without having
    been closed may run again, so its coroutine is waited for.
    """
    job = _left.pop(key, None)
    if not isinstance(job, asyncio.Task) or job.get_loop() is loop:
        return job
    bridge: concurrent.futures.Future[Any] = concurrent.futures.Future()
    bridge.set_running_or_notify_cancel()
    try:
        job.get_loop().call_soon_threadsafe(job.add_done_callback, functools.partial(_pass_on, bridge))
    except RuntimeError:  # it is closed
        return None
    return bridge


def _pass_on(bridge: concurrent.futures.Future[Any], task: asyncio.Task[Any]) -> None:
    try:
        bridge.set_result(task.result())
    except BaseException as error:
        bridge.set_exception(error)


def running() -> list[Job]:
    """The executions that are left of all partitions of this process, and have not ended."""
    return [job for job in _left.copy().values() if not job.done()]


def closed(secret: bytes) -> None:
    """The file is not about to be opened again: its executions are kept as long as they run."""
    for key, job in _left.copy().items():
        if key[0] != secret:
            continue
        if job.done() or (isinstance(job, asyncio.Task) and job.get_loop().is_closed()):
            _left.pop(key, None)
        else:
            job.add_done_callback(lambda job, key=key: _ended(key, job))  # type: ignore[misc]


def _ended(key: Key, job: Job) -> None:
    if _left.get(key) is job:
        _left.pop(key, None)
