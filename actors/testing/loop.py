"""asyncio's own loop on virtual time.

Promise: callbacks run first in, first out, as asyncio documents; nothing of asyncio is done anew here. When nothing is ready the
clock jumps to the next timer, so that a month of sleep costs one turn. A killed process runs no callback any more: neither its
`except` nor its `finally` blocks run, as with kill -9.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from asyncio import events
from collections.abc import Callable
from typing import Any, Never, TypeVar, TypeVarTuple, cast

from actors.testing.failures import NoNetwork

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The number of the simulated process whose code is running; 0 is the test itself.
PROCESS: contextvars.ContextVar[int] = contextvars.ContextVar("actors_testing_process", default=0)

MOST_TURNS = 30_000  # without a commit: more is a loop that polls

# asyncio's 1e-9 is less than the distance of two floats once the clock is beyond 97 days: a timer would never be due.
RESOLUTION_S = 1e-6


class VirtualLoop(asyncio.BaseEventLoop):
    """`at_rest` is called when nothing is ready, with the time of the next timer, or None without one. It returns True if it has
    made something ready; else time jumps. `polls` is called after `MOST_TURNS` turns without a commit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._thread_s = 0.0  # that the code has taken which runs as on a thread
        self._clock_resolution = RESOLUTION_S
        self._selector = _NoSelector(self)
        self._thread = threading.get_ident()
        self._dead: set[int] = set()
        self._ended = False
        self._parked: list[object] = []  # what killed processes hold: collected, it would run their `finally` blocks
        self.turns = 0  # since the last commit
        self.touched_by_thread = False  # a thread has called back: what happens next depends on the real clock
        self.at_rest: Callable[[float | None], bool] = lambda when: False
        self.polls: Callable[[], None] = lambda: None

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def moment(self) -> float:
        """The time for the code that is running: on the loop, or as on a thread of its own."""
        return self._now + self._thread_s

    def spend(self, seconds: float) -> None:
        """The code that is running takes this long. As on a thread it delays its own result only, on the loop everything."""
        if events._get_running_loop() is self:
            self._now += seconds
        else:
            self._thread_s += seconds

    def run_as_thread(self, function: Callable[[], T], ends: Callable[[T | None, BaseException | None], None]) -> None:
        """Call the function as on a thread of its own, and `ends` with what it returns or raises, after the time that it has taken."""
        outer, self._thread_s = self._thread_s, 0.0
        value, error = None, None
        try:
            value = outside_of_loop(function)
        except BaseException as raised:
            error = raised
        finally:
            took_s, self._thread_s = self._thread_s, outer
        if took_s:
            self.call_later(took_s, ends, value, error)
        else:
            ends(value, error)

    def rest(self) -> None:
        """Nothing is ready: let time jump to the next timer."""
        when: float | None = self._scheduled[0]._when if self._scheduled else None  # type: ignore[attr-defined]
        if self.at_rest(when):
            return
        if when is None:
            raise RuntimeError("Nothing is left to happen on this loop.")
        self._now = max(self._now, when)

    def has_timer_for(self, future: object) -> bool:
        """Whether a timer will complete this future."""
        return any(future in (handle._args or ()) for handle in self._scheduled)  # type: ignore[attr-defined]

    def kill(self, process: int) -> None:
        """Nothing of this process runs any more, not even a `finally` block."""
        self._dead.add(process)
        self._parked += asyncio.all_tasks(self)
        for handle in [*self._ready, *self._scheduled]:  # type: ignore[attr-defined]
            self._park(handle)

    def end(self) -> None:
        """The world has ended: close what its processes left, so that nothing of it runs later, in another test."""
        self._dead.clear()
        self._ended = True
        tasks = [task for task in asyncio.all_tasks(self) if task is not asyncio.current_task(self)]
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        self._parked.clear()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            close_quietly(task.get_coro())
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]

    # --- where asyncio reaches outside ------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call the function on this thread, at a moment of its own: threads would make a test run otherwise each time."""
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            if not future.cancelled():
                self.run_as_thread(functools.partial(func, *args), ends)

        def ends(value: T | None, error: BaseException | None) -> None:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise error
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("T", value))

        self.call_soon(call)
        return future

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            self.touched_by_thread = True
        return super().call_soon_threadsafe(callback, *args, context=context)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None: ...

    # --- of asyncio's, not public ----------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns > MOST_TURNS:
            self.turns = 0
            self.polls()
        super()._run_once()  # type: ignore[misc]

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        handle: asyncio.Handle = super()._call_soon(callback, args, context)  # type: ignore[misc]
        if self._dead:
            self._park(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        if self._dead:
            self._park(handle)
        return handle

    def _park(self, handle: asyncio.Handle) -> None:
        context: contextvars.Context | None = handle._context  # type: ignore[attr-defined]
        if context is not None and not handle.cancelled() and context.get(PROCESS, 0) in self._dead:
            self._parked.append((handle._callback, handle._args))  # type: ignore[attr-defined]
            for future in handle._args or ():
                if isinstance(future, asyncio.Future) and future.done() and not future.cancelled():
                    future.exception()  # the task that awaits it will not take it, and asyncio would report that
            handle.cancel()

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        # What the end lets go of is closed by no task: it would never run, and asyncio logs that as an error.
        if not self._ended:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def _process_events(self, event_list: object) -> None: ...

    def _write_to_self(self) -> None: ...


class LoopClock:
    """A wall clock that goes with a loop: `start_ms` when the loop was made, in milliseconds since 1970."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop = loop
        self.start_ms = start_ms

    def now_ms(self) -> int:
        # To the microsecond: the float of a timer's own time must not be read as the millisecond before.
        return self.start_ms + round(self._loop.time() * 1e6) // 1000

    def due_ms(self, after_ms: int) -> int:
        return self.start_ms - (-round(self._loop.time() * 1e6) // 1000) + after_ms

    def call_at(self, due_ms: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at((due_ms - self.start_ms) / 1000, callback)


class _NoSelector:
    """In the place of a selector: it waits by letting time jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None or timeout > 0:
            self._loop.rest()
        return ()

    def close(self) -> None: ...


def outside_of_loop(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call the function as on a thread of its own: no loop is running there, and it may run its own."""
    loop = events._get_running_loop()
    events._set_running_loop(None)
    try:
        return function(*args)
    finally:
        events._set_running_loop(loop)


def close_quietly(coroutine: Any) -> None:
    """Close a coroutine that nothing will resume. What its `finally` blocks raise is dropped."""
    if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        # It never began: what it would have awaited is among its arguments, and would be warned about.
        for value in inspect.getcoroutinelocals(coroutine).values():
            if inspect.iscoroutine(value):
                close_quietly(value)
    try:
        coroutine.close()
    except BaseException:  # also "coroutine ignored GeneratorExit"
        return


_OUTSIDE = (
    "add_reader",
    "add_signal_handler",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
)


def _refusal(name: str) -> Callable[..., Never]:
    def refuse(*_: object, **__: object) -> Never:
        raise NoNetwork(
            f"A world has no network and no processes, and {name} was called on its loop. Replace the step that needs them: "
            "world.replace(step, fake). Or test it against a real server, without a world."
        )

    return refuse


for _name in _OUTSIDE:
    setattr(VirtualLoop, _name, _refusal(_name))
