"""Executions of steps that were still running when their partition stopped: a thread cannot be stopped.

Promise: in one process a step is never executed twice at the same time. A partition that opens the same file later joins the
execution that the earlier partition has left, and its result counts: the function was executed because the journal requires it,
and the journal still has no answer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from typing import Any

Key = tuple[bytes, int, int]  # the secret of the file, the same under any file name; the invocation; the command
Job = concurrent.futures.Future[Any] | asyncio.Task[Any]

_left: dict[Key, Job] = {}  # a thread removes its own job: iterate over a copy


def leave(key: Key, job: Job) -> None:
    """Keep the execution for the next partition, even if it ends before that partition has begun."""
    _left[key] = job


def some() -> bool:
    """Whether `join` may find an execution: most processes have none."""
    return bool(_left)


def join(key: Key, loop: asyncio.AbstractEventLoop) -> Job | None:
    """The execution that is left of this step. Its error is CancelledError if it was cancelled on another loop.

    A coroutine goes on only while its loop runs: a closed loop has left no executions. A loop that has stopped without being
    closed may run again, so its coroutine is waited for.
    """
    job = _left.pop(key, None)
    if not isinstance(job, asyncio.Task) or job.get_loop() is loop:
        return job
    bridge: concurrent.futures.Future[Any] = concurrent.futures.Future()
    bridge.set_running_or_notify_cancel()
    try:
        job.get_loop().call_soon_threadsafe(job.add_done_callback, functools.partial(_pass_on, bridge))
    except RuntimeError:  # the loop is closed
        return None
    return bridge


def _pass_on(bridge: concurrent.futures.Future[Any], task: asyncio.Task[Any]) -> None:
    try:
        bridge.set_result(task.result())
    except BaseException as error:
        bridge.set_exception(error)


def running() -> list[Job]:
    """The executions left by all partitions of this process that have not ended."""
    return [job for job in _left.copy().values() if not job.done()]


def closed(secret: bytes) -> None:
    """The file will not be opened again soon: keep its executions only as long as they run."""
    for key, job in _left.copy().items():
        if key[0] != secret:
            continue
        if job.done() or (isinstance(job, asyncio.Task) and job.get_loop().is_closed()):
            _left.pop(key, None)
        else:
            job.add_done_callback(lambda job, key=key: _ended(key, job))  # type: ignore[misc]


def forget(secret: bytes) -> None:
    """A simulated process begins on this file: what an earlier process executed has ended with it."""
    for key in _left.copy():
        if key[0] == secret:
            _left.pop(key, None)


def _ended(key: Key, job: Job) -> None:
    if _left.get(key) is job:
        _left.pop(key, None)
