"""Clients that outlive the processes they talk to.

Promise: a request whose process dies is attached to if it is on disk, and made again if it is not, as a careful client does. So is a
request that an app with a full disk leaves pending; what the app refuses is made again. Calls and handles stay valid. A careless client
makes the request again without looking.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from actors.app.app import App
from actors.app.handles import ClientCall, ClientHandle, KeyedCall, KeyedHandle
from actors.errors import MisusedFuture, OutcomePending, TerminalError
from actors.model.calls import AwaitedOutside, Call, InvocationHandle
from actors.model.definitions import HandlerDefinition
from actors.model.futures import mark_seen
from actors.model.options import Options
from actors.testing.clients import Clients
from actors.testing.machine import UNANSWERED, Machine
from actors.testing.process import Killed, Process

R = TypeVar("R")


class Survivors:
    """The dispatcher of a world's references. `tasks` are the requests under way."""

    def __init__(self, machine: Machine, clients: Clients, careful: Callable[[], bool]) -> None:
        self._machine = machine
        self._clients = clients
        self._careful = careful
        self.tasks: set[asyncio.Task[Any]] = set()

    def dispatch_call(self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options) -> Call[Any]:
        request = _Request(self._machine, self._clients, target, key, args, kwargs, options)
        return SurvivingCall(self._task(request.outcome(self._careful())))

    def dispatch_send(
        self, target: HandlerDefinition, key: str, args: Any, kwargs: Any, options: Options
    ) -> InvocationHandle[Any]:
        request = _Request(self._machine, self._clients, target, key, args, kwargs, options, sends=True)
        placed = self._task(request.accepted(self._careful()))
        return SurvivingHandle(self._machine, placed, request.answer_of)

    def _task(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        mark_seen(task)


class _Request:
    """One call or send, made at once if a process is up. Raises what refuses its arguments."""

    def __init__(
        self,
        machine: Machine,
        clients: Clients,
        target: HandlerDefinition,
        key: str,
        args: Any,
        kwargs: Any,
        options: Options,
        sends: bool = False,
    ) -> None:
        self._machine = machine
        self._clients = clients
        self._what = (target, key, args, kwargs, options)
        self._sends = sends
        self._seq: int | None = None
        self._process = machine.process
        self._takes_s = machine.chances.request_takes_s()
        self._first = self._begun() if not self._takes_s else None
        if self._first is None:
            target.encode(args, kwargs)  # raises
        self._receipt = clients.calls(target, key, options, args, kwargs)

    def _begun(self) -> Any:
        """The request, as made to the process that is up. None if it is to be made later."""
        if self._process is None:
            return None
        try:
            return self._make(self._process)
        except UNANSWERED as error:
            self._refused(self._process, error)
            return None

    def _refused(self, process: Process, error: BaseException) -> None:
        """The app has stopped. Raises the error, unless the app starts again by itself."""
        if not process.may_refuse:
            raise error

    def _make(self, process: Process) -> Any:
        """The call or the handle, of this process."""
        app = process.app
        assert app is not None
        dispatch: Callable[..., Any] = app.dispatch_send if self._sends else app.dispatch_call
        made = process.variables.copy().run(dispatch, *self._what)
        # Only without an idempotency key: with one, the same request stands for the same invocation anyway.
        if isinstance(made, ClientCall):
            self._seq = made._invocation.seq
        elif isinstance(made, ClientHandle):
            self._seq = made._seq
        elif isinstance(made, (KeyedCall, KeyedHandle)):
            # Of a process that dies after the refusal of a request and before the answer, no caller sees it.
            (made._task if isinstance(made, KeyedCall) else made._placed).add_done_callback(mark_seen)
        return made

    async def _next(self, careful: bool) -> tuple[Process, Any]:
        """The process that is up, and the request as made to it; None in place of the request if an earlier one is on disk."""
        if self._first is not None:
            made, self._first = self._first, None
            assert self._process is not None
            return self._process, made
        if takes_s := self._takes_s:
            self._takes_s = 0.0
            await asyncio.sleep(takes_s)
        process = await self._machine.up()
        if careful and self._seq is not None and self._on_disk(self._seq):
            return process, None
        return process, self._make(process)

    async def outcome(self, careful: bool) -> Any:
        while True:
            process, call = await self._next(careful)
            try:
                answer = await process.until_killed(process.begin(functools.partial(self._answer, process, call)))
            except Killed:
                continue
            except UNANSWERED as error:
                self._refused(process, error)
                if call is not None and not isinstance(error, OutcomePending):
                    self._seq = None  # nothing of it is stored, says the error
                continue
            except TerminalError as error:
                self._clients.answered(self._receipt, self._seq, error=error)
                raise
            await self._machine.chances.answer_takes()
            self._clients.answered(self._receipt, self._seq, answer)
            return answer

    async def _answer(self, process: Process, call: Awaitable[Any] | None) -> Any:
        assert process.app is not None
        return await (call if call is not None else process.app._gateway.result(self._known()))

    async def accepted(self, careful: bool) -> tuple[int, bool]:
        """The number of the accepted invocation, and whether it was accepted before."""
        while True:
            process, handle = await self._next(careful)
            if handle is None:
                self._clients.accepted(self._receipt, self._known(), self._is_delayed)
                return self._known(), False
            try:
                accepted = await process.until_killed(process.begin(functools.partial(_itself, handle)))
            except Killed:
                continue
            except UNANSWERED as error:
                self._refused(process, error)
                if not isinstance(error, OutcomePending):
                    self._seq = None
                continue
            seq = self._machine.ids.read_invocation(accepted.id)
            self._clients.accepted(self._receipt, seq, self._is_delayed)
            return seq, accepted.previously_accepted

    @property
    def _is_delayed(self) -> bool:
        options: Options = self._what[-1]
        return options.delay_ms > 0

    async def answer_of(self, seq: int) -> Any:
        """The outcome of the accepted invocation."""
        try:
            answer = await self._machine.ask(lambda app: app._gateway.result(seq))
        except TerminalError as error:
            self._clients.answered(self._receipt, seq, error=error)
            raise
        self._clients.answered(self._receipt, seq, answer)
        return answer

    def _on_disk(self, seq: int) -> bool:
        return bool(self._machine.disk.query("SELECT 1 FROM invocation WHERE seq = ?", seq))

    def _known(self) -> int:
        assert self._seq is not None
        return self._seq


def _itself(handle: Awaitable[Any]) -> Awaitable[Any]:
    return handle


class SurvivingCall(AwaitedOutside, Call[R]):
    """A call under way, whatever becomes of the process that it was made to."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[R]) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, None, R]:
        return (yield from asyncio.shield(self._task).__await__())


class SurvivingHandle(InvocationHandle[R]):
    """An invocation, through all processes that it lives in. Await it, then it is on disk and its `id` is known."""

    __slots__ = ("_answer_of", "_machine", "_placed")

    def __init__(
        self,
        machine: Machine,
        placed: asyncio.Task[tuple[int, bool]],
        answer_of: Callable[[int], Awaitable[R]],
    ) -> None:
        self._machine = machine
        self._placed = placed
        self._answer_of = answer_of

    def _known(self) -> tuple[int, bool]:
        if not self._placed.done():
            raise MisusedFuture("Await the handle first; then its id is known.")
        return self._placed.result()

    @property
    def id(self) -> str:
        return self._machine.ids.invocation(self._known()[0])

    @property
    def previously_accepted(self) -> bool:
        """Whether an earlier request had used the idempotency key."""
        return self._known()[1]

    def __await__(self) -> Generator[Any, None, SurvivingHandle[R]]:
        yield from asyncio.shield(self._placed).__await__()
        return self

    async def result(self) -> R:
        """The outcome, once durable: the value, or the TerminalError."""
        await self
        return await self._answer_of(self._known()[0])

    async def output(self) -> R:
        """The outcome, without waiting for it. Raises NotReady."""
        output: R = await self._ask(lambda app, seq: app._gateway.output_value(seq))
        return output

    async def cancel(self) -> None:
        """Ask the invocation to end: `App.cancel` with its id."""
        await self._ask(lambda app, seq: app.cancel(self.id))

    async def _ask(self, make: Callable[[App, int], Awaitable[Any]]) -> Any:
        await self
        seq = self._known()[0]
        return await self._machine.ask(lambda app: make(app, seq))
