"""An order that waits for a person, and survives being killed meanwhile.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python orders.py place o-1 3      order three books; the request for approval goes to outbox.txt and to the screen
                                      now the order waits: press Ctrl-C, or use kill -9, or pull the plug
    python orders.py waiting          which orders wait for an approval, and since when
    python orders.py approve prom_1...  the id is in the mail; the order goes on where it was, and completes
    python orders.py refuse prom_1...   or the order ends as refused, and nothing is reserved
    python orders.py show o-1         the current state of the order

    sqlite3 orders.db 'SELECT * FROM journal'    every step of the order
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actors import ActorsError, App, Context, TerminalError, VirtualObject, handler, run, shared
from actors.errors import StorageError

OUTBOX = Path("outbox.txt")


class Order(VirtualObject):
    """Keyed by order number. One message at a time changes an order; a waiting order can still be read."""

    status: str = "new"
    quantity: int = 0

    @handler
    async def checkout(self, ctx: Context, quantity: int) -> str:
        if self.status != "new":
            raise TerminalError(f"Order {ctx.key} was placed before. It is {self.status}.", code=409)
        self.quantity = quantity
        self.status = "waiting for approval"

        approval = ctx.awakeable(str)
        # A recorded step: once its result is on disk, this mail is not sent again after a restart.
        await ctx.run(send_mail, "boss", f"Order {ctx.key}: {quantity} books. The id to approve it: {approval.id}")
        try:
            approver = await approval  # for a minute or a month, in this process or a later process
            left = await ctx.object(Stock, "books").reserve(quantity)
        except TerminalError as refusal:
            self.status = f"refused: {refusal.message}"
            return self.status
        ctx.object(Mailer, "customer").deliver.send(f"Order {ctx.key} is on its way.")
        self.status = f"complete, approved by {approver}, {left} books left"
        return self.status

    @shared
    async def look(self) -> str:
        return f"{self.quantity} books, {self.status}"

    @handler
    async def finished(self) -> str:
        """Like `look`, but queued behind the checkout, so it returns when the checkout is over."""
        return f"{self.quantity} books, {self.status}"


class Stock(VirtualObject):
    """Keyed by article. Two orders never get the same item, without an explicit lock."""

    items: int = 100

    @handler
    async def reserve(self, quantity: int) -> int:
        if quantity > self.items:
            raise TerminalError(f"only {self.items} in stock", code=409)
        self.items -= quantity
        return self.items


class Mailer(VirtualObject):
    """Keyed by addressee. Orders send one-way messages to a Mailer: they do not wait for a mail server."""

    delivered: int = 0

    @handler
    async def deliver(self, ctx: Context, text: str) -> None:
        await ctx.run(send_mail, ctx.key, text)
        self.delivered += 1

    @handler
    async def idle(self) -> None:
        """Returns when all earlier messages are delivered."""


def send_mail(to: str, text: str) -> None:
    """Stands in for a mail server."""
    with OUTBOX.open("a", encoding="utf-8") as outbox:
        outbox.write(f"to {to}: {text}\n")
    say(f"[mail to {to}] {text}")


def say(text: str) -> None:
    """Print a line in one write. Steps run in threads, and two `print`s at once may end up on one line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def place(app: App, number: str, quantity: int) -> None:
    order = app.object(Order, number)
    say(await order.checkout(quantity))


async def waiting(app: App) -> None:
    for found in await app.awakeables():
        say(f"{found.service} {found.key} since {found.since:%Y-%m-%d %H:%M:%S} UTC: {found.id}")


async def complete(app: App, id: str, *, approve: bool) -> None:
    number = next((found.key for found in await app.awakeables() if found.id == id), None)
    if approve:
        await app.resolve_awakeable(id, "the boss")
    else:
        await app.reject_awakeable(id, "too many books")
    if number is not None:
        say(await app.object(Order, number).finished())
        await app.object(Mailer, "customer").idle()


async def main(arguments: argparse.Namespace) -> None:
    async with App(Order, Stock, Mailer, storage="sqlite:///orders.db") as app:
        match arguments.command:
            case "place":
                await place(app, arguments.order, arguments.quantity)
            case "waiting":
                await waiting(app)
            case "show":
                say(await app.object(Order, arguments.order).look())
            case "approve" | "refuse":
                await complete(app, arguments.id, approve=arguments.command == "approve")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("place")
    command.add_argument("order")
    command.add_argument("quantity", type=int)
    commands.add_parser("show").add_argument("order")
    commands.add_parser("waiting")
    commands.add_parser("approve").add_argument("id")
    commands.add_parser("refuse").add_argument("id")
    return parser.parse_args()


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may lack a character
    try:
        run(main(read_arguments()))
    except KeyboardInterrupt:
        sys.exit("Stopped. Everything is in orders.db, and goes on with the next command.")
    except (ActorsError, StorageError) as error:
        sys.exit(str(error))
