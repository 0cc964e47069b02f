"""An agent that uses tools until it has an answer, and asks a person before it uses a dangerous tool.

Copy this file anywhere. It requires only `pip install virtual-actors`, and keeps its data in the current folder:

    python agent.py ask t-1 "Pay the invoice of ACME"    it finds the invoice; before it pays, it asks a person, on the
                                                         screen: press Ctrl-C, or use kill -9, then or at any moment
    python agent.py allow prom_1...                      it goes on where it was, pays, and answers
    python agent.py deny prom_1...                       or it has to answer without having paid
    python agent.py show t-1                             all messages up to now

The same `ask` once more goes on too. What the model has answered, or a tool has returned, is on disk and not requested
again: each request prints a line, [model] or [tool]. To use a real language model, assign your own function to MODEL.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from actors import ActorsError, App, Context, TerminalError, Workflow, handler, run, shared


@dataclass
class Message:
    role: str  # user, model or tool
    text: str


@dataclass
class Turn:
    """What the model decides: to use a tool with this text or, if there is no tool, to answer with this text."""

    text: str
    tool: str | None = None


async def scripted_model(messages: list[Message]) -> Turn:
    """Stands in for a language model. The request to a real model belongs here; its answers may differ each time."""
    say(f"[model] reads {len(messages)} messages")
    results = [message.text for message in messages if message.role == "tool"]
    if not results:
        return Turn(messages[0].text, tool="find_invoice")
    if results[-1].endswith("euros to pay"):
        return Turn(results[-1], tool="pay")
    return Turn(f"The outcome is: {results[-1]}.")


def find_invoice(text: str, reference: str) -> str:
    say(f"[tool] looks for: {text}")
    return "ACME: 120 euros to pay" if "ACME" in text else "no such invoice"


def pay(text: str, reference: str) -> str:
    """Stands in for a bank. By the reference it recognizes a payment that is repeated after a crash."""
    say(f"[tool] pays: {text}")
    with open("payments.txt", "a", encoding="utf-8") as payments:
        payments.write(f"{text}, reference {reference}\n")
    return "paid"


MODEL: Callable[[list[Message]], Awaitable[Turn]] = scripted_model
TOOLS: dict[str, Callable[[str, str], str]] = {"find_invoice": find_invoice, "pay": pay}
DANGEROUS = {"pay"}
MAX_TURNS = 10


class Task(Workflow):
    """Keyed by the name of the task. A workflow runs once for each key: a second `ask` attaches to the same run."""

    messages: list[Message] = []

    @handler
    async def ask(self, ctx: Context, question: str) -> str:
        self.messages.append(Message("user", question))
        for _ in range(MAX_TURNS):
            # A step, because the answer depends on chance, takes long and costs money. A replay gets what was recorded.
            turn = await ctx.step(name="model", type=Turn).run(MODEL, list(self.messages))
            if turn.tool is None:
                self.messages.append(Message("model", turn.text))
                return turn.text
            self.messages.append(Message("model", f"{turn.tool}: {turn.text}"))
            self.messages.append(Message("tool", await self.use(ctx, turn.tool, turn.text)))
        raise TerminalError(f"The model did not answer within {MAX_TURNS} turns.")

    async def use(self, ctx: Context, tool: str, text: str) -> str:
        """The result of a tool, or why it was not used: the model goes on with either."""
        if tool not in TOOLS:
            return f"Unknown tool {tool}. Known tools: {', '.join(TOOLS)}."
        if tool in DANGEROUS:
            permission = ctx.awakeable(bool)
            await ctx.step(name="ask").run(say, f"[person] {tool}: {text}? The id of the permission: {permission.id}")
            if not await permission:  # for a minute or a month
                return "not permitted"
        # A tool runs again if the process dies before its result is recorded. ctx.uuid() is then the same as before.
        return await ctx.step(name=tool).run(TOOLS[tool], text, str(ctx.uuid()))

    @shared
    async def look(self) -> list[Message]:
        return self.messages


def say(text: str) -> None:
    """Print a line in one write: steps run in threads."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(arguments: list[str]) -> None:
    async with App(Task, storage="sqlite:///agent.db") as app:
        match arguments:
            case ["ask", task, question]:
                say(await app.object(Task, task).ask(question))
            case ["show", task]:
                for message in await app.object(Task, task).look():
                    say(f"{message.role}: {message.text}")
            case ["allow" | "deny" as decision, id]:
                asked = await app.invocation_of(id)
                await app.resolve_awakeable(id, decision == "allow")
                say(await asked.result())
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    try:
        run(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("Stopped. The task goes on with the next command.")
    except ActorsError as error:
        sys.exit(str(error))
