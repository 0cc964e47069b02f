"""One attempt of a handler on Restate: its code runs as a task; completions are shown while nothing of it can go on.

Promise: each decision that the code makes by what it awaits is repeated in each attempt; an attempt that cannot go on tells the
machine so, and ends; whatever fails in here fails the attempt and never the stream.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import traceback
from typing import Any

from actors.errors import (
    AttemptEnded,
    BadArguments,
    SerializationError,
    StateDecodeError,
    TerminalError,
    short_reason,
)
from actors.model import raised
from actors.model.definitions import HandlerDefinition, key_for
from actors.model.inside import elsewhere
from actors.model.readers import refuse_changes
from actors.storage.records import Mode
from actors.tasks.awaited import innermost
from actors.tasks.branches import Branches, awaited_by
from actors.transport.http.arguments import read_arguments
from actors.transport.http.requests import is_passed_on
from actors.transport.restate.channel import Channel
from actors.transport.restate.commands import Commands
from actors.transport.restate.failures import to_failure
from actors.transport.restate.machine import (
    Cancelled,
    Completed,
    Execute,
    Input,
    Machine,
    MachineError,
    Progress,
    Waiting,
)
from actors.transport.restate.payloads import encoded
from actors.transport.restate.recorded_line import RecordedLine
from actors.transport.restate.served import ServedClasses
from actors.transport.restate.waiters import CHAIN

log = logging.getLogger("actors")

TURNS = 3
PATIENCE_S = 0.5  # how long a replay waits for something outside before it looks at completions that others wait for


@functools.lru_cache(256)
def _is_shown(header: str) -> bool:
    """Whether the handler sees a header of this name."""
    return header != CHAIN and is_passed_on(header) and not header.startswith("x-restate-")


async def _turns(main: asyncio.Task[Any], branches: Branches) -> None:
    """Most handlers get to their next wait within a few turns of the loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
        if main.done() or branches.only_waits():
            return


def _wait_for_each_other(branches: Branches) -> bool:
    """Whether each task waits for a completion, for others of them, or at a queue or lock where others of them are to wake it."""
    return all(
        branches.waits_durably(awaited_by(task), task.get_coro()) or _at_a_lock(task.get_coro())
        for task in branches.tasks
    )


def _at_a_lock(coroutine: Any) -> bool:
    code = getattr(innermost(coroutine), "cr_code", None)
    return code is not None and code.co_filename in _LOCKS


_LOCKS = {asyncio.locks.__file__, asyncio.queues.__file__}


