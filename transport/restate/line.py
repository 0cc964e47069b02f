"""One run of a handler on Restate, as its futures and tasks know it: its machine, its completions, and what has ended it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from actors.errors import (
    AttemptEnded,
    SerializationError,
    TerminalError,
)
from actors.model.definitions import HandlerDefinition, ServiceDefinition
from actors.model.futures import DurableFuture, JournaledFuture, Sleep
from actors.model.inside import inside_step
from actors.model.names import address
from actors.model.refusals import cancelled_by_timer, context_in_step, context_is_over, context_of_another, too_large
from actors.serde import Codec
from actors.storage.records import Mode
from actors.tasks.branches import Branches, MainLine
from actors.tasks.factory import branches_of
from actors.tasks.timeouts import waited_too_long
from actors.transport.restate.completions import Completions, Read
from actors.transport.restate.machine import (
    CANCELLED,
    Cancelled,
    Completed,
    Input,
    Machine,
    MachineError,
    Suspended,
    Value,
)
from actors.transport.restate.served import ServedClasses
from actors.transport.restate.steps import Steps
from actors.transport.restate.waiters import CHAIN, chain_of

T = TypeVar("T")

STUBBORN = 3  # refusals that a closed handler may swallow


class Line(MainLine):
    """Life: made with the input of an attempt; over when its handler has an outcome, or another attempt is to go on.

    `stop` is what has ended the attempt, if anything has: a MachineError when the code no longer fits the journal, or the error
    that ends the invocation. `needed` is a handle whose value the handler cannot go on without.
    """

    stepping = False  # the main line is a task, which is current by itself

    def __init__(
        self,
        served: ServedClasses,
        handler: HandlerDefinition,
        machine: Machine,
        given: Input,
        headers: dict[str, str],
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
    ) -> None:
        self._served = served
        self._handler = handler
        self._machine = machine
        self._given = given
        self._headers = headers
        self._loop = loop
        self._wake = wake
        self._completions = Completions(machine)
        self._branches = Branches(self, given.seed)
        self._awakeables: dict[int, str] = {}  # ids by handle
        self._elsewhere: set[int] = set()  # handles that are answered by other code than the handler's
        self._last_due: dict[tuple[str, str], int] = {}  # ms, by service and key
        self._refused = 0
        self._sleeps: list[Sleep] = []
        self._chain: list[str] | None = None
        limits = served.limits
        self.steps = Steps(machine, served.executor, limits.max_payload, wake, self._step_failed, limits.max_failure)
        self.musts: list[DurableFuture[Any]] = []  # the invocation does not end before them
        self.notified = False  # of a cancellation, which is thrown at the next await
        self.stop: MachineError | TerminalError | None = None
        self.needed: int | None = None
        self.suspended = False  # the machine has told the server what is needed
        self.over = False

    # --- who ------------------------------------------------------------------------------------------------------------

    @property
    def handler(self) -> HandlerDefinition:
        return self._handler

    @property
    def key(self) -> str:
        return self._given.key

    @property
    def label(self) -> str:
        """The name of the invocation in the log."""
        return f"{address(self._handler.service.name, self.key, self._handler.name)} ({self.invocation_id})"

    @property
    def invocation_id(self) -> str:
        return self._given.invocation_id

    @property
    def headers(self) -> dict[str, str]:
        return dict(self._headers)

    @property
    def reads_only(self) -> bool:
        return self._handler.shared

    @property
    def chain(self) -> list[str]:
        """The exclusive objects that wait for a call of this handler, outermost first; the same in each attempt."""
        if self._chain is None:
            self._chain = []
            for name, value in self._given.headers:
                if name.lower() == CHAIN:
                    self._chain = chain_of(value)
                    break
            if self._handler.mode == Mode.EXCLUSIVE:
                self._chain.append(address(self._handler.service.name, self.key))
        return self._chain

    def log_names(self) -> dict[str, str]:
        """`model.inside.Elsewhere`."""
        return {
            "invocation_id": self.invocation_id,
            "service": self._handler.service.name,
            "key": self.key,
            "handler": self._handler.name,
        }

    def generator(self) -> random.Random:
        return random.Random(self._given.seed)

    def definition(self, cls: type) -> ServiceDefinition:
        return self._served.definition(cls)

    def target(self, service: str, handler: str) -> HandlerDefinition:
        return self._served.catalog.handler(service, handler)

    def replaying(self) -> bool:
        return self._machine.replaying()

    # --- what futures ask of the attempt ------------------------------------------------------------------------------------

    @property
    def refuses(self) -> bool:
        return self.over or self.stop is not None or self.needed is not None

    @property
    def gave_up(self) -> bool:
        return self._refused > STUBBORN

    def on_main_line(self) -> bool:
        return False

    def runs(self) -> bool:
        own = branches_of(asyncio.current_task(self._loop)) is self._branches
        if own and self.refuses:
            self._refused += 1
        return own

    def cancels_itself(self) -> bool:
        if self.refuses or self.notified or self._branches.over:
            return True
        if self.runs() or self._branches.reacting:
            return not waited_too_long()
        return False

    def refuse_to_cancel(self) -> None:
        if self.stop is None:
            self.stop = cancelled_by_timer()
            self._wake()

    def unreadable(self, index: int, codec: Codec | None, error: SerializationError) -> bool:
        return False  # Restate does not know the types of values: it is the handler's error

    def answered_elsewhere(self, index: int) -> bool:
        return index in self._elsewhere

    def id_of_awakeable(self, index: int) -> str:
        return self._awakeables[index]

    def _step_failed(self, name: str, error: BaseException) -> None:
        self._served.failed.warn(self.invocation_id, self.label, f"the step {name}", error, self.log_names())

    # --- the main line and its tasks --------------------------------------------------------------------------------------

    @property
    def leaving(self) -> set[Any]:
        return self._served.leaving

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        self._loop.call_soon(callback, *arguments)

    def branches(self) -> Branches:
        return self._branches

    def rested(self) -> None:
        self._wake()

    def branches_ended(self) -> None:
        self._wake()  # the end of an attempt waits for them
        if self.over:
            self._branches = _NO_BRANCHES

    def leave(self) -> None:
        """The attempt is over. Its parts refer to each other in circles, which are opened here: otherwise only the collector would free
        them, which took a twentieth of an endpoint's time.
        """
        self.over = True
        self.steps.stop()
        self._branches.end()  # calls `branches_ended`, now or as the last of them ends
        self._completions.drop()
        self._sleeps.clear()
        self.musts.clear()

    # --- the machine --------------------------------------------------------------------------------------------------------

    def _do(self, command: Callable[..., T], *arguments: Any) -> T:
        """Request a command. A journal that holds another one ends the attempt."""
        try:
            return command(*arguments)
        except MachineError as error:
            self.stop = error
            self._wake()
            raise AttemptEnded from None

    def _expect(self, future: DurableFuture[Any], handle: int, read: Read) -> None:
        self._completions.expect(handle, future, read)
        if not self._machine.replaying():
            self._wake()  # a task of the handler's own may ask while the main line waits for something else

    def _future(self, handle: int, read: Read) -> JournaledFuture[Any]:
        future: JournaledFuture[Any] = JournaledFuture(self, handle, None)
        self._expect(future, handle, read)
        return future

    def show(self) -> bool:
        """Show the next completion. False if none is known."""
        self._branches.shown()
        return self._completions.show()

    @property
    def expects(self) -> bool:
        """Whether any completion is outstanding."""
        return self._completions.outstanding

    def handles(self) -> list[int]:
        return self._completions.handles() or [CANCELLED]

    def value_now(self, handle: int) -> Any:
        """A value that is needed without an await. If the value is not known, the attempt ends; the next attempt has it."""
        while (found := self._completions.taken(handle)) is None:
            progress = self._do(self._machine.progress, [*self._completions.handles(), handle])
            if isinstance(progress, Cancelled):
                self.notified = True
            elif not isinstance(progress, Completed):  # a step that is to be executed is left to the next attempt
                self.suspended = isinstance(progress, Suspended)
                self.needed = handle
                self._wake()
                raise AttemptEnded
        (value,) = found
        return value

    def _check_use(self) -> None:
        """Whether the code that asks may use this context now."""
        if self.refuses:
            if not self.runs():
                raise context_is_over()
            raise AttemptEnded
        branches = branches_of(asyncio.current_task(self._loop)) if _on(self._loop) else None
        if branches is not None and branches is not self._branches:
            raise context_of_another()
        if inside_step.get():
            raise context_in_step()

    def check_size(self, value: str | bytes, what: str) -> None:
        """Raise PayloadTooLarge for what is larger than max_payload of the app allows."""
        longest = self._served.limits.max_payload
        if len(value) > longest:
            raise too_large(value, what, longest)

    def unused_sleeps(self) -> int:
        """How many sleeps no code has used: they let no time pass."""
        return sum(not sleep.used for sleep in self._sleeps)


def _on(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the thread of the loop: a step in another thread may read the object."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


_NO_BRANCHES = Branches(MainLine(), 0)  # of attempts that are over, none of whose tasks is left
_NO_BRANCHES.over = True


def nothing(value: Value) -> None: ...
