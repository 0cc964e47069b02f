"""Plants known bugs, one at a time, into a copy of the project and shows which tests catch each.

    python -m tests.planted_bugs            all of them
    python -m tests.planted_bugs gate NUL   those whose name holds one of these words

A test suite proves little before it has been seen to fail. Exit code 1 if a bug survives.

Nothing is planted at first: a test that fails then would seem to catch every bug.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = [
    f"tests/{name}" for name in ("released", "unit", "integration", "storage", "http", "cli", "serving", "restate")
]
SLOW = ["tests/property"]  # asked when none of the quick ones has noticed


@dataclass(frozen=True)
class Bug:
    name: str
    file: str
    correct: str
    planted: str


BUGS = [
    Bug(
        "a cycle is not looked for once more when the object that closes it has left memory",
        "actors/engine/waits/deadlocks.py",
        "        if self._open.get(waiting.seq) is not waiting:",
        "        if False:",
    ),
    Bug(
        "readers that come back with their object stay",
        "actors/engine/memory/loader.py",
        "                self._eviction.sleeps(invocation)\n",
        "",
    ),
    Bug(
        "a promise is completed before a waiter that was woken has asked for it",
        "actors/engine/waits/promises.py",
        "invocation.status in _ASKS and",
        "invocation.status == Status.BLOCKED and",
    ),
    Bug(
        "while turns are held, a plain type is a reason not to replay",
        "actors/engine/waits/awakeables.py",
        "if unknown or self._turns.held:",
        "if unknown:",
    ),
    Bug(
        "the result type of a step is kept for a name that another module gives another meaning",
        "actors/model/result_types.py",
        "    if not _holds_names(annotation):",
        "    if True:",
    ),
    Bug(
        "the name of the type that an awakeable waits for must stay",
        "actors/attempt/recorder.py",
        "        return recorded.value == value\n",
        "        return recorded.value == value and recorded.name == name\n",
    ),
    Bug(
        "a recorded value that a changed type refuses fails the handler",
        "actors/attempt/completions.py",
        "            changed = command.name != codec.name\n",
        "            changed = False\n",
    ),
    Bug(
        "a plain type is taken at its word although it refuses the value",
        "actors/engine/waits/awakeables.py",
        "        return codec is not None and bool(payload.encoded(codec))\n    except BadArguments:\n        return False\n",
        "        return codec is not None and bool(payload.encoded(codec))\n    except BadArguments:\n        return True\n",
    ),
    Bug(
        "a step writes state that no replay writes again",
        "actors/model/instances.py",
        '            _refuse_in_step(self, name, "assigned")\n',
        "            pass\n",
    ),
    Bug(
        "a step deletes a container that no replay deletes again",
        "actors/model/instances.py",
        '            _refuse_in_step(self, name, "deleted")\n',
        "            pass\n",
    ),
    Bug(
        "a keyword of a step's function is taken for a parameter of ctx.run",
        "actors/model/context.py",
        '    def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> DurableFuture[Any]:\n        """Execute',
        '    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> DurableFuture[Any]:\n        """Execute',
    ),
    Bug(
        "a delay that may be meant for the handler delays the send",
        "actors/model/bound_handler.py",
        "    if name in target.names:\n        raise BadArguments(",
        "    if not target.names:\n        raise BadArguments(",
    ),
    Bug(
        "an awaitable is unequal to a value",
        "actors/model/calls.py",
        "return self._misused() if type(other) in _VALUES else NotImplemented",
        "return NotImplemented",
    ),
    Bug(
        "a sleep that is combined counts as forgotten",
        "actors/model/futures.py",
        "        self.used = True\n        super()._watch(watcher)\n",
        "        super()._watch(watcher)\n",
    ),
    Bug(
        "an unknown option of a class is left to Python",
        "actors/model/virtual_object.py",
        "        if isinstance(super().__init_subclass__, BuiltinMethodType):\n",
        "        if False:\n",
    ),
    Bug(
        "errors of users' classes arrive as plain ones",
        "actors/errors.py",
        '        if isinstance(code := cls.__dict__.get("error"), str):\n',
        '        if isinstance(code := cls.__dict__.get("error"), str) and _is_ours(cls):\n',
    ),
    Bug(
        "an error that arrives as another class is not warned about",
        "actors/serde/failures.py",
        "    _LOST.add(cls)\n    log.warning(\n",
        "    _LOST.add(cls)\n    log.debug(\n",
    ),
    Bug(
        "an error that arrives as another class is warned about each time",
        "actors/serde/failures.py",
        "    if arrives_as_itself(cls, code) or cls in _LOST:",
        "    if arrives_as_itself(cls, code):",
    ),
    Bug(
        "the log promises more attempts than a mistake has",
        "actors/engine/failures.py",
        "        if self.mistaken(DEBUG_ATTEMPTS, error):\n            attempts =",
        "        if False:\n            attempts =",
    ),
    Bug(
        "a dump is another program's database to commands that read",
        "storage/sqlite/store.py",
        "            raise foreign(self.path)\n",
        "            pass\n",
    ),
    Bug(
        "the constructor of an error is called again when it arrives",
        "actors/serde/failures.py",
        "    error = cls.__new__(cls, failure.message)\n",
        "    error = cls(failure.message)\n",
    ),
    Bug(
        "a list without an annotation is shared by all keys",
        "actors/model/constants.py",
        "    except TypeError:\n        return True\n",
        "    except TypeError:\n        return False\n",
    ),
    Bug(
        "a value of a base class is not looked at",
        "actors/model/constants.py",
        "    for base in cls.__mro__:\n",
        "    for base in cls.__mro__[:1]:\n",
    ),
    Bug(
        "metadata that msgspec does not know is dropped",
        "actors/serde/codec.py",
        "        if strict is not None:\n",
        "        if strict is not None and not declared:\n",
    ),
    Bug(
        "a constraint of a dataclass's field is not looked for",
        "actors/serde/constraints.py",
        "typing.get_type_hints(cls, include_extras=True)",
        "typing.get_type_hints(cls)",
    ),
    Bug(
        "a union of models is left to msgspec",
        "actors/serde/constraints.py",
        "        if models and len(",
        "        if False and len(",
    ),
    Bug(
        "constraints of a step's result are dropped",
        "actors/model/result_types.py",
        "_closed_over(function), include_extras=True)",
        "_closed_over(function))",
    ),
    Bug(
        "two types of one name share a schema",
        "transport/http/json_schemas.py",
        '            free += "_"\n',
        "            break\n",
    ),
    Bug(
        "what comes behind a body counts as a header",
        "transport/server/protocol.py",
        "        if self._in_head:  # not a trailer",
        "        if True:  # not a trailer",
    ),
    Bug(
        "actors serve sets up logging before the served module does",
        "actors/cli/log_options.py",
        "        logging.lastResort = resort\n",
        "        logging.basicConfig(handlers=[resort])\n",
    ),
    Bug(
        "plain requests are missing in the access log",
        "transport/server/access_log.py",
        "        forget = self._begin(scope, body, answered)\n",
        "        forget = self._begin(scope, body, answer)\n",
    ),
    Bug(
        "a plain request goes around the middleware",
        "transport/served.py",
        "        return None if self.http.middleware else self._served().begin(scope, body, answer)\n",
        "        return self._served().begin(scope, body, answer)\n",
    ),
    Bug(
        "answers to plain requests cannot be read by pages of other origins",
        "transport/http/ingress.py",
        "            if self.cross_origin.open:\n",
        "            if False:\n",
    ),
    Bug(
        "the admin routes answer pages of other origins",
        "transport/http/cors.py",
        '        return segments(path_of(scope))[:2] == ["restate", "admin"]\n',
        "        return False\n",
    ),
    Bug(
        "a star in an origin stands for anything",
        "transport/http/cors.py",
        'r"(?:[a-z0-9_-]+\\.)+"',
        'r".*"',
    ),
    Bug(
        "two Host headers are one",
        "transport/server/protocol.py",
        'if len(hosts) != 1 and (hosts or version == "1.1"):',
        'if not hosts and version == "1.1":',
    ),
    Bug(
        "a body of another transfer coding is taken as it is",
        "transport/server/protocol.py",
        '        if codings not in ([], [b"chunked"]):\n',
        "        if False:\n",
    ),
    Bug(
        "a query parameter that is misspelt has no effect",
        "transport/http/requests.py",
        "            if name not in known:\n",
        "            if False:\n",
    ),
    Bug(
        "of two idempotency keys the last counts",
        "transport/http/requests.py",
        "                if self.idempotency_key is not None:\n",
        "                if False:\n",
    ),
    Bug(
        "a compressed body is read as it is",
        "transport/http/requests.py",
        "        if self.content_coding:\n",
        "        if False:\n",
    ),
    Bug(
        "a key may be longer than max_key in a call from outside",
        "actors/engine/intake.py",
        "            or len(key) > self._max_key\n",
        "",
    ),
    Bug(
        "what a handler fails with has no limit",
        "actors/attempt/ending.py",
        "failure_text(error, self.host.limits.max_failure)",
        "failure_text(error)",
    ),
    Bug(
        "what a step fails with has no limit",
        "actors/engine/steps.py",
        "failure_text(terminal, steps.env.limits.max_failure)",
        "failure_text(terminal)",
    ),
    Bug(
        "a pipe in another encoding ends the command line",
        "actors/cli/show/streams.py",
        "        reconfigure(encoding=_ASCII if is_ascii else None, errors=_ESCAPE)\n",
        "",
    ),
    Bug(
        "what cannot be shown is escaped so that JSON is none",
        "actors/cli/show/streams.py",
        "        reconfigure(encoding=_ASCII if is_ascii else None, errors=_ESCAPE)\n",
        '        reconfigure(errors="backslashreplace")\n',
    ),
    Bug(
        "a delayed message is as old as its delay when it is due",
        "storage/sqlite/figures.py",
        "CASE status WHEN 1 THEN CASE seq WHEN position THEN accepted_ms END END",
        "CASE status WHEN 1 THEN accepted_ms END",
    ),
    Bug(
        "each scrape reads the whole file",
        "actors/engine/operating/gauges.py",
        "            self._good_until = self._read_at + _SHARE * (self._read_at - began)\n",
        "            self._good_until = 0.0\n",
    ),
    Bug(
        "a scrape waits for the file however long it takes",
        "actors/engine/operating/gauges.py",
        "            await asyncio.wait([self._reading], timeout=self._patience_s)\n",
        "            await self._reading\n",
    ),
    Bug(
        "completed awakeables count as open",
        "storage/sqlite/figures.py",
        "c.kind >= 20 AND c.ref = a.idx) GROUP BY i.service",
        "c.kind >= 99 AND c.ref = a.idx) GROUP BY i.service",
    ),
    Bug(
        "the app closes before its host has shut down",
        "actors/fastapi.py",
        "        async with app, own(host) as state:\n",
        "        async with own(host) as state, app:\n",
    ),
    Bug(
        "a request that the server gives up gets no answer",
        "transport/http/ingress.py",
        "                reply = _given_up(request)\n",
        "                raise\n",
    ),
    Bug(
        "each failed attempt is logged with its traceback",
        "actors/engine/failures.py",
        "    if where not in logged:\n",
        "    if True:\n",
    ),
    Bug(
        "a new error after another one is logged without its traceback",
        "actors/engine/failures.py",
        "    if where not in logged:\n",
        "    if not logged:\n",
    ),
    Bug(
        "state is written under a key that is too long",
        "actors/engine/operating/state_access.py",
        "        self._intake.check_key(key)\n",
        "",
    ),
    Bug(
        "bytes that begin no request put off the end of a connection",
        "transport/server/protocol.py",
        "(self._in_message or not self._began)",
        "self._in_message",
    ),
    Bug(
        "whoever hangs up while it waits for a plain call is kept",
        "actors/app/outcomes.py",
        "        self.future.cancel()\n",
        "        return\n",
    ),
    Bug(
        "what runs is shown as waiting in the mailbox",
        "actors/attempt/attempt.py",
        "        if self.invocation.stored_status == _PENDING:\n",
        "        if False:\n",
    ),
    Bug(
        "an object is loaded from what was read before it was last in memory",
        "actors/engine/memory/pins.py",
        "                            and address not in self._left\n",
        "",
    ),
    Bug(
        "what a handler asked for before it was told of its cancellation is spared",
        "actors/engine/cancellation.py",
        "        if not notified and caller.has(Flag.CANCELLED):",
        "        if not notified and caller.has(Flag.CANCELLED) and not (caller.journal and caller.journal.cancelled):",
    ),
    Bug(
        "what a handler asks for after it was told of its cancellation is cancelled too",
        "actors/engine/cancellation.py",
        "        if not notified and caller.has(Flag.CANCELLED):",
        "        if caller.has(Flag.CANCELLED):",
    ),
    Bug(
        "a reader that is stopped takes the state of the holder of its object with it",
        "actors/attempt/ending.py",
        "        if not self.invocation.shared:  # a reader has",
        "        if self.snapshot is None:  # a reader has",
    ),
    Bug(
        "a request overtakes the one before it on its connection",
        "transport/server/protocol.py",
        "            and (self.cycle is None or self.cycle.response_complete)\n",
        "",
    ),
    Bug(
        "a request that was held back loses its body",
        "transport/server/protocol.py",
        "        if body:\n            super().on_body(body)\n",
        "",
    ),
    Bug(
        "a process that was overtaken goes on writing",
        "storage/sqlite/packed.py",
        "IS NOT NEW.a;",
        "IS NULL;",
    ),
    Bug(
        "a text with a NUL is left to JSON",
        "storage/sqlite/packed.py",
        r'any("\\u0000" in row[-1] for row in rows)',
        "False",
    ),
    Bug(
        "a server that stops refuses requests it has accepted",
        "transport/server/server.py",
        "        await self._connections_closed(silent_s)\n        if self._grace_s > silent_s and (",
        "        if False and (",
    ),
    Bug(
        "the mailbox is released at an await",
        "actors/attempt/attempt.py",
        "            self._waiting = yielded\n            self._rest()\n            return False\n",
        "            self._waiting = yielded\n            self._rest()\n"
        "            box = self.invocation.mailbox\n"
        "            if box.current is self.invocation and box.first:\n"
        "                box.current = box.pop()\n"
        "                self.partition.start(box.current)\n"
        "            return False\n",
    ),
    Bug(
        "a reply leaves before the commit (the gate is open)",
        "actors/engine/committer.py",
        "        self.answers: list[Invocation] = []",
        "        self.answers: list[Invocation] = type('Open', (list,), {'append': lambda self, i: "
        "[f.done() or f.set_result(i) for f in i.waiters]})()",
    ),
    Bug(
        "a caller of the batch whose commit failed is told to ask again",
        "actors/engine/unanswered.py",
        "    if invocation.stored_status < 0:  # the store has never received it",
        "    if True:",
    ),
    Bug(
        "what the store was never given is called pending",
        "actors/engine/unanswered.py",
        "    if invocation.stored_status < 0:  # the store has never received it",
        "    if False:",
    ),
    Bug(
        "a change whose commit failed is told to be made again",
        "actors/engine/committer.py",
        "            raise may_have_been_done(error, id) from error",
        "            raise",
    ),
    Bug(
        "an app that has stopped writes on",
        "actors/engine/committer.py",
        "            self.failed = error\n            self._refuse(self.batch, error)\n",
        "            self._refuse(self.batch, error)\n",
    ),
    Bug(
        "an app that closes tells that a call goes on before that is written",
        "actors/engine/partition.py",
        "                if background.closing and invocation.recorded:",
        "                if background.closing and invocation.recorded and refuse(future, _goes_on('x')) is None:",
    ),
    Bug(
        "what does not pass by itself is tried again for ever",
        "actors/app/recovery.py",
        "isinstance(failure, StorageError) and failure.transient",
        "isinstance(failure, StorageError)",
    ),
    Bug(
        "a full disk ends the app for good",
        "storage/errors.py",
        '    error = "storage_full"\n    transient = True\n',
        '    error = "storage_full"\n',
    ),
    Bug(
        "an app goes on with another file at its path",
        "storage/sqlite/store.py",
        "        if self._expected is not None and secret != self._expected:",
        "        if False:",
    ),
    Bug(
        "pauses between starts do not grow",
        "actors/app/recovery.py",
        "            self._tries += 1\n",
        "",
    ),
    Bug(
        "a paused invocation is tried again when the app recovers",
        "actors/app/lifecycle.py",
        "            partition.residents.paused_here.update(before.residents.paused_here)\n",
        "            pass\n",
    ),
    Bug(
        "the server stays when its app cannot recover",
        "actors/cli/serving.py",
        "        server.should_exit = True\n        raise\n",
        "        raise\n",
    ),
    Bug(
        "a server whose app cannot recover waits for its steps for ever",
        "actors/cli/serving.py",
        "            code = _failure(str(error), 1)\n        tasks",
        "            sys.exit(_failure(str(error), 1))\n        tasks",
    ),
    Bug(
        "what an object raises on purpose is called a mistake of its caller",
        "actors/model/futures.py",
        "                error._elsewhere = True\n",
        "                pass\n",
    ),
    Bug(
        "a mistake is told again of each caller",
        "actors/engine/failures.py",
        "(error.location is not None or not isinstance(error, REFUSALS))",
        "not isinstance(error, REFUSALS)",
    ),
    Bug(
        "a refused call is not called a mistake",
        "actors/engine/failures.py",
        "(error.location is not None or not isinstance(error, REFUSALS))",
        "True",
    ),
    Bug(
        "a step that runs over a restart is begun beside itself",
        "actors/engine/steps.py",
        "            if left is not None:\n                self._join(left)",
        "            if False:\n                ...",
    ),
    Bug(
        "the result of a step that ended during an outage is dropped",
        "actors/engine/steps.py",
        "        left_steps.leave(self._key(), job)\n",
        "        if not job.done():\n            left_steps.leave(self._key(), job)\n            job.add_done_callback(lambda _: left_steps._left.pop(self._key(), None))\n",
    ),
    Bug(
        "a step that ends while the running ones are listed breaks the list",
        "actors/engine/left_steps.py",
        "in _left.copy().values()",
        "in _left.values()",
    ),
    Bug(
        "a step that ends while its file is closed keeps the file open",
        "actors/engine/left_steps.py",
        "in _left.copy().items()",
        "in _left.items()",
    ),
    Bug(
        "an app cannot start while another one starts on another thread",
        "actors/app/lifecycle.py",
        "for reference in _apps.copy() if",
        "for reference in _apps if",
    ),
    Bug(
        "a step whose thread could not be started runs beside its next attempt",
        "actors/engine/step_threads.py",
        "            execution.function = _nothing\n",
        "",
    ),
    Bug(
        "a thread that could not be started counts",
        "actors/engine/daemon_threads.py",
        '        thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)\n',
        '        thread = threading.Thread(target=self._work, name=f"{self._name}_{len(self._threads)}", daemon=True)\n'
        "        self._threads.append(thread)\n",
    ),
    Bug(
        "a step waits behind a busy thread although another one can be started",
        "actors/engine/daemon_threads.py",
        "            self._idle -= 1\n",
        "            self._idle = max(self._idle - 1, 0)\n",
    ),
    Bug(
        "an async step of another loop is begun beside itself",
        "actors/engine/left_steps.py",
        "    return bridge\n",
        "    return None\n",
    ),
    Bug(
        "an async step that ended by its cancellation on another loop has failed",
        "actors/engine/steps.py",
        "        if self._joined and isinstance(error, asyncio.CancelledError):",
        "        if self._joined and running.cancelled():",
    ),
    Bug(
        "an async step of a closed loop fails the next app",
        "actors/engine/left_steps.py",
        "    except RuntimeError:  # the loop is closed\n        return None\n",
        "    except ValueError:\n        return None\n",
    ),
    Bug(
        "a placement does not notice that it was cancelled with the one it waits for",
        "actors/engine/waits/idempotency.py",
        "is_cancelled() or not pending.cancelled()",
        "not pending.cancelled()",
    ),
    Bug(
        "a client that closes swallows the cancellation of its caller",
        "transport/client/connection.py",
        "self._task.cancelled() and not is_cancelled()",
        "self._task.cancelled()",
    ),
    Bug(
        "a file that was opened beside its owner is never closed",
        "storage/sqlite/lock.py",
        "        owner._to_close.append(database)\n",
        "        pass\n",
    ),
    Bug(
        "an async step is cancelled by an outage",
        "actors/engine/steps.py",
        "            if self._steps.background.closing or self._invocation.ended:\n                job.cancel()",
        "            job.cancel()",
    ),
    Bug(
        "a step that waits for a thread is left",
        "actors/engine/steps.py",
        "            execution.withdraw()\n            executing",
        "            executing",
    ),
    Bug(
        "a server that ends begins more steps",
        "actors/engine/steps.py",
        "self._over() or steps.draining",
        "self._over()",
    ),
    Bug(
        "a server waits for a step however long it runs",
        "actors/engine/daemon_threads.py",
        'len(self._threads)}", daemon=True)',
        'len(self._threads)}")',
    ),
    Bug(
        "a caller whose handler was evicted is told to ask again",
        "actors/engine/partition.py",
        "refuse(future, _goes_on(id) if background.closing else may_have_been_done(error, id))",
        "refuse(future, error)",
    ),
    Bug(
        "an app that nothing refers to is held by its timers",
        "actors/app/lifecycle.py",
        "executor, _weakly(self._has_stopped))",
        "executor, self._has_stopped)",
    ),
    Bug(
        "a cell of an interactive session cannot be run again",
        "actors/app/lifecycle.py",
        'hasattr(sys, "ps1")',
        'hasattr(sys, "none")',
    ),
    Bug(
        "programs of two parents are taken for workers of one server",
        "storage/errors.py",
        ".split()[1]) == os.getppid()",
        ".split()[1]) > 0",
    ),
    Bug(
        "a coroutine that run() refuses is left over",
        "actors/app/runner.py",
        "        main.close()  # otherwise Python warns that the coroutine was never awaited",
        "        # else",
    ),
    Bug(
        "a step starts before what it depends on is durable (the gate is open)",
        "actors/engine/committer.py",
        "        if not self.batch.empty():\n            self.batch.gates.append(callback)\n",
        "        if not self.batch.empty():\n            callback()\n",
    ),
    Bug(
        "a replay repeats the line after the last answer an attempt has seen",
        "actors/journal/replay.py",
        "self._completions <= self._journal.passed",
        "self._completions < self._journal.passed",
    ),
    Bug(
        "a line that comes after a failure is lost",
        "actors/journal/replay.py",
        "self._completions if waiting else self._completions - 1)",
        "self._completions)",
    ),
    Bug(
        "what came back from disk repeats its lines",
        "actors/engine/memory/loader.py",
        "        entries.passed = len(entries.completions)",
        "        entries.passed = -1",
    ),
    Bug(
        "a restart leaves what was written with the outcome",
        "actors/attempt/ending.py",
        "        if changes is not None and invocation.journal is not None:\n",
        "        if False:\n",
    ),
    Bug(
        "what is restarted with the writes of its outcome does not fit them",
        "actors/attempt/recorder.py",
        "        if recorded is not None and replay.only_writes():",
        "        if False:",
    ),
    Bug(
        "what an atomic handler writes is seen before its outcome",
        "actors/attempt/recorder.py",
        "        invocation.more().flags |= Flag.APART\n        self.host.mark(invocation)\n        return True\n",
        "        return False\n",
    ),
    Bug(
        "what an atomic handler wrote before its last await is lost when it succeeds",
        "actors/attempt/ending.py",
        "            changes = state.ahead(changes or {})\n",
        "            pass\n",
    ),
    Bug(
        "a restarted atomic handler shows the writes it has kept",
        "actors/engine/operating/restarts.py",
        "        if handler is not None and handler.atomic:",
        "        if False:",
    ),
    Bug(
        "a plain message overtakes one that is being placed",
        "actors/engine/waits/idempotency.py",
        "        return (caller.seq, target.service.name, key) in self.lanes\n",
        "        return False\n",
    ),
    Bug(
        "what stands behind a placement does not wait for it",
        "actors/engine/waits/idempotency.py",
        "                await asyncio.wait([before])\n",
        "                pass\n",
    ),
    Bug(
        "a message that was placed late has its place by the number it was given when it was sent",
        "actors/engine/intake.py",
        "        if seq + 1 != self._ledger.next:",
        "        if False:",
    ),
    Bug(
        "what fails for good loses what it has sent and is not placed yet",
        "actors/engine/progress.py",
        "        if self.sending([invocation]):",
        "        if False:",
    ),
    Bug(
        "a kill returns before what it has killed has ended",
        "actors/engine/operating/operations.py",
        "as invocation, self._progress.sent(self._tree(invocation)):",
        "as invocation:",
    ),
    Bug(
        "two restarts place a message under one number",
        "actors/engine/operating/restarts.py",
        "numbers.get(row.idx, before)",
        "before",
    ),
    Bug(
        "a refusal leaves before what it speaks of is durable",
        "actors/engine/committer.py",
        "        if error is None or isinstance(error, TerminalError):\n",
        "        if error is None:\n",
    ),
    Bug(
        "a recorded run is executed again",
        "actors/attempt/commands.py",
        "        if not self.invocation.begun(entry.idx):\n            bound",
        "        if True:\n            bound",
    ),
    Bug(
        "a sleep ends up to a millisecond early",
        "actors/testing/clock.py",
        "        return -(-self._now_ns // _MS) + after_ms",
        "        return self._now_ns // _MS + after_ms",
    ),
    Bug(
        "a delayed message is due up to a millisecond early",
        "actors/engine/intake.py",
        "due_ms = invocation.position = self._clock.due_ms(delay_ms)",
        "due_ms = invocation.position = invocation.accepted_ms + delay_ms",
    ),
    Bug(
        "a sleep until a moment that has passed fails",
        "actors/model/context.py",
        'self._attempt.sleep(remaining(duration, "ctx.sleep"))',
        'self._attempt.sleep(remaining(abs(duration), "ctx.sleep"))',
    ),
    Bug(
        "a full mailbox is final for a handler that has not said so",
        "actors/engine/waits/deadlocks.py",
        "if not isinstance(error, MailboxFull) or options.fail_when_full:",
        "if True:",
    ),
    Bug(
        "a handler waits for room in a mailbox that waits for it",
        "actors/engine/waits/deadlocks.py",
        "        return self.waits_for(target.service.name, key, sender)",
        "        return False",
    ),
    Bug(
        "a sender that gets on uses up its attempts",
        "actors/engine/failures.py",
        "    if extras.pushed_back_at is not None and size > extras.pushed_back_at:",
        "    if False:",
    ),
    Bug(
        "a message under a key from outside goes into a full mailbox",
        "actors/app/gateway.py",
        "            partition.intake.check_room(message.target, message.key, message.args_text, message.options.headers)\n",
        "",
    ),
    Bug(
        "a paused invocation goes on executing its step",
        "actors/engine/operating/operations.py",
        "            self._progress.withdraw_steps(invocation)\n",
        "",
    ),
    Bug(
        "an invocation that its policy pauses goes on executing its steps",
        "actors/engine/failures.py",
        "        self._progress.withdraw_steps(invocation)\n",
        "",
    ),
    Bug(
        "a step that fails while its invocation is paused is tried again",
        "actors/engine/steps.py",
        "        if invocation.status == Status.PAUSED:",
        "        if False:",
    ),
    Bug(
        "a step is tried again while its invocation waits to be told of its cancellation",
        "actors/engine/steps.py",
        "        return not journal.cancelled or self._told_cancelled()",
        "        return self._told_cancelled()",
    ),
    Bug(
        "a cancelled handler that goes on has its step tried again",
        "actors/engine/steps.py",
        "        if self.executing is None and self._policy is not None and (tries := self._tries()) and tries.failed:",
        "        if False:",
    ),
    Bug(
        "a step forgets at a restart how often it has failed",
        "storage/sqlite/database.py",
        "            if batch.tries:",
        "            if False:",
    ),
    Bug(
        "a step that failed is tried at once after a restart",
        "actors/engine/steps.py",
        "steps.progress.wake_at(min(tries.next_ms or 0, latest), self._due)",
        "steps.progress.wake_at(0, self._due)",
    ),
    Bug(
        "a restart that keeps a step keeps its failures",
        "actors/engine/operating/restarts.py",
        "            if kind == Kind.RUN:",
        "            if False:",
    ),
    Bug(
        "two steps of one key run at the same time after a kill",
        "actors/engine/progress.py",
        "            if invocation.work is not None:\n                self._hold_key(invocation)",
        "            if invocation.work is not None:\n                self._pass_on(invocation)",
    ),
    Bug(
        "a step that does not end holds its key without limit",
        "actors/engine/progress.py",
        "        self.wake_at(self._clock.due_ms(grace_ms), let_go)\n",
        "",
    ),
    Bug(
        "steps that wait for a thread are not seen",
        "actors/engine/step_threads.py",
        "        late = [execution for execution in waiting if execution.queued_ms + LONG_MS <= now]",
        "        late: list[Execution] = []",
    ),
    Bug(
        "a handler uses its own app",
        "actors/app/entry.py",
        "    if inside.get() is partition:",
        "    if False:",
    ),
    Bug(
        "an app is called from another thread",
        "actors/app/entry.py",
        "    if running is loop:",
        "    if True:",
    ),
    Bug(
        "on_paused counts as a part of the handler that is paused",
        "actors/app/lifecycle.py",
        "        self._outside.copy().run(self._tell_paused_outside, invocation)",
        "        self._tell_paused_outside(invocation)",
    ),
    Bug(
        "a mistake in the code uses up the whole policy in an app with debug",
        "actors/engine/failures.py",
        "        return self._env.debug and failed >= DEBUG_ATTEMPTS and",
        "        return False and failed >= DEBUG_ATTEMPTS and",
    ),
    Bug(
        "a traceback goes out of an app without debug",
        "actors/app/outcomes.py",
        "    if isinstance(failure, ProgrammingError) and not partition.env.debug:",
        "    if False:",
    ),
    Bug(
        "a mistake in a handler leaves no trace",
        "actors/engine/failures.py",
        "    if not isinstance(error, CHECKS):",
        "    if True:",
    ),
    Bug(
        "what a handler raises on purpose counts as a mistake",
        "actors/engine/failures.py",
        "    if frames and not _is_own(frames[-1][0].f_code.co_filename):",
        "    if False:",
    ),
    Bug(
        "two timers of the same instant are swapped",
        "actors/engine/timers.py",
        "timer = (due_ms, self._ledger.next_number(), invocation.seq, index)",
        "timer = (due_ms, -self._ledger.next_number(), invocation.seq, index)",
    ),
    Bug(
        "an attempt resumes with the current instead of the initial state",
        "actors/attempt/attempt.py",
        "initial = journal.initial_state(self.state.stored, invocation.has(Flag.APART))",
        "initial = dict(self.state.stored)",
    ),
    Bug(
        "the last batch's messages are lost",
        "actors/engine/committer.py",
        "            if invocation.extras is None:\n",
        "            if invocation.parent is not None and invocation.status == 1 and len(self.journal) > 2:\n"
        "                continue\n"
        "            if invocation.extras is None:\n",
    ),
    Bug(
        "a completion is shown before the code has asked for what comes before it",
        "actors/journal/replay.py",
        "            if entry.idx >= first:\n                return None\n",
        "",
    ),
    Bug(
        "what a command had not seen is not recorded",
        "actors/attempt/recorder.py",
        "if self._branches is not None and (unseen := replay.completion()) is not None:",
        "if False and (unseen := replay.completion()) is not None:",
    ),
    Bug(
        "completions are shown before branches have reacted to the one before",
        "actors/tasks/branches.py",
        "        if self.tasks and not self.over:\n            self.quiet = False",
        "        pass",
    ),
    Bug(
        "branches count as at rest while asyncio calls back between them",
        "actors/tasks/branches.py",
        "QUIET_TURNS = 6",
        "QUIET_TURNS = 1",
    ),
    Bug(
        "a resume that was under way starts a handler in an app that has stopped",
        "actors/engine/progress.py",
        "        if self._background.stopped or (self.stopping and invocation.seq in self.stopping):",
        "        if self.stopping and invocation.seq in self.stopping:",
    ),
    Bug(
        "gathers within gathers have six turns, however many there are",
        "actors/tasks/branches.py",
        "        self._nested = max(self._nested, nested)\n",
        "",
    ),
    Bug(
        "sets of tasks are gone through in the order of addresses",
        "actors/tasks/branches.py",
        "        return self._hash\n",
        "        return id(self) >> 4\n",
    ),
    Bug(
        "asyncio.as_completed starts its coroutines in the order of addresses",
        "actors/tasks/awaited.py",
        "                return [one for one in together if asyncio.iscoroutine(one)]",
        "                return [coroutine]",
    ),
    Bug(
        "a wait for something outside counts as changed code",
        "actors/attempt/attempt.py",
        "        if self._certain():",
        "        if True:",
    ),
    Bug(
        "branches outlive their attempt",
        "actors/tasks/branches.py",
        "        for task in list(self.tasks):\n            task.cancel()\n",
        "        for task in list(self.tasks):\n",
    ),
    Bug(
        "a closed handler is not given what its clean-up awaits",
        "actors/attempt/cleanup.py",
        "                if error is None:\n                    self._hold()\n                    self.awaited = yielded\n",
        "                self._abandon()\n                if error is None:\n                    self._hold()\n"
        "                    self.awaited = yielded\n",
    ),
    Bug(
        "a handler leaves memory while a task of its own waits for something outside",
        "actors/attempt/attempt.py",
        "        if self._waiting is not None and (branches is None or branches.all_wait_durably()):",
        "        if self._waiting is not None:",
    ),
    Bug(
        "a timer may cancel a durable wait of a branch",
        "actors/model/futures.py",
        "        if not self.done() and not self._attempt.cancels_itself():",
        "        if False:",
    ),
    Bug(
        "a task group may not cancel a durable wait",
        "actors/attempt/task_interface.py",
        "        if self.runs() or (self._branches is not None and self._branches.reacting):",
        "        if self.runs():",
    ),
    Bug(
        "a group of terminal errors is tried again",
        "actors/model/raised.py",
        "    if not isinstance(first, TerminalError) or not all(isinstance(leaf, TerminalError) for leaf in errors):",
        "    if True:",
    ),
    Bug(
        "a group with one terminal error is terminal",
        "actors/model/raised.py",
        " or not all(isinstance(leaf, TerminalError) for leaf in errors):",
        ":",
    ),
    Bug(
        "an exit raised by an async step ends the process",
        "actors/engine/steps.py",
        "    except (SystemExit, KeyboardInterrupt) as stop:",
        "    except ZeroDivisionError as stop:",
    ),
    Bug(
        "an exit raised by a task of the handler ends the process",
        "actors/tasks/branches.py",
        "        except (SystemExit, KeyboardInterrupt) as error:",
        "        except ZeroDivisionError as error:",
    ),
    Bug(
        "Ctrl-C counts as an error of the code that it meets",
        "actors/model/raised.py",
        "    if not isinstance(error, KeyboardInterrupt):\n        return False\n",
        "    return False\n",
    ),
    Bug(
        "an invocation ends while anyio goes through the tasks it cancels",
        "actors/attempt/task_interface.py",
        "            self.wake()\n\n    def cancel(self",
        "            self.run()\n\n    def cancel(self",
    ),
    Bug(
        "a handler's counter of cancellations stands still",
        "actors/attempt/task_interface.py",
        "        self._insides().cancels += 1\n",
        "",
    ),
    Bug(
        "the other errors of a group are lost",
        "actors/model/raised.py",
        "    if len(errors) > 1:",
        "    if False:",
    ),
    Bug(
        "the order of completions is not kept on replay",
        "actors/journal/replay.py",
        "        entry = journal.completions[self._completions]\n",
        "        left = journal.completions[self._completions :]\n"
        "        best = min(left, key=lambda entry: entry.ref or 0)\n"
        "        journal.completions.remove(best)\n"
        "        journal.completions.insert(self._completions, best)\n"
        "        entry = journal.completions[self._completions]\n",
    ),
    Bug(
        "a retry is forgotten by a crash",
        "actors/engine/timers.py",
        "                self._progress.start(invocation)\n                # The timer is removed with this batch: after a crash nothing else would wake the invocation.\n                self._ledger.mark(invocation)\n",
        "                self._progress.start(invocation)\n",
    ),
    Bug(
        "a completion does not wake a stored invocation",
        "actors/engine/progress.py",
        "            invocation.status = _RUNNING\n            self._ledger.mark(invocation)\n",
        "            invocation.status = _RUNNING\n",
    ),
    Bug(
        "the completion of another's awakeable is forgotten by a crash",
        "actors/engine/waits/awakeables.py",
        "self._progress.add_work(caller, command, task)",
        "caller.seq = caller.seq",
    ),
    Bug(
        "a cancellation is told twice",
        "actors/engine/cancellation.py",
        "        if journal is None or journal.cancelled:\n",
        "        if journal is None:\n",
    ),
    Bug(
        "a cancellation is told before the calls are over",
        "actors/engine/cancellation.py",
        "        if not invocation.ended and not self.calls_left(invocation):\n",
        "        if not invocation.ended:\n",
    ),
    Bug(
        "a pause by an operator is forgotten by a restart",
        "actors/engine/memory/loader.py",
        "and (invocation.has(Flag.HELD) or invocation.seq in self._residents.paused_here)",
        "and invocation.seq in self._residents.paused_here",
    ),
    Bug(
        "an idempotency key is not looked for on disk",
        "actors/engine/waits/idempotency.py",
        "row = await self._store.find(*claim)",
        "row = None",
    ),
    Bug(
        "the state of an atomic handler stays when it fails",
        "actors/engine/teardown.py",
        "            self._roll_back(invocation, journal)\n",
        "            pass\n",
    ),
    Bug(
        "a cycle of waits is not looked for",
        "actors/engine/intake.py",
        "                self._loader.queued(invocation)\n",
        "                pass\n",
    ),
    Bug(
        "what is about to be used may leave memory",
        "actors/engine/memory/eviction.py",
        "if mailbox.readers or mailbox.pins or mailbox.written_in > handed_over:",
        "if mailbox.readers or mailbox.written_in > handed_over:",
    ),
    Bug(
        "a restart keeps a journal, and draws random numbers of its own",
        "actors/attempt/commands.py",
        "ids.random(self.invocation.seed)",
        "ids.random(self.invocation.seq)",
    ),
    Bug(
        "a restart renames ids in what has changed, not in what the texts were",
        "actors/engine/operating/restarts.py",
        "            if kind in WRITES:  #",
        "            if kind in WRITES and kind != Kind.CHANGE:  #",
    ),
    Bug(
        "a long text is undone from a state that another one has left",
        "actors/journal/journal.py",
        "                if not left(writes[-1], text):",
        "                if False:",
    ),
    Bug(
        "each state write holds the text before it",
        "actors/journal/journal.py",
        "        kept = None if whole else before\n",
        "        kept = before\n",
    ),
    Bug(
        "a replay on migrated state takes the changes of the older version for changes of the migrated text",
        "actors/journal/replay.py",
        '        return self._bases.pop(name or "", None) or texts.get(name or "")',
        '        return texts.get(name or "")',
    ),
    Bug(
        "characters of a journal count, not bytes",
        "actors/journal/entries.py",
        "value.__class__ is bytes or value.isascii() else len(value.encode())",
        "value.__class__ is bytes or value else 0",
    ),
    Bug(
        "a look at all attributes puts what is stored over what was assigned",
        "actors/model/object_state.py",
        "        elif name in values:\n            containers.assigned(",
        "        elif False:\n            containers.assigned(",
    ),
    Bug(
        "what was assigned, looked at and deleted counts as never seen",
        "actors/model/object_state.py",
        "            self._present = -1  # it has",
        "            pass  # it has",
    ),
    Bug(
        "a deleted container is read from the class body, which all objects share",
        "actors/model/instances.py",
        "        value = values_of(instance)[self._name] = field.default()",
        "        value = getattr(self._cls, self._name)",
    ),
    Bug(
        "a copy of an object takes its attempt along",
        "actors/model/virtual_object.py",
        "        return dict(vars(self))\n",
        "        return object.__getstate__(self)  # type: ignore[attr-defined]\n",
    ),
    Bug(
        "a container that is handed out after the last durable point is not held back again",
        "actors/model/object_state.py",
        "            containers.given = True\n            containers.has_loaded(",
        "            containers.has_loaded(",
    ),
    Bug(
        "an attempt that is over takes a container from the next one",
        "actors/model/object_state.py",
        "        if instance is not self.instance or containers is None:",
        "        if containers is None:",
    ),
    Bug(
        "all containers are handed out when an attempt begins",
        "actors/model/object_state.py",
        "            self._renew(self.containers, values_of(instance))\n",
        "            self._renew(self.containers, values_of(instance))\n            self.hand_out_all(instance)\n",
    ),
    Bug(
        "vars() of an object shows no container that was not read before",
        "actors/model/instances.py",
        "        keeper.hand_out_all(self)\n    return values_of(self)",
        "        pass\n    return values_of(self)",
    ),
    Bug(
        "a large text of state is put into JSON to be written",
        "storage/sqlite/packed.py",
        "        if len(text) > LARGE:",
        "        if False:",
    ),
    Bug(
        "the result of a short step waits for a commit that holds nothing of it",
        "actors/engine/committer.py",
        "                    await self._let_begin()\n",
        "                    pass\n",
    ),
    Bug(
        "a restart overwrites what others have written",
        "actors/engine/operating/restarts.py",
        "            if not (found_by(writes, text) if atomic else left(writes[-1], text)):\n",
        "            if False:\n",
    ),
    Bug(
        "an open sleep that a restart keeps gets no timer",
        "actors/engine/operating/restarts.py",
        "                timers.add(entry.ref, invocation, entry.idx)\n",
        "                pass\n",
    ),
    Bug(
        "a file is owned by its name alone",
        "storage/sqlite/lock.py",
        "_patiently(lambda: range_locks.take(database, _OWNER_AT, os.getpid(), shared=self._reader))\n",
        "True\n",
    ),
    Bug(
        "another name of a file that this process owns is not known",
        "storage/sqlite/lock.py",
        "    return _owners.get((found.st_dev, found.st_ino))\n",
        "    return None\n",
    ),
    Bug(
        "what is opened of an owned file is closed again",
        "storage/sqlite/lock.py",
        "        owner._to_close.append(database)\n",
        "        os.close(database)\n",
    ),
    Bug(
        "the log is not kept when SQLite's locks are lost",
        "storage/sqlite/watch.py",
        "        range_locks.take(database, _SHARED_AT, _SHARED_BYTES, shared=True)\n",
        "",
    ),
    Bug(
        "a commit is acknowledged although the files at the path are others",
        "actors/engine/committer.py",
        "                committing = self._begin()\n                self._store.verify()\n",
        "                committing = self._begin()\n",
    ),
    Bug(
        "the last commit for now is acknowledged although the files at the path are others",
        "actors/engine/committer.py",
        "                    self._store.verify()\n                    self._writing = self._sealed = None\n",
        "                    self._writing = self._sealed = None\n",
    ),
    Bug(
        "a step begins after a commit although the files at the path are others",
        "actors/engine/committer.py",
        "                if written.gates:\n                    self._store.verify()\n",
        "                if written.gates:\n",
    ),
    Bug(
        "the next batch is handed over when the callers of the one before have their answers",
        "actors/engine/committer.py",
        "                committing = self._begin()\n                self._store.verify()\n                self._release(written)\n",
        "                self._store.verify()\n                self._release(written)\n                committing = self._begin()\n",
    ),
    Bug(
        "an overwritten database counts as one that was copied back",
        "storage/sqlite/watch.py",
        "        if begun <= done and _copied(index) == self._copied and not touched:\n",
        "        if False:\n",
    ),
    Bug(
        "a log that was cut goes unnoticed",
        "storage/sqlite/watch.py",
        "        if settled and ",
        "        if False and ",
    ),
    Bug(
        "what was acknowledged stays in a log without a name",
        "storage/sqlite/store.py",
        '                await self._handle.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")\n',
        "                pass\n",
    ),
    Bug(
        "the log of a file put in the place of ours is removed at the end",
        "storage/sqlite/store.py",
        "            self._watch = None  # so that it keeps its locks: SQLite must not remove a log at the path\n",
        "",
    ),
    Bug(
        "a log beside another database is taken for its own",
        "storage/sqlite/bond.py",
        "    if noted != note(os.fstat(database), log):\n",
        "    if False:\n",
    ),
    Bug(
        "a note is compared with files that were both moved",
        "storage/sqlite/bond.py",
        'not noted.startswith(f"{_BOOT} {log.st_ino} ")',
        "not noted",
    ),
    Bug(
        "a file that was closed halfway counts as one that was replaced",
        "storage/sqlite/store.py",
        "                self._lock.note(UNKNOWN)  # SQLite copies",
        "                pass  # SQLite copies",
    ),
    Bug(
        "a backup begins anew at each commit of the app",
        "storage/sqlite/backup.py",
        '    source.execute("SELECT count(*) FROM sqlite_schema").fetchone()\n    try:\n',
        "    try:\n",
    ),
    Bug(
        "a source that cannot be read is reported as a destination",
        "storage/sqlite/backup.py",
        "            raise\n        known = translated(error, target)\n",
        "            pass\n        known = translated(error, target)\n",
    ),
    Bug(
        "an option that was set stays set",
        "actors/model/bound_handler.py",
        "            options.fail_when_full = fail_when_full\n",
        "            options.fail_when_full |= fail_when_full\n",
    ),
    Bug(
        "a client that cannot be used leaves its thread",
        "transport/client/sync_client.py",
        "        except BaseException:\n            self._stop()\n            raise\n",
        "        except ValueError:\n            self._stop()\n            raise\n",
    ),
    Bug(
        "a database that was overwritten by an earlier run is taken for a touched one",
        "storage/sqlite/watch.py",
        "_PAGES_COMPARED = 2  #",
        "_PAGES_COMPARED = 1  #",
    ),
    Bug(
        "a database that others have made longer is taken for a touched one",
        "storage/sqlite/watch.py",
        "size == self._stamp[1] and os",
        "os",
    ),
    Bug(
        "a restored database gives out numbers again",
        "storage/sqlite/backup.py",
        "NUMBERS_SKIPPED = 1 << 40\n",
        "NUMBERS_SKIPPED = 0\n",
    ),
    Bug(
        "a restore leaves the log of the file it replaces",
        "storage/sqlite/backup.py",
        '        for suffix in ("-wal", "-shm", "-journal"):\n',
        "        for suffix in ():\n",
    ),
    Bug(
        "a backup overwrites what came to its destination meanwhile",
        "storage/sqlite/backup.py",
        "                os.link(new, target)  # a",
        "                os.rename(new, target)  # a",
    ),
    Bug(
        "a log that a reader has made long is tried to be copied at each commit",
        "storage/sqlite/checkpoints.py",
        "            self._tried_at = watch.log_bytes\n",
        "            self._tried_at = 1\n",
    ),
    Bug(
        "the fingerprint of a text misses a change far from its end",
        "actors/journal/differences.py",
        "        if same < self._known:\n",
        "        if len(text) < self._known:\n",
    ),
    Bug(
        "the row of a large text is written with each change",
        "actors/model/object_state.py",
        "        return behind[name] <= length // WRITTEN_AFTER\n",
        "        return False\n",
    ),
    Bug(
        "the row of a large text is written in the end only",
        "actors/model/object_state.py",
        "        return behind[name] <= length // WRITTEN_AFTER\n",
        "        return True\n",
    ),
    Bug(
        "a large text is after a crash what its row says",
        "actors/engine/memory/loader.py",
        "            mailbox.state.catch_up(current.journal)\n",
        "            pass\n",
    ),
    Bug(
        "a large text that was caught up with is not written",
        "actors/model/object_state.py",
        "            self.behind = self.behind or {}\n            self.behind[name] = 0\n",
        "            pass\n",
    ),
    Bug(
        "the row of a large text stays behind when the handler waits",
        "actors/attempt/attempt.py",
        "        if self.state.behind is not None and invocation.mailbox is not None:\n            self.host",
        "        if False and invocation.mailbox is not None:\n            self.host",
    ),
    Bug(
        "the row of a large text stays behind when the attempt fails",
        "actors/attempt/ending.py",
        "            if self.state.behind is not None and self.invocation.mailbox is not None:\n",
        "            if False and self.invocation.mailbox is not None:\n",
    ),
    Bug(
        "the row of a large text stays behind when the invocation ends",
        "actors/engine/teardown.py",
        "            self._ledger.write_behind(mailbox)\n",
        "            pass\n",
    ),
    Bug(
        "the state that is asked for is that of the row",
        "actors/engine/operating/state_access.py",
        "            self._ledger.write_behind(mailbox)\n",
        "            pass\n",
    ),
    Bug(
        "a migration takes rows of large texts for the state",
        "actors/attempt/upgrades.py",
        "        ledger.write_behind(invocation.mailbox)\n",
        "        pass\n",
    ),
    Bug(
        "a check takes the row of a large text for the state",
        "actors/check/rehearsal.py",
        "                state.catch_up(invocation.journal)\n",
        "                pass\n",
    ),
    Bug(
        "a file is opened without the log that lies beside another name of it",
        "storage/sqlite/bond.py",
        "        _refuse_elsewhere(path, database)\n",
        "        pass\n",
    ),
    Bug(
        "where the log lies is told of a copy of the file too",
        "storage/sqlite/bond.py",
        "    if inode != os.fstat(database).st_ino or log !=",
        "    if log !=",
    ),
    Bug(
        "a log that was moved along with its file is looked for at its old place",
        "storage/sqlite/bond.py",
        '        if os.path.samestat(os.stat(path + "-wal"), elsewhere):\n',
        "        if False:\n",
    ),
    Bug(
        "a closed app leaves the note where its log lay",
        "storage/sqlite/store.py",
        "                    forget_place(self._lock.database)\n",
        "                    pass\n",
    ),
    Bug(
        "an empty log beside another name keeps an app from starting",
        "storage/sqlite/bond.py",
        " or not elsewhere.st_size:\n",
        ":\n",
    ),
    Bug(
        "commits give no way to the copy of a long log",
        "storage/sqlite/checkpoints.py",
        "                writer.gives_way = GIVE_WAY\n",
        "                pass\n",
    ),
    Bug(
        "commits give way for ever once a long log was copied",
        "storage/sqlite/checkpoints.py",
        "            writer.gives_way = GIVE_WAY if self._huge else 0.0\n",
        "            pass\n",
    ),
    Bug(
        "a log grows without a word as fast as the disk can write",
        "storage/sqlite/checkpoints.py",
        "        huge = watch.log_bytes > HUGE_LOG * self._every\n",
        "        huge = False\n",
    ),
    Bug(
        "all that came while a long log was copied is copied between two commits",
        "storage/sqlite/checkpoints.py",
        "                if left > self._every // 4 and left < before // 2:\n",
        "                if False:\n",
    ),
    Bug(
        "the log is copied on a thread that steps may have taken",
        "storage/sqlite/checkpoints.py",
        "run_in_executor(self._copier, self._copy_beside)",
        "run_in_executor(None, self._copy_beside)",
    ),
    Bug(
        "a look at the files changes when the log was last read",
        "storage/sqlite/lock.py",
        '    quietly = getattr(os, "O_NOATIME", 0)\n',
        "    quietly = 0\n",
    ),
    Bug(
        "a log that was copied is not begun anew",
        "storage/sqlite/checkpoints.py",
        "                    await self._read(_COUNT_COPIES)\n",
        "                    pass\n",
    ),
    Bug(
        "a log is not cut when a long reader has gone",
        "storage/sqlite/database.py",
        "PRAGMA journal_size_limit = 33554432",
        "PRAGMA journal_size_limit = -1",
    ),
    Bug(
        "the newest header is looked for in what was left of an older log",
        "storage/sqlite/inspection.py",
        "bisect.bisect_left(every, True, key=is_left_over)",
        "len(every)",
    ),
    Bug(
        "a log that cannot be read where it lies is left out",
        "storage/sqlite/bystander.py",
        "        if not os.path.exists(log) or os.path.getsize(log) == 0:\n",
        "        if True:\n",
    ),
    Bug(
        "a request is answered in a batch of its own",
        "actors/engine/operating/operator_requests.py",
        "            await getattr(self._operations, operation)(seq)\n",
        "            await getattr(self._operations, operation)(seq)\n            await self._committer.flushed()\n",
    ),
    Bug(
        "handlers go on at the start before what was asked for is done",
        "actors/engine/partition.py",
        "            self.turns.hold()\n",
        "            pass\n",
    ),
    Bug(
        "what an open invocation began with is migrated after its undo values were put over migrated state",
        "actors/attempt/upgrades.py",
        "initial = migrated(definition, invocation.key, began, version, None)",
        "initial = journal.initial_state(migrated(definition, invocation.key, state.stored, state.version, None))",
    ),
    Bug(
        "the start of an open invocation is not recorded by an upgrade",
        "actors/attempt/upgrades.py",
        "    if journal is not None and initial is not None:\n",
        "    if journal is not None and initial is None:\n",
    ),
    Bug(
        "the version is not written with the migrated state",
        "actors/attempt/upgrades.py",
        "    ledger.write_state(invocation, VERSION_NAME, str(definition.version))\n",
        "",
    ),
    Bug(
        "a snapshot does not say which version it is of",
        "actors/attempt/recorder.py",
        "packed_state(self.snapshot), version if version > 1 else None)",
        "packed_state(self.snapshot), None)",
    ),
    Bug(
        "a check begins again what was begun",
        "actors/check/rehearsal.py",
        "invocation.work = {command.idx: _GIVEN for command in invocation.journal.commands}",
        "invocation.work = None",
    ),
    Bug(
        "an outcome does not reach those attached to it after a crash",
        "storage/sqlite/store.py",
        "WHERE i.seq IS NULL OR i.status >= 6",
        "WHERE i.seq IS NULL",
    ),
    Bug(
        "the next tick of a schedule is placed a batch later",
        "actors/engine/operating/ticks.py",
        "        self._place(series, series.next(due_ms, now_ms))\n        if reason",
        "        later = series.next(due_ms, now_ms)\n"
        "        call_soon = partition.loop.call_soon\n"
        "        call_soon(call_soon, self._place, series, later)\n        if reason",
    ),
    Bug(
        "a cancelled tick is the last one of its schedule",
        "actors/engine/operating/ticks.py",
        "            self._place(series, series.next(series.due_ms, self._clock.now_ms()), series.placed_ms)\n\n",
        "            pass\n",
    ),
    Bug(
        "a tick runs although the one before it has not ended",
        "actors/engine/operating/ticks.py",
        "        if series.running is not None:\n            reason",
        "        if False:\n            reason",
    ),
    Bug(
        "the due time of a withdrawn tick stays taken",
        "actors/engine/operating/ticks.py",
        "        self._retention.purge([tick.seq], keyed=False)\n\n",
        "",
    ),
    Bug(
        "a promise is completed without those who wait for it",
        "actors/engine/waits/promises.py",
        "                self._progress.complete(invocation, at, *wanted)\n",
        "                self._loader._turns.loop.call_later(0, self._progress.complete, invocation, at, *wanted)\n",
    ),
    Bug(
        "who waits for a promise out of memory is not told",
        "actors/engine/waits/promises.py",
        "            if invocation is None or (invocation.status",
        "            if invocation is not None and (invocation.status",
    ),
    Bug(
        "the promises of a purged run stay in memory",
        "actors/engine/operating/runs.py",
        "            state.completed.clear()\n",
        "            pass\n",
    ),
    Bug(
        "a run is restarted while another one looks for it",
        "actors/engine/operating/runs.py",
        "        async with self._placements.alone([run_claim(row.service, row.key)]):\n",
        "        async with self._placements.alone([]):\n",
    ),
    Bug(
        "the mailbox of a service outlives its invocation",
        "actors/engine/progress.py",
        "        elif invocation.mode == _KEYLESS:\n            self._eviction.over(mailbox)\n\n",
        "",
    ),
    Bug(
        "state is changed from outside in the middle of an invocation",
        "actors/engine/operating/state_access.py",
        "    if begun or holder.work or (holder.journal is not None and holder.journal.size):\n",
        "    if begun and holder.work:\n",
    ),
    Bug(
        "an object in memory does not see the state that was changed from outside",
        "actors/engine/operating/state_access.py",
        "        state.renew(after, definition.version)  # and no handler goes on with the previous instance\n",
        "",
    ),
    Bug(
        "an invocation of a service is not written when it is accepted",
        "actors/engine/intake.py",
        "        self._ledger.mark(invocation)  # without a load, nothing else would write the row\n",
        "",
    ),
    Bug(
        "a private handler is described to everybody",
        "transport/http/openapi.py",
        "for one in service.handlers.values() if not one.private]",
        "for one in service.handlers.values()]",
    ),
    Bug(
        "the prefix of a mount is looked for in one form only",
        "transport/http/requests.py",
        '        for depth in range(root.count("/"), -1, -1):\n',
        '        for depth in (root.count("/"),):\n',
    ),
    Bug(
        "a client repeats what may have been done already",
        "transport/client/client.py",
        "            again = ask.repeatable\n",
        "            again = True\n",
    ),
    Bug(
        "a client takes a failure of a handler for an overloaded server",
        "transport/client/answers.py",
        '        return _told.decode(answer.body).source != "invocation"\n',
        "        return True\n",
    ),
    Bug(
        "a client leaves dots in a key as steps in a tree",
        "transport/client/calls.py",
        'text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")',
        'quote(text, safe="")',
    ),
    Bug(
        "a call over HTTP is answered by the invocation that left memory",
        "actors/app/outcomes.py",
        "            text = invocation.outcome if invocation.outcome is not None else codec.encode(self.future.result())\n",
        '            text = invocation.outcome or ""\n',
    ),
    Bug(
        "the cycle of a queued call is printed open",
        "actors/engine/waits/deadlocks.py",
        "self._progress.end(waiting, _refusal(path))",
        "self._progress.end(waiting, _refusal(path[1:]))",
    ),
    Bug(
        "a message says what something is no",
        "transport/http/durations.py",
        "is not a valid delay. Use",
        "is no delay. Use",
    ),
    Bug(
        "an equal item of another type counts as one that was encoded before",
        "actors/serde/growing.py",
        "from operator import is_\n",
        "from operator import eq as is_\n",
    ),
    Bug(
        "the keys of a large dict are not looked at",
        "actors/serde/growing.py",
        "if self._kind is dict and not all(map(is_, self._keys, value)):",
        "if False:",
    ),
    Bug(
        "what can change in place is added to a large list and encoded once",
        "actors/serde/growing.py",
        "            if not ATOMS.issuperset(map(type, _values(added))):\n                return None\n",
        "",
    ),
    Bug(
        "what is added to a large list is not checked",
        "actors/serde/growing.py",
        "                self._codec.verify(added, text)\n",
        "",
    ),
    Bug(
        "a list with a greatest length is checked by its new items alone",
        "actors/serde/codec.py",
        "    return growing and info.min_length is None and info.max_length is None\n",
        "    return growing\n",
    ),
    Bug(
        "a large list is encoded as a whole each time",
        "actors/serde/growing.py",
        "        if type(value) is not self._kind or",
        "        if len(value) > known or type(value) is not self._kind or",
    ),
    Bug(
        "a large container that was not verified counts as known",
        "actors/model/object_state.py",
        "                        containers.given = True\n                    continue  # the same",
        "                        containers.given = True\n                        containers.remember(field, value, text)\n                    continue  # the same",
    ),
    Bug(
        "what is known of a large container stays when it fits no more",
        "actors/model/containers.py",
        "            del self.known[name]\n",
        "            pass\n",
    ),
    Bug(
        "what is known of a large container stays with a discarded attempt",
        "actors/model/object_state.py",
        "            self.containers.known = None\n",
        "            pass\n",
    ),
    Bug(
        "what is known of a large container that is deleted stays",
        "actors/model/object_state.py",
        "                        containers.known.pop(field.name, None)\n",
        "                        pass\n",
    ),
    Bug(
        "what is known of a large container outlives the invocation",
        "actors/attempt/ending.py",
        "            state.containers.known = None\n",
        "            pass\n",
    ),
    Bug(
        "the threads of a handler do not know their invocation",
        "actors/attempt/attempt.py",
        "            variables.run(invocation_of.set, invocation)  # for",
        "            pass  # for",
    ),
    Bug(
        "what waits in an asynchronous generator is not looked into",
        "actors/tasks/awaited.py",
        "        while type(inner).__name__ in _OF_GENERATORS:",
        "        while False:",
    ),
    Bug(
        "the last writes of handlers keep a batch from being one statement",
        "storage/sqlite/packed.py",
        "        elif kind in STATE_WRITES and len",
        "        elif False and len",
    ),
    Bug(
        "a large state write is put into JSON to be recorded",
        "storage/sqlite/packed.py",
        ' and len(value or "") + len(before or "") <= LARGE:',
        ":",
    ),
    Bug(
        "a packed state write loses the text before it",
        "storage/sqlite/packed.py",
        "writes[kind, name, ref].append((invocation, idx, value, before, at_ms))",
        "writes[kind, name, ref].append((invocation, idx, value, None, at_ms))",
    ),
    Bug(
        "completions of promises have other numbers than in files of an earlier release",
        "actors/journal/entries.py",
        "    RESOLVE_PROMISE = 16\n    REJECT_PROMISE = 17\n",
        "    RESOLVE_PROMISE = 17\n    REJECT_PROMISE = 16\n",
    ),
    Bug(
        "paused invocations have another number than in files of an earlier release",
        "storage/records.py",
        "    PAUSED = 5  # stopped until a person acts: see `reason`\n",
        "    PAUSED = 8  # stopped until a person acts: see `reason`\n",
    ),
    Bug(
        "ids are sealed for another purpose than by an earlier release",
        "actors/journal/ids.py",
        'self._awakeables = _keyed(secret, b"awakeable")',
        'self._awakeables = _keyed(secret, b"promise")',
    ),
    Bug(
        "an open invocation draws other random numbers than under an earlier release",
        "actors/journal/ids.py",
        '_keyed(secret, b"random")',
        '_keyed(secret, b"draw")',
    ),
    Bug(
        "sets and tuples of untyped results are read as each other",
        "actors/serde/packing.py",
        "_TUPLE, _SET, _FROZENSET,",
        "_SET, _TUPLE, _FROZENSET,",
    ),
    Bug(
        "a restarted invocation of an earlier release is not known as one",
        "storage/records.py",
        "    CONTINUES = 8  #",
        "    CONTINUES = 64  #",
    ),
    Bug(
        "a released step of the schema makes an index that files of earlier releases lack",
        "storage/sqlite/schema.py",
        "CREATE INDEX promise_unclaimed ON promise (completed_ms) WHERE unclaimed = 1;\n",
        "CREATE INDEX promise_unclaimed ON promise (completed_ms, service) WHERE unclaimed = 1;\n",
    ),
    Bug(
        "what an atomic handler of an earlier release has written stays when it fails",
        "actors/engine/teardown.py",
        "        and not invocation.has(Flag.APART)\n",
        "        and invocation.has(Flag.APART)\n",
    ),
    Bug(
        "sets travel to Restate in the order of the process",
        "transport/restate/payloads.py",
        "join(sorted(_each(text, member)))",
        "join(_each(text, member))",
    ),
    Bug(
        "a list is sorted like the set of another member of its union",
        "transport/restate/payloads.py",
        "if _is_array(info) is is_array and _has_tag(info, text, is_array):",
        "if _is_array(info) is is_array:",
    ),
    Bug(
        "delayed messages to one key are due in the same millisecond on Restate",
        "transport/restate/commands.py",
        "self._last_due.get((service, key), 0) + APART_MS)",
        "self._last_due.get((service, key), 0))",
    ),
    Bug(
        "a sleep of another duration fits the journal on Restate",
        "transport/restate/commands.py",
        "self._machine.sleep, duration_ms, str(duration_ms))",
        'self._machine.sleep, duration_ms, "")',
    ),
    Bug(
        "a shared handler of an object that waits is refused on Restate",
        "transport/restate/commands.py",
        "if target.mode == Mode.EXCLUSIVE and place in self.chain:",
        "if place in self.chain:",
    ),
    Bug(
        "a handler that waits for something outside is suspended for ever",
        "transport/restate/attempt.py",
        "        if durably or expects:\n",
        "        if True:\n",
    ),
    Bug(
        "a cancellation on Restate is raised at each cancelled await",
        "transport/restate/attempt.py",
        "            self._commands.notified = False\n",
        "",
    ),
    Bug(
        "a replay waits for ever where tasks wake each other",
        "transport/restate/attempt.py",
        "(_wait_for_each_other(branches) or self._late())",
        "self._late() and False",
    ),
    Bug(
        "a value that was taken without an await is shown again",
        "transport/restate/completions.py",
        "                del self._arrived[place]\n",
        "",
    ),
    Bug(
        "a default assigned without a read leaves what is stored",
        "transport/restate/state.py",
        "        known = name in self.texts or self._complete\n",
        "        known = True\n",
    ),
    Bug(
        "an atomic handler on Restate writes before its outcome",
        "transport/restate/state_commands.py",
        "        if self._handler.atomic:\n",
        "        if not self._handler:\n",
    ),
    Bug(
        "a shared handler on Restate reads later changes",
        "transport/restate/state_commands.py",
        "        if self._handler.shared:\n            self.take_snapshot()\n",
        "        if self._handler.shared:\n            pass\n",
    ),
    Bug(
        "the version of a class is written with each of its writes",
        "transport/restate/state_commands.py",
        "            self._version_to_write = False\n            version = str(",
        "            version = str(",
    ),
    Bug(
        "a step that its attempt has left behind proposes its result",
        "transport/restate/steps.py",
        "        if not self._over:\n            try:",
        "        if self._machine:\n            try:",
    ),
    Bug(
        "an attempt that is suspended for a value is suspended again",
        "transport/restate/line.py",
        "self.suspended = isinstance(progress, Suspended)",
        "self.suspended = False",
    ),
    Bug(
        "a wake before the wait is lost",
        "transport/restate/channel.py",
        "        self._woken = True\n",
        "",
    ),
    Bug(
        "a hostile header of waiters breaks the attempt",
        "transport/restate/waiters.py",
        "except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):",
        "except msgspec.DecodeError:",
    ),
    Bug(
        "callers on Restate see the entry that names the class",
        "transport/restate/failures.py",
        "metadata.pop(ERROR, None)",
        "metadata.get(ERROR)",
    ),
    Bug(
        "an endpoint that stops waits for handlers that wait",
        "transport/restate/endpoint.py",
        "if over or not attempt.busy:",
        "if over:",
    ),
]


