"""An endpoint that dies at random moments, and is there again at once: `python -m tests.restate_servers.dying_endpoint`.

The first process only forks: its child serves, and kills itself with SIGKILL behind a random number of messages of the protocol,
before or after one of them is sent, or inside a step. A fork takes milliseconds, where a new process would import for a second.
Options: the port, "streams" or "one attempt each", the seed, and a file. Attempts and their decisions are appended to the file.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from actors import App, Context, RetryPolicy, run
from actors.cli.restate.serving import granian
from actors.transport.restate import Endpoint, endpoint
from tests.restate import programs

Message = dict[str, Any]
RETRY = RetryPolicy(initial_interval=0.02, max_interval=0.1, max_attempts=None)


class Teller:
    """The file with the attempts of all processes: a line for each beginning, and for each decision."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(self, key: str, decision: list[Any] | None) -> None:
        os.write(self._file, json.dumps([key, decision]).encode() + b"\n")


class Death:
    """Comes when a life has met enough moments."""

    def __init__(self) -> None:
        self._left = 0

    def begin(self, rng: Random) -> None:
        """A life begins, most often a short one."""
        self._left = rng.randrange(1, rng.choice([6, 12, 40]))

    def moment(self) -> None:
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """The endpoint. Before and after each message of an invocation is a moment of death; what it is sent again counts for nothing."""

    def __init__(self, served: Endpoint, death: Death) -> None:
        self._served = served
        self._death = death

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        async def sent(message: Message) -> None:
            self._death.moment()
            await send(message)
            self._death.moment()

        await self._served(scope, receive, sent if "/invoke/" in scope.get("path", "") else send)


def app_of(teller: Teller, moment: Callable[[], None]) -> App:
    class Told(programs.Program, name="Program"):
        def _began(self, ctx: Context) -> None:
            teller.tell(ctx.key, None)

        def _saw(self, ctx: Context, decision: list[Any]) -> None:
            teller.tell(ctx.key, decision)

        @staticmethod
        def _stepped(value: int) -> int:
            moment()
            return value

    return App(Told, retry=RETRY)


def main(port: str, mode: str, seed: str, path: str) -> None:
    death = Death()
    streams = mode == "streams"
    mortal = Mortal(endpoint(app_of(Teller(Path(path)), death.moment), streams=streams), death)
    granian(mortal, "127.0.0.1", int(port), http1=not streams)  # what takes long is imported before the first life
    child = 0

    def end(*_: object) -> None:
        os.kill(child, signal.SIGKILL)
        os._exit(0)

    for life in itertools.count():
        child = os.fork()
        if not child:
            death.begin(Random(f"{seed} {life}"))
            run(granian(mortal, "127.0.0.1", int(port), http1=not streams).serve())
            os._exit(1)
        signal.signal(signal.SIGTERM, end)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            sys.exit(f"the endpoint has ended by itself: {status}")


if __name__ == "__main__":
    main(*sys.argv[1:])
