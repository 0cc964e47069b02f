"""An expense that a person must approve, and that goes to the next person when the first does not answer in time.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python approval.py ask e-1 300 --patience 3600  the boss gets a mail, in outbox.txt and on the screen, and has an
                                                    hour; then the director gets a mail, and has an hour too
    python approval.py waiting                      after Ctrl-C or kill -9: who is to answer, and until when
    python approval.py approve prom_1... Ada        the id is in the mail, Ada is the person who approves
    python approval.py refuse prom_1... "too much"  or refuses; after the deadline, both commands are refused
    python approval.py show e-1                     what has become of the expense
    python approval.py ask e-2 300 --patience 1     no person answers within a second

The same `ask` once more does not ask twice: it goes on where the first was, and waits for the outcome. To answer while
it runs, `pip install 'virtual-actors[cli]'`, and: actors awakeables resolve prom_1... Ada --db approval.db
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from actors import ActorsError, App, Context, Workflow, handler, run, shared
from actors.errors import AwakeableRejected, DurableTimeout

OUTBOX = Path("outbox.txt")
CHAIN = ("boss", "director")


class Expense(Workflow):
    """Keyed by number. A workflow runs once for each key, so an expense cannot be approved twice."""

    status: str = "new"

    @handler
    async def ask(self, ctx: Context, euros: int, patience: float) -> str:
        for person in CHAIN:
            # The deadline is on disk: a restart does not prolong it. An answer after the deadline is refused, so the
            # boss and the director never both decide.
            answer = ctx.awakeable(str, timeout=patience)
            self.status = f"waiting for the {person}"
            await ctx.run(send_mail, person, f"{euros} euros for {ctx.key}? The id of your answer: {answer.id}")
            try:
                self.status = f"approved by {await answer}"
                break
            except AwakeableRejected as refusal:
                self.status = f"refused by the {person}: {refusal.message}"
                break
            except DurableTimeout:
                continue
        else:
            self.status = "refused, because no one has answered"
        await ctx.run(send_mail, "applicant", f"{euros} euros for {ctx.key}: {self.status}")
        return self.status

    @shared
    async def look(self) -> str:
        return self.status


def send_mail(to: str, text: str) -> None:
    """Stands in for a mail server."""
    with OUTBOX.open("a", encoding="utf-8") as outbox:
        outbox.write(f"to {to}: {text}\n")
    say(f"[mail to {to}] {text}")


def say(text: str) -> None:
    """Print a line in one write: steps run in threads."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def decide(app: App, id: str, *, approver: str | None = None, reason: str = "") -> None:
    asked = await app.invocation_of(id)
    if approver is not None:
        await app.resolve_awakeable(id, approver)
    else:
        await app.reject_awakeable(id, reason)
    say(await asked.result())


async def main(arguments: argparse.Namespace) -> None:
    async with App(Expense, storage="sqlite:///approval.db") as app:
        match arguments.command:
            case "ask":
                say(await app.object(Expense, arguments.number).ask(arguments.euros, arguments.patience))
            case "waiting":
                for found in await app.awakeables():
                    say(f"{found.key} until {found.deadline:%Y-%m-%d %H:%M:%S} UTC: {found.id}")
            case "approve":
                await decide(app, arguments.id, approver=arguments.name)
            case "refuse":
                await decide(app, arguments.id, reason=arguments.reason)
            case "show":
                say(await app.object(Expense, arguments.number).look())


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ask")
    command.add_argument("number")
    command.add_argument("euros", type=int)
    command.add_argument("--patience", type=float, default=3600, help="seconds in which each person may answer")
    commands.add_parser("waiting")
    commands.add_parser("show").add_argument("number")
    for name, text in (("approve", "name"), ("refuse", "reason")):
        command = commands.add_parser(name)
        command.add_argument("id")
        command.add_argument(text)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        run(main(read_arguments()))
    except KeyboardInterrupt:
        sys.exit("Stopped. The expense goes on with the next command.")
    except ActorsError as error:
        sys.exit(str(error))
