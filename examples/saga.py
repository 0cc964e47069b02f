"""A trip of three reservations: when one of them fails, those before it are undone, in reverse order.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python saga.py book t-1                              a flight, a hotel, a car
    python saga.py book t-2 --sold-out car               no car: the hotel is cancelled, then the flight
    python saga.py book t-3 --sold-out car --silent 2    the hotel answers the third request; two failures are logged
    python saga.py book t-4 --sold-out car --silent 4    the hotel does not answer: the trip remembers what is still
                                                         booked, and cancels the flight nevertheless
    python saga.py undo t-4                              tries again what could not be undone
    python saga.py show t-4

Killed in the middle, a trip first ends what it began when `undo` or `show` is run. The companies write bookings.txt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actors import ActorsError, App, Context, RetryPolicy, TerminalError, VirtualObject, handler, run

BOOKINGS = Path("bookings.txt")
PARTS = ("flight", "hotel", "car")
UNDO = RetryPolicy(initial_interval=0.05, max_attempts=4)


class Trip(VirtualObject):
    """Keyed by trip number."""

    status: str = "new"
    booked: list[str] = []  # what may be reserved, in the order of the reservations

    @handler
    async def book(self, ctx: Context, sold_out: str | None = None, silent: int = 0) -> str:
        if self.status != "new":
            raise TerminalError(f"Trip {ctx.key} was booked before. It is {self.status}.", code=409)
        self.status = "under way"
        for part in PARTS:
            # Before the reservation: a trip that is cancelled meanwhile does not know whether the reservation was made.
            self.booked.append(part)
            reservation = ctx.step(name=f"reserve {part}").run(reserve, ctx.key, part, sold_out)
            try:
                await reservation
            except TerminalError as failure:
                await ctx.settle(reservation)  # of a cancelled trip it still runs, and the undo must not overtake it
                return await self.call_off(ctx, failure.message, silent)
        self.status = "booked"
        return self.status

    @handler
    async def undo(self, ctx: Context) -> str:
        """Undo what is booked, of a complete trip too."""
        if not self.booked:
            raise TerminalError(f"Trip {ctx.key} has nothing to undo. It is {self.status}.", code=409)
        return await self.call_off(ctx, "by request", 0)

    @handler
    async def show(self) -> str:
        """Queued behind a booking that goes on after a kill, so it returns when that is over."""
        return self.status

    async def call_off(self, ctx: Context, reason: str, silent: int) -> str:
        self.status = f"called off: {reason}"
        for part in reversed(self.booked.copy()):
            try:
                # A step with a policy of its own is tried again here. Its failures are counted across restarts.
                await ctx.step(name=f"cancel {part}", retry=UNDO).run(cancel, ctx.key, part, silent)
            except TerminalError as failure:
                # A failure on top of a failure. The other parts must be undone all the same, and this one must not be
                # forgotten: it stays in `booked`, for a person who repairs the cause and calls `undo`.
                self.status += f". The {part} is still booked: {failure.message}"
            else:
                self.booked.remove(part)
        return self.status


def reserve(trip: str, part: str, sold_out: str | None) -> None:
    """Stands in for the service of another company. It knows trip and part, so a repeated request changes nothing."""
    if part == sold_out:
        raise TerminalError(f"no {part} left", code=409)  # any other error would be retried
    note(trip, part, "reserved already" if noted(trip, part, "reserved") else "reserved")


def cancel(trip: str, part: str, silent: int) -> None:
    """Stands in for the same service. Of the hotel, the first `silent` requests fail."""
    if part == "hotel" and noted(trip, part, "does not answer") < silent:
        note(trip, part, "does not answer")
        raise ConnectionError(f"the {part} does not answer")
    if noted(trip, part, "reserved"):
        note(trip, part, "cancelled already" if noted(trip, part, "cancelled") else "cancelled")


def note(trip: str, part: str, event: str) -> None:
    with BOOKINGS.open("a", encoding="utf-8") as bookings:
        bookings.write(f"{trip} {part} {event}\n")


def noted(trip: str, part: str, event: str) -> int:
    lines = BOOKINGS.read_text(encoding="utf-8").splitlines() if BOOKINGS.exists() else []
    return lines.count(f"{trip} {part} {event}")


async def main(arguments: argparse.Namespace) -> None:
    async with App(Trip, storage="sqlite:///saga.db") as app:
        trip = app.object(Trip, arguments.trip)
        match arguments.command:
            case "book":
                print(await trip.book(arguments.sold_out, arguments.silent))
            case "undo":
                print(await trip.undo())
            case "show":
                print(await trip.show())


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["book", "undo", "show"])
    parser.add_argument("trip")
    parser.add_argument("--sold-out", choices=PARTS)
    parser.add_argument(
        "--silent", type=int, default=0, help="how many requests to cancel get no answer from the hotel"
    )
    return parser.parse_args()


if __name__ == "__main__":
    try:
        run(main(read_arguments()))
    except ActorsError as error:
        sys.exit(str(error))
