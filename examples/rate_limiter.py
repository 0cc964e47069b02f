"""A token bucket for each customer: ten calls, and one more every ten minutes, however many callers there are.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python rate_limiter.py burst                  100 callers at once for ada, and for bob: ten of each are let through
    python rate_limiter.py burst --callers 1000   at once again, also after kill -9: the buckets are on disk, and empty
    python rate_limiter.py take eve               one call: how many are left
    python rate_limiter.py take ada               a refused call says how long to wait

The calls that were let through are in calls.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path

from actors import ActorsError, App, Context, TerminalError, VirtualObject, handler, run

CALLS = Path("calls.txt")
CUSTOMERS = ("ada", "bob")
CAPACITY = 10
INTERVAL = timedelta(minutes=10)  # after which one more call is allowed


class TooManyCalls(TerminalError):
    """`metadata["retry_after"]` says how many seconds to wait."""

    error = "too_many_calls"
    code = 429


class Bucket(VirtualObject):
    """Keyed by customer."""

    tokens: int = CAPACITY
    filled_at: datetime | None = None  # when the last token was added

    @handler
    async def take(self, ctx: Context) -> int:
        """Take a token, and return how many are left. Raises TooManyCalls."""
        now = ctx.now()  # recorded: if the process is killed below, the call is decided by the same time afterwards
        if self.filled_at is None or now < self.filled_at:  # a clock that is set back must not lock customers out
            self.filled_at = now
        added = (now - self.filled_at) // INTERVAL
        self.tokens = min(CAPACITY, self.tokens + added)
        self.filled_at = now if self.tokens == CAPACITY else self.filled_at + added * INTERVAL
        if self.tokens == 0:
            wait = (self.filled_at + INTERVAL - now).total_seconds()
            raise TooManyCalls(
                f"{ctx.key} has no calls left. Wait {wait:.1f} seconds.", metadata={"retry_after": str(wait)}
            )
        # Between the check and the subtraction the handler waits for another service. In a web server this would be a
        # race: other callers would see the same token. Here they wait, because a bucket handles one call at a time.
        await ctx.run(let_through, ctx.key, ctx.invocation_id)
        self.tokens -= 1
        return self.tokens


def let_through(customer: str, id: str) -> None:
    """Stands in for the service that is protected. By the id it recognizes a call that is repeated after a crash."""
    with CALLS.open("a", encoding="utf-8") as calls:
        calls.write(f"{customer} {id}\n")


async def wait_for(app: App, customer: str) -> float:
    """Call once. The seconds to wait before the next try; 0 if the call was let through."""
    try:
        await app.object(Bucket, customer).take()
    except TooManyCalls as refusal:
        return float((refusal.metadata or {})["retry_after"])
    return 0.0


async def burst(app: App, callers: int) -> None:
    calls = [wait_for(app, customer) for _ in range(callers) for customer in CUSTOMERS]
    waits = await asyncio.gather(*calls)
    for place, customer in enumerate(CUSTOMERS):
        refused = [wait for wait in waits[place :: len(CUSTOMERS)] if wait]
        told = f"; the others may come back in {min(refused):.1f} seconds" if refused else ""
        print(f"{customer}: {callers - len(refused)} of {callers} calls were let through{told}")


async def main(arguments: argparse.Namespace) -> None:
    async with App(Bucket, storage="sqlite:///rate_limiter.db") as app:
        match arguments.command:
            case "burst":
                await burst(app, arguments.callers)
            case "take":
                print(await app.object(Bucket, arguments.customer).take(), "calls left")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("burst").add_argument("--callers", type=int, default=100)
    commands.add_parser("take").add_argument("customer")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        run(main(read_arguments()))
    except ActorsError as error:
        sys.exit(str(error))