def failing_tests(bug: Bug | None) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(
            ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".hypothesis")
        )
        if bug is not None:
            file = copy / bug.file
            file.write_text(file.read_text().replace(bug.correct, bug.planted))
        return _failing(copy, QUICK) or _failing(copy, SLOW)


def _failing(copy: Path, tests: list[str]) -> list[str]:
    """The first that fail. Hypothesis would go on for minutes to find the simplest of what makes a property test fail."""
    parallel = ("-n", "auto", "--dist", "worksteal")
    options = ("-q", "-p", "no:cacheprovider", "--timeout=120", "--maxfail=1", "-rfE", "--tb=no")
    sound = "--ignore=tests/packaging/test_planted_bugs.py"  # which looks for the code without a bug
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *tests, *parallel, *options, sound],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.M)
    if run.returncode not in (0, 1) and not names:
        return [f"(the run ended with {run.returncode})"]
    return names


def main(words: list[str]) -> int:
    unsound = failing_tests(None)
    if unsound:
        print(f"! These fail without a bug; mend them first: {', '.join(unsound)}")
        return 1
    survived = 0
    for bug in BUGS:
        if words and not any(word in bug.name for word in words):
            continue
        if (ROOT / bug.file).read_text().count(bug.correct) != 1:
            print(f"? {bug.name}: the text to change is not there exactly once; mend this list", flush=True)
            survived += 1
            continue
        caught = failing_tests(bug)
        print(f"{'+' if caught else '-'} {bug.name}: {', '.join(caught) if caught else 'NOT CAUGHT'}", flush=True)
        survived += not caught
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
