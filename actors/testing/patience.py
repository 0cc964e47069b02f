"""How a test waits: for commits, for rest, and never for what will not happen.

Promise: a test that can go on does; a test that cannot fails at once, at the line where it waits, and the message says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.tasks.places import place_of
from actors.testing.failures import MisusedWorld, Stuck
from actors.testing.loop import MOST_TURNS, VirtualLoop
from actors.testing.waits import threads_note

T = TypeVar("T")

MOST_TICKS = 1000  # jumps of the clock to ticks of schedules and nothing else, while the test waits at one place
JUMPS_BETWEEN_LOOKS = 100


@dataclass(slots=True)
class _Waiter:
    """The test waits for a commit; with `otherwise` it has something else to do if none comes by itself."""

    commit: asyncio.Future[bool]
    otherwise: bool


class Patience:
    """Runs the body of a test on the loop. `goes_on` says whether something goes on by itself that takes time, `only_ticks` whether
    nothing but schedules is due at any time, `reasons` who waits for what in the app. `commits` is the number of commits so far.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        goes_on: Callable[[], bool],
        only_ticks: Callable[[], bool],
        reasons: Callable[[], Iterable[str]],
    ) -> None:
        self._loop = loop
        self._goes_on = goes_on
        self._only_ticks = only_ticks
        self._reasons = reasons
        self._body: asyncio.Task[Any] | None = None
        self._failure: Exception | None = None  # that takes the place of the cancellation of the body
        self._settling: list[asyncio.Future[None]] = []
        self._waiters: list[_Waiter] = []
        self.commits = 0
        self._jumps = 0
        self._waits_since = (0, "")
        loop.at_rest, loop.polls = self._at_rest, self._polls

    def run(self, body: Awaitable[T]) -> T:
        """Run a coroutine to its end. Raises what it raises, or Stuck."""
        __tracebackhide__ = True
        if self._loop.is_running():
            raise MisusedWorld("world.run(...) is for tests that are not async. Here, await the coroutine.")

        async def main() -> T:
            self._body = task = asyncio.ensure_future(_awaited(body))
            self._waits_since = (self._jumps, "")
            await asyncio.wait({task})
            failure, self._failure = self._failure, None
            try:
                return task.result()
            except asyncio.CancelledError as cancelled:
                if failure is None:
                    raise
                raise failure.with_traceback(cancelled.__traceback__) from None  # the line where the test waits

        try:
            return self._loop.run_until_complete(main())
        except RuntimeError as error:
            if "attached to a different loop" in str(error):
                raise MisusedWorld(
                    "The test awaits an object of another event loop, made by an async fixture for example. Make it in the test, on "
                    f"the loop of the world: {error}"
                ) from error
            raise

    def fail(self, failure: Exception) -> None:
        """End the test with this failure, where it waits."""
        if self._failure is None and self._body is not None and not self._body.done():
            self._failure = failure
            self._body.cancel()

    async def settled(self) -> None:
        """Return when nothing goes on by itself any more."""
        settled: asyncio.Future[None] = self._loop.create_future()
        self._settling.append(settled)
        await settled

    async def commit(self, otherwise: bool = False, counts: bool = False) -> bool:
        """Wait for the next commit. With `otherwise`, return False if none comes by itself. `counts` if the test counts ticks."""
        if counts:
            self._waits_since = (self._jumps, "")
        waiter = _Waiter(self._loop.create_future(), otherwise)
        self._waiters.append(waiter)
        return await waiter.commit

    def committed(self) -> None:
        """To be called after each commit."""
        self.commits += 1
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.commit.done():
                waiter.commit.set_result(True)

    # --- when nothing is ready ------------------------------------------------------------------------------------------------

    def _at_rest(self, when: float | None) -> bool:
        """Nothing is ready before `when`. Returns True if that has let somebody go on."""
        if (self._settling or self._waiters) and not (when is not None and self._goes_on()):
            settling, self._settling = self._settling, []
            for settled in settling:
                if not settled.done():
                    settled.set_result(None)
            patient = [waiter for waiter in self._waiters if waiter.otherwise]
            self._waiters = [waiter for waiter in self._waiters if not waiter.otherwise]
            for waiter in patient:
                if not waiter.commit.done():
                    waiter.commit.set_result(False)
            if settling or patient:
                return True
        if when is None:
            return self._give_up("")
        self._jumps += 1
        if self._jumps % JUMPS_BETWEEN_LOOKS == 0:
            since, before = self._waits_since
            place = self._place()
            if place != before or not self._only_ticks() or self._sleeps():
                self._waits_since = (self._jumps, place)
            elif self._jumps - since > MOST_TICKS:
                return self._give_up(" Nothing but ticks of schedules has happened since, and they go on for ever.")
        return False

    def _sleeps(self) -> bool:
        """Whether the test itself waits for a time."""
        waits_for = getattr(self._body, "_fut_waiter", None)
        return waits_for is not None and self._loop.has_timer_for(waits_for)

    def _give_up(self, more: str) -> bool:
        if self._body is None or self._body.done() or self._failure is not None:
            return False
        lines = list(self._reasons())
        said = f"The test waits{self._place()} for what will never happen.{more}"
        if len(lines) == 1:
            said += f" {lines[0]}"
        elif lines:
            said += "\n  " + "\n  ".join(lines)
        else:
            said += " No invocation is open: it waits for something of its own."
        self.fail(Stuck(said + threads_note()))
        return True

    def _polls(self) -> None:
        stuck = Stuck(
            f"The loop has turned {MOST_TURNS:,} times since the last commit, and nothing has come of it: something polls. The test "
            f"waits{self._place()}. Wait for what happens instead: await handle.result(), world.awakeable(), world.until(predicate) "
            "or world.settle()."
        )
        if self._body is None or self._body.done() or self._failure is not None:
            raise stuck  # the test has swallowed its cancellation
        self.fail(stuck)

    def _place(self) -> str:
        place = place_of(self._body.get_coro()) if self._body is not None else None
        return f" at {place}" if place is not None else ""


async def _awaited(body: Awaitable[T]) -> T:
    __tracebackhide__ = True
    return await body