class Attempt:
    """Life: made for a request, `run` once."""

    def __init__(self, served: ServedClasses, handler: HandlerDefinition, machine: Machine, channel: Channel) -> None:
        self._served = served
        self._handler = handler
        self._machine = machine
        self._channel = channel
        self._commands: Commands | None = None
        self._timer: asyncio.TimerHandle | None = None  # of `_late`
        self._progress: Progress | None = None  # what `_look` has found
        self._shown = False  # by `_look`

    @property
    def busy(self) -> bool:
        """Whether a step is being executed, whose result would be lost."""
        return self._commands is not None and self._commands.steps.running

    async def run(self) -> None:
        """Take the handler as far as it goes. Raises channel.Disconnected, or MachineError if the input is not valid."""
        given = self._machine.input()
        try:
            args, headers = self._arguments(given)
        except TerminalError as error:
            self._machine.finish(to_failure(error))
            return
        loop = asyncio.get_running_loop()
        commands = self._commands = Commands(
            self._served, self._handler, self._machine, given, headers, loop, self._channel.wake
        )
        try:
            await self._run(commands, args)
        finally:
            self._in_time()
            commands.leave()

    def _arguments(self, given: Input) -> tuple[tuple[Any, ...], dict[str, str]]:
        """The arguments, and the headers that the handler sees. Raises TerminalError."""
        handler, content_type = self._handler, ""
        headers: dict[str, str] = {}
        for given_name, value in given.headers:
            name = given_name.lower()
            if name == "content-type":
                content_type = value.partition(";")[0].strip().lower()
            elif _is_shown(name):
                headers[name] = f"{headers[name]}, {value}" if name in headers else value  # as our own ingress does
        key_for(handler, given.key)
        args, kwargs = read_arguments(handler, given.body, content_type)
        if not kwargs and len(args) == handler.arity:
            return args, headers  # values of the declared types, as they were decoded
        try:
            text, _ = handler.encode(args, kwargs)
            return handler.decode(text), headers
        except SerializationError as error:
            raise BadArguments(error.message) from None

    async def _run(self, commands: Commands, args: tuple[Any, ...]) -> None:
        try:
            if self._handler.service.version > 1 and self._handler.mode != Mode.KEYLESS:
                commands.upgrade()
        except AttemptEnded:
            await self._ended(commands)
            return
        except StateDecodeError as error:
            self._failed(commands, error)
            return
        main = self._start(commands, args)
        if not await self._drive(commands, main):
            await self._ended(commands)
            return
        raised_by = main.exception() if not main.cancelled() else asyncio.CancelledError()
        await self._outcome(commands, None if raised_by is not None else main.result(), raised_by)

    def _start(self, commands: Commands, args: tuple[Any, ...]) -> asyncio.Task[Any]:
        handler, instance = self._handler, commands.state.instance
        if handler.takes_context:
            coroutine = handler.function(instance, commands.context, *args)
        else:
            coroutine = handler.function(instance, *args)
        loop = asyncio.get_running_loop()
        variables = contextvars.copy_context()
        variables.run(elsewhere.set, commands)
        line = RecordedLine(coroutine, commands, self._channel.wake)
        return commands.branches().start_main(loop, line, {"context": variables})  # type: ignore[no-any-return]

    async def _drive(self, commands: Commands, main: asyncio.Task[Any]) -> bool:
        """Show completions until the main line has ended. False if the attempt has to end before."""
        branches = commands.branches()
        await _turns(main, branches)
        while not main.done():
            self._channel.heed()
            if commands.refuses:
                return False
            if not branches.only_waits() and not branches.at_rest():
                await self._channel.wait()
                continue
            if commands.notified:
                main.cancel()
                await _turns(main, branches)
                continue
            if commands.show():
                self._in_time()
                await _turns(main, branches)
                continue
            if not await self._wait(commands):
                return False
            if self._shown:
                self._shown = False
                if not main.done() and not branches.only_waits():
                    await _turns(main, branches)
        return not commands.refuses

    async def _wait(self, commands: Commands) -> bool:
        """Nothing of the handler can go on, and no value is known that was not shown. False if the attempt is over."""
        machine, branches = self._machine, commands.branches()
        durably, expects = branches.only_waits() or branches.all_wait_durably(), commands.expects
        if not durably and machine.replaying() and not (expects and (_wait_for_each_other(branches) or self._late())):
            await self._channel.flush()
            await self._channel.wait()  # it may request what an earlier attempt has requested here
            return True
        if durably or expects:
            self._channel.pass_end()
        elif self._channel.end_passed:  # a handler that is suspended now would never be asked for again
            await self._channel.flush()
            await self._channel.wait()
            return True
        try:
            progress: Progress | None = machine.progress(commands.handles())
        except MachineError as error:
            commands.stop = error
            return False
        if isinstance(progress, Waiting):
            await self._channel.flush()
            await self._channel.wait(self._look)
            progress, self._progress = self._progress, None
            if progress is None:
                return True
        if isinstance(progress, Execute):
            commands.steps.execute(progress.handle)
            await asyncio.sleep(0)  # a function that ends at once: its result leaves with the command
        elif isinstance(progress, Cancelled):
            commands.notified = True
        elif not isinstance(progress, Completed):
            return False
        return True

    def _look(self) -> bool:
        """Input has come during a wait: whether the attempt goes on. Half of all input completes nothing; a completion that the
        handler alone waits for is shown here, a turn of the loop earlier.
        """
        commands = self._commands
        assert commands is not None
        if self._progress is not None or commands.refuses or commands.notified or not commands.branches().only_waits():
            return True
        try:
            progress = self._machine.progress(commands.handles())
        except MachineError as error:
            commands.stop = error
            return True
        if isinstance(progress, Waiting):
            return False
        if isinstance(progress, Completed) and commands.show():
            self._in_time()
            self._shown = True
        else:
            self._progress = progress
        return True

    def _late(self) -> bool:
        """Whether a replay has waited long for something outside: it may be a task that goes on for ever, beside the others."""
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_S, self._channel.wake)
        return loop.time() >= self._timer.when()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- the end ------------------------------------------------------------------------------------------------------------

    async def _outcome(self, commands: Commands, value: Any, error: BaseException | None) -> None:
        terminal = raised.terminal(error) if error is not None else None
        if error is not None and terminal is None:
            self._failed(commands, error)
            return
        commands.branches().end()
        result = b""
        if terminal is None:
            try:
                result = self._result(commands, value)
            except TerminalError as refused:
                terminal = refused
        try:
            for future in commands.musts:
                while not future.done():
                    if not commands.show() and not await self._wait(commands):
                        await self._ended(commands)
                        return
            self._last_writes(commands, keep=terminal is None or not self._handler.atomic)
        except TerminalError as refused:
            terminal = refused
        except AttemptEnded:
            await self._ended(commands)
            return
        commands.over = True
        self._served.failed.forget(commands.invocation_id)
        longest = self._served.limits.max_failure
        try:
            self._machine.finish(to_failure(terminal, longest) if terminal is not None else result)
        except MachineError as changed:
            log.warning("%s: %s", commands.label, changed)

    def _result(self, commands: Commands, value: Any) -> bytes:
        """Raises SerializationError or PayloadTooLarge."""
        handler = self._handler
        try:
            result = encoded(handler.returns, value)
        except SerializationError as error:
            raise SerializationError(
                f"{handler.target} returned a value that its return type does not allow: {error}"
            ) from None
        commands.check_size(result, f"The result of {handler.target}")
        unused = commands.unused_sleeps()
        if unused:
            log.warning(
                "%s: ctx.sleep was called without await%s, so the handler did not wait. Write await before it.",
                commands.label,
                f" {unused} times" if unused > 1 else "",
            )
        return result

    def _last_writes(self, commands: Commands, keep: bool) -> None:
        if self._handler.mode == Mode.KEYLESS:
            commands.record_changes()  # a Service keeps nothing, and says so
        elif self._handler.shared:
            refuse_changes(self._handler.service, commands.state.instance, commands.state.stored())
        elif keep:
            commands.record_changes()
            commands.write_pending()

    def _failed(self, commands: Commands, error: BaseException) -> None:
        """A transient error: the server tries again by the handler's policy."""
        commands.over = True
        failed = self._served.failed.warn(
            commands.invocation_id, commands.label, "an attempt", error, commands.log_names()
        )
        if (
            self._served.debug
            and failed >= raised.DEBUG_ATTEMPTS
            and isinstance(raised.principal(error), raised.MISTAKES)
        ):
            mistake = raised.programming_error(error, raised.reason_of(error))
            self._machine.finish(to_failure(mistake, self._served.limits.max_failure))
            return
        policy = self._handler.retry or self._served.retry
        # With "fail" the server hands what it is told to the caller, who must not see the code.
        trace = "".join(traceback.format_exception(error)) if policy.on_exhausted == "pause" else ""
        self._machine.fail_attempt(short_reason(error), trace)

    async def _ended(self, commands: Commands) -> None:
        """The handler cannot go on in this attempt: say why, so that the server asks again when it can."""
        stop, needed = commands.stop, commands.needed
        commands.over = True
        if isinstance(stop, TerminalError):
            self._machine.finish(to_failure(stop, self._served.limits.max_failure))
        elif stop is not None:
            self._served.failed.warn(commands.invocation_id, commands.label, "an attempt", stop, commands.log_names())
        elif needed is not None and not commands.suspended:
            await self._channel.flush()
            try:
                self._machine.end_input()
                self._machine.progress([needed])
            except MachineError as error:
                log.warning("%s: %s", commands.label, error)
